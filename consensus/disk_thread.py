"""The thread that waits for a disk, so that a loop need not: one job after another.

A pool of the standard library would do. It makes a future with a lock for each job, chains it to
another one of the loop's and takes one more round of the loop to say the end, and a log hands over
a job for every write. Here a job costs a queue's put and one call back into the loop.

A loop that runs such work inline, because its time is not real, says so by an attribute
`runs_inline`; it is given jobs through its executor call, and there is no thread.

What this module does not know: what a job does.

Invariants: jobs run in the order in which they were given, never two at a time; `done` is called on
the loop.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")


class DiskThread:
    """Begin it on a loop, close it there."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._loop: asyncio.AbstractEventLoop
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._is_inline = False

    def begin(self) -> None:
        """Take jobs from the running loop."""
        self._loop = asyncio.get_running_loop()
        self._is_inline = getattr(self._loop, "runs_inline", False)
        if not self._is_inline:
            # A daemon: who leaves without closing is not held up, and loses what a crash would.
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()

    def do(self, job: Callable[[], T], done: Callable[[T], None]) -> None:
        """Run a job, which must not raise, and then `done` on the loop with what it returned."""
        if self._is_inline:
            future = self._loop.run_in_executor(None, job)
            future.add_done_callback(lambda ended: done(ended.result()))
            return

        def work() -> None:
            result = job()
            with suppress(RuntimeError):  # the loop was closed meanwhile: nobody listens
                self._loop.call_soon_threadsafe(done, result)

        self._jobs.put(work)

    def close(self) -> None:
        """Wait until all jobs are done."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join()
            self._thread = None

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
            del job  # it holds entries, and the next one may be long in coming

"""The log's writes on asyncio: a thread of their own, one write at a time, again when full.

What a write leaves to be tidied up is tidied up between two writes when it has grown, or when
nothing was written for a while.

The thread takes its jobs from a queue and hands each end back to the loop. An executor would make
two futures and a task of every write, a fifth of what a lone commit costs here.

What this module does not know: what is written, who waits for it.

Invariant: storage calls never overlap; `written` is told only of what is durable.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING

from consensus.driver import Driver
from consensus.errors import ConsensusError, StorageBroken, StorageError, StorageFull
from consensus.raft import Recovered, StoreBatch

if TYPE_CHECKING:
    from consensus.storage import Storage

DISK_FULL_RETRY_S = 1.0
IDLE_S = 1.0


class Writing:
    """The disk of one runner. `on_broken` hears of its end."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self.on_broken: Callable[[ConsensusError], None] = lambda error: None
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        # Not waited for by the interpreter: what it had not made durable was promised to nobody.
        self._thread = threading.Thread(target=self._run, name="raft-disk", daemon=True)
        self._loop: asyncio.AbstractEventLoop
        self._is_writing = False
        self._written_s = 0.0
        self._finished: asyncio.Future[None] | None = None  # `close` waits for it
        self._idle: asyncio.TimerHandle | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._is_closing = False

    async def recover(self) -> Recovered:
        """Read everything back.

        Raises:
            StorageError: it cannot be trusted.
        """
        self._loop = asyncio.get_running_loop()
        future: asyncio.Future[Recovered] = self._loop.create_future()
        self._thread.start()
        self._jobs.put(lambda: self._recover(future))
        return await future

    def begin(self, driver: Driver, batches: Sequence[StoreBatch]) -> None:
        """Write these, and tell the driver."""
        self._is_writing = True
        self._jobs.put(lambda: self._write(driver, batches))

    def stop(self) -> None:
        """Try nothing again from here on."""
        self._is_closing = True
        if self._idle is not None:
            self._idle.cancel()
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
            self._end_writing()

    async def close(self) -> None:
        """Finish what is under way and let the storage go."""
        self.stop()
        if self._is_writing:
            self._finished = self._loop.create_future()
            await self._finished
        self._jobs.put(None)
        if self._thread.is_alive():
            self._thread.join()
        self._storage.close()

    # -- in the thread -------------------------------------------------------------------------

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def _tell(self, callback: Callable[..., None], *arguments: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody is left to be told
            self._loop.call_soon_threadsafe(callback, *arguments)

    def _recover(self, future: asyncio.Future[Recovered]) -> None:
        try:
            recovered = self._storage.recover()
        except Exception as error:  # noqa: BLE001 - whatever it is, who waits gets it
            self._tell(_fail, future, error)
        else:
            self._tell(_succeed, future, recovered)

    def _write(self, driver: Driver, batches: Sequence[StoreBatch]) -> None:
        problem: Exception | None = None
        try:
            self._storage.write(batches)
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing was confirmed
            problem = error
        self._tell(self._on_written, driver, batches, problem)

    def _tidy_up(self) -> None:
        try:
            self._storage.checkpoint()
        except StorageFull:
            return  # the next write says so itself
        except Exception as error:  # noqa: BLE001 - whatever it is, the disk cannot be trusted
            if not self._is_closing:
                self._tell(self._break, error)

    # -- on the loop ---------------------------------------------------------------------------

    def _on_written(
        self, driver: Driver, batches: Sequence[StoreBatch], problem: Exception | None
    ) -> None:
        if problem is None:
            self._is_writing = False
            driver.written()  # which may begin the next write
            self._after_writing()
        elif not isinstance(problem, StorageFull):
            self._end_writing()
            self._break(problem)
        else:
            driver.disk_full()
            if self._is_closing:
                self._end_writing()
            else:
                self._retry = self._loop.call_later(DISK_FULL_RETRY_S, self._again, driver, batches)

    def _again(self, driver: Driver, batches: Sequence[StoreBatch]) -> None:
        self._retry = None
        self._jobs.put(lambda: self._write(driver, batches))

    def _after_writing(self) -> None:
        if self._storage.checkpoint_due:
            self._jobs.put(self._tidy_up)
        self._written_s = self._loop.time()
        if self._idle is None and not self._is_closing:
            self._idle = self._loop.call_later(IDLE_S, self._on_idle)
        if not self._is_writing:
            self._end_writing()

    def _end_writing(self) -> None:
        self._is_writing = False
        if self._finished is not None and not self._finished.done():
            self._finished.set_result(None)

    def _on_idle(self) -> None:
        # Writes do not move the timer, which would cost each of them as much as a future does.
        left_s = self._written_s + IDLE_S - self._loop.time()
        if left_s > 0:
            self._idle = self._loop.call_later(left_s, self._on_idle)
            return
        self._idle = None
        self._jobs.put(self._tidy_up)

    def _break(self, error: Exception) -> None:
        broken = error if isinstance(error, StorageError) else None
        self.on_broken(broken or StorageBroken("the log", repr(error)))


def _succeed(future: asyncio.Future[Recovered], recovered: Recovered) -> None:
    if not future.done():
        future.set_result(recovered)


def _fail(future: asyncio.Future[Recovered], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)

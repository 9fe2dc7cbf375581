"""Tasks that run one job after another, because a task for each job costs more than most jobs.

A worker takes the next job when the last one has ended. Before it begins one while more are
waiting, it sees to it that another worker is awake: jobs that do not wait are all run by one
worker in one turn of the loop, and a job that waits holds up nobody.

To a job its worker is what a task of its own would be: it is the current task, it is cancelled
with `cancel()`, and nothing that a job leaves behind is there for the next. A worker whose job was
cancelled, or changed a context variable, ends, and another takes its place.

What this module does not know: what a job is. `run` gets it and must handle all that it raises.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from typing import Any, Generic, TypeVar

T = TypeVar("T")

MAX_IDLE = 64  # a burst of jobs that wait makes many; so many stay for the next


class Workers(Generic[T]):
    """Runs jobs in the order in which they came, as many at once as there are.

    Args:
        run: runs one job; how many may run at once is its maker's to say.
    """

    def __init__(self, run: Callable[[T, asyncio.Task[None]], Coroutine[Any, Any, None]]) -> None:
        self._run = run
        self._jobs: deque[T] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._idle: list[asyncio.Future[None]] = []
        self._someone_comes = False

    def put(self, job: T) -> None:
        """Run this job soon."""
        self._jobs.append(job)
        if not self._someone_comes:
            self._rouse()

    async def close(self) -> None:
        """Cancel every job that runs, forget those that wait, and return when all have ended."""
        self._jobs.clear()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _rouse(self) -> None:
        self._someone_comes = True
        while self._idle:
            waiting = self._idle.pop()
            if not waiting.done():
                waiting.set_result(None)
                return
        task = asyncio.get_running_loop().create_task(self._work())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self) -> None:
        me = asyncio.current_task()
        assert me is not None
        loop = me.get_loop()
        jobs, run, before = self._jobs, self._run, copy_context()
        while True:
            self._someone_comes = False
            while jobs:
                job = jobs.popleft()
                if jobs and not self._someone_comes:
                    self._rouse()
                await run(job, me)
                if me.cancelling() or copy_context() != before:
                    if jobs and not self._someone_comes:
                        self._rouse()
                    return
            if len(self._idle) >= MAX_IDLE:
                return
            waiting = loop.create_future()
            self._idle.append(waiting)
            with contextlib.suppress(asyncio.CancelledError):
                await waiting
            if me.cancelling():
                return

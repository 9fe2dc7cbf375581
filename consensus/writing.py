"""The log's writes on asyncio: a thread of their own, one write at a time, again when full.

What a write leaves to be tidied up is tidied up between two writes when it has grown, or when
nothing was written for a while.

A write is handed over behind what this turn of the loop sends: the thread would want the
interpreter's lock at once, and a leader's entries would wait for its disk on their way out.

What this module does not know: what is written, who waits for it.

Invariant: storage calls never overlap; `written` is told only of what is durable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from consensus.disk_thread import DiskThread
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
        self._thread = DiskThread("raft-disk")
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
        self._thread.begin()
        found: asyncio.Future[Recovered | Exception] = self._loop.create_future()
        self._thread.do(self._recover, partial(_settle, found))
        recovered = await found
        if isinstance(recovered, Exception):
            raise recovered
        return recovered

    def begin(self, driver: Driver, batches: Sequence[StoreBatch]) -> None:
        """Write these, and tell the driver."""
        self._is_writing = True
        self._loop.call_soon(self._begin, driver, batches)

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
        self._thread.close()
        self._storage.close()

    # -- in the thread -------------------------------------------------------------------------

    def _recover(self) -> Recovered | Exception:
        try:
            return self._storage.recover()
        except Exception as error:  # noqa: BLE001 - raised again where it was asked for
            return error

    def _write(self, batches: Sequence[StoreBatch]) -> Exception | None:
        try:
            self._storage.write(batches)
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing was confirmed
            return error
        return None

    def _tidy_up(self) -> Exception | None:
        try:
            self._storage.checkpoint()
        except StorageFull:
            return None  # the next write says so itself
        except Exception as error:  # noqa: BLE001 - whatever it is, the disk cannot be trusted
            return error
        return None

    # -- on the loop ---------------------------------------------------------------------------

    def _begin(self, driver: Driver, batches: Sequence[StoreBatch]) -> None:
        self._retry = None
        self._thread.do(partial(self._write, batches), partial(self._on_written, driver, batches))

    def _begin_tidying(self) -> None:
        self._thread.do(self._tidy_up, self._on_tidied)

    def _on_tidied(self, problem: Exception | None) -> None:
        if problem is not None and not self._is_closing:
            self._break(problem)

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
                self._retry = self._loop.call_later(DISK_FULL_RETRY_S, self._begin, driver, batches)

    def _after_writing(self) -> None:
        if self._storage.checkpoint_due:
            self._begin_tidying()
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
        self._begin_tidying()

    def _break(self, error: Exception) -> None:
        broken = error if isinstance(error, StorageError) else None
        self.on_broken(broken or StorageBroken("the log", repr(error)))


def _settle(future: asyncio.Future[Recovered | Exception], result: Recovered | Exception) -> None:
    if not future.done():  # who waited was cancelled
        future.set_result(result)

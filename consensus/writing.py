"""The log's writes on asyncio: a thread of their own, one write at a time, again when full.

What a write leaves to be tidied up is tidied up between two writes when it has grown, or when
nothing was written for a while.

What this module does not know: what is written, who waits for it.

Invariant: storage calls never overlap; `written` is told only of what is durable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
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
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="raft-disk")
        self._task: asyncio.Task[None] | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._is_closing = False

    async def recover(self) -> Recovered:
        """Read everything back.

        Raises:
            StorageError: it cannot be trusted.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._storage.recover)

    def begin(self, driver: Driver, batches: Sequence[StoreBatch]) -> None:
        """Write these, and tell the driver."""
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        self._task = asyncio.get_running_loop().create_task(self._write(driver, batches))

    def stop(self) -> None:
        """Try nothing again from here on."""
        self._is_closing = True
        if self._idle is not None:
            self._idle.cancel()

    async def close(self) -> None:
        """Finish what is under way and let the storage go."""
        self.stop()
        if self._task is not None:
            await asyncio.wait([self._task])
        self._thread.shutdown(wait=True)
        self._storage.close()

    async def _write(self, driver: Driver, batches: Sequence[StoreBatch]) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                await loop.run_in_executor(self._thread, self._storage.write, batches)
                break
            except StorageFull:
                driver.disk_full()
                if self._is_closing:
                    return
                await asyncio.sleep(DISK_FULL_RETRY_S)
            except Exception as error:  # noqa: BLE001 - whatever it is, nothing was confirmed
                self._break(error)
                return
        driver.written()
        if self._storage.checkpoint_due:
            self._thread.submit(self._tidy_up, loop)
        elif self._idle is None and not self._is_closing:
            self._idle = loop.call_later(IDLE_S, self._on_idle)

    def _on_idle(self) -> None:
        self._idle = None
        self._thread.submit(self._tidy_up, asyncio.get_running_loop())

    def _tidy_up(self, loop: asyncio.AbstractEventLoop) -> None:
        """In the thread, so never beside a write."""
        try:
            self._storage.checkpoint()
        except StorageFull:
            return  # the next write says so itself
        except Exception as error:  # noqa: BLE001 - whatever it is, the disk cannot be trusted
            if not self._is_closing:
                loop.call_soon_threadsafe(self._break, error)

    def _break(self, error: Exception) -> None:
        broken = error if isinstance(error, StorageError) else None
        self.on_broken(broken or StorageBroken("the log", repr(error)))

"""A network on processes for programs that are not asynchronous: it lives in a thread of its own.

    with RealNetwork(seed=0) as network:
        network.do(lambda net: net.up(3))
        network.do(lambda net: net.isolate_leader())
        run = network.finish()

What this module does not know: who drives it.

Invariants: a thread that waits for the network blocks only itself; `close` may be called at any
time and again, and leaves no process and no namespace behind.
"""

from __future__ import annotations

import asyncio
import atexit
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Self, TypeVar

from agents.chaos.errors import ChaosError
from agents.chaos.net import ChaosNet
from agents.chaos.running import Run, play, real_world, run_of
from agents.chaos.spaces import PREFIX

T = TypeVar("T")
CLOSE_S = 60.0


class RealNetwork:
    """
    Args:
        seed: of what is drawn from `net.random`.
        loopback: all nodes on 127.0.0.1; otherwise each in a network namespace.
    """

    def __init__(self, seed: int = 0, *, loopback: bool = False) -> None:
        self._seed = seed
        self._loopback = loopback
        self._began_s = time.monotonic()
        self._thread: threading.Thread | None = None
        self._is_ready = threading.Event()
        self._failed: Exception | None = None
        self._net: ChaosNet | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over: asyncio.Event | None = None

    def __enter__(self) -> Self:
        """
        Raises:
            NotPermitted: network namespaces cannot be made here.
        """
        # A daemon, so that a program that forgets it can end; the kernel ends nodes with their
        # thread, and `atexit` the rest.
        self._thread = threading.Thread(target=self._live, name="conclave-chaos", daemon=True)
        self._thread.start()
        self._is_ready.wait()
        if self._failed is not None:
            raise self._failed
        atexit.register(self.close)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def do(self, work: Callable[[ChaosNet], Awaitable[T]]) -> T:
        """Do something to the network or ask it, from any thread, and wait for it.

        Raises:
            ChaosError: it is closed.
        """
        loop, net = self._loop, self._net
        if loop is None or net is None:
            raise ChaosError("this network does not run")

        async def working() -> T:
            return await work(net)

        return asyncio.run_coroutine_threadsafe(working(), loop).result()

    def finish(self) -> Run:
        """End all faults, wait for rest, and judge."""

        async def nothing(_: ChaosNet) -> None:
            return None

        net = self._net
        assert net is not None, "it was never entered"
        error = self.do(lambda net: play(net, nothing))
        took_s = time.monotonic() - self._began_s
        return run_of(net, error, took_s, took_s)

    def close(self) -> None:
        """End every process and remove what was made."""
        atexit.unregister(self.close)
        loop, over, self._loop = self._loop, self._over, None
        if loop is not None and over is not None:
            loop.call_soon_threadsafe(over.set)
        if self._thread is not None:
            self._thread.join(CLOSE_S)

    # -- the thread ----------------------------------------------------------------------------

    def _live(self) -> None:
        try:
            with tempfile.TemporaryDirectory(prefix=PREFIX) as directory:
                asyncio.run(self._main(Path(directory)))
        except Exception as error:  # noqa: BLE001 - whoever opens it is told
            self._failed = error
        finally:
            self._is_ready.set()

    async def _main(self, directory: Path) -> None:
        world = real_world(directory, loopback=self._loopback)
        net = ChaosNet(world, self._seed)
        self._over = asyncio.Event()
        self._net, self._loop = net, asyncio.get_running_loop()
        self._is_ready.set()
        try:
            await self._over.wait()
        finally:
            await net.close()
            await world.close()

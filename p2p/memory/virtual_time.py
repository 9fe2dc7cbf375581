"""An event loop whose clock jumps: a minute of timers passes in milliseconds, always alike.

`run_virtual` runs a coroutine like `asyncio.run`, but whenever nothing is ready the clock moves to
the next timer instead of waiting for it. Work handed to a thread runs inline, so that the order of
things depends on the program alone.

What this module does not know: networks, faults, nodes.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, TypeVar

T = TypeVar("T")
START_WALL_MS = 1_700_000_000_000


class Stuck(RuntimeError):
    """Nothing is ready and no timer is set: in real life this would wait for ever."""

    def __init__(self) -> None:
        super().__init__("the simulation is stuck: no timer is set and nothing is ready")


class _JumpingSelector(selectors.SelectSelector):
    """Polls the real descriptors, and moves the clock where the real one would sleep."""

    def __init__(self, jump: Callable[[float | None], None]) -> None:
        super().__init__()
        self._jump = jump

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and (timeout is None or timeout > 0):
            self._jump(timeout)
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An asyncio loop on virtual time."""

    def __init__(self) -> None:
        self._virtual_ns = 0
        super().__init__(_JumpingSelector(self._jump))

    def time(self) -> float:
        return self._virtual_ns / 1e9

    def now_ms(self) -> int:
        return self._virtual_ns // 1_000_000

    def wall_ms(self) -> int:
        return START_WALL_MS + self.now_ms()

    def _jump(self, seconds: float | None) -> None:
        if seconds is None:
            raise Stuck
        self._virtual_ns += max(1, int(seconds * 1e9))

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        future: asyncio.Future[T] = self.create_future()
        self.call_soon(_run_inline, future, func, args)
        return future


def _run_inline(future: asyncio.Future[T], func: Callable[..., T], args: tuple[Any, ...]) -> None:
    if future.cancelled():
        return
    try:
        result = func(*args)
    except Exception as error:  # noqa: BLE001 - an executor hands every failure to its future
        future.set_exception(error)
    else:
        future.set_result(result)


class VirtualClock:
    """The running virtual loop's two readings, as `p2p.clock.Clock`."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        self._loop = loop

    def now_ms(self) -> int:
        return self._loop.now_ms()

    def wall_ms(self) -> int:
        return self._loop.wall_ms()


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a fresh virtual loop and return its result.

    Raises:
        Stuck: everything waits and no timer is set.
    """
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)

"""An event loop whose clock jumps: a minute of timers passes in milliseconds, always alike.

`run_virtual` runs a coroutine like `asyncio.run`, but whenever nothing is ready the clock moves to
the next timer instead of waiting for it. Work handed to a thread runs inline, so that the order of
things depends on the program alone.

What this module does not know: networks, faults, nodes.
"""

from __future__ import annotations

import asyncio
import selectors
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from contextvars import Context
from heapq import heapify, heappop, heappush
from typing import Any, TypeVar

T = TypeVar("T")
START_WALL_MS = 1_700_000_000_000
POLL_EVERY = 64  # rounds of the loop
MAX_CANCELLED = 100
CLOCK_RESOLUTION_S = 1e-9


class Stuck(RuntimeError):
    """Nothing is ready and no timer is set: in real life this would wait for ever."""

    def __init__(self) -> None:
        super().__init__("the simulation is stuck: no timer is set and nothing is ready")


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An asyncio loop on virtual time.

    A round of it is asyncio's own (`_run_once`: what is ready, what is due, in this order) with two
    differences, which together are a fifth of a simulation: timers lie in the heap as numbers,
    which compare in C, and descriptors are looked at only now and then. Nothing in a simulation
    speaks through descriptors, but a script may.
    """

    # What asyncio's loops have, in every version so far.
    _ready: deque[asyncio.Handle]
    _stopping: bool
    _selector: selectors.BaseSelector
    _check_closed: Callable[[], None]
    _process_events: Callable[[list[tuple[selectors.SelectorKey, int]]], None]

    runs_inline = True  # what is handed to a thread

    def __init__(self) -> None:
        self._virtual_ns = 0
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._timers_made = 0
        self._cancelled_timers = 0
        self._rounds_unpolled = 0
        super().__init__(selectors.SelectSelector())

    def time(self) -> float:
        return self._virtual_ns / 1e9

    def now_ms(self) -> int:
        return self._virtual_ns // 1_000_000

    def wall_ms(self) -> int:
        return START_WALL_MS + self._virtual_ns // 1_000_000

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        self._check_closed()
        return self.set_timer(asyncio.TimerHandle(when, callback, args, self, context))

    def set_timer(self, handle: asyncio.TimerHandle) -> asyncio.TimerHandle:
        """Let it run at its time; of equal times the one that was set first."""
        self._timers_made += 1
        heappush(self._timers, (handle.when(), self._timers_made, handle))
        handle._scheduled = True  # type: ignore[attr-defined]
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Asyncio says so of every timer. Those far ahead, such as deadlines, would pile up."""
        self._cancelled_timers += handle._scheduled  # type: ignore[attr-defined]
        if self._cancelled_timers > MAX_CANCELLED and (
            2 * self._cancelled_timers > len(self._timers)
        ):
            self._timers = [timer for timer in self._timers if not timer[2].cancelled()]
            heapify(self._timers)
            self._cancelled_timers = 1  # this one, in a moment

    def _run_once(self) -> None:
        """One round: the clock moves only where nothing is ready."""
        ready = self._ready
        is_idle = not ready and not self._stopping
        self._rounds_unpolled += 1
        if self._rounds_unpolled >= POLL_EVERY or (is_idle and self._may_hear):
            self._rounds_unpolled = 0
            self._process_events(self._selector.select(0))
        if is_idle and not ready:
            self._jump()
        now_s = self._virtual_ns / 1e9 + CLOCK_RESOLUTION_S
        while self._timers and self._timers[0][0] < now_s:
            ready.append(self._pop_timer())
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle._cancelled:
                handle._run()

    @property
    def _may_hear(self) -> bool:
        """Whether a descriptor may say something that nothing else would bring about: there is one
        beside the loop's own, or no timer is left."""
        return not self._timers or len(self._selector.get_map()) > 1

    def _jump(self) -> None:
        """Go to the next timer instead of waiting for it."""
        while self._timers and self._timers[0][2].cancelled():
            self._pop_timer()
        if not self._timers:
            raise Stuck
        ahead_ns = int((self._timers[0][0] - self._virtual_ns / 1e9) * 1e9)
        self._virtual_ns += max(1, ahead_ns)

    def _pop_timer(self) -> asyncio.TimerHandle:
        _, _, handle = heappop(self._timers)
        handle._scheduled = False  # type: ignore[attr-defined]
        self._cancelled_timers -= handle.cancelled()
        return handle

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

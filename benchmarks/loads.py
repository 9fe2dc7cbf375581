"""How contenders are put under load: in a closed loop, or on a schedule that waits for nobody.

Latencies go into arrays that were made before, and nothing but the contender's own call happens
between two stamps, so that the driver does not set the pace.

What this module does not know: whom it drives.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import struct
import sys
import time
from array import array
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

Ask = Callable[[], Awaitable[Any]]
Words = dict[str, Any]

MAX_PER_S = 1_000_000
TICK_S = 0.0002
WARM_UP_S = 0.2


async def closed_loop(ask: Ask, in_flight: int, seconds: float) -> Words:
    """Keep so many calls on the way; return the rate and the latencies."""
    await _ask_for(ask, in_flight, WARM_UP_S, _room(WARM_UP_S * MAX_PER_S))
    taken_s = _room(seconds * MAX_PER_S)
    began = time.perf_counter()
    done = await _ask_for(ask, in_flight, seconds, taken_s)
    rate = done / (time.perf_counter() - began)
    return {"rate": rate, "done": done, **percentiles(taken_s[:done])}


async def _ask_for(ask: Ask, in_flight: int, seconds: float, taken_s: array[float]) -> int:
    clock = time.perf_counter
    until = clock() + seconds
    done = 0

    async def one() -> None:
        nonlocal done
        began = clock()
        while began < until:
            await ask()
            now = clock()
            taken_s[done] = now - began
            done += 1
            began = now

    await asyncio.gather(*(one() for _ in range(in_flight)))
    return done


async def open_loop(
    ask: Callable[[int], Awaitable[Any]], rate: float, seconds: float, patience_s: float = 10.0
) -> Words:
    """Begin `rate` calls a second, whatever becomes of them.

    A latency counts from the moment at which a call was due, so that what the driver is late is
    not hidden. Errors are counted by their type; `unanswered` are calls without any end when all
    patience is over.
    """
    total = int(rate * seconds)
    taken_s = _room(total)
    unmade = -1.0
    for number in range(total):
        taken_s[number] = unmade
    errors: Counter[str] = Counter()
    worst_error_s = 0.0
    clock = time.perf_counter
    running: set[asyncio.Task[None]] = set()
    loop = asyncio.get_running_loop()
    over: asyncio.Future[None] = loop.create_future()
    began_s = clock() + 0.01
    started = 0

    async def one(number: int) -> None:
        nonlocal worst_error_s
        try:
            await ask(number)
        except Exception as error:  # noqa: BLE001 - which errors there are is the figure
            errors[type(error).__name__] += 1
            worst_error_s = max(worst_error_s, clock() - began_s - number / rate)
        else:
            taken_s[number] = clock() - began_s - number / rate

    def tick() -> None:
        nonlocal started
        due = min(total, int((clock() - began_s) * rate) + 1)
        while started < due:
            task = loop.create_task(one(started))
            running.add(task)
            task.add_done_callback(running.discard)
            started += 1
        if started >= total and not over.done():
            over.set_result(None)

    with _ticking(loop, tick):
        await over
    offered_s = clock() - began_s
    waiting = tuple(running)
    if waiting:
        await asyncio.wait(waiting, timeout=patience_s)
    unanswered = [task for task in waiting if not task.done()]
    for task in unanswered:
        task.cancel()
    answered = [taken for taken in taken_s if taken >= 0]
    return {
        "offered": total / offered_s,
        "rate": len(answered) / offered_s,
        "answered": len(answered),
        "errors": dict(errors),
        "unanswered": len(unanswered),
        "worst_error_ms": 1e3 * worst_error_s,
        **percentiles(answered),
    }


def _room(count: float) -> array[float]:
    """Numbers without an object each, so that memory does not grow while they are written."""
    return array("d", bytes(8 * int(count)))


def percentiles(taken_s: Sequence[float]) -> Words:
    """Return what a crowd of latencies comes to, in microseconds."""
    if not taken_s:
        return {"p50_us": 0.0, "p99_us": 0.0, "max_us": 0.0}
    ordered = sorted(taken_s)
    return {
        "p50_us": 1e6 * ordered[len(ordered) // 2],
        "p99_us": 1e6 * ordered[len(ordered) * 99 // 100],
        "max_us": 1e6 * ordered[-1],
    }


@contextmanager
def _ticking(loop: asyncio.AbstractEventLoop, tick: Callable[[], None]) -> Iterator[None]:
    """Call a function every fifth of a millisecond; the timers of event loops have whole ones."""
    if sys.platform != "linux":
        with _ticking_by_timer(loop, tick):
            yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
    assert fd >= 0, os.strerror(ctypes.get_errno())
    tick_ns = int(TICK_S * 1e9)
    libc.timerfd_settime(fd, 0, struct.pack("llll", 0, tick_ns, 0, tick_ns), None)

    def fired() -> None:
        os.read(fd, 8)
        tick()

    loop.add_reader(fd, fired)
    try:
        yield
    finally:
        loop.remove_reader(fd)
        os.close(fd)


@contextmanager
def _ticking_by_timer(loop: asyncio.AbstractEventLoop, tick: Callable[[], None]) -> Iterator[None]:
    timer: asyncio.TimerHandle | None = None

    def fired() -> None:
        nonlocal timer
        timer = loop.call_later(0.001, fired)
        tick()

    fired()
    try:
        yield
    finally:
        assert timer is not None
        timer.cancel()

"""Virtual time: the clock jumps, order is kept, and what waits for ever is told."""

from __future__ import annotations

import asyncio
import time

import pytest

from p2p.memory import Stuck, VirtualClock, VirtualTimeLoop, run_virtual


def test_an_hour_passes_in_no_time() -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await asyncio.sleep(3600)
        return loop.time() - began

    began = time.monotonic()
    assert run_virtual(main()) == pytest.approx(3600, abs=0.001)
    assert time.monotonic() - began < 5


def test_both_clocks_follow_the_loop() -> None:
    async def main() -> tuple[int, int]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        clock = VirtualClock(loop)
        now_ms, wall_ms = clock.now_ms(), clock.wall_ms()
        await asyncio.sleep(1.5)
        return clock.now_ms() - now_ms, clock.wall_ms() - wall_ms

    assert run_virtual(main()) == (1500, 1500)


def test_timers_fire_in_the_order_of_their_times() -> None:
    async def main() -> list[int]:
        seen: list[int] = []
        loop = asyncio.get_running_loop()
        for n in (5, 1, 4, 2, 3):
            loop.call_later(n, seen.append, n)
        await asyncio.sleep(6)
        return seen

    assert run_virtual(main()) == [1, 2, 3, 4, 5]


def test_what_waits_for_ever_is_an_error_and_no_hang() -> None:
    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Stuck, match="no timer is set"):
        run_virtual(main())


def test_blocking_work_runs_inline_and_its_errors_arrive() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert await loop.run_in_executor(None, sum, (1, 2, 3)) == 6
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 // 0)

    run_virtual(main())


def test_work_that_nobody_waits_for_any_more_does_not_run() -> None:
    async def main() -> list[str]:
        ran: list[str] = []
        asyncio.get_running_loop().run_in_executor(None, ran.append, "x").cancel()
        await asyncio.sleep(1)
        return ran

    assert run_virtual(main()) == []

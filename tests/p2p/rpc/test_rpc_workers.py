"""Workers: one task runs many jobs, and no job notices."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar
from typing import Any

from p2p.memory import run_virtual
from p2p.rpc.workers import Workers

Step = Callable[[], Awaitable[None]]
mark: ContextVar[str] = ContextVar("mark", default="clean")


def with_workers(scenario: Callable[[Workers[Step]], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        async def run(step: Step, task: asyncio.Task[None]) -> None:
            try:
                await step()
            except asyncio.CancelledError:
                assert task.cancelling()

        workers: Workers[Step] = Workers(run)
        try:
            await scenario(workers)
        finally:
            await workers.close()

    run_virtual(main())


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_jobs_that_do_not_wait_are_run_in_order_by_one_worker() -> None:
    seen: list[tuple[int, asyncio.Task[Any] | None]] = []

    async def scenario(workers: Workers[Step]) -> None:
        for n in range(100):

            async def step(n: int = n) -> None:
                seen.append((n, asyncio.current_task()))

            workers.put(step)
        await turns()
        assert [n for n, _ in seen] == list(range(100))
        assert len({task for _, task in seen}) == 1

    with_workers(scenario)


def test_a_job_that_waits_holds_up_nobody() -> None:
    done: list[int] = []

    async def scenario(workers: Workers[Step]) -> None:
        gate = asyncio.Event()

        async def waits() -> None:
            await gate.wait()
            done.append(-1)

        for n in range(50):

            async def quick(n: int = n) -> None:
                done.append(n)

            workers.put(waits)
            workers.put(quick)
        await turns(200)
        assert sorted(done) == list(range(50)), "all that did not wait have run"
        gate.set()
        await turns()
        assert done.count(-1) == 50

    with_workers(scenario)


def test_what_a_job_leaves_in_its_context_is_not_there_for_the_next() -> None:
    seen: list[str] = []

    async def scenario(workers: Workers[Step]) -> None:
        async def dirty() -> None:
            mark.set("dirty")

        async def look() -> None:
            seen.append(mark.get())

        for _ in range(10):
            workers.put(dirty)
            workers.put(look)
        await turns(60)
        assert seen == ["clean"] * 10

    with_workers(scenario)


def test_cancelling_one_job_leaves_the_others_alone() -> None:
    ended: list[str] = []

    async def scenario(workers: Workers[Step]) -> None:
        tasks: list[asyncio.Task[Any]] = []

        async def victim() -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.append(task)
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("victim")

        async def other() -> None:
            ended.append("other")

        workers.put(victim)
        await turns()
        tasks[0].cancel()
        for _ in range(5):
            workers.put(other)
        await turns()
        assert sorted(ended) == ["other"] * 5 + ["victim"]

    with_workers(scenario)


def test_a_job_that_cancels_itself_and_goes_on_harms_no_other() -> None:
    ended: list[int] = []

    async def scenario(workers: Workers[Step]) -> None:
        async def selfish() -> None:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()

        workers.put(selfish)
        for n in range(5):

            async def other(n: int = n) -> None:
                await asyncio.sleep(0)
                ended.append(n)

            workers.put(other)
        await turns(20)
        assert sorted(ended) == list(range(5))

    with_workers(scenario)


def test_timeouts_inside_a_job_work_as_in_a_task_of_its_own() -> None:
    said: list[str] = []

    async def scenario(workers: Workers[Step]) -> None:
        async def slow() -> None:
            try:
                async with asyncio.timeout(0.01):
                    await asyncio.Event().wait()
            except TimeoutError:
                said.append("timeout")

        for _ in range(3):
            workers.put(slow)
        async with asyncio.timeout(5):
            while len(said) < 3:
                await asyncio.sleep(0.005)

    with_workers(scenario)


def test_closing_ends_every_job() -> None:
    ended: list[int] = []

    async def scenario(workers: Workers[Step]) -> None:
        for n in range(10):

            async def waits(n: int = n) -> None:
                try:
                    await asyncio.Event().wait()
                finally:
                    ended.append(n)

            workers.put(waits)
        await turns(30)
        await workers.close()
        assert sorted(ended) == list(range(10))

    with_workers(scenario)

"""The disk's thread: one job after another, and its end is told on the loop."""

import asyncio
import threading
from functools import partial

from consensus.disk_thread import DiskThread
from p2p.memory import run_virtual


async def _three_jobs() -> tuple[list[str], set[str]]:
    """What happened in order, and the threads that the jobs ran in."""
    happened: list[str] = []
    threads: set[str] = set()
    over = asyncio.Event()
    loop_thread = threading.current_thread()

    def job(name: str) -> str:
        threads.add(threading.current_thread().name)
        happened.append(f"{name} runs")
        return name

    def done(name: str) -> None:
        assert threading.current_thread() is loop_thread
        happened.append(f"{name} is done")
        if name == "c":
            over.set()

    disk = DiskThread("disk")
    disk.begin()
    for name in "abc":
        disk.do(partial(job, name), done)
    await asyncio.wait_for(over.wait(), 10)
    disk.close()
    return happened, threads


def test_jobs_run_in_order_in_one_thread_and_end_on_the_loop() -> None:
    happened, threads = asyncio.run(_three_jobs())
    assert [what for what in happened if "runs" in what] == ["a runs", "b runs", "c runs"]
    assert [what for what in happened if "done" in what] == ["a is done", "b is done", "c is done"]
    assert threads == {"disk"}


def test_in_virtual_time_there_is_no_thread() -> None:
    happened, threads = run_virtual(_three_jobs())
    assert [what for what in happened if "runs" in what] == ["a runs", "b runs", "c runs"]
    assert threads == {threading.main_thread().name}


def test_closing_waits_for_the_jobs_that_were_given() -> None:
    ran: list[int] = []

    async def leave_early() -> None:
        disk = DiskThread("disk")
        disk.begin()
        for number in range(100):
            disk.do(partial(ran.append, number), lambda nothing: None)
        disk.close()
        disk.close()  # a second time is nothing

    asyncio.run(leave_early())
    assert ran == list(range(100))


def test_a_loop_that_ended_without_closing_does_not_end_the_thread_with_an_error() -> None:
    gate, ran = threading.Event(), threading.Event()
    disk = DiskThread("disk")

    async def leave_without_closing() -> None:
        disk.begin()
        disk.do(lambda: gate.wait(10), lambda opened: None)
        disk.do(ran.set, lambda nothing: None)

    asyncio.run(leave_without_closing())
    gate.set()
    disk.close()
    assert ran.is_set()

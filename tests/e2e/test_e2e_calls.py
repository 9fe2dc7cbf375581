"""What crosses between two processes: arguments, errors with their words, limits, a newcomer."""

from __future__ import annotations

import asyncio
import shlex
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_lab import AGENT, Node, agreed, environment, eventually, lab, refused

from agents import NodeNotUp, NoProvider, TaskFailed, TaskParked
from agents.connecting import connect
from agents.net import Net
from p2p import BadRequest, DeadlineExceeded, HandlerFailed, PayloadTooLarge

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def bob(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node without agents; the other one, ada, has them all."""
    with lab(tmp_path_factory.mktemp("calls")) as here:
        ada, bob = nodes = here.network("ada", "bob", voters=1)
        ada.up(str(AGENT)).until_up()
        eventually(lambda: agreed([ada]), "a leader of one")
        bob.up(seeds=(ada,)).until_up()
        eventually(lambda: agreed(nodes), "bob knows the leader")
        yield bob


def entered(node: Node, question: Callable[[Net], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        async with connect(node.home) as net:
            return await question(net)

    return asyncio.run(main())


def test_connect_attaches_to_the_node_and_calls_through_it(bob: Node) -> None:
    async def ask(net: Net) -> Any:
        await net.wait_for("lab.add")
        assert net.name == "bob"
        return await net.call("lab.add", 1, b=2, returns=int)

    assert entered(bob, ask) == 3


def test_what_a_handler_raises_arrives_with_its_type_and_traceback(bob: Node) -> None:
    async def ask(net: Net) -> None:
        await net.call("lab.fail", "luck")

    with pytest.raises(HandlerFailed) as caught:
        entered(bob, ask)
    assert caught.value.error_type == "ZeroDivisionError"
    assert "ada" in caught.value.peer
    assert "no luck" in str(caught.value)
    assert 'lab_agent.py", line' in caught.value.remote_traceback
    assert "raise ZeroDivisionError" in caught.value.remote_traceback
    assert "\x1b" not in caught.value.remote_traceback + str(caught.value)
    refused(bob.run("call", "lab.fail", "luck"), "lab.fail at ada", "ZeroDivisionError: no luck")


def test_arguments_are_refused_where_they_arrive_with_the_signature(bob: Node) -> None:
    async def ask(net: Net) -> None:
        await net.call("lab.add", 1, "two")

    with pytest.raises(BadRequest, match=r"lab\.add\(a: float, b: float\)"):
        entered(bob, ask)
    refused(bob.run("call", "lab.add", "1"), "lab.add(a: float, b: float)", "'b'")


def test_a_result_that_cannot_travel_names_its_type(bob: Node) -> None:
    async def ask(net: Net) -> None:
        await net.call("lab.object")

    with pytest.raises(HandlerFailed, match="object cannot travel"):
        entered(bob, ask)


def test_payloads_over_the_limit_are_refused_on_either_side(bob: Node) -> None:
    big = "x" * 2_000_000

    async def call(net: Net) -> None:
        await net.call("lab.echo", big)

    async def submit(net: Net) -> None:
        await net.submit("lab.echo", big)

    async def answer(net: Net) -> None:
        await net.call("lab.blob", 2_000_000)

    for ask in (call, submit):
        with pytest.raises(PayloadTooLarge, match="over the limit of"):
            entered(bob, ask)
    with pytest.raises(HandlerFailed, match="2,000,005 bytes"):
        entered(bob, answer)
    refused(bob.run("call", "lab.blob", "2000000"), "lab.blob", "limit")


def test_a_task_whose_result_is_too_long_fails_and_says_so(bob: Node) -> None:
    async def ask(net: Net) -> None:
        task = await net.submit("lab.blob", 500_000, retries=0)
        await task.result(timeout=10)

    with pytest.raises((TaskFailed, TaskParked), match="ResultTooLarge"):
        entered(bob, ask)


def test_a_deadline_ends_the_call_and_the_handler(bob: Node, tmp_path: Path) -> None:
    file = tmp_path / "marks"

    async def ask(net: Net) -> None:
        await net.call("lab.mark", str(file), "k", 60, deadline=0.3)

    with pytest.raises(DeadlineExceeded, match=r"lab\.mark at ada"):
        entered(bob, ask)
    eventually(file.exists, "the beginning")
    ada = Node(bob.home.with_name("ada"))
    eventually(lambda: ada.status()["running"] == 0, "the end of the handler")
    assert "ended" not in file.read_text()


def test_nobody_offers_it_lists_what_is_offered(bob: Node) -> None:
    async def ask(net: Net) -> None:
        await net.call("lab.nothing", deadline=0.2)

    with pytest.raises(NoProvider, match=r"2 peer\(s\) are alive and offer: lab\.add"):
        entered(bob, ask)


def test_a_failing_task_is_tried_again_and_parked_with_its_error(bob: Node) -> None:
    async def ask(net: Net) -> None:
        task = await net.submit("lab.fail", {"word": "luck"}, retries=1)
        await task.result(timeout=15)

    with pytest.raises(TaskParked, match=r"parked after 2 attempts.*ZeroDivisionError: no luck"):
        entered(bob, ask)
    assert "ZeroDivisionError" in bob.run("tasks", "--state", "parked").out


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_reader_that_leaves_or_a_closed_stdout_is_no_crash(bob: Node) -> None:
    words = [sys.executable, "-m", "agents.cli", "status", "--home", str(bob.home)]
    status = shlex.join(words)
    for line, ends in ((f"{status} >&-", 0), (f"{status} >/dev/full", 1), (f"{status} | true", 0)):
        done = subprocess.run(
            ["/bin/sh", "-c", line], env=environment(), capture_output=True, text=True, timeout=20
        )
        assert done.returncode == ends, done.stderr
        assert "Traceback" not in done.stderr


def test_a_node_killed_under_a_call_is_one_clear_line(tmp_path: Path) -> None:
    with lab(tmp_path) as here:
        (eve,) = here.network("eve", voters=1)
        eve.up(str(AGENT)).until_up()
        file = tmp_path / "marks"

        async def ask(net: Net) -> None:
            await net.call("lab.mark", str(file), "k", 60, deadline=60)

        async def main() -> None:
            async with connect(eve.home) as net:
                asking = asyncio.create_task(ask(net))
                while not await asyncio.to_thread(file.exists):
                    await asyncio.sleep(0)
                eve.kill()
                await asking

        with pytest.raises(NodeNotUp, match="conclave up"):
            asyncio.run(main())
        refused(eve.run("status"), "no node is up")
        eve.up().until_up()

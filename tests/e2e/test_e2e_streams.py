"""Streams and channels of programs that are attached to a node, between processes."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import psutil
import pytest
from cli_lab import (
    DEADLINE_S,
    ROOT,
    Node,
    agreed,
    environment,
    eventually,
    lab,
    refused,
)

from agents import Net, NodeNotUp
from agents.connecting import attached
from p2p import BadRequest, HandlerFailed

pytestmark = pytest.mark.e2e

AGENT = Path(__file__).with_name("stream_agent.py")
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Node, Node]]:
    """Ada has the agents; bob has none, and is who programs are attached to."""
    directory = tmp_path_factory.mktemp("streams")
    with lab(directory) as here:
        ada, bob = nodes = here.network("ada", "bob", voters=1)
        inbox = str(directory / "inbox")
        ada.up(str(AGENT), str(ROOT / "examples" / "files.py"), FILES_INBOX=inbox).until_up()
        eventually(lambda: agreed([ada]), "a leader of one")
        bob.up(seeds=(ada,)).until_up()
        eventually(lambda: agreed(nodes), "bob knows the leader")
        bob.ask(lambda net: net.wait_for("lab.ticks"))
        yield ada, bob


def has_ended(mark: Path) -> bool:
    return mark.exists() and mark.read_text() == "ended"


def test_answers_are_printed_as_they_come(pair: tuple[Node, Node]) -> None:
    _, bob = pair
    words = [sys.executable, "-m", "agents.cli", "call", "--home", str(bob.home), "--stream"]
    with subprocess.Popen(
        [*words, "lab.ticks", "1000000"], stdout=subprocess.PIPE, text=True, env=environment()
    ) as call:
        assert call.stdout is not None
        assert [call.stdout.readline() for _ in range(2)] == ["tick 0\n", "tick 1\n"]
        call.send_signal(signal.SIGINT)
        assert call.wait(DEADLINE_S) == 130
    said = bob.run("call", "lab.ticks", "2", "--stream", "--json")
    assert (said.status, said.out) == (0, '"tick 0"\n"tick 1"\n')
    refused(bob.run("call", "lab.ticks", "2"), "lab.ticks at ada", "--stream")
    refused(bob.run("call", "lab.echo"), "lab.echo at ada", "net.open")
    refused(bob.run("submit", "lab.ticks", "2"), "no task", "net.stream")
    refused(bob.run("call", "lab.ticks", "99", "--stream", "--deadline", "0.3"), "0.3 s")
    table = bob.run("agents").out
    assert "stream   lab.ticks(to: int" in table
    assert "channel  lab.echo()" in table


def test_a_program_that_reads_slowly_costs_no_memory(
    pair: tuple[Node, Node], tmp_path: Path
) -> None:
    _, bob = pair
    processes = [psutil.Process(node.process.pid) for node in pair if node.process is not None]

    async def ask(net: Net) -> None:
        async with aclosing(net.stream("lab.ticks", 400, size=MIB // 2)) as answers:
            await anext(answers)
            before = [process.memory_info().rss for process in processes]
            await asyncio.sleep(1)
            for process, rss in zip(processes, before, strict=True):
                assert process.memory_info().rss - rss < 48 * MIB  # of 200 that are on offer
            assert [len(answer) async for answer in answers] == [MIB // 2] * 399

    bob.ask(ask)


def test_the_handler_ends_with_the_program_that_is_killed(
    pair: tuple[Node, Node], tmp_path: Path
) -> None:
    _, bob = pair
    mark = tmp_path / "mark"
    script = f"""
import asyncio
from pathlib import Path
from agents.connecting import attached

async def main():
    async with attached(Path({str(bob.home)!r})) as net:
        async with net.open("lab.hold", {str(mark)!r}) as channel:
            while True:
                await channel.send(bytes(100_000))

asyncio.run(main())
"""
    program = subprocess.Popen([sys.executable, "-c", script], env=environment())
    eventually(mark.exists, "the handler has begun")
    program.kill()
    program.wait()
    eventually(lambda: has_ended(mark), "the handler has ended")


def test_what_is_refused_or_fails_is_the_same_for_an_attached_program(
    pair: tuple[Node, Node],
) -> None:
    _, bob = pair

    async def ask(net: Net) -> None:
        with pytest.raises(BadRequest, match=r"lab\.ticks\(to: int"):
            await anext(net.stream("lab.ticks", "many"))
        with pytest.raises(HandlerFailed) as caught:
            async for _ in net.stream("lab.ticks", 1, size=2 * MIB):
                pass
        assert caught.value.error_type == "PayloadTooLarge"
        async with net.open("lab.echo") as channel:
            for number in range(1000):
                await channel.send(number)
            await channel.finish()
            assert [n async for n in channel] == list(range(1000))

    bob.ask(ask)


def test_the_example_sends_a_file_as_its_first_lines_say(
    pair: tuple[Node, Node], tmp_path: Path
) -> None:
    ada, bob = pair
    data = random.Random(11).randbytes(20 * MIB + 1)
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(data)
    said = bob.run("run", str(ROOT / "examples" / "files.py"), "--path", str(photo), "--json")
    found = said.json
    assert found["to"].startswith("ada")
    assert found["blake2b"] == hashlib.blake2b(data, digest_size=32).hexdigest()
    assert found["size_bytes"] == len(data)
    assert (ada.home.parent / "inbox" / "photo.jpg").read_bytes() == data
    again = bob.run("run", str(ROOT / "examples" / "files.py"), "--path", str(photo), "--to", "ada")
    refused(again, "files.put at ada", "there is such a file already")


def test_the_example_ticks_and_is_followed_from_before(
    pair: tuple[Node, Node], tmp_path: Path
) -> None:
    ada, bob = pair

    def ticker(node: Node, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(ROOT / "examples" / "ticker.py"), *words],
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            env=environment(CONCLAVE_HOME=str(node.home)),
        )

    assert ticker(ada, "tick", "--every", "0", "--count", "50").returncode == 0
    followed = ticker(bob, "follow", "--replay", "5", "--count", "5")
    assert followed.returncode == 0, followed.stderr
    assert [line.split()[:2] for line in followed.stdout.splitlines()] == [
        ["tick", str(number)] for number in range(46, 51)
    ]


def test_a_node_that_dies_ends_the_streams_of_its_programs(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with lab(tmp_path_factory.mktemp("dying")) as here:
        (eve,) = here.network("eve", voters=1)
        eve.up(str(AGENT)).until_up()

        async def main() -> None:
            async with attached(eve.home) as net:
                answers = net.stream("lab.ticks", 10**6)
                await anext(answers)
                assert eve.process is not None
                os.kill(eve.process.pid, signal.SIGKILL)
                with pytest.raises(NodeNotUp):
                    async for _ in answers:
                        pass

        asyncio.run(main())

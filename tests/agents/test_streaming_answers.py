"""Capabilities that answer with a stream: order, pace, ends and failures between nodes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest
from node_lab import NodeLab, until
from streaming_lab import Bench, Word, between

from agents import Agent, InvalidArguments, Net, NoProvider
from p2p import (
    BadRequest,
    ConnectionLost,
    DeadlineExceeded,
    HandlerFailed,
    Overloaded,
    PeerUnreachable,
)

WINDOWS_BYTES = 8 * 1024 * 1024  # of the stream, and of the way from the node to the program


def test_answers_come_in_order_until_the_handler_ends(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab, net: Net, bench: Bench) -> None:
        assert [n async for n in net.stream("lab.count", 300)] == list(range(300))
        assert [n async for n in net.stream("lab.count", to=0)] == []
        found = [w async for w in net.stream("lab.words", "a b", returns=Word)]
        assert found == [Word(text="a of bob", number=0), Word(text="b of bob", number=1)]

    between(tmp_path, scenario)


def test_a_node_streams_from_its_own_agents_too(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab, net: Net, bench: Bench) -> None:
        own = lab.nodes["ada"].net
        assert [n async for n in own.stream("lab.count", 3)] == [0, 1, 2]

    between(tmp_path, scenario)


def test_a_slow_reader_holds_the_handler(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab, net: Net, bench: Bench) -> None:
        async with aclosing(net.stream("lab.count", 100, 512 * 1024)) as answers:
            assert (await anext(answers))[0] == 0
            await asyncio.sleep(5)
            held = bench.given
            assert held * 512 * 1024 <= WINDOWS_BYTES
            assert [n async for n, _ in answers] == list(range(1, 100))

    between(tmp_path, scenario)


def test_leaving_the_loop_ends_the_handler(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab, net: Net, bench: Bench) -> None:
        async for number in net.stream("lab.slow"):
            if number == 2:
                break
        await bench.until_ended("slow")
        assert isinstance(bench.failures[0], (asyncio.CancelledError, GeneratorExit))
        assert lab.nodes["ada"].host.running == 0

    between(tmp_path, scenario)


def test_what_the_handler_raises_comes_after_what_it_gave(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab, net: Net, bench: Bench) -> None:
        seen = []
        with pytest.raises(HandlerFailed) as caught:
            async for number in net.stream("lab.fail_late"):
                seen.append(number)
        assert seen == [1]
        assert caught.value.error_type == "ZeroDivisionError"
        assert "lab.fail_late at ada" in str(caught.value)
        assert "streaming_lab.py" in caught.value.remote_traceback

    between(tmp_path, scenario)


@pytest.mark.parametrize(("size", "said"), [(0, "object"), (1024 * 1024, "1,048,5.. bytes")])
def test_an_answer_that_cannot_travel_fails_the_handler(
    tmp_path: Path, size: int, said: str
) -> None:
    async def scenario(lab: NodeLab, net: Net, bench: Bench) -> None:
        with pytest.raises(HandlerFailed, match=said):
            async for _ in net.stream("lab.odd", size):
                pass

    between(tmp_path, scenario)


def test_a_deadline_ends_it_here_and_cancels_the_handler_there(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab, net: Net, bench: Bench) -> None:
        seen = []
        with pytest.raises(DeadlineExceeded, match=r"lab\.slow"):
            async for number in net.stream("lab.slow", deadline=1.0):
                seen.append(number)
        assert seen == [0, 1, 2, 3]
        await bench.until_ended("slow")
        assert lab.nodes["ada"].host.running == 0

    between(tmp_path, scenario)


def test_the_time_that_is_said_is_the_one_that_was_asked_for(tmp_path: Path) -> None:
    """Also where a part of it went by before anybody could be asked."""

    async def scenario(lab: NodeLab, net: Net, bench: Bench) -> None:
        late = Agent("late")

        @late.serve("late.ticks")
        async def ticks() -> AsyncIterator[int]:
            while True:
                yield 1
                await asyncio.sleep(0.1)

        coming = asyncio.create_task(lab.up("cat", [late]))
        began_s = asyncio.get_running_loop().time()
        first_s = 0.0
        with pytest.raises(DeadlineExceeded, match=r"late\.ticks at cat .* within 0\.9 s"):
            async for _ in net.stream("late.ticks", deadline=0.9):
                first_s = first_s or asyncio.get_running_loop().time() - began_s
        assert first_s > 0.002, "some of it went by"
        await coming

    between(tmp_path, scenario)


def test_a_handler_that_streams_on_ends_with_its_own_deadline(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab, net: Net, bench: Bench) -> None:
        with pytest.raises(DeadlineExceeded, match=r"lab\.relay"):
            async for _ in net.stream("lab.relay", deadline=1.0):
                pass
        await bench.until_ended("slow")

    between(tmp_path, scenario)


def test_more_streams_than_the_limit_are_refused_and_run_later(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab, net: Net, bench: Bench) -> None:
        async with aclosing(net.stream("lab.count", 100, 512 * 1024)) as first:
            await anext(first)
            with pytest.raises(Overloaded, match=r"lab\.count"):
                await anext(net.stream("lab.count", 1))
        await bench.until_ended("count")
        assert [n async for n in net.stream("lab.count", 1)] == [0]

    between(tmp_path, scenario, limit=1)


def test_another_provider_takes_what_one_has_no_place_for(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab, net: Net, bench: Bench) -> None:
        other = Bench("other", limit=1)
        eve = await lab.up("eve", [other.agent])
        await until(lambda: len(lab.nodes["bob"].directory.providers("lab.count")) == 2)
        held = [net.stream("lab.count", 100, 512 * 1024) for _ in range(2)]
        for stream in held:
            await anext(stream)
        assert (lab.nodes["ada"].host.running, eve.host.running) == (1, 1)
        for stream in held:
            await stream.aclose()

    between(tmp_path, scenario, limit=1)


def test_asking_in_the_wrong_way_says_which_one_is_right(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab, net: Net, bench: Bench) -> None:
        for capability, way in (("lab.count", r"net\.stream"), ("lab.double", r"net\.open")):
            with pytest.raises(BadRequest, match=way):
                await net.call(capability, 1)
            with pytest.raises(BadRequest, match=way):
                await net.send(capability, 1)
            with pytest.raises(InvalidArguments, match=way):
                await net.submit(capability, 1)
        with pytest.raises(BadRequest, match=r"net\.call"):
            await anext(net.stream("lab.plain"))
        with pytest.raises(BadRequest, match=r"net\.call"):
            async with net.open("lab.plain"):
                pass
        with pytest.raises(BadRequest, match="to"):
            await anext(net.stream("lab.count", "many"))
        with pytest.raises(NoProvider, match=r"lab\.nothing"):
            await anext(net.stream("lab.nothing"))
        with pytest.raises(PeerUnreachable, match="nobody"):
            await anext(net.stream("lab.count", 1, peer="nobody"))
        kinds = {
            offer["capability"]: offer["kind"]
            for row in await net.agents()
            for offer in row["offers"]
        }
        assert (kinds["lab.plain"], kinds["lab.count"], kinds["lab.double"]) == (
            "call",
            "stream",
            "channel",
        )

    between(tmp_path, scenario)


def test_a_provider_that_dies_ends_its_streams(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab, net: Net, bench: Bench) -> None:
        with pytest.raises(ConnectionLost, match="ada"):
            async for number in net.stream("lab.slow"):
                if number == 1:
                    lab.crash(lab.nodes["ada"])

    between(tmp_path, scenario)


def test_a_caller_that_dies_ends_the_handler(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab, net: Net, bench: Bench) -> None:
        answers = net.stream("lab.slow")
        await anext(answers)
        lab.crash(lab.nodes["bob"])
        await bench.until_ended("slow")
        await answers.aclose()

    between(tmp_path, scenario)

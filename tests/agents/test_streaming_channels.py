"""Conversations with handlers between nodes: both directions, ends, aborts, files."""

from __future__ import annotations

import asyncio
import hashlib
import random
from pathlib import Path

import pytest
from node_lab import NodeLab
from streaming_lab import Bench, between

from agents import Agent, BadAgent, Channel, Net
from p2p import (
    BadRequest,
    DeadlineExceeded,
    FileNotStored,
    MisuseError,
    PayloadError,
    PayloadTooLarge,
    RemoteError,
    StreamAborted,
)


def test_values_go_both_ways_until_both_sides_have_finished(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab, net: Net, bench: Bench) -> None:
        async with net.open("lab.double", times=2) as channel:
            assert channel.peer.startswith("ada")
            for value in (1, "two", [3]):
                await channel.send(value)
            assert [await anext(channel) for _ in range(3)] == [2, "twotwo", [3, 3]]
            await channel.send({"not": "doubled"}["not"])
            await channel.finish()
            assert [value async for value in channel] == ["doubleddoubled"]
        assert bench.taken == [1, "two", [3], "doubled"]

    between(tmp_path, scenario)


def test_finish_returns_when_the_other_side_has_received_everything(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab, net: Net, bench: Bench) -> None:
        async with net.open("lab.double", 1) as channel:
            for number in range(200):
                await channel.send(number)
            await channel.finish()
            assert lab.nodes["ada"].peer.counters()["streams_received_bytes"] > 200
            assert [n async for n in channel] == list(range(200))

    between(tmp_path, scenario)


def test_a_value_that_cannot_travel_is_refused_where_it_is_sent(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab, net: Net, bench: Bench) -> None:
        async with net.open("lab.double", 1) as channel:
            with pytest.raises(PayloadTooLarge, match=r"lab\.double.*limit of 1,048,576"):
                await channel.send(bytes(1024 * 1024))
            with pytest.raises(PayloadError, match="object"):
                await channel.send(object())
            await channel.send("still good")
            assert await anext(channel) == "still good"

    between(tmp_path, scenario)


def test_leaving_the_block_early_ends_the_handler(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab, net: Net, bench: Bench) -> None:
        async with net.open("lab.sit"):
            pass
        await bench.until_ended("sit")
        with pytest.raises(KeyError):
            async with net.open("lab.double", 1) as channel:
                await channel.send(1)
                raise KeyError
        await bench.until_ended("double")

    between(tmp_path, scenario)


def test_an_abort_is_told_with_its_reason(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab, net: Net, bench: Bench) -> None:
        with pytest.raises(StreamAborted, match="not today"):
            async with net.open("lab.refuse") as channel:
                await anext(channel)
        async with net.open("lab.double", 1) as channel:
            channel.abort("changed my mind")
            await bench.until_ended("double")
        assert lab.nodes["ada"].host.running == 0

    between(tmp_path, scenario)


def test_a_deadline_ends_a_conversation_on_both_sides(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab, net: Net, bench: Bench) -> None:
        with pytest.raises(DeadlineExceeded, match=r"lab\.sit"):
            async with net.open("lab.sit", deadline=1.0) as channel:
                await anext(channel)
        await bench.until_ended("sit")

    between(tmp_path, scenario)


def test_a_handler_that_does_not_read_holds_the_sender(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab, net: Net, bench: Bench) -> None:
        sent = 0
        with pytest.raises(TimeoutError):
            async with net.open("lab.sit") as channel, asyncio.timeout(5):
                while True:
                    await channel.send(bytes(512 * 1024))
                    sent += 512 * 1024
        assert 0 < sent <= 16 * 1024 * 1024
        await bench.until_ended("sit")

    between(tmp_path, scenario)


def test_bad_arguments_are_refused_when_it_is_opened(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab, net: Net, bench: Bench) -> None:
        with pytest.raises(BadRequest, match="times"):
            async with net.open("lab.double"):
                raise AssertionError
        with pytest.raises(BadRequest, match="times"):
            async with net.open("lab.double", times="often"):
                raise AssertionError

    between(tmp_path, scenario)


def test_nothing_is_sent_after_finish(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab, net: Net, bench: Bench) -> None:
        async with net.open("lab.double", 1) as channel:
            await channel.finish()
            with pytest.raises(Exception, match="finish") as caught:
                await channel.send(1)
        assert isinstance(caught.value, MisuseError) or "Misuse" in type(caught.value).__name__

    between(tmp_path, scenario)


def test_files_arrive_whole_with_their_checksum(tmp_path: Path) -> None:
    data = random.Random(3).randbytes(3 * 1024 * 1024 + 17)

    async def scenario(lab: NodeLab, net: Net, bench: Bench) -> None:
        there, here = tmp_path / "there", tmp_path / "here"
        there.mkdir()
        here.mkdir()
        bench.directory = there
        source = here / "data.bin"
        source.write_bytes(data)
        steps: list[tuple[int, int]] = []
        async with net.open("lab.put") as channel:
            digest = await channel.send_file(source, progress=lambda *step: steps.append(step))
            stored = await anext(channel)
        assert stored == {"name": "data.bin", "digest": digest}
        assert digest == hashlib.blake2b(data, digest_size=32).hexdigest()
        assert steps[-1] == (len(data), len(data))
        async with net.open("lab.get", "data.bin") as channel:
            found = await channel.receive_file(here, name="copy.bin")
        assert found.path.read_bytes() == data
        assert found.digest == digest
        with pytest.raises(RemoteError, match="already"):
            async with net.open("lab.put") as channel:
                await channel.send_file(source)
                await anext(channel)
        with pytest.raises(FileNotStored, match="allowed"):
            async with net.open("lab.get", "data.bin") as channel:
                await channel.receive_file(here, name="third.bin", max_bytes=10)
        assert sorted(p.name for p in here.iterdir()) == ["copy.bin", "data.bin"]

    between(tmp_path, scenario)


def test_handlers_that_can_neither_stream_nor_converse_are_refused() -> None:
    agent = Agent("bad")
    with pytest.raises(BadAgent, match="async def"):

        @agent.serve("bad.plain")
        def plain(channel: Channel) -> None: ...

    with pytest.raises(BadAgent, match="yields"):

        @agent.serve("bad.both")
        async def both(channel: Channel):  # type: ignore[no-untyped-def]
            yield 1

    with pytest.raises(BadAgent, match="generator"):

        @agent.serve("bad.generator")
        def generator():  # type: ignore[no-untyped-def]
            yield 1

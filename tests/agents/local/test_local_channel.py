"""Channels between programs and the node, over the door and in one process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from local_lab import Desk, door, frame, run

from agents import ChannelClosed, NodeNotUp, NoProvider
from agents.errors import MisuseError
from agents.local import MAX_ITEM_BYTES, DirectGate, Gate, attach
from agents.local.channel import WINDOW_BYTES, Tag
from agents.local.frames import read_channel_frame

KIB = bytes(1024)
BOUND_BYTES = 2 * WINDOW_BYTES


@asynccontextmanager
async def opened(way: str, home: Path) -> AsyncIterator[tuple[Desk, Gate]]:
    async with door(home) as desk:
        if way == "direct":
            yield desk, DirectGate(desk.table)
            return
        gate = await attach(home)
        try:
            yield desk, gate
        finally:
            await gate.close()


both_ways = pytest.mark.parametrize("way", ["direct", "attached"])


async def settled(figure: list[int]) -> None:
    """Return when a figure has stopped to grow."""
    same = 0
    while same < 50:
        before = figure[0]
        await asyncio.sleep(0.001)
        same = same + 1 if figure[0] == before else 0


@both_ways
def test_items_go_both_ways_in_order_until_both_have_ended(way: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(way, tmp_path) as (_, gate):
            channel = await gate.open("double", {})
            for number in range(500):
                await channel.send(b"%d;" % number)
            await channel.finish()
            with pytest.raises(MisuseError, match="finish"):
                await channel.send(b"more")
            assert [item async for item in channel] == [b"%d;" % n * 2 for n in range(500)]
            await channel.aclose()

    run(main())


@both_ways
def test_an_empty_item_and_the_largest_one_arrive_as_they_are(way: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(way, tmp_path) as (_, gate):
            channel = await gate.open("double", {})
            half = os.urandom(MAX_ITEM_BYTES // 2)
            for item in (b"", half):
                await channel.send(item)
                assert await anext(channel) == item * 2
            with pytest.raises(MisuseError, match="over"):
                await channel.send(bytes(MAX_ITEM_BYTES + 1))
            await channel.aclose()

    run(main())


@both_ways
def test_a_program_that_reads_slowly_holds_the_operation(way: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(way, tmp_path) as (desk, gate):
            channel = await gate.open("flood", {})
            figure = [0]

            async def watch() -> None:
                while True:
                    figure[0] = desk.given_bytes
                    await asyncio.sleep(0)

            watching = asyncio.create_task(watch())
            await settled(figure)
            assert 0 < desk.given_bytes <= BOUND_BYTES
            held = desk.given_bytes
            for _ in range(2 * BOUND_BYTES // 1024):
                await anext(channel)
            assert desk.given_bytes > held
            watching.cancel()
            await channel.aclose()

    run(main())


@both_ways
def test_an_operation_that_reads_slowly_holds_the_program(way: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(way, tmp_path) as (desk, gate):
            channel = await gate.open("sit", {})
            figure = [0]

            async def write() -> None:
                for _ in range(2 * BOUND_BYTES // 1024):
                    await channel.send(KIB)
                    figure[0] += 1024
                await channel.finish()

            writing = asyncio.create_task(write())
            await settled(figure)
            assert 0 < figure[0] <= BOUND_BYTES
            desk.reading.set()
            await writing
            assert desk.taken_bytes == 2 * BOUND_BYTES
            await channel.aclose()

    run(main())


@both_ways
def test_an_operation_that_fails_is_heard_after_what_it_said(way: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(way, tmp_path) as (desk, gate):
            desk.error = NoProvider("lab.add", ("lab.sub",), 3)
            channel = await gate.open("quit", {})
            assert await anext(channel) == b"last words"
            with pytest.raises(NoProvider) as caught:
                await anext(channel)
            assert vars(caught.value) == vars(desk.error)
            with pytest.raises(NoProvider):
                await channel.send(b"x")
            with pytest.raises(NoProvider):
                await channel.finish()
            await channel.aclose()

    run(main())


@both_ways
def test_after_an_operation_that_has_ended_nothing_can_be_sent(way: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(way, tmp_path) as (_, gate):
            channel = await gate.open("quit", {})
            assert [item async for item in channel] == [b"last words"]
            with pytest.raises(ChannelClosed, match="ended"):
                await channel.finish()
            await channel.aclose()

    run(main())


@both_ways
def test_an_abort_reaches_an_operation_that_reads_nothing(way: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(way, tmp_path) as (desk, gate):
            channel = await gate.open("sit", {})
            await desk.begun.wait()
            channel.abort("no longer wanted")
            await desk.until_ended("sit")
            assert desk.reason == "no longer wanted"
            with pytest.raises(ChannelClosed, match="no longer wanted"):
                await channel.send(b"x")
            await channel.aclose()

    run(main())


def test_a_killed_program_ends_its_operation_though_nobody_reads(tmp_path: Path) -> None:
    script = f"""
import asyncio
from pathlib import Path
from agents.local import attach

async def main():
    gate = await attach(Path({str(tmp_path)!r}))
    channel = await gate.open("sit", {{}})
    while True:
        await channel.send(bytes(1024))

asyncio.run(main())
"""

    async def main() -> None:
        async with door(tmp_path) as desk:
            program = await asyncio.create_subprocess_exec(sys.executable, "-c", script)
            await desk.begun.wait()
            program.kill()
            await program.wait()
            await desk.until_ended("sit")

    run(main())


def test_a_node_that_stops_ends_the_channels_to_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with door(tmp_path) as desk:
            gate = await attach(tmp_path)
            channel = await gate.open("sit", {})
            await desk.begun.wait()
            reading = asyncio.create_task(anext(channel))
        with pytest.raises(NodeNotUp):
            await reading
        with pytest.raises(NodeNotUp):
            await channel.send(b"x")
        await channel.aclose()
        await gate.close()
        with pytest.raises(NodeNotUp):
            await gate.open("sit", {})

    run(main())


@pytest.mark.parametrize("is_failure", [False, True])
def test_an_ended_channel_stays_until_the_program_has_read_it(
    is_failure: bool, tmp_path: Path
) -> None:
    async def main() -> None:
        async with door(tmp_path) as desk:
            if is_failure:
                desk.error = NoProvider("lab.add", (), 1)
            gate = await attach(tmp_path)
            reader, writer = await asyncio.open_unix_connection(str(tmp_path / "node.sock"))
            writer.write(frame([1, "quit", {}]))
            tags = []
            while not tags or tags[-1] not in (Tag.OVER, Tag.ERROR):
                said = await read_channel_frame(reader, MAX_ITEM_BYTES)
                assert said is not None
                tags.append(said[0])
            assert tags == [Tag.ITEM, *([Tag.ERROR] if is_failure else [Tag.END, Tag.OVER])]
            for _ in range(3):  # whatever the node does at an end, it has done after these
                await gate.request("echo", {})
            assert not reader.at_eof()
            for _ in range(2):  # a write to a closed socket fails at the second one at the latest
                writer.write((8).to_bytes(4, "big") + bytes([Tag.MORE]) + bytes(8))
                await writer.drain()
            writer.write_eof()
            assert await reader.read() == b""
            writer.close()
            await gate.close()

    run(main())


def test_a_program_that_keeps_no_bound_loses_its_channel(tmp_path: Path) -> None:
    async def main() -> None:
        async with door(tmp_path) as desk:
            reader, writer = await asyncio.open_unix_connection(str(tmp_path / "node.sock"))
            writer.write(frame([1, "sit", {}]))
            item = (1024 * 1024).to_bytes(4, "big") + bytes([Tag.ITEM]) + bytes(1024 * 1024)
            writer.writelines([item] * 4)
            await desk.until_ended("sit")
            with contextlib.suppress(ConnectionResetError):  # what it had not read is thrown away
                assert await reader.read() == b""
            writer.close()

    run(main())


@pytest.mark.parametrize("tag", [Tag.ERROR, Tag.OVER, 99])
def test_what_only_the_node_may_say_ends_a_channel(tag: int, tmp_path: Path) -> None:
    async def main() -> None:
        async with door(tmp_path) as desk:
            reader, writer = await asyncio.open_unix_connection(str(tmp_path / "node.sock"))
            writer.write(frame([1, "sit", {}]))
            writer.write(bytes(4) + bytes([tag]))
            await desk.until_ended("sit")
            assert await reader.read() == b""
            writer.close()

    run(main())

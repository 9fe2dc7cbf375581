"""Streams between whole peers when things go wrong at the worst moment: nobody waits for ever."""

from __future__ import annotations

import asyncio

import pytest
from peer_lab import Lab, in_lab, until

from keys import Permission
from p2p import Cancelled, HandlerFailed, Incoming, Lane, Stream, StreamAborted

MIB = 2**20


def test_an_abort_is_heard_though_the_lane_was_full() -> None:
    async def scenario(lab: Lab) -> None:
        ben = lab.peer("ben")
        ended: list[str] = []

        async def sleeps(incoming: Incoming, payload: bytes, stream: Stream) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(payload.decode())

        ben.serve_stream("sleeps", sleeps, permission=Permission.CALL)
        ada, _ = await lab.up("ada", "ben")
        streams = [await ada.open_stream(ben.peer_id, "sleeps", b"%d" % n) for n in range(6)]
        lab.network.faults.latency_ms = (800, 800)
        for stream in streams[:5]:
            for _ in range(7):
                await stream.write(bytes(MIB))
        assert ada._transport.queued_bytes(ben.peer_id, Lane.BULK) > 28 * MIB
        streams[5].abort("enough")
        await until(lambda: ended == ["5"], 30)

    in_lab(scenario)


def test_what_a_handler_wrote_before_it_failed_is_read_first() -> None:
    async def scenario(lab: Lab) -> None:
        ben = lab.peer("ben")

        async def fails(incoming: Incoming, payload: bytes, stream: Stream) -> None:
            for chunk in (b"one", b"two"):
                await stream.write(chunk)
            raise ValueError("and then")

        ben.serve_stream("fails", fails, permission=Permission.CALL)
        ada, _ = await lab.up("ada", "ben")
        stream = await ada.open_stream(ben.peer_id, "fails")
        assert [await anext(stream), await anext(stream)] == [b"one", b"two"]
        with pytest.raises(HandlerFailed, match="and then"):
            await anext(stream)

    in_lab(scenario)


def test_a_handler_that_waits_for_something_cancelled_ends_its_stream() -> None:
    async def scenario(lab: Lab) -> None:
        ben = lab.peer("ben")

        async def unlucky(incoming: Incoming, payload: bytes, stream: Stream) -> None:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            future.cancel()
            await future

        ben.serve_stream("unlucky", unlucky, permission=Permission.CALL)
        ada, _ = await lab.up("ada", "ben")
        stream = await ada.open_stream(ben.peer_id, "unlucky")
        with pytest.raises(Cancelled, match="unlucky at ben"):
            async with asyncio.timeout(5):
                await anext(stream)
        assert ben.counters()["streams_open"] == 0

    in_lab(scenario)


def test_a_reader_learns_of_an_abort_that_was_lost() -> None:
    async def scenario(lab: Lab) -> None:
        ben = lab.peer("ben")
        held: list[Stream] = []

        async def writes(incoming: Incoming, payload: bytes, stream: Stream) -> None:
            held.append(stream)
            await stream.write(b"first")
            await asyncio.Event().wait()

        ben.serve_stream("writes", writes, permission=Permission.CALL)
        ada, _ = await lab.up("ada", "ben")
        stream = await ada.open_stream(ben.peer_id, "writes")
        assert await anext(stream) == b"first"
        await asyncio.sleep(1)
        lab.network.faults.loss = 1.0
        held[0].abort("the source is gone")
        lab.network.faults.loss = 0.0
        with pytest.raises(StreamAborted, match="source is gone"):
            async with asyncio.timeout(60):
                await anext(stream)

    in_lab(scenario)


def test_a_long_way_is_no_loss() -> None:
    """What takes its time is not sent again: that would only make the way longer."""

    async def scenario(lab: Lab) -> None:
        ben = lab.peer("ben")
        received: list[int] = []

        async def takes(incoming: Incoming, payload: bytes, stream: Stream) -> None:
            async for chunk in stream:
                received.append(len(chunk))

        ben.serve_stream("takes", takes, permission=Permission.CALL)
        ada, _ = await lab.up("ada", "ben")
        stream = await ada.open_stream(ben.peer_id, "takes")
        before = ada._transport.links()[ben.peer_id].lanes[Lane.BULK].bytes_out
        lab.network.faults.latency_ms = (900, 900)
        for _ in range(20):
            await stream.write(bytes(MIB))
            await asyncio.sleep(0.1)
        lab.network.faults.latency_ms = (1_800, 1_800)  # a longer step, and it would pass for dead
        for _ in range(4):
            await stream.write(bytes(MIB))
        lab.network.faults.latency_ms = (1, 1)
        async with asyncio.timeout(120):
            await stream.finish()
        sent = ada._transport.links()[ben.peer_id].lanes[Lane.BULK].bytes_out - before
        assert sum(received) == 24 * MIB
        assert sent < 24 * MIB + 10_000

    in_lab(scenario)

"""Streams between whole peers in virtual time: pace, ends, and broken connections."""

from __future__ import annotations

import asyncio
import hashlib
from random import Random

import pytest
from peer_lab import Lab, in_lab, until

from keys import Permission
from p2p import (
    ConnectionLost,
    HandlerFailed,
    Incoming,
    Lane,
    MisuseError,
    NoSuchMethod,
    Overloaded,
    PayloadTooLarge,
    Peer,
    PeerUnreachable,
    Stream,
    StreamAborted,
)

CHUNK = bytes(range(256)) * 256  # 64 KiB


def chunks(seed: int, count: int) -> list[bytes]:
    rng = Random(seed)
    return [rng.randbytes(rng.choice((0, 1, 100, 9000, 70_000))) for _ in range(count)]


class Sink:
    """Serves `sink`: reads everything at a pace and answers with the digest."""

    def __init__(self, peer: Peer, pause_s: float = 0.0) -> None:
        self.received: list[bytes] = []
        self.ended: list[str] = []
        self.pause_s = pause_s
        peer.serve_stream("sink", self.take, permission=Permission.CALL)

    async def take(self, incoming: Incoming, payload: bytes, stream: Stream) -> None:
        digest = hashlib.blake2b()
        try:
            async for chunk in stream:
                self.received.append(chunk)
                digest.update(chunk)
                if self.pause_s:
                    await asyncio.sleep(self.pause_s)
            await stream.write(digest.digest())
            self.ended.append("done")
        except BaseException as error:
            self.ended.append(type(error).__name__)
            raise


def test_chunks_arrive_in_order_with_their_boundaries_and_both_sides_end() -> None:
    sent = chunks(1, 200)

    async def scenario(lab: Lab) -> None:
        ben = lab.peer("ben")
        sink = Sink(ben)
        ada, _ = await lab.up("ada", "ben")
        stream = await ada.open_stream(ben.peer_id, "sink")
        for chunk in sent:
            await stream.write(chunk)
        await stream.finish()
        answer = [chunk async for chunk in stream]
        assert answer == [hashlib.blake2b(b"".join(sent)).digest()]
        assert sink.received == sent
        await until(lambda: not ada.counters()["streams_open"] + ben.counters()["streams_open"])
        with pytest.raises(MisuseError):
            await stream.write(b"more")

    in_lab(scenario)


def test_what_is_written_in_one_turn_leaves_in_one_message() -> None:
    async def scenario(lab: Lab) -> None:
        ben = lab.peer("ben")
        sink = Sink(ben)
        ada, _ = await lab.up("ada", "ben")
        stream = await ada.open_stream(ben.peer_id, "sink")
        figures = ada._transport.links()[ben.peer_id].lanes[Lane.BULK]
        before = figures.envelopes_out
        for chunk in [b"small"] * 3 + [CHUNK] * 5:
            await stream.write(chunk)
        assert stream.sent_bytes == 0
        await until(lambda: len(sink.received) == 8)
        figures = ada._transport.links()[ben.peer_id].lanes[Lane.BULK]
        assert figures.envelopes_out == before + 1
        assert stream.sent_bytes == 15 + 5 * len(CHUNK)

    in_lab(scenario)


def test_both_directions_at_once_and_half_closed() -> None:
    async def scenario(lab: Lab) -> None:
        ben = lab.peer("ben")

        async def mirror(incoming: Incoming, payload: bytes, stream: Stream) -> None:
            await stream.write(payload)
            async for chunk in stream:
                await stream.write(chunk.upper())
            await stream.write(b"after your end")

        ben.serve_stream("mirror", mirror, permission=Permission.CALL)
        ada, _ = await lab.up("ada", "ben")
        stream = await ada.open_stream(ben.peer_id, "mirror", b"hello")
        assert await anext(stream) == b"hello"
        for word in (b"one", b"two"):
            await stream.write(word)
            assert await anext(stream) == word.upper()
        await stream.finish()
        assert [chunk async for chunk in stream] == [b"after your end"]

    in_lab(scenario)


def test_a_slow_reader_slows_the_writer_and_memory_stays_in_the_window() -> None:
    async def scenario(lab: Lab) -> None:
        ben = lab.peer("ben")
        Sink(ben, pause_s=0.1)
        ada, _ = await lab.up("ada", "ben")
        stream = await ada.open_stream(ben.peer_id, "sink")
        began = asyncio.get_running_loop().time()
        most = 0
        for _ in range(300):
            await stream.write(CHUNK)
            most = max(most, stream.core.outgoing.cost - stream.acknowledged_bytes)
        await stream.finish()
        async for _ in stream:
            pass
        assert asyncio.get_running_loop().time() - began >= 29
        assert most <= 9 * 1024 * 1024

    in_lab(scenario)


def test_a_reader_that_stops_holds_the_writer_without_end_or_loss() -> None:
    async def scenario(lab: Lab) -> None:
        ben = lab.peer("ben")
        gate = asyncio.Event()

        async def stubborn(incoming: Incoming, payload: bytes, stream: Stream) -> None:
            await gate.wait()
            assert sum([len(chunk) async for chunk in stream]) == 400 * len(CHUNK)

        ben.serve_stream("stubborn", stubborn, permission=Permission.CALL)
        ada, _ = await lab.up("ada", "ben")
        stream = await ada.open_stream(ben.peer_id, "stubborn")

        async def write() -> None:
            for _ in range(400):
                await stream.write(CHUNK)
            await stream.finish()

        writing = asyncio.create_task(write())
        await asyncio.sleep(300)
        assert not writing.done()
        assert stream.sent_bytes <= 8 * 1024 * 1024
        gate.set()
        await writing

    in_lab(scenario)


@pytest.mark.parametrize("seed", range(6))
def test_a_partition_in_mid_stream_loses_and_repeats_nothing(seed: int) -> None:
    sent = chunks(seed, 400)

    async def scenario(lab: Lab) -> None:
        ben = lab.peer("ben")
        sink = Sink(ben, pause_s=0.002)
        ada, _ = await lab.up("ada", "ben")
        here, there = lab.worlds["ada"].host, lab.worlds["ben"].host
        stream = await ada.open_stream(ben.peer_id, "sink")

        async def write() -> list[bytes]:
            for chunk in sent:
                await stream.write(chunk)
                await asyncio.sleep(0.08)
            await stream.finish()
            return [chunk async for chunk in stream]

        writing = asyncio.create_task(write())
        rng = Random(seed)
        for _ in range(4):
            await asyncio.sleep(rng.uniform(0.05, 0.3))
            lab.network.cut([here], [there], both_ways=rng.random() < 0.5)
            await asyncio.sleep(rng.uniform(0.1, 12))
            lab.network.heal()
        async with asyncio.timeout(120):
            answer = await writing
        assert sink.received == sent
        assert answer == [hashlib.blake2b(b"".join(sent)).digest()]
        assert ada.counters()["streams_resumed"] >= 2
        assert not ben.counters().get("streams_chunks_repeated"), "what had arrived came again"

    in_lab(scenario, seed + 100)


def test_a_peer_that_does_not_come_back_ends_the_stream_at_both_sides() -> None:
    async def scenario(lab: Lab) -> None:
        ben = lab.peer("ben")
        sink = Sink(ben)
        ada, _ = await lab.up("ada", "ben")
        stream = await ada.open_stream(ben.peer_id, "sink")
        await stream.write(CHUNK)
        lab.network.cut([lab.worlds["ada"].host], [lab.worlds["ben"].host])
        began = asyncio.get_running_loop().time()
        with pytest.raises(ConnectionLost, match=r"ben.*come back within 30 s"):
            while True:
                await stream.write(CHUNK)
                await asyncio.sleep(0.5)
        assert 25 <= asyncio.get_running_loop().time() - began <= 45
        await until(lambda: sink.ended, 60)
        assert sink.ended == ["ConnectionLost"]
        assert ben.counters()["streams_open"] == 0

    in_lab(scenario)


def test_a_peer_that_was_started_again_has_forgotten_its_streams() -> None:
    async def scenario(lab: Lab) -> None:
        papers = lab.authority.papers("ben")
        ben = lab.peer("ben", papers=papers)
        Sink(ben)
        ada, _ = await lab.up("ada", "ben")
        stream = await ada.open_stream(ben.peer_id, "sink")
        await stream.write(CHUNK)
        lab.worlds["ben"].crash()
        again = type(papers)(
            papers.identity, papers.chain, papers.trust, "ben", papers.incarnation + (1 << 21)
        )
        await lab.peer("ben", papers=again).__aenter__()
        with pytest.raises(ConnectionLost):
            while True:
                await stream.write(CHUNK)
                await asyncio.sleep(0.05)
        await ben.__aexit__(None, None, None)

    in_lab(scenario)


def test_what_a_handler_wrote_before_it_failed_arrives_before_its_failure() -> None:
    async def scenario(lab: Lab) -> None:
        ben = lab.peer("ben")

        async def breaks(incoming: Incoming, payload: bytes, stream: Stream) -> None:
            await stream.write(b"one")
            await stream.write(b"two")
            raise KeyError("three")

        ben.serve_stream("breaks", breaks, permission=Permission.CALL)
        ada, _ = await lab.up("ada", "ben")
        for asker in (ada, ben):
            stream = await asker.open_stream(ben.peer_id, "breaks")
            assert [await anext(stream), await anext(stream)] == [b"one", b"two"]
            with pytest.raises(HandlerFailed, match="KeyError") as caught:
                await anext(stream)
            assert "breaks" in caught.value.remote_traceback

    in_lab(scenario)


def test_giving_up_ends_the_handler_and_says_why() -> None:
    async def scenario(lab: Lab) -> None:
        ben = lab.peer("ben")
        sink = Sink(ben)
        ended: list[str] = []

        async def counts(incoming: Incoming, payload: bytes, stream: Stream) -> None:
            try:
                while True:
                    await stream.write(b"tick")
                    await asyncio.sleep(1)
            finally:
                ended.append("counts")

        ben.serve_stream("counts", counts, permission=Permission.CALL)
        ada, _ = await lab.up("ada", "ben")
        stream = await ada.open_stream(ben.peer_id, "counts")
        assert await anext(stream) == b"tick"
        await stream.aclose()
        await until(lambda: ended)
        other = await ada.open_stream(ben.peer_id, "sink")
        other.abort("the disk is full")
        await until(lambda: sink.ended)
        with pytest.raises(StreamAborted, match="disk is full"):
            await other.write(b"x")

    in_lab(scenario)


def test_a_handler_that_reads_nothing_does_not_hold_its_writer() -> None:
    async def scenario(lab: Lab) -> None:
        ben = lab.peer("ben")

        async def bored(incoming: Incoming, payload: bytes, stream: Stream) -> None:
            await stream.write(b"enough")

        ben.serve_stream("bored", bored, permission=Permission.CALL)
        ada, _ = await lab.up("ada", "ben")
        stream = await ada.open_stream(ben.peer_id, "bored")
        for _ in range(400):
            await stream.write(CHUNK)
        await stream.finish()
        assert [chunk async for chunk in stream] == [b"enough"]

    in_lab(scenario)


def test_refusals_are_told_when_opening() -> None:
    in_lab(_refusals)


async def _refusals(lab: Lab) -> None:
    ben = lab.peer("ben")

    async def forever(incoming: Incoming, payload: bytes, stream: Stream) -> None:
        await asyncio.Event().wait()

    ben.serve_stream("forever", forever, permission=Permission.CALL, limit=2)
    ada, _ = await lab.up("ada", "ben")
    with pytest.raises(NoSuchMethod, match="nothing at ben"):
        await ada.open_stream(ben.peer_id, "nothing")
    for _ in range(2):
        stream = await ada.open_stream(ben.peer_id, "forever")
    with pytest.raises(Overloaded):
        await ada.open_stream(ben.peer_id, "forever")
    with pytest.raises(PayloadTooLarge):
        await stream.write(bytes(2**20 + 1))
    lab.network.cut([lab.worlds["ada"].host], [lab.worlds["ben"].host])
    with pytest.raises((PeerUnreachable, ConnectionLost)):
        await ada.open_stream(ben.peer_id, "forever", timeout_s=10)


def test_the_deadline_of_a_stream_ends_both_sides() -> None:
    async def scenario(lab: Lab) -> None:
        ben = lab.peer("ben")
        ended: list[str] = []

        async def forever(incoming: Incoming, payload: bytes, stream: Stream) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("forever")

        ben.serve_stream("forever", forever, permission=Permission.CALL)
        ada, _ = await lab.up("ada", "ben")
        stream = await ada.open_stream(ben.peer_id, "forever", deadline_s=2)
        began = asyncio.get_running_loop().time()
        with pytest.raises(Exception) as caught:
            await anext(stream)
        assert type(caught.value).__name__ in ("DeadlineExceeded", "Cancelled")
        assert 1.9 <= asyncio.get_running_loop().time() - began <= 2.1
        await until(lambda: ended)

    in_lab(scenario)

"""Streams over real sockets, between processes: pace, memory, broken connections."""

from __future__ import annotations

import asyncio
import hashlib
import os
import resource
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from time import time

import pytest
import zmq
from stream_member import LOOPBACK, papers_of

from keys import PeerId, Permission
from p2p import (
    ConnectionLost,
    Incoming,
    Lane,
    LanSettings,
    LanWorld,
    Peer,
    Stream,
    StreamAborted,
)
from p2p.streams import StreamSettings
from p2p.transport import ZmqTransport
from p2p.transport.dial import Dial

pytestmark = pytest.mark.e2e
DEADLINE_S = 30.0
MIB = 2**20
WINDOW_MIB = 8
MEMBER = Path(__file__).with_name("stream_member.py")


class Far:
    """The other process."""

    def __init__(self, wall_ms: int) -> None:
        paths = os.pathsep.join(path for path in sys.path if path)
        self.process = subprocess.Popen(
            [sys.executable, str(MEMBER), str(wall_ms)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": paths},
        )
        assert self.process.stdout is not None
        port, peer_id = self.process.stdout.readline().split()
        self.door = f"{LOOPBACK}:{port}"
        self.peer_id = PeerId(peer_id)

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not holds():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def near_and_far() -> AsyncIterator[tuple[Peer, Far]]:
    wall_ms = int(time() * 1000)
    far = await asyncio.to_thread(Far, wall_ms)
    try:
        world = LanWorld(LanSettings(host=LOOPBACK, mdns=False, seeds=(far.door,)))
        async with Peer(papers_of(wall_ms, 1), world) as near:
            await until(near.presence.present)
            yield near, far
    finally:
        far.end()


def run(main: Callable[[Peer, Far], Coroutine[None, None, None]]) -> None:
    async def whole() -> None:
        async with near_and_far() as (near, far):
            await main(near, far)

    asyncio.run(asyncio.wait_for(whole(), 2 * DEADLINE_S))


async def send(stream: Stream, count: int, *sizes: int) -> bytes:
    """Write so many chunks of these sizes in turn; return the digest of them all."""
    rng, seen = Random(count), hashlib.blake2b()
    blocks = {size: rng.randbytes(size) for size in sizes}
    for n in range(count):
        chunk = blocks[sizes[n % len(sizes)]]
        seen.update(chunk)
        await stream.write(chunk)
    await stream.finish()
    return seen.digest()


async def answer(stream: Stream) -> tuple[bytes, float]:
    """Return the digest that the far side has seen, and how many MiB its memory grew."""
    digest, grown_kib = [chunk async for chunk in stream]
    return digest, int(grown_kib) / 1024


async def arrived(stream: Stream, mib: int) -> None:
    await until(lambda: stream.acknowledged_bytes > mib * MIB)


def break_bulk(peer: Peer, other: PeerId) -> None:
    """End the connection as a network does: what is on its way is lost, both sides find out."""
    transport = peer._transport
    assert isinstance(transport, ZmqTransport)
    path = transport._outlets[Lane.BULK][other]._path
    if isinstance(path, Dial):
        path._on_event(zmq.EVENT_DISCONNECTED, 0)
    else:
        assert path is not None
        assert transport._assembly is not None
        transport._assembly.lanes[Lane.BULK].cut(path.user_id)


def test_a_quarter_of_a_gibibyte_arrives_and_takes_no_more_memory_than_the_windows() -> None:
    async def main(near: Peer, far: Far) -> None:
        before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        stream = await near.open_stream(far.peer_id, "digest")
        digest = await send(stream, 256, MIB)
        seen, grown_mib = await answer(stream)
        assert seen == digest
        assert stream.sent_bytes == stream.acknowledged_bytes == 256 * MIB
        assert grown_mib < 64
        assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib) / 1024 < 64
        assert near.counters()["streams_chunks_sent_again"] == 0

    run(main)


def test_chunks_of_all_sizes_arrive_in_order() -> None:
    async def main(near: Peer, far: Far) -> None:
        stream = await near.open_stream(far.peer_id, "digest")
        digest = await send(stream, 6_000, 0, 1, 100, 8191, 8192, 65_536, 65_535)
        assert (await answer(stream))[0] == digest

    run(main)


def test_a_slow_reader_holds_the_writer_and_not_the_bytes() -> None:
    async def main(near: Peer, far: Far) -> None:
        stream = await near.open_stream(far.peer_id, "digest", b"0.02")
        writing = asyncio.ensure_future(send(stream, 96, MIB))
        ahead = 0
        while not writing.done():
            ahead = max(ahead, stream.core.outgoing.cost - stream.acknowledged_bytes)
            await asyncio.sleep(0.01)
        digest, grown_mib = await answer(stream)
        assert digest == await writing
        assert ahead <= (WINDOW_MIB + 1) * MIB
        assert grown_mib < 40

    run(main)


def test_a_connection_cut_in_mid_stream_is_taken_up_again() -> None:
    async def main(near: Peer, far: Far) -> None:
        stream = await near.open_stream(far.peer_id, "digest")
        writing = asyncio.ensure_future(send(stream, 192, MIB))
        for cut in range(1, 4):
            await arrived(stream, 40 * cut)
            break_bulk(near, far.peer_id)
        digest = await writing
        assert (await answer(stream))[0] == digest
        counters = near.counters()
        assert counters["streams_resumed"] >= 3
        assert counters["streams_chunks_sent_again"] <= 3 * (WINDOW_MIB + 1)

    run(main)


def test_a_process_that_stands_still_until_it_is_called_dead_goes_on() -> None:
    async def main(near: Peer, far: Far) -> None:
        stream = await near.open_stream(far.peer_id, "digest")
        writing = asyncio.ensure_future(send(stream, 96, MIB))
        await arrived(stream, 10)
        far.process.send_signal(signal.SIGSTOP)
        await until(lambda: not near.presence.present())
        await asyncio.sleep(1)
        assert not writing.done()
        far.process.send_signal(signal.SIGCONT)
        digest = await writing
        assert (await answer(stream))[0] == digest

    run(main)


def test_of_a_process_that_is_killed_its_streams_say_so() -> None:
    async def main(near: Peer, far: Far) -> None:
        stream = await near.open_stream(far.peer_id, "digest")
        await stream.write(bytes(MIB))
        stream.core._settings = StreamSettings(resume_ms=1500)
        far.process.kill()
        with pytest.raises(ConnectionLost, match=r"far .*did not come back"):
            async with asyncio.timeout(DEADLINE_S):
                await anext(stream)

    run(main)


def test_an_abort_is_heard_by_a_handler_that_writes() -> None:
    async def main(near: Peer, far: Far) -> None:
        ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        async def pours(incoming: Incoming, payload: bytes, stream: Stream) -> None:
            try:
                while True:
                    await stream.write(bytes(65_536))
            except StreamAborted as error:
                ended.set_result(error.detail)

        near.serve_stream("pours", pours, permission=Permission.CALL)
        stream = await near.open_stream(near.peer_id, "pours")
        for _ in range(100):
            assert len(await anext(stream)) == 65_536
        stream.abort("the glass is full")
        async with asyncio.timeout(DEADLINE_S):
            assert await ended == "the glass is full"

    run(main)

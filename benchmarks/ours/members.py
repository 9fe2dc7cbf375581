"""A peer without a node around it, under orders.

    python -m benchmarks.ours.members HOME [SEED [PEER]]

With PEER it asks that one before it says that it is ready.

What this module does not know: when its turn is, and what it is compared with.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.counting import Count
from benchmarks.loads import closed_loop, open_loop
from benchmarks.orders import Order, obey, run_loop
from keys import Keystore, PeerId, Permission
from p2p import (
    Incoming,
    Lane,
    LanSettings,
    LanWorld,
    MemberChange,
    Papers,
    Peer,
    QueueFull,
)

Words = dict[str, Any]

LOOPBACK = "127.0.0.1"
TOPIC = "bench"
MEET_S = 20.0
BURST = 64  # publications or notices between two looks at whether there is room
BUFFER = 4096
TAKE_S = 60.0
SLOW_S = 0.010
SLOW_LIMIT = 20
PINGS_PER_S = 50
HIGH = 2


def peer_at(home: Path, *seeds: str, host: str = LOOPBACK) -> Peer:
    """Return the member of a directory as a peer; not yet entered."""
    store = Keystore.open(home)
    world = LanWorld(LanSettings(host=host, seeds=seeds, mdns=False))
    incarnation = store.next_incarnation(world.clock.wall_ms())
    papers = Papers(store.identity, store.chain, store.trust, store.name, incarnation, store.issuer)
    return Peer(papers, world)


class Member:
    """What a peer can be ordered to do, as server and as client."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._notices = Count()
        self._changes: Counter[str] = Counter()
        self._changed = asyncio.Event()
        self._subscription: Any = None
        self._streamed_bytes = 0
        peer.watch(self._on_presence)
        peer.serve("bench.echo", self._echo, permission=Permission.CALL)
        peer.serve("bench.slow", self._slow, permission=Permission.CALL, limit=SLOW_LIMIT)
        peer.serve_notice("bench.note", lambda *_: self._notices.one(), permission=Permission.CALL)
        if hasattr(peer, "serve_stream"):
            peer.serve_stream("bench.sink", self._sink, permission=Permission.CALL)

    def orders(self) -> dict[str, Order]:
        return {
            "meet": self.meet,
            "changes": self.changes,
            "echo": self.echo,
            "offer": self.offer,
            "overload": self.overload,
            "notify": self.notify,
            "take_notices": self.take_notices,
            "wait_subscribers": self.wait_subscribers,
            "publish": self.publish,
            "subscribe": self.subscribe,
            "take": self.take,
            "stream": self.stream,
            "window": self.window,
        }

    # -- what it serves ------------------------------------------------------------------------

    async def _echo(self, incoming: Incoming, payload: bytes) -> bytes:
        return payload

    async def _slow(self, incoming: Incoming, payload: bytes) -> bytes:
        await asyncio.sleep(SLOW_S)
        return payload

    async def _sink(self, incoming: Incoming, payload: bytes, stream: Any) -> None:
        async for chunk in stream:
            self._streamed_bytes += len(chunk)

    def _on_presence(self, event: object) -> None:
        if isinstance(event, MemberChange):
            self._changes[event.after] += 1
            self._changed.set()

    # -- what it is asked to do ----------------------------------------------------------------

    async def meet(self, peers: list[str]) -> Words:
        """Return when all of these are there."""
        async with asyncio.timeout(MEET_S):
            while not set(peers) <= set(self._peer.presence.present()):
                self._changed.clear()
                await self._changed.wait()
        return {}

    async def changes(self) -> Words:
        """Return how many peers changed to which state, by state."""
        return dict(self._changes)

    async def echo(self, to: str, bytes_: int, in_flight: int, seconds: float) -> Words:
        peer, payload = PeerId(to), bytes(bytes_)
        request = self._peer.request
        return await closed_loop(
            lambda: request(peer, "bench.echo", payload, timeout_s=10.0), in_flight, seconds
        )

    async def offer(self, to: str, bytes_: int, rate: float, seconds: float) -> Words:
        peer, payload = PeerId(to), bytes(bytes_)
        request = self._peer.request
        return await open_loop(
            lambda _: request(peer, "bench.echo", payload, timeout_s=10.0), rate, seconds
        )

    async def overload(self, to: str, times: float, seconds: float, deadline_s: float) -> Words:
        """Learn what the slow handler can do, then offer so many times as much.

        Calls of high priority may take all its places, normal ones nine tenths of them: what it
        can do is learnt from the former, what is offered is normal.
        """
        peer = PeerId(to)
        request = self._peer.request
        able = await closed_loop(
            lambda: request(peer, "bench.slow", b"", timeout_s=10.0, priority=HIGH), SLOW_LIMIT, 2.0
        )
        offered = times * able["rate"]
        done = await open_loop(
            lambda _: request(peer, "bench.slow", b"", timeout_s=deadline_s),
            offered,
            seconds,
            patience_s=deadline_s,
        )
        return {"capacity": able["rate"], **done}

    async def notify(self, to: str, bytes_: int, count: int) -> Words:
        """Send so many notices; wait where the queue has no room."""
        peer, payload = PeerId(to), bytes(bytes_)
        send = self._peer.notify
        began_s = time.monotonic()
        for left in range(count, 0, -BURST):
            for _ in range(min(left, BURST)):
                while True:
                    try:
                        send(peer, "bench.note", payload)
                        break
                    except QueueFull:
                        await asyncio.sleep(0.001)
        return {"began_s": began_s}

    async def take_notices(self, count: int) -> Words:
        return await self._notices.take(count)

    async def wait_subscribers(self, count: int) -> Words:
        await self._peer.wait_subscribers(TOPIC, count, MEET_S)
        return {}

    async def publish(self, count: int, bytes_: int) -> Words:
        """Publish so many; wait where the slowest subscriber has no room."""
        payload = bytes(bytes_)
        publish, room = self._peer.publish, self._peer.room_to_publish
        began_s = time.monotonic()
        for left in range(count, 0, -BURST):
            for _ in range(min(left, BURST)):
                publish(TOPIC, payload)
            await room()
        return {"began_s": began_s}

    async def subscribe(self) -> Words:
        self._subscription = self._peer.subscribe(TOPIC, buffer=BUFFER, policy="block")
        return {}

    async def take(self, count: int) -> Words:
        """Receive so many, in batches; return how many gaps there were."""
        got = lost = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TAKE_S):
                while got + lost < count:
                    batch = await self._subscription.next_batch(BUFFER)
                    got += len(batch)
                    for publication in batch:
                        lost += publication.gap
        return {"got": got, "lost": count - got, "ended_s": time.monotonic()}

    async def stream(self, to: str, total_bytes: int, chunk_bytes: int) -> Words:
        """Write a stream of so many bytes; the time ends when the other side has all."""
        began = time.perf_counter()
        await self._write(PeerId(to), total_bytes, chunk_bytes)
        return {"mb_s": total_bytes / 1e6 / (time.perf_counter() - began)}

    async def _write(self, to: PeerId, total_bytes: int, chunk_bytes: int) -> None:
        chunk = bytes(chunk_bytes)
        stream = await self._peer.open_stream(to, "bench.sink", b"")
        for _ in range(total_bytes // chunk_bytes):
            await stream.write(chunk)
        await stream.finish()

    async def window(self, to: str, rate: float, seconds: float, stream_bytes: int) -> Words:
        """Small calls and pings on the control lane, while that much streams (or nothing)."""
        peer = PeerId(to)
        request = self._peer.request
        began = time.perf_counter()
        writing = None
        if stream_bytes:
            writing = asyncio.ensure_future(self._write(peer, stream_bytes, 2**20))
        calls, pings = await asyncio.gather(
            open_loop(
                lambda _: request(peer, "bench.echo", bytes(64), timeout_s=10.0), rate, seconds
            ),
            open_loop(
                lambda _: request(peer, "bench.echo", b"", timeout_s=10.0, lane=Lane.CONTROL),
                PINGS_PER_S,
                seconds,
            ),
        )
        said = {"calls": calls, "pings": pings, "busy_s": 0.0}
        if writing is not None:
            await writing
            said["busy_s"] = time.perf_counter() - began
        return said


async def main(home: Path, seeds: list[str], first: str | None) -> None:
    """Be a peer until the orders end."""
    peer = peer_at(home, *seeds)
    member = Member(peer)
    async with peer:
        ready: Words = {"peer": peer.peer_id, "door": f"{LOOPBACK}:{peer.ports['door']}"}
        wanted = ("serve_stream", "room_to_publish", "wait_subscribers")
        ready["able"] = [name for name in wanted if hasattr(peer, name)]
        if first is not None:
            await member.meet([first])
            await peer.request(PeerId(first), "bench.echo", b"first", timeout_s=10.0)
            ready["replied_s"] = time.monotonic()
        await obey(ready, member.orders())


if __name__ == "__main__":
    run_loop(main(Path(sys.argv[1]), sys.argv[2:3], sys.argv[3] if len(sys.argv) > 3 else None))

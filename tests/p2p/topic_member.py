"""A member in a process of its own that subscribes, for tests on real sockets.

    python topic_member.py WALL_MS TOPIC

It prints the port of its door and its id, and ends when its standard input does. Asked for "seen",
it answers with how many messages it has read, how many gaps they told of, and the last number.
"""

from __future__ import annotations

import asyncio
import sys

from peer_lab import Authority

from keys import Permission
from p2p import Incoming, LanSettings, LanWorld, Papers, Peer, encode_payload

LOOPBACK = "127.0.0.1"
NAMES = ("publisher", "stopped", "healthy")


def papers_of(wall_ms: int, name: str) -> Papers:
    """All processes make the same authority, and take different papers of it."""
    authority = Authority("lab", wall_ms=wall_ms)
    return {one: authority.papers(one, incarnation=wall_ms) for one in NAMES}[name]


async def main(wall_ms: int, topic: str) -> None:
    peer = Peer(papers_of(wall_ms, "stopped"), LanWorld(LanSettings(host=LOOPBACK, mdns=False)))
    seen = [0, 0, 0]

    async def answer(incoming: Incoming, payload: bytes) -> bytes:
        return encode_payload(seen)

    async def read() -> None:
        while batch := await subscription.next_batch(1000):
            seen[0] += len(batch)
            seen[1] += sum(one.gap for one in batch)
            seen[2] = batch[-1].sequence

    peer.serve("seen", answer, permission=Permission.CALL)
    async with peer:
        subscription = peer.subscribe(topic, buffer=100_000)
        reading = asyncio.ensure_future(read())
        print(peer.ports["door"], peer.peer_id, flush=True)
        await asyncio.to_thread(sys.stdin.read)
    await reading


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))

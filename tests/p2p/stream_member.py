"""A member in a process of its own that serves streams, for tests on real sockets.

    python stream_member.py WALL_MS

It prints the port of its door and its id, and ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import hashlib
import resource
import sys

from peer_lab import Authority

from keys import Permission
from p2p import Incoming, LanSettings, LanWorld, Papers, Peer, Stream

LOOPBACK = "127.0.0.1"


def papers_of(wall_ms: int, which: int) -> Papers:
    """Both processes make the same authority, and take different papers of it."""
    authority = Authority("lab", wall_ms=wall_ms)
    return [authority.papers(name, incarnation=wall_ms) for name in ("far", "near")][which]


async def digest(incoming: Incoming, payload: bytes, stream: Stream) -> None:
    """Answer with the digest of everything, and with how much memory that took at most."""
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    pause_s = float(payload or b"0")
    seen = hashlib.blake2b()
    async for chunk in stream:
        seen.update(chunk)
        if pause_s:
            await asyncio.sleep(pause_s)
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib
    await stream.write(seen.digest())
    await stream.write(b"%d" % grown_kib)


async def main(wall_ms: int) -> None:
    world = LanWorld(LanSettings(host=LOOPBACK, mdns=False))
    peer = Peer(papers_of(wall_ms, 0), world)
    peer.serve_stream("digest", digest, permission=Permission.CALL)
    async with peer:
        print(peer.ports["door"], peer.peer_id, flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))

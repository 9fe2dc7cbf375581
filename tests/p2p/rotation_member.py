"""A peer in a process of its own that answers, rotates when told to, and says so."""

from __future__ import annotations

import asyncio
import sys

from peer_lab import Authority

from keys import Permission
from p2p import Incoming, LanSettings, LanWorld, Papers, Peer

LOOPBACK = "127.0.0.1"


def papers_of(wall_ms: int, name: str, starts: int = 0) -> Papers:
    """The same for the same arguments; every start has a higher incarnation."""
    authority = Authority("lab", seed=5, wall_ms=wall_ms)
    papers = {each: authority.papers(each, incarnation=wall_ms) for each in ("here", "there")}
    one = papers[name]
    return Papers(one.identity, one.chain, one.trust, name, one.incarnation + starts * (1 << 21))


async def echo(incoming: Incoming, payload: bytes) -> bytes:
    return payload


async def main(wall_ms: int, starts: int, seed: str) -> None:
    settings = LanSettings(host=LOOPBACK, seeds=(seed,), mdns=False)
    peer = Peer(papers_of(wall_ms, "there", starts), LanWorld(settings))
    peer.serve("echo", echo, permission=Permission.CALL)
    loop = asyncio.get_running_loop()
    async with peer:
        print(peer.peer_id, flush=True)
        while await loop.run_in_executor(None, sys.stdin.readline):
            print("begins", flush=True)
            rotated = await peer.rotate_keys()
            print(rotated.key.hex(), len(rotated.missed), flush=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))

"""Peers on real sockets with few links: what one offers and publishes reaches those far away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest
from peer_lab import Authority

from keys import Permission
from p2p import Incoming, LanSettings, LanWorld, Peer, SwimSettings
from p2p.members import reaching

pytestmark = pytest.mark.e2e

LOOPBACK = "127.0.0.1"
COUNT = 7
FEW = SwimSettings(mesh=2, rings=1, links=4)  # beyond five members, two neighbours each


async def until(holds: Callable[[], bool], limit_s: float = 60.0) -> None:
    async with asyncio.timeout(limit_s):
        while not holds():
            await asyncio.sleep(0.02)


async def echo(incoming: Incoming, payload: bytes) -> bytes:
    return payload


def links_of(peer: Peer) -> set[str]:
    return {session.peer_id for session in peer.gathering.sessions}


async def scenario(peers: list[Peer]) -> None:
    await until(lambda: all(len(peer.presence.present()) == COUNT - 1 for peer in peers))

    def far_pairs() -> list[tuple[Peer, Peer]]:
        return [(a, b) for a in peers for b in peers if b.peer_id not in {a.peer_id, *links_of(a)}]

    await until(lambda: len(far_pairs()) >= 6)
    a, b = far_pairs()[0]
    a.presence.adverts.change({"agent": bytes(300)})
    await until(lambda: "agent" in b.presence.adverts.entries_of(a.peer_id), 10)
    subscription = b.subscribe("news")
    await until(lambda: "/listens" in a.presence.adverts.entries_of(b.peer_id), 10)
    sent = [b"%d" % number for number in range(50)]
    for payload in sent:
        a.publish("news", payload)
        await asyncio.sleep(0.005)
    heard = []
    while len(heard) < len(sent):
        heard += await asyncio.wait_for(subscription.next_batch(100), 10)
    assert [one.payload for one in heard] == sent
    assert sum(one.gap for one in heard) == 0
    subscription.close()
    a, b = far_pairs()[-1]
    assert await a.request(b.peer_id, "echo", b"hello", timeout_s=10) == b"hello"


def test_what_one_offers_and_publishes_reaches_those_far_away_on_real_sockets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reaching, "IDLE_MS", 2_000)

    async def main() -> None:
        wall_ms, seeds = int(time.time() * 1000), tuple[str, ...]()
        authority = Authority("lab", wall_ms=wall_ms)
        peers: list[Peer] = []
        try:
            for number in range(COUNT):
                world = LanWorld(LanSettings(host=LOOPBACK, mdns=False, seeds=seeds))
                peer = Peer(authority.papers(f"n{number}", incarnation=wall_ms), world, FEW)
                peer.serve("echo", echo, permission=Permission.CALL)
                peers.append(await peer.__aenter__())
                seeds = (f"{LOOPBACK}:{peers[0].ports['door']}",)
            await scenario(peers)
        finally:
            for peer in peers:
                await peer.__aexit__(None, None, None)

    asyncio.run(main())

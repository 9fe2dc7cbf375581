"""Many peers that begin in the same moment: what each of them does for it is bounded."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from peer_lab import Lab, in_lab, until

import p2p.turns as turns
from keys import PeerId
from p2p import Peer, SwimSettings
from p2p.membership.swim import Expelled
from p2p.swimming import Swimming

PEERS = 60  # more than have a link to everybody


def counts(peers: list[Peer]) -> Counter[str]:
    sums: Counter[str] = Counter()
    for peer in peers:
        sums.update(peer.counters())
    return sums


def test_sixty_at_once_know_all_and_have_met_a_few() -> None:
    async def scenario(lab: Lab) -> None:
        loop = asyncio.get_running_loop()
        peers = [lab.peer(f"n{number}", settings=SwimSettings()) for number in range(PEERS)]
        await asyncio.gather(*(peer.__aenter__() for peer in peers))
        began_s = loop.time()
        await until(lambda: all(len(p.presence.present()) == PEERS - 1 for p in peers), 30)
        assert loop.time() - began_s <= 3.0
        done = counts(peers)
        assert done["membership_became suspect"] == 0
        assert done["admission_admitted"] <= 24 * PEERS, "it counts at both sides"
        assert done["membership_links_dials"] <= 3 * PEERS
        assert done["membership_strangers_asked"] <= 14 * PEERS
        assert done["membership_papers_again"] <= PEERS, "one neighbour is asked for them"
        assert done["membership_adverts_relays_told"] == 0, "nobody offers anything"
        assert done["membership_adverts_told"] == 0
        assert done["membership_papers"] == PEERS * (PEERS - 1)
        await asyncio.sleep(5)
        after = counts(peers)
        assert after["membership_became suspect"] == 0
        assert after["admission_admitted"] - done["admission_admitted"] <= 2 * PEERS

    in_lab(scenario)


def test_where_introductions_are_slow_all_are_known_too_and_neighbours_have_links(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(turns, "LONG_MS", -1)  # of a lab in which all are quick

    async def scenario(lab: Lab) -> None:
        peers = [lab.peer(f"n{number}", settings=SwimSettings()) for number in range(PEERS)]
        await asyncio.gather(*(peer.__aenter__() for peer in peers))
        await until(lambda: all(len(p.presence.present()) == PEERS - 1 for p in peers), 8)
        await asyncio.sleep(5)
        for peer in peers:
            missing = [p for p in peer.presence.neighbours() if p not in peer.gathering.sessions]
            assert not missing, "then neighbours have links"

    in_lab(scenario)


def test_who_is_never_left_in_peace_says_with_its_beats_how_it_is_now() -> None:
    async def scenario(lab: Lab) -> None:
        ada, bob = await lab.up("ada", "bob")
        await until(lambda: bob.presence.is_present(ada.peer_id))
        said: list[bytes] = []
        bob.watch(lambda event: said.append(getattr(event, "status", b"")))
        presence = ada.presence
        assert isinstance(presence, Swimming)
        ada.report_status(lambda: b"busy")
        presence._alarm._ring = lambda: None  # each beat is due when something comes, not at a tick
        for _ in range(40):
            await asyncio.sleep(0.1)
            presence.step(Expelled(PeerId("a" * 52)))
        assert b"busy" in said

    in_lab(scenario)

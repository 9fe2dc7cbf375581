"""Many peers that begin in the same moment: what each of them does for it is bounded."""

from __future__ import annotations

import asyncio
from collections import Counter

from peer_lab import Lab, in_lab, until

from p2p import Peer, SwimSettings

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

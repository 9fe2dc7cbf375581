"""Ten peers for ten minutes, one of them starved and one link lossy: nobody should be given up."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack

from agents.chaos.errors import ChaosError
from agents.chaos.spaces import Spaces
from agents.switching import LinkTrouble, Trouble
from benchmarks.contenders import homes_of, skipped
from benchmarks.crowds import all_up, ask_all
from benchmarks.figures import Figure, measures, median_of
from benchmarks.pace import pace
from benchmarks.starving import starved

PEERS = 10
LOSS = 0.3


@measures("false deaths")
def false_deaths() -> Iterator[Figure]:
    """Hosts in namespaces; one process gets a tenth of a processor, one link loses packets."""
    try:
        yield from _figures()
    except ChaosError as error:
        skipped("false deaths", error)


def _figures() -> Iterator[Figure]:
    with ExitStack() as stack:
        homes = stack.enter_context(homes_of(PEERS))
        spaces = Spaces.opened(homes[0].parent)
        stack.callback(spaces.close)
        names = [f"h{number}" for number in range(PEERS)]
        hosts = [spaces.add(name) for name in names]
        peers = all_up(stack, homes, hosts, [spaces.inside(name) for name in names])
        lossy = LinkTrouble(loss=LOSS)
        spaces.apply(Trouble(links=((names[0], names[1], lossy), (names[1], names[0], lossy))))
        ask_all(peers, "counts")
        with starved(peers[-1].pid) as means:
            time.sleep(pace().quiet_s)
        counts = ask_all(peers, "counts")
    how = (
        f"{PEERS} peers in namespaces of their own for {pace().quiet_s:g} s; one link loses "
        f"{LOSS:.0%} in both directions, and one peer {means}"
    )
    ids = [peer.ready["peer"] for peer in peers]
    held = {
        (who, ids.index(whom), state): times
        for who, word in enumerate(counts)
        for whom, state, times in word["seen"]
    }
    for state, target in (("suspect", None), ("dead", 0.0)):
        wrongly = {(a, b): times for (a, b, said), times in held.items() if said == state}
        at_link = sum(times for pair, times in wrongly.items() if pair in ((0, 1), (1, 0)))
        with_starved = sum(times for pair, times in wrongly.items() if PEERS - 1 in pair)
        others = sum(wrongly.values()) - at_link - with_starved
        for where, total in (
            ("at the lossy link", at_link),
            ("by or of the starved", with_starved),
            ("between others", others),
        ):
            yield median_of(f"wrongly {state} {where}", [total], "", how, target=target)

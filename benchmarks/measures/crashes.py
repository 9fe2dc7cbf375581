"""Ten peers in processes of their own, one of which is killed, again and again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack

from benchmarks.contenders import homes_of
from benchmarks.crowds import LOOKOUTS, LOOPBACK, all_up, ask_all
from benchmarks.figures import Figure, measures, median_of
from benchmarks.pace import pace
from benchmarks.workers import Worker

PEERS = 10
MEDIAN_S, WORST_S = 2.0, 3.0


@measures("crash seen")
def crash_seen() -> Iterator[Figure]:
    """SIGKILL to each in turn, until all others call it dead; then it comes back."""
    how = f"SIGKILL of one of {PEERS} peers in processes of their own until all others call it dead"
    runs = _runs()
    name = "a crash seen by all of 10"
    yield median_of(name, runs, "s", how, target=MEDIAN_S)
    worst = f"the worst of {len(runs)}: {how}"
    yield median_of(f"{name}, worst", [max(runs)], "s", worst, target=WORST_S)


def _runs() -> list[float]:
    runs = []
    with ExitStack() as stack:
        homes = stack.enter_context(homes_of(PEERS))
        peers = all_up(stack, homes)
        for number in range(pace().crashes):
            victim = number % PEERS
            gone = peers[victim].ready["peer"]
            killed_s = time.time()
            peers[victim].kill()
            others = [peer for n, peer in enumerate(peers) if n != victim]
            seen = ask_all(others, "gone", peer=gone, since_s=killed_s)
            runs.append(max(word["at_s"] for word in seen) - killed_s)
            words = (LOOPBACK, str(homes[victim]), others[0].ready["door"])
            peers[victim] = stack.enter_context(Worker(LOOKOUTS, *words))
            ask_all(peers, "meet", count=PEERS - 1)
    return runs

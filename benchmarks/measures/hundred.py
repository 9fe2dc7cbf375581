"""A hundred peers on this machine: how soon all know all, and what each costs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

from benchmarks.contenders import homes_of
from benchmarks.figures import Figure, measures, median_of
from benchmarks.pace import pace
from benchmarks.workers import Worker

PEERS = 100
PROCESSES = 25  # few peers each: a busy loop is late for all that run on it
EACH = PEERS // PROCESSES
KNOWN_S = 15.0
LIMIT_S = 240.0
MB = 1e6


@measures("hundred")
def hundred() -> Iterator[Figure]:
    """Processes of some peers each begin at once; every peer has the same seed."""
    known_s, mb, links, cpu_s, idle = [], [], [], [], []
    for _ in range(pace().repeats):
        with ExitStack() as stack:
            homes = stack.enter_context(homes_of(PEERS))
            parts = [homes[number * EACH : (number + 1) * EACH] for number in range(PROCESSES)]
            workers = [
                stack.enter_context(Worker("benchmarks.ours.hundreds", *map(str, part)))
                for part in parts
            ]
            before = _all(workers, "held")
            first = workers[0].ask("begin", seeds=[])
            _all(workers[1:], "begin", seeds=[first["door"]])
            met = _all(workers, "meet", count=PEERS - 1, limit_s=LIMIT_S)
            known_s.append(max(word["at_s"] for word in met) - first["began_s"])
            after = _all(workers, "held")
            time.sleep(pace().watch_s)
            later = _all(workers, "held")
            pairs = list(zip(before, after, strict=True))
            mb += [(a["rss"] - b["rss"]) / EACH / MB for b, a in pairs]
            links.append(max(word["links"] for word in after))
            cpu_s.append(sum(a["cpu_s"] - b["cpu_s"] for b, a in pairs))
            rest = zip(after, later, strict=True)
            idle.append(
                100 * sum(b["cpu_s"] - a["cpu_s"] for a, b in rest) / pace().watch_s / PEERS
            )
    how = f"{PEERS} peers in {PROCESSES} processes on loopback, without mDNS, one seed, SWIM"
    yield median_of(
        "100 peers, all know all",
        known_s,
        "s",
        f"from the first peer's beginning until the last calls the last alive; {how}",
        target=KNOWN_S,
    )
    yield median_of("100 peers, CPU until then", cpu_s, "s", f"of all together; {how}")
    yield median_of("100 peers, memory of each", mb, "MB", f"growth of RSS by its peers; {how}")
    yield median_of("100 peers, most links of one", links, "", f"on all lanes; {how}")
    yield median_of("100 peers, CPU of each at rest", idle, "%", f"of one core; {how}")


def _all(workers: list[Worker], do: str, **words: Any) -> list[dict[str, Any]]:
    for worker in workers:
        worker.order(do, **words)
    return [worker.answer(LIMIT_S + 30) for worker in workers]

"""A thousand agents on ten nodes: each is called from each node, then all at a steady rate."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.contenders import homes_of
from benchmarks.figures import Figure, measures, median_of
from benchmarks.pace import pace
from benchmarks.workers import Worker

NODES = 10
AGENTS = 100
RATE = 2_000  # of all callers together
RUNS = 5.0
P99_MS = 20.0
SETTLE_S = 3.0
MB = 1e6


@measures("fleet")
def fleet() -> Iterator[Figure]:
    """Ten processes of a hundred agents."""
    capabilities = [f"a{node}.n{number}" for node in range(NODES) for number in range(AGENTS)]
    with ExitStack() as stack:
        began_s = time.monotonic()
        nodes = nodes_of(stack, stack.enter_context(homes_of(NODES)))
        _all(nodes, "know", capabilities=capabilities)
        met_s = time.monotonic() - began_s
        _all(nodes, "all_once", capabilities=capabilities)
        time.sleep(SETTLE_S)
        worst_ms, medians_ms = [], []
        for _ in range(pace().rounds):
            runs = _all(
                nodes,
                "offer",
                capabilities=capabilities,
                rate=RATE / NODES,
                seconds=RUNS * pace().run_s,
            )
            for run in runs:
                assert run["unanswered"] == 0, run
                assert not run["errors"], run
            worst_ms.append(max(run["p99_us"] for run in runs) / 1e3)
            medians_ms.append(max(run["p50_us"] for run in runs) / 1e3)
        rss_mb = [node.rss_bytes / MB for node in nodes]
    how = (
        f"{RATE:,} calls a second of {NODES} nodes together, on schedules, to {NODES * AGENTS:,} "
        "agents in turn; every agent has answered every node before"
    )
    yield median_of("1,000 agents, P99 of the worst node", worst_ms, "ms", how, target=P99_MS)
    yield median_of("1,000 agents, P50 of the worst node", medians_ms, "ms", how)
    yield median_of(
        "1,000 agents, all known to all",
        [met_s],
        "s",
        "from the start of the first process until every node knows every agent",
    )
    yield median_of("1,000 agents, memory of a node", rss_mb, "MB", "RSS with 100 agents, at work")


def nodes_of(stack: ExitStack, homes: list[Path]) -> list[Worker]:
    def worker(number: int, *seed: str) -> Worker:
        words = (str(homes[number]), f"a{number}", str(AGENTS), *seed)
        return stack.enter_context(Worker("benchmarks.ours.hosts", *words))

    first = worker(0)
    return [first, *(worker(number, first.ready["door"]) for number in range(1, len(homes)))]


def _all(nodes: list[Worker], do: str, **words: Any) -> list[dict[str, Any]]:
    """Order all nodes at once, and wait for all."""
    for node in nodes:
        node.order(do, **words)
    return [node.answer() for node in nodes]

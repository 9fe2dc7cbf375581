"""Ten thousand agents on twenty peers: how soon all know all, and what that costs at each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.contenders import homes_of
from benchmarks.figures import Figure, measures, median_of
from benchmarks.pace import pace
from benchmarks.workers import Worker

PEERS = 20
AGENTS = 500
ALL = PEERS * AGENTS
KB = 1e3
CHANGES = 5


@measures("registry")
def registry() -> Iterator[Figure]:
    """Twenty processes that have met offer five hundred agents each, all at once."""
    known_s, kb, cpu_ms, seen_s, bytes_ = [], [], [], [], []
    for _ in range(pace().repeats):
        with ExitStack() as stack:
            peers = peers_of(stack, stack.enter_context(homes_of(PEERS)))
            before = _all(peers, "held")
            offered = _all(peers, "offer")
            some = ["p0.n0", f"p{PEERS - 1}.n{AGENTS - 1}"]
            known = _all(peers, "know", count=ALL, capabilities=some)
            began_s = min(word["began_s"] for word in offered)
            known_s.append(max(word["at_s"] for word in known) - began_s)
            after = _all(peers, "held")
            pairs = list(zip(before, after, strict=True))
            kb += [(a["rss"] - b["rss"]) / (ALL - AGENTS) / KB for b, a in pairs]
            cpu_ms += [(a["cpu_s"] - b["cpu_s"]) * 1e6 / ALL for b, a in pairs]
            for number in range(CHANGES):
                lasted_s, told = _change(peers, number)
                seen_s.append(lasted_s)
                bytes_.append(told)
    how = f"{PEERS} peers as processes of their own on loopback, all linked, {AGENTS} agents each"
    yield median_of(
        f"{ALL:,} agents known everywhere",
        known_s,
        "s",
        f"from the first offer until the last peer knows the last agent; {how}",
        target=5.0,
    )
    yield median_of(
        "an agent at each peer",
        kb,
        "KB",
        f"growth of RSS by the agents that others offer; {how}",
        target=2.0,
    )
    yield median_of("CPU of an agent at each peer", cpu_ms, "us", f"of all {ALL:,}; {how}")
    yield median_of(
        "a change of one agent seen everywhere",
        seen_s,
        "s",
        f"until the last peer sees it; {how}",
        target=2.0,
    )
    yield median_of(
        "a change of one agent, told to one peer", bytes_, "B", f"payload; {how}", target=200
    )


def peers_of(stack: ExitStack, homes: list[Path]) -> list[Worker]:
    def worker(number: int, *seed: str) -> Worker:
        words = (str(homes[number]), f"p{number}", str(AGENTS), *seed)
        return stack.enter_context(Worker("benchmarks.ours.registrars", *words))

    first = worker(0)
    peers = [first, *(worker(number, first.ready["door"]) for number in range(1, len(homes)))]
    _all(peers, "meet", count=len(homes) - 1)
    return peers


def _change(peers: list[Worker], number: int) -> tuple[float, float]:
    before = peers[0].ask("held")["told_bytes"]
    began_s = peers[0].ask("change", number=number)["began_s"]
    words = {"peer": peers[0].ready["peer"], "agent": f"p0-{number}"}
    seen = _all(peers, "see", **words)
    told = peers[0].ask("held")["told_bytes"] - before
    return max(word["at_s"] for word in seen) - began_s, told / (PEERS - 1)


def _all(peers: list[Worker], do: str, **words: Any) -> list[dict[str, Any]]:
    """Order all peers at once, and wait for all."""
    for peer in peers:
        peer.order(do, **words)
    return [peer.answer() for peer in peers]

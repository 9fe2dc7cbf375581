"""Queues in simulation: callers that see only their own attempts, providers that serve in turn."""

from __future__ import annotations

import heapq
import random
from collections.abc import Sequence

from agents.choosing import Chooser, Destination, Outcome

SERVICE_MS = 10.0


def chooser_of(count: int, seed: int = 1) -> Chooser:
    chooser = Chooser(random.Random(seed), 0)
    chooser.set_providers({f"p{n:02}": 1 for n in range(count)}, "")
    return chooser


def finish(
    chooser: Chooser,
    destination: Destination,
    outcome: Outcome,
    now_ms: int,
    elapsed_us: int = 1_000,
) -> None:
    """One attempt, from beginning to end."""
    is_probe = chooser.begin(destination, now_ms)
    chooser.end(destination, is_probe, outcome, elapsed_us, now_ms)


def latencies(
    balance: str, callers: int, speeds: Sequence[float], load: float, seed: int, calls: int
) -> list[float]:
    """Return the sorted latencies in ms: arrivals and services are exponential."""
    rng = random.Random(seed)
    names = [f"p{n:02}" for n in range(len(speeds))]
    speed, free_ms = dict(zip(names, speeds, strict=True)), dict.fromkeys(names, 0.0)
    choosers = [chooser_of(len(speeds), seed * 1000 + n) for n in range(callers)]
    rate = load * sum(speeds) / SERVICE_MS
    ends: list[tuple[float, int, float, Chooser, Destination]] = []
    out: list[float] = []
    next_ms = rng.expovariate(rate)
    begun = 0
    while begun < calls or ends:
        if begun < calls and (not ends or next_ms <= ends[0][0]):
            now_ms, next_ms = next_ms, next_ms + rng.expovariate(rate)
            begun += 1
            chooser = rng.choice(choosers)
            one = chooser.choose(balance, None, int(now_ms))
            assert one is not None
            chooser.begin(one, int(now_ms))
            served = rng.expovariate(speed[one.peer] / SERVICE_MS)
            free_ms[one.peer] = max(now_ms, free_ms[one.peer]) + served
            heapq.heappush(ends, (free_ms[one.peer], begun, now_ms, chooser, one))
        else:
            end_ms, _, since_ms, chooser, one = heapq.heappop(ends)
            took_us = int((end_ms - since_ms) * 1000)
            chooser.end(one, False, Outcome.ANSWERED, took_us, int(end_ms))
            out.append(end_ms - since_ms)
    return sorted(out)

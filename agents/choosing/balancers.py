"""Which provider is asked first: five ways, each behind `Balancer`.

    round_robin         in turn, by id
    weighted            in turn, in proportion to the weights that providers declare, interleaved;
                        who says that it is full has half of its weight
    least_outstanding   the one with the fewest of our own attempts under way, a tie by lot, in
                        which the idle have five chances and the full have one; the default
    fastest             of two drawn by lot, the one with less latency times queue
    consistent_hash     the same provider for the same key, for every caller; when a provider
                        goes only its own keys move, and to each of the others alike

Why that default: in simulated queues (tests/agents/choosing/choosing_lab.py, 30,000 calls at 80 %
load) 1 call in 100 waited longer than, in ms, in turn / least of two by lot / least of all /
fastest: with 1 caller of 10 providers, one of them five times slower, 7917 / 96 / 73 / 94; with 10
callers of 3 equal ones 148 / 128 / 122 / 137. All queues are looked at and not two, since we count
our own attempts only: such counts are never stale, so callers do not run to one place together, and
a network has tens of providers. Where very many callers share unequal providers, each sees little
of the queues and `fastest` is better: 100 callers of 20, half of them half as quick, at 70 %:
2602 / 692 / 837 / 373. It is not the default, because one slow answer makes it avoid a provider
for seconds, and calls of one capability may differ in what they ask.

What providers say of their load is seconds old and heard by all callers at once, so it moves
chances and never decides: where the less loaded of a tie was always taken, callers ran to one place
together (30 callers of 10 equal ones: a mean of 116 ms and not 39). As chances it helps where
others use the providers too (tests/agents/choosing/loads_lab.py): 100 callers of 10, half of them
kept busy by somebody else: 1 call in 100 waited longer than 431 and not 2544 ms, `weighted` 1430
and not 3960; 100 callers of 20, half of them half as quick: 460 and not 735, but `weighted` 1926
and not 1395; 30 callers of 10 equal ones: 166 and 158, `weighted` 235 and 167.

What this module does not know: which providers are in order (it is handed those), clocks.

Sources: nginx's smooth weighted round robin; Mitzenmacher, "The Power of Two Choices in Randomized
Load Balancing"; Finagle's peak EWMA; Thaler and Ravishankar, "A Name-Based Mapping Scheme for
Rendezvous".
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Protocol

from agents.choosing.destination import Destination

MAX_WEIGHT = 1_000
FULL = 4  # what is said of loads is in quarters
_MASK = (1 << 64) - 1


class Balancer(Protocol):
    """A way to choose. `candidates` is not empty and in the order of ids."""

    def pick(
        self, candidates: Sequence[Destination], key: str | None, now_ms: int
    ) -> Destination: ...


class RoundRobin:
    """The next id after the last one: right also when providers come and go in between."""

    def __init__(self, rng: random.Random) -> None:
        self._last = ""

    def pick(self, candidates: Sequence[Destination], key: str | None, now_ms: int) -> Destination:
        position = bisect_right(candidates, self._last, key=_peer_of)
        chosen = candidates[position] if position < len(candidates) else candidates[0]
        self._last = chosen.peer
        return chosen


class Weighted:
    """Everyone earns its weight each turn; the richest is asked and pays what all earned."""

    def __init__(self, rng: random.Random) -> None:
        pass

    def pick(self, candidates: Sequence[Destination], key: str | None, now_ms: int) -> Destination:
        total = 0
        chosen = candidates[0]
        for destination in candidates:
            earned = destination.weight * (2 * FULL - destination.load)
            total += earned
            destination.credit += earned
            if destination.credit > chosen.credit:
                chosen = destination
        chosen.credit -= total
        return chosen


class LeastOutstanding:
    """The shortest queue of our own attempts; a tie is drawn by lot, so callers do not march."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def pick(self, candidates: Sequence[Destination], key: str | None, now_ms: int) -> Destination:
        if len(candidates) == 1:
            return candidates[0]
        # From a place drawn by lot, round: no list of ties is built.
        start = int(self._rng.random() * len(candidates))
        chosen = candidates[start]
        for destination in candidates[start + 1 :]:
            if destination.outstanding < chosen.outstanding:
                chosen = destination
        for destination in candidates[:start]:
            if destination.outstanding < chosen.outstanding:
                chosen = destination
        return self._by_load(chosen, candidates) if chosen.load else chosen

    def _by_load(self, chosen: Destination, candidates: Sequence[Destination]) -> Destination:
        """Keep it by as many chances as it has, or else draw anew: together that gives every one
        of a tie its share."""
        if self._rng.random() * (FULL + 1) < FULL + 1 - chosen.load:
            return chosen
        tied = [each for each in candidates if each.outstanding == chosen.outstanding]
        return self._rng.choices(tied, [FULL + 1 - each.load for each in tied])[0]


class Fastest:
    """Power of two choices on latency times queue; who was never timed is tried at once."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def pick(self, candidates: Sequence[Destination], key: str | None, now_ms: int) -> Destination:
        count = len(candidates)
        if count == 1:
            return candidates[0]
        first = int(self._rng.random() * count)
        other = int(self._rng.random() * (count - 1))
        one, two = candidates[first], candidates[other + (other >= first)]
        return two if _cost(two, now_ms) < _cost(one, now_ms) else one


class ConsistentHash:
    """Rendezvous hashing: the highest of the marks that the key gives to each provider."""

    def __init__(self, rng: random.Random) -> None:
        pass

    def pick(self, candidates: Sequence[Destination], key: str | None, now_ms: int) -> Destination:
        mark = int.from_bytes(
            blake2b((key or "").encode(errors="surrogatepass"), digest_size=8).digest(), "big"
        )
        return max(candidates, key=lambda destination: _mixed(destination.place ^ mark))


BALANCERS: dict[str, Callable[[random.Random], Balancer]] = {
    "round_robin": RoundRobin,
    "weighted": Weighted,
    "least_outstanding": LeastOutstanding,
    "fastest": Fastest,
    "consistent_hash": ConsistentHash,
}
DEFAULT_BALANCE = "least_outstanding"


def _peer_of(destination: Destination) -> str:
    return destination.peer


def _cost(destination: Destination, now_ms: int) -> float:
    # One microsecond for what was never timed: it is asked at once, and its queue still counts.
    return (destination.latency_us(now_ms) + 1.0) * (destination.outstanding + 1)


def _mixed(value: int) -> int:
    """Stir 64 bits so that each depends on all (the finalizer of SplitMix64)."""
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)

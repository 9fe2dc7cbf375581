"""Outliers: a provider that does far worse than its fellows is left out for a while.

Fellows are compared over an interval, each with the median of the others: what all of them suffer
(bad arguments, a slow question, a busy network) singles out nobody. Unlike the breaker this counts
handlers that raise, since a provider with a full disk answers quickly and always.

What this module does not know: breakers, clocks, how providers are chosen.

Invariant: never more than half of the providers are out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agents.choosing.destination import Destination


@dataclass(frozen=True, slots=True)
class OutlierSettings:
    """What is far.

    Attributes:
        interval_ms: how often fellows are compared.
        least: a provider with fewer outcomes in the interval is not compared.
        percent_above: so many more failures of a hundred than the median of the others.
        times_slower, slower_us: so many times the median of the others' latency, and at least
            this much above it.
        out_ms: how long the first time; the n-th time in a row n times as long.
        out_most_ms: but no longer.
    """

    interval_ms: int = 5_000
    least: int = 10
    percent_above: int = 40
    times_slower: int = 5
    slower_us: int = 50_000
    out_ms: int = 10_000
    out_most_ms: int = 60_000


def compare(all_: Sequence[Destination], settings: OutlierSettings, now_ms: int) -> int:
    """Compare what was tallied, begin new tallies, and return how many were put out."""
    compared = [d for d in all_ if d.tally[0] >= settings.least]
    room = len(all_) // 2 - sum(d.out_until_ms > now_ms for d in all_)
    far = [d for d in compared if _is_far(d, compared, settings)]
    far.sort(key=lambda d: (-d.tally[1] / d.tally[0], -d.tally[2] / d.tally[0], d.peer))
    put_out = [d for d in far if d.out_until_ms <= now_ms][: max(0, room)]
    for destination in put_out:
        destination.ejections += 1
        out_ms = min(settings.out_ms * destination.ejections, settings.out_most_ms)
        destination.out_until_ms = now_ms + out_ms
    for destination in compared:
        if destination not in far:
            destination.ejections = 0
    for destination in all_:
        destination.tally = [0, 0, 0]
    return len(put_out)


def _is_far(one: Destination, compared: Sequence[Destination], settings: OutlierSettings) -> bool:
    others = [d for d in compared if d is not one]
    if not others:
        return False
    count, failures, together_us = one.tally
    usual_percent = _median(100 * d.tally[1] / d.tally[0] for d in others)
    if 100 * failures / count >= usual_percent + settings.percent_above:
        return True
    usual_us = _median(d.tally[2] / d.tally[0] for d in others)
    own_us = together_us / count
    return own_us >= settings.times_slower * usual_us and own_us >= usual_us + settings.slower_us


def _median(values: Iterable[float]) -> float:
    """The upper one of two; the library's would cost every node a megabyte."""
    ordered = sorted(values)
    return ordered[len(ordered) // 2]

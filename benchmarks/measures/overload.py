"""Five times what a handler can do: how much of it gets done, and what becomes of the rest."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import ExitStack

from benchmarks.contenders import our_pair
from benchmarks.figures import Figure, measures, median_of
from benchmarks.pace import MIB, pace
from benchmarks.workers import Memory, watched

TIMES = 5.0
DEADLINE_S = 1.0
GRACE_MS = 100.0  # a deadline is noticed by a sweep, and the busy loop runs that late
SHARE_DONE = 0.8
MAX_GROWTH_MIB = 16.0


@measures("overload")
def overload() -> Iterator[Figure]:
    """One caller on a schedule, a handler of 20 places that takes 10 ms."""
    seconds = pace().overload_s
    with ExitStack() as stack:
        pair = our_pair(stack)
        with watched(pair.server, pair.client) as memory:
            done = pair.ask(
                "overload",
                times=TIMES,
                seconds=seconds,
                deadline_s=DEADLINE_S,
                answer_s=seconds + 60,
            )
    how = (
        f"{done['offered']:,.0f} requests a second for {seconds:g} s to a handler that can do "
        f"{done['capacity']:,.0f}; {done['answered']:,} answered, refused or late: "
        f"{done['errors']}"
    )
    share = done["rate"] / done["capacity"]
    yield median_of(
        "overload, done of what can be done", [share], "", how, target=SHARE_DONE,
        more_is_better=True,
    )  # fmt: skip
    yield median_of(
        "overload, callers without an end",
        [float(done["unanswered"])],
        "",
        "calls that had neither an answer nor a typed error when all deadlines were over",
        target=0.0,
    )
    yield median_of(
        "overload, latest end of a call",
        [max(done["max_us"] / 1e3, done["worst_error_ms"])],
        "ms",
        f"from when it was due; its deadline is {1e3 * DEADLINE_S:g} ms",
        target=1e3 * DEADLINE_S + GRACE_MS,
    )
    yield median_of(
        "overload, memory",
        [_late_growth_bytes(memory) / MIB],
        "MiB",
        "growth of the RSS of either process over the last three quarters of the time",
        target=MAX_GROWTH_MIB,
    )


def _late_growth_bytes(memory: Memory) -> float:
    """Return how much either process grew from the second quarter of the time to the last."""
    each = list(zip(*memory.samples, strict=True))
    quarter = len(memory.samples) // 4
    grown = (
        statistics.fmean(rss[-quarter:]) - statistics.fmean(rss[quarter : 2 * quarter])
        for rss in each
    )
    return max(grown)

"""Publications a second, one publisher to one and to ten subscribers, none of them lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial

from benchmarks.contenders import (
    COALESCED,
    NATS,
    OURS,
    RAW,
    Crowd,
    alternate,
    blocking_crowd,
    coalesced_crowd,
    nats_crowd,
    our_crowd,
    present,
)
from benchmarks.figures import Against, Figure, measures, median_of
from benchmarks.pace import pace

SUBSCRIBERS = (1, 10)
SHARE_OF_COALESCED = {64: 0.45, 1024: 0.60}
TIMES_NATS = {64: 2.5, 1024: 1.0}
# How many times fewer messages a run has, so that all take about as long.
FEWER = {OURS: 1, COALESCED: 1, RAW: 2, NATS: 4}
FEWER_OF = {64: 1, 1024: 3}

MakeCrowd = Callable[[ExitStack, int], Crowd]
_CROWDS: dict[str, MakeCrowd] = {
    OURS: our_crowd,
    COALESCED: coalesced_crowd,
    RAW: blocking_crowd,
    NATS: nats_crowd,
}


@measures("topics")
def topics() -> Iterator[Figure]:
    """64 bytes and 1 KiB, to one subscriber and to ten."""
    for subscribers in SUBSCRIBERS:
        with ExitStack() as stack:
            made = {name: partial(_made, make, subscribers) for name, make in _CROWDS.items()}
            crowds = present(stack, made)
            if OURS in crowds:
                for bytes_ in SHARE_OF_COALESCED:
                    yield _figure(crowds, bytes_, subscribers)


def _made(make: MakeCrowd, subscribers: int, stack: ExitStack) -> Crowd:
    return make(stack, subscribers)


def _figure(crowds: dict[str, Crowd], bytes_: int, subscribers: int) -> Figure:
    runs = alternate({name: partial(_rate, name, crowd, bytes_) for name, crowd in crowds.items()})
    size = f"{bytes_} B" if bytes_ < 1024 else f"{bytes_ // 1024} KiB"
    who = "1 subscriber" if subscribers == 1 else f"{subscribers} subscribers"
    return median_of(
        f"pub/sub {size}, {who}",
        runs[OURS],
        "/s",
        "deliveries in all subscribers together, one publisher, every process its own, none lost; "
        "the subscribers' policy is to block, and they read in batches",
        against=(
            Against(COALESCED, runs[COALESCED], SHARE_OF_COALESCED[bytes_]),
            Against(RAW, runs[RAW]),
            Against(NATS, runs.get(NATS, []), TIMES_NATS[bytes_]),
        ),
        more_is_better=True,
    )


def _rate(name: str, crowd: Crowd, bytes_: int) -> float:
    count = pace().messages // (FEWER[name] * FEWER_OF[bytes_] * len(crowd.subscribers))
    rate, lost = crowd.deliver(count, bytes_)
    assert lost == 0, f"{name} lost {lost} of {count} publications of {bytes_} bytes"
    return rate

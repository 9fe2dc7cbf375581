"""Notices a second between two peers: one way, nothing comes back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

from benchmarks.contenders import ONE_WAY, OURS, Pair, alternate, our_pair, reader_pair
from benchmarks.figures import Against, Figure, measures, median_of
from benchmarks.pace import pace

BYTES = 64
SHARE_OF_ONE_WAY = 0.4
_TAKE = {OURS: "take_notices", ONE_WAY: "take"}


@measures("notices")
def notices() -> Iterator[Figure]:
    """64 bytes one way, as fast as the queue takes them."""
    with ExitStack() as stack:
        pairs = {OURS: our_pair(stack), ONE_WAY: reader_pair(stack, 64)}
        runs = alternate({name: partial(_rate, name, pair) for name, pair in pairs.items()})
        yield median_of(
            "notify 64 B",
            runs[OURS],
            "/s",
            "Peer.notify, from the first sent until the last is handled in another process; the "
            "sender waits a millisecond where its queue is full; none lost",
            against=(Against(ONE_WAY, runs[ONE_WAY], SHARE_OF_ONE_WAY),),
            more_is_better=True,
        )


def _rate(name: str, pair: Pair) -> float:
    count = pace().messages
    pair.server.order(_TAKE[name], count=count)
    began = pair.ask("notify", bytes_=BYTES, count=count)
    end = pair.server.answer()
    assert end["lost"] == 0, f"{name} lost {end['lost']} of {count} notices"
    return count / float(end["ended_s"] - began["began_s"])

"""Small calls and heartbeats while a gibibyte streams past them on the bulk lane."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

from benchmarks.contenders import OURS, Pair, alternate, our_stream_pair, present
from benchmarks.figures import Against, Figure, measures, median_of
from benchmarks.pace import MIB, pace

RATE = 1_000
TIMES_QUIET = 3.0
QUIET, BUSY = "the quiet windows", "busy"
WARM_UP_BYTES = 32 * MIB


@measures("bulk")
def bulk() -> Iterator[Figure]:
    """Quiet and busy windows in turn; a thousand calls a second in both."""
    with ExitStack() as stack:
        pair = present(stack, {OURS: our_stream_pair}).get(OURS)
        if pair is None:
            return
        before = pair.client.ask("changes"), pair.server.ask("changes")
        length_s = _length_s(pair)
        windows = alternate(
            {
                QUIET: partial(_window, pair, length_s, 0),
                BUSY: partial(_window, pair, length_s, pace().stream_bytes),
            }
        )
        after = pair.client.ask("changes"), pair.server.ask("changes")
    yield _figure(windows, "calls", "small calls beside a stream, P99", target=TIMES_QUIET)
    yield _figure(windows, "pings", "control lane beside a stream, P99", target=None)
    yield median_of(
        "peers suspected beside a stream",
        [float(sum(_suspected(a) - _suspected(b) for a, b in zip(after, before, strict=True)))],
        "",
        "changes to suspect or dead on both sides over all windows",
        target=0.0,
    )


def _length_s(pair: Pair) -> float:
    """Return about how long the stream takes, so that calls fill its time and not more."""
    pair.ask("stream", total_bytes=WARM_UP_BYTES, chunk_bytes=MIB)
    done = pair.ask("stream", total_bytes=pace().stream_bytes, chunk_bytes=MIB)
    return max(0.5, pace().stream_bytes / 1e6 / float(done["mb_s"]))


def _window(pair: Pair, length_s: float, stream_bytes: int) -> dict[str, Any]:
    window = pair.ask("window", rate=RATE, seconds=length_s, stream_bytes=stream_bytes)
    for what in ("calls", "pings"):
        assert not window[what]["errors"], window[what]
        assert window[what]["unanswered"] == 0, window[what]
    return window


def _suspected(changes: dict[str, Any]) -> int:
    return int(changes.get("suspect", 0)) + int(changes.get("dead", 0))


def _figure(
    windows: dict[str, list[dict[str, Any]]], what: str, name: str, target: float | None
) -> Figure:
    p99_us = {who: [float(w[what]["p99_us"]) for w in found] for who, found in windows.items()}
    return median_of(
        name,
        p99_us[BUSY],
        "us",
        f"{'1,000 calls' if what == 'calls' else '50 requests'} a second on a schedule, while "
        f"{pace().stream_bytes / MIB:g} MiB go from the caller to the same peer in chunks of 1 MiB",
        against=(Against(QUIET, p99_us[QUIET], target),),
    )

"""A gibibyte from one peer to another, and the memory that it takes on the way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

from benchmarks.contenders import (
    GRPC,
    OURS,
    RAW,
    NotThere,
    Pair,
    alternate,
    blocking_pair,
    grpc_pair,
    our_pair,
    present,
)
from benchmarks.figures import Against, Figure, measures, median_of
from benchmarks.pace import MIB, pace
from benchmarks.workers import watched

CHUNKS = {"64 KiB": 64 * 1024, "1 MiB": MIB}
SHARE_OF_RAW = 0.8
TIMES_GRPC = 1.0
MAX_GROWTH_MIB = 64.0
WARM_UP_BYTES = 32 * MIB


@measures("streams")
def streams() -> Iterator[Figure]:
    """Chunks of 64 KiB and of 1 MiB."""
    with ExitStack() as stack:
        pairs = present(stack, {OURS: our_stream_pair, RAW: _raw_pair, GRPC: grpc_pair})
        if OURS not in pairs:
            return
        for name, chunk_bytes in CHUNKS.items():
            for pair in pairs.values():
                pair.ask("stream", total_bytes=WARM_UP_BYTES, chunk_bytes=chunk_bytes)
            runs = alternate({who: partial(_run, p, chunk_bytes) for who, p in pairs.items()})
            speed = {who: [mb_s for mb_s, _ in of] for who, of in runs.items()}
            yield median_of(
                f"stream in chunks of {name}",
                speed[OURS],
                "MB/s",
                f"{pace().stream_bytes / MIB:g} MiB; from the first chunk until the other side has "
                "said that it has all; raw CURVE is a blocking DEALER and ROUTER without copies, "
                "gRPC a server's stream",
                against=(
                    Against(RAW, speed[RAW], SHARE_OF_RAW),
                    Against(GRPC, speed.get(GRPC, []), TIMES_GRPC),
                ),
                more_is_better=True,
            )
            grown = {who: [mib for _, mib in of] for who, of in runs.items()}
            yield median_of(
                f"stream in chunks of {name}, memory",
                grown[OURS],
                "MiB",
                "growth of the RSS of whichever of both processes grew more, while it streamed",
                target=MAX_GROWTH_MIB,
            )


def our_stream_pair(stack: ExitStack) -> Pair:
    """Raises NotThere while there are no streams."""
    pair = our_pair(stack)
    if "serve_stream" not in pair.client.ready["able"]:
        raise NotThere("there are no streams yet")
    return pair


def _raw_pair(stack: ExitStack) -> Pair:
    return blocking_pair(stack, "sink", "source")


def _run(pair: Pair, chunk_bytes: int) -> tuple[float, float]:
    with watched(pair.server, pair.client) as memory:
        done = pair.ask("stream", total_bytes=pace().stream_bytes, chunk_bytes=chunk_bytes)
    return float(done["mb_s"]), memory.growth_bytes / MIB

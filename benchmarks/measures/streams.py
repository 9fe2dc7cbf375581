"""A gibibyte from one peer to another, and the memory that it takes on the way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

from benchmarks.contenders import (
    GRPC,
    OURS,
    RAW,
    Pair,
    alternate,
    blocking_pair,
    grpc_pair,
    our_stream_pair,
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
        idle = {who: (p.server.rss_bytes, p.client.rss_bytes) for who, p in pairs.items()}
        for name, chunk_bytes in CHUNKS.items():
            for pair in pairs.values():
                pair.ask("stream", total_bytes=WARM_UP_BYTES, chunk_bytes=chunk_bytes)
            runs = alternate(
                {who: partial(_run, pair, chunk_bytes, idle[who]) for who, pair in pairs.items()}
            )
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
                "growth of the RSS of whichever of both processes grew more, from before the first "
                "stream to the most while it streamed",
                target=MAX_GROWTH_MIB,
                against=(Against(GRPC, grown.get(GRPC, [])),),
            )


def _raw_pair(stack: ExitStack) -> Pair:
    return blocking_pair(stack, "sink", "source")


def _run(pair: Pair, chunk_bytes: int, idle: tuple[int, ...]) -> tuple[float, float]:
    """Return the speed, and how much the processes grew above what they held when idle."""
    with watched(pair.server, pair.client) as memory:
        done = pair.ask("stream", total_bytes=pace().stream_bytes, chunk_bytes=chunk_bytes)
    return float(done["mb_s"]), memory.above_bytes(idle) / MIB

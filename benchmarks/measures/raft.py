"""Commits and linearizable reads of three voters: how many, how long, at what price, in turn with
what others do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

from benchmarks.clusters import (
    ETCD,
    PYSYNCOBJ,
    PYSYNCOBJ_BATCHED,
    SQLITE,
    cluster_makers,
    our_voters,
    plain_rate,
)
from benchmarks.contenders import OURS, alternate, present
from benchmarks.figures import Against, Figure, measures, median_of
from benchmarks.pace import pace

BYTES = 256
ENTRY_BYTES = 27 + BYTES  # ledger time, kind, key
OTHERS = 2  # voters that get a copy
HEADERS_BYTES = 64  # a commit's part of headers, envelopes, heartbeats, with many in flight
P50_US = {1: 1500.0}
RATES = {64: 20_000.0, 1_000: 30_000.0}
P99_US = {1_000: 100_000.0}
TIMES_ETCD = {64: 3.0}
READS = 30_000.0

Words = dict[str, Any]
Runs = dict[str, list[Words]]


@measures("raft commits")
def commits() -> Iterator[Figure]:
    """256 bytes to commit, with 1, 64 and 1,000 proposals on the way."""
    with ExitStack() as stack:
        found = present(stack, cluster_makers())
        ours = stack.enter_context(our_voters())
        commit: dict[str, Callable[..., Words]] = {OURS: ours.commit}
        commit |= {name: rival.commit for name, rival in found.items()}
        for in_flight in (1, 64, 1_000):
            yield from _commits(commit, in_flight)


def _commits(commit: dict[str, Callable[..., Words]], in_flight: int) -> Iterator[Figure]:
    run_s = pace().run_s
    contenders: dict[str, Callable[[], Words]] = {
        name: partial(one, BYTES, in_flight, run_s) for name, one in commit.items()
    }
    contenders[SQLITE] = lambda: {"rate": plain_rate(in_flight, BYTES, run_s)}
    runs = alternate(contenders)
    rivals = (ETCD, PYSYNCOBJ, PYSYNCOBJ_BATCHED)

    def against(what: str, *names: str, **targets: float) -> list[Against]:
        return [Against(n, [r[what] for r in runs.get(n, [])], targets.get(n)) for n in names]

    def ours(what: str) -> list[float]:
        return [run[what] for run in runs[OURS]]

    times = {ETCD: TIMES_ETCD[in_flight]} if in_flight in TIMES_ETCD else {}
    yield median_of(
        f"commits, {in_flight} in flight",
        ours("rate"),
        "/s",
        "a put of 256 bytes, proposed in the leader's process, on two disks of three, applied; "
        "processes joined by CURVE, logs in SQLite with fsync; SQLite alone writes as many rows in "
        "a transaction; etcd: a client over gRPC, no TLS; PySyncObj never syncs",
        target=RATES.get(in_flight),
        against=against("rate", SQLITE, *rivals, **times),
        more_is_better=True,
    )
    for what, limits in (("p50", P50_US), ("p99", P99_US)):
        yield median_of(
            f"commits, {in_flight} in flight, {what.upper()}",
            ours(f"{what}_us"),
            "us",
            "the same runs",
            target=limits.get(in_flight),
            against=against(f"{what}_us", *rivals),
        )
    yield from _prices(runs, in_flight)


def _prices(runs: Runs, in_flight: int) -> Iterator[Figure]:
    """What a commit costs, as a proof that groups are what makes the figures."""
    rivals = (ETCD, PYSYNCOBJ, PYSYNCOBJ_BATCHED)
    yield median_of(
        f"commits, {in_flight} in flight, CPU each",
        [run["cpu_us"] for run in runs[OURS]],
        "us",
        "user and system time of the three voters' processes; the proposing coroutines are in "
        "ours, etcd's client is not in etcd's",
        against=[Against(n, [run["cpu_us"] for run in runs.get(n, [])]) for n in rivals],
    )
    yield median_of(
        f"commits, {in_flight} in flight, to one fsync",
        [run["per_fsync"] for run in runs[OURS]],
        "",
        "commits to a transaction of the leader's log",
        more_is_better=True,
    )
    yield median_of(
        f"commits, {in_flight} in flight, sent each",
        [run["wire_bytes"] for run in runs[OURS]],
        "B",
        "bytes of frames that the leader gave to the transport, before encryption, to both "
        f"followers; the entry has {ENTRY_BYTES}; the limit is 1.1 times two copies and "
        f"{HEADERS_BYTES} for headers",
        target=1.1 * ENTRY_BYTES * OTHERS + HEADERS_BYTES if in_flight > 1 else None,
    )


@measures("raft reads")
def reads() -> Iterator[Figure]:
    """Linearizable reads at the leader, which a quorum confirms in rounds."""
    with our_voters() as ours:
        leader = ours.leader
        leader.ask("commit", bytes_=BYTES, in_flight=64, seconds=0.2)
        for in_flight, target in ((1, None), (64, READS), (1_000, READS)):
            runs = alternate(
                {OURS: partial(leader.ask, "read", in_flight=in_flight, seconds=pace().run_s)}
            )[OURS]
            yield median_of(
                f"linearizable reads, {in_flight} in flight",
                [run["rate"] for run in runs],
                "/s",
                "Runner.read_index, then a key of the leader's store; every read that waits shares "
                "the next round of heartbeats",
                target=target,
                more_is_better=True,
            )
            yield median_of(
                f"linearizable reads, {in_flight} in flight, P99",
                [run["p99_us"] for run in runs],
                "us",
                "the same runs",
            )

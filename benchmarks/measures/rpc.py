"""Requests between two peers: how many a second, how long each takes, in turn with floors and
rivals."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

from benchmarks.contenders import (
    BARE,
    CAPPED,
    GRPC,
    NATS,
    OURS,
    MakePair,
    Pair,
    alternate,
    grpc_pair,
    homes_of,
    nats_pair,
    our_pair,
    present,
    reader_pair,
)
from benchmarks.figures import Against, Figure, measures, median_of
from benchmarks.pace import pace
from benchmarks.workers import Worker

BYTES = 64
AT_MOST = 64
OPEN_RATE = 10_000
OPEN_RUNS = 2.0  # an open loop runs so many times as long: its P99 needs the samples
SHARE_OF_CAPPED = {256: 0.40, 16: 0.50}
TIMES_GRPC = 12.0
TIMES_NATS = 2.5
P99_US = 10_000.0

_PAIRS: dict[str, MakePair] = {
    OURS: our_pair,
    CAPPED: partial(reader_pair, at_most=AT_MOST),
    BARE: partial(reader_pair, at_most=1),
    GRPC: grpc_pair,
    NATS: nats_pair,
}
_Runs = dict[str, list[dict[str, Any]]]


@measures("rpc")
def rpc() -> Iterator[Figure]:
    """64 bytes there and back: closed loops of 256, 16 and 1, and 10,000 a second offered."""
    with ExitStack() as stack:
        pairs = present(stack, _PAIRS)
        yield from _crowded(pairs, 256)
        yield from _crowded(pairs, 16)
        yield from _alone(pairs)
        yield from _on_schedule(pairs)


@measures("calls")
def calls() -> Iterator[Figure]:
    """The same through two whole nodes: `net.call` of an agent's capability."""
    with ExitStack() as stack:
        homes = stack.enter_context(homes_of(2))
        module = "benchmarks.ours.hosts"
        server = stack.enter_context(Worker(module, str(homes[0]), "served", "1"))
        door = server.ready["door"]
        client = stack.enter_context(Worker(module, str(homes[1]), "asking", "1", door))
        client.ask("know", capabilities=["served.n0"])
        for in_flight in (1, 16, 256):
            runs = alternate({OURS: partial(_call, client, in_flight)})[OURS]
            yield median_of(
                f"net.call, {in_flight} in flight",
                [run["rate"] for run in runs],
                "/s",
                "a capability of an agent in another node: directory, choice of the provider, "
                "validated arguments, handler, encoded result",
                more_is_better=True,
            )


def _call(client: Worker, in_flight: int) -> dict[str, Any]:
    return client.ask("echo", capability="served.n0", in_flight=in_flight, seconds=pace().run_s)


def _echo(pairs: dict[str, Pair], in_flight: int) -> _Runs:
    def run(pair: Pair) -> dict[str, Any]:
        return pair.ask("echo", bytes_=BYTES, in_flight=in_flight, seconds=pace().run_s)

    return alternate({name: partial(run, pair) for name, pair in pairs.items()})


def _of(runs: _Runs, name: str, what: str) -> list[float]:
    return [run[what] for run in runs.get(name, [])]


def _crowded(pairs: dict[str, Pair], in_flight: int) -> Iterator[Figure]:
    runs = _echo({name: pair for name, pair in pairs.items() if name != BARE}, in_flight)
    full = in_flight == 256
    yield median_of(
        f"RPC 64 B, {in_flight} in flight",
        _of(runs, OURS, "rate"),
        "/s",
        "Peer.request to an async handler in another process: authenticated, permission checked, "
        "with a deadline; closed loop",
        against=(
            Against(CAPPED, _of(runs, CAPPED, "rate"), SHARE_OF_CAPPED[in_flight]),
            Against(GRPC, _of(runs, GRPC, "rate"), TIMES_GRPC if full else None),
            Against(NATS, _of(runs, NATS, "rate"), TIMES_NATS if full else None),
        ),
        more_is_better=True,
    )
    yield median_of(
        f"RPC 64 B, {in_flight} in flight, P99",
        _of(runs, OURS, "p99_us"),
        "us",
        "the same runs",
        target=P99_US if full else None,
        against=[Against(name, _of(runs, name, "p99_us")) for name in (CAPPED, GRPC, NATS)],
    )


def _alone(pairs: dict[str, Pair]) -> Iterator[Figure]:
    runs = _echo({name: pair for name, pair in pairs.items() if name != CAPPED}, 1)
    yield median_of(
        "RPC 64 B, 1 in flight, P50",
        _of(runs, OURS, "p50_us"),
        "us",
        "one request at a time; the FD reader sends each envelope at once and alone",
        against=(
            Against(BARE, _of(runs, BARE, "p50_us"), 1.5),
            Against(GRPC, _of(runs, GRPC, "p50_us")),
            Against(NATS, _of(runs, NATS, "p50_us")),
        ),
    )


def _on_schedule(pairs: dict[str, Pair]) -> Iterator[Figure]:
    def run(pair: Pair) -> dict[str, Any]:
        seconds = OPEN_RUNS * pace().run_s
        return pair.ask("offer", bytes_=BYTES, rate=OPEN_RATE, seconds=seconds)

    able = {name: pairs[name] for name in (OURS, CAPPED)}
    runs = alternate({name: partial(run, pair) for name, pair in able.items()})
    for run_ in runs[OURS]:
        assert run_["unanswered"] == 0, run_
        assert not run_["errors"], run_
    how = (
        "10,000 requests a second on a constant schedule, whatever becomes of them; the time of "
        "each begins when it is due"
    )
    for name, key, target_us in (("P50", "p50_us", 1_000.0), ("P99", "p99_us", 5_000.0)):
        yield median_of(
            f"RPC 64 B, 10,000/s offered, {name}",
            _of(runs, OURS, key),
            "us",
            how,
            target=target_us,
            against=(Against(CAPPED, _of(runs, CAPPED, key)),),
        )

"""How soon a new process has its first reply, what it holds when idle, and what a link holds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

from benchmarks.contenders import (
    CAPPED,
    GRPC,
    MEMBERS,
    OURS,
    RAW,
    MakePair,
    Pair,
    alternate,
    blocking_pair,
    grpc_pair,
    homes_of,
    present,
    reader_pair,
)
from benchmarks.figures import Against, Figure, measures, median_of
from benchmarks.pace import pace
from benchmarks.workers import Worker

SETTLE_S = 1.0
FIRST_REPLY_S = 0.45
IDLE_MB = 45.0
MESH = 16
RAW_LINKS = 200
TIMES_RAW = 1.3
MB = 1e6


@measures("starting")
def starting() -> Iterator[Figure]:
    """A peer's process from its start to its first reply; then its memory."""
    with ExitStack() as stack:
        homes = stack.enter_context(homes_of(2))
        server = stack.enter_context(Worker(MEMBERS, str(homes[0])))
        ours = (str(homes[1]), server.ready["door"], server.ready["peer"])
        made: dict[str, MakePair] = {CAPPED: partial(reader_pair, at_most=64), GRPC: grpc_pair}
        others = present(stack, made)
        runs = alternate(
            {
                OURS: partial(_peer_once, *ours),
                **{name: partial(_client_once, pair) for name, pair in others.items()},
            },
            rounds=pace().starts,
        )
    yield median_of(
        "start to first reply",
        [reply_s for reply_s, _ in runs[OURS]],
        "s",
        "from the start of a peer's process, imports and introduction with it, to the reply of "
        "another peer that is up",
        target=FIRST_REPLY_S,
        against=[Against(name, [s for s, _ in runs[name]]) for name in others],
    )
    yield median_of(
        "idle peer, memory",
        [mb for _, mb in runs[OURS]],
        "MB",
        "RSS of such a process, one link open, a second after its first reply",
        target=IDLE_MB,
        against=[Against(name, [mb for _, mb in runs[name]]) for name in others],
    )


def _peer_once(home: str, door: str, first: str) -> tuple[float, float]:
    spawned_s = time.monotonic()
    with Worker(MEMBERS, home, door, first) as peer:
        time.sleep(SETTLE_S)
        return float(peer.ready["replied_s"]) - spawned_s, peer.rss_bytes / MB


def _client_once(pair: Pair) -> tuple[float, float]:
    """Start one more client as the pair's own was started; its first reply ends the time."""
    spawned_s = time.monotonic()
    with Worker(pair.client.module, *pair.client.words) as client:
        client.ask("first")
        reply_s = time.monotonic() - spawned_s
        time.sleep(SETTLE_S)
        return reply_s, client.rss_bytes / MB


@measures("links")
def links() -> Iterator[Figure]:
    """The memory of a link between two peers that say no more than heartbeats."""
    runs = alternate({OURS: _our_link_kb, RAW: _raw_link_kb}, rounds=pace().repeats)
    yield median_of(
        "idle link, memory of both ends",
        runs[OURS],
        "KB",
        f"RSS of one process with {MESH} peers of one network that have all met, less that of one "
        f"with {MESH} peers that know nobody, for each of the {MESH * (MESH - 1) // 2} pairs; raw "
        f"CURVE: {RAW_LINKS} DEALERs connected to one ROUTER",
        against=(Against(RAW, runs[RAW], TIMES_RAW),),
    )


def _our_link_kb() -> float:
    return (_mesh_bytes("linked") - _mesh_bytes("alone")) / (MESH * (MESH - 1) / 2) / 1e3


def _mesh_bytes(how: str) -> int:
    with ExitStack() as stack:
        homes = stack.enter_context(homes_of(MESH))
        words = (how, *(str(home) for home in homes))
        peers = stack.enter_context(Worker("benchmarks.ours.meshes", *words))
        time.sleep(2 * SETTLE_S)
        return peers.rss_bytes


def _raw_link_kb() -> float:
    with ExitStack() as stack:
        pair = blocking_pair(stack, "listener", "links")
        before = pair.server.rss_bytes + pair.client.rss_bytes
        pair.ask("dial", count=RAW_LINKS)
        time.sleep(SETTLE_S)
        return (pair.server.rss_bytes + pair.client.rss_bytes - before) / RAW_LINKS / 1e3

"""A leader that falls silent with its connections open, as when a cable is pulled."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator

from benchmarks.figures import Figure, measures, median_of
from benchmarks.nodes import network
from benchmarks.pace import pace


@measures("silence")
def silence() -> Iterator[Figure]:
    """SIGSTOP the leader of three: no connection breaks, only time tells."""
    rounds = [asyncio.run(_round()) for _ in range(pace().repeats)]
    yield median_of(
        "new leader, the old one silent",
        [new_leader_s for new_leader_s, _ in rounds],
        "s",
        "from SIGSTOP of the leader until all others know a new one",
        target=2.0,
    )
    yield median_of(
        "silent peer declared dead",
        [dead_s for _, dead_s in rounds],
        "s",
        "from SIGSTOP of the leader until all others call it dead",
        target=3.0,
    )


async def _round() -> tuple[float, float]:
    async with network(3) as members:
        members.up()
        victim = members.leader()
        others = [node for node in members.nodes if node is not victim]
        assert victim.process is not None
        stopped_s = time.time()
        victim.process.send_signal(signal.SIGSTOP)
        try:
            known_s = max(node.knows_leader(stopped_s, but_not=victim) for node in others)
            dead_s = max(node.gives_up(victim, stopped_s) for node in others)
        finally:
            victim.kill()
        return known_s - stopped_s, dead_s - stopped_s

"""An agent that three nodes host and one serves: how soon another one does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from agents import AgentsError
from benchmarks.figures import Figure, measures, median_of
from benchmarks.nodes import TIMEOUT_S, Network, Node, attached_to, network
from benchmarks.pace import pace
from p2p import P2PError

WORDS = ("--no-mdns", "--standby")
TRY_S = 0.5
PAUSE_S = 0.02


@measures("standby")
def standby() -> Iterator[Figure]:
    """SIGINT, or SIGKILL, to whoever serves; it comes back and stands by."""
    left, killed = asyncio.run(_runs())
    how = "until a call at a node that stands by is answered by another one"
    yield median_of("takeover from one that leaves", left, "s", f"from SIGINT {how}")
    yield median_of("takeover from one that dies", killed, "s", f"from SIGKILL {how}")


async def _runs() -> tuple[list[float], list[float]]:
    left, killed = [], []
    async with network(3) as members:
        first, *others = members.nodes
        first.up(*WORDS)
        for node in others:
            node.up(*WORDS, "--seed", first.door)
        for node in members.nodes:
            node.knows_leader()
        for _ in range(pace().takeovers):
            left.append(await _take_over(members, dies=False))
            killed.append(await _take_over(members, dies=True))
    return left, killed


async def _take_over(members: Network, *, dies: bool) -> float:
    pid = await _serving(members.nodes[0], but_not=0)
    active = next(node for node in members.nodes if node.pid == pid)
    caller = next(node for node in members.nodes if node is not active)
    began_s = time.monotonic()
    ending = asyncio.create_task(asyncio.to_thread(active.kill if dies else active.stop))
    await _serving(caller, but_not=pid)
    lasted_s = time.monotonic() - began_s
    await ending
    active.up(*WORDS, "--seed", caller.door)
    active.knows_leader()
    return lasted_s


async def _serving(caller: Node, but_not: int) -> int:
    """Return the process that answers, as soon as it is another one."""
    async with attached_to(caller) as net, asyncio.timeout(TIMEOUT_S):
        while True:
            try:
                pid: int = await net.call("bench.pid", deadline=TRY_S)
            except (AgentsError, P2PError):
                pid = but_not
            if pid != but_not:
                return pid
            await asyncio.sleep(PAUSE_S)

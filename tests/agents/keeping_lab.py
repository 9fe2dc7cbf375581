"""What tests of the store share: a network that is up, and who holds which part in it.

The thread of a log's disk works in real time, of which virtual time knows nothing: seconds of it
would pass during one write, and a lease with them. So what that thread does is done on the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import node_lab
from node_lab import NodeLab, until

import consensus.runner
from agents.node import Node
from consensus import Storage
from consensus.writing import Writing


class _OnTheLoop:
    """Takes the jobs of the disk's thread, and its place."""

    def put(self, job: Callable[[], None] | None) -> None:
        if job is not None:
            asyncio.get_running_loop().call_soon(job)

    def start(self) -> None:
        return None

    def is_alive(self) -> bool:
        return False


class WritingOnTheLoop(Writing):
    def __init__(self, storage: Storage) -> None:
        super().__init__(storage)
        if "_jobs" in vars(self):  # an executor's work is done on the virtual loop as it is
            vars(self).update(_jobs=_OnTheLoop(), _thread=_OnTheLoop())


def in_lab(
    directory: Path,
    scenario: Callable[[NodeLab], Coroutine[Any, Any, None]],
    *,
    voters: int = 3,
    seed: int = 5,
) -> None:
    """`node_lab.in_lab`, without threads."""
    before = consensus.runner.Writing
    consensus.runner.Writing = WritingOnTheLoop  # type: ignore[misc]
    try:
        node_lab.in_lab(directory, scenario, voters=voters, seed=seed)
    finally:
        consensus.runner.Writing = before  # type: ignore[misc]


async def network_of(lab: NodeLab, names: str, voters: int = 3) -> list[Node]:
    """Nodes that see each other and one leader; the first ones are the voters."""
    nodes = [await lab.up(name) for name in names[:voters]]
    await until(lambda: lab.leader() is not None)
    nodes += [await lab.up(name) for name in names[voters:]]
    await until(lambda: all(len(n.peer.presence.present()) == len(nodes) - 1 for n in nodes))
    await until(lambda: (leader := lab.leader()) is not None and leader.quorum.leads)
    return nodes


def leader_of(lab: NodeLab) -> Node:
    leader = lab.leader()
    assert leader is not None
    return leader


def cut_off(lab: NodeLab, node: Node) -> None:
    """Nothing passes between this node and the others."""
    hosts = {name: world.host for name, world in lab.worlds.items()}
    own = next(hosts[name] for name, n in lab.nodes.items() if n is node)
    lab.network.partition([own], [host for host in hosts.values() if host != own])

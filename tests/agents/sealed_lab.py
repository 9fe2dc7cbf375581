"""Three nodes for whoever tests what is sealed, and a clock that can be put forward."""

from __future__ import annotations

from node_lab import NodeLab, until

from agents import Agent
from agents.node import Node

SECRET = "the launch code is 0000"


async def three(lab: NodeLab, agents: tuple[Agent, ...] = ()) -> tuple[Node, Node, Node]:
    ada, bob = await lab.up("ada"), await lab.up("bob", agents)
    eve = await lab.up("eve", agents)
    nodes = (ada, bob, eve)
    await until(lambda: all(len(node.peer.presence.present()) == 2 for node in nodes))
    return nodes


class Later:
    """A clock that can be put forward."""

    def __init__(self, node: Node) -> None:
        self._clock = node.world.clock
        self.ahead_ms = 0

    def wall_ms(self) -> int:
        return self._clock.wall_ms() + self.ahead_ms

    def now_ms(self) -> int:
        return self._clock.now_ms() + self.ahead_ms

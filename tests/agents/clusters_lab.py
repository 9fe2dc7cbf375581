"""What tests of clusters share: agents that say what they see, and a network of them."""

from __future__ import annotations

from typing import Any

from node_lab import NodeLab, until

from agents import Agent, Cluster, ClusterSeat, Context
from agents.node import Node

LOOK = "vision.detect"


class Eyes:
    """What the members of a cluster tell."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.word: dict[str, Any] = {}

    def agent(self, name: str, namespace: str = "") -> Agent:
        agent = Agent("eye", namespace=namespace)

        @agent.on_cluster
        async def seated(seat: ClusterSeat) -> None:
            self.events.append(f"{name} in {seat.name}")
            try:
                while True:
                    token = await seat.lead()
                    self.events.append(f"{name} leads {token}")
                    await seat.lost()
            finally:
                self.events.append(f"{name} out")

        @agent.health(every=0.5)
        async def check() -> Any:
            return self.word.get(name)

        @agent.serve(LOOK)
        async def detect(context: Context) -> list[Any]:
            seat = context.cluster
            return [name, seat.is_leader if seat is not None else None]

        return agent


async def eyes(lab: NodeLab, names: str = "abcd", voters: int = 3) -> tuple[Eyes, dict[str, Node]]:
    """A network whose nodes all have an eye, and `u`, which has none."""
    made = Eyes()
    nodes = {name: await lab.up(name, [made.agent(name)]) for name in names[:voters]}
    await until(lambda: lab.leader() is not None)
    nodes |= {name: await lab.up(name, [made.agent(name)]) for name in names[voters:]}
    nodes["u"] = await lab.up("u")
    others = len(nodes) - 1
    await until(lambda: all(len(n.peer.presence.present()) == others for n in nodes.values()))
    await until(lambda: (leader := lab.leader()) is not None and leader.quorum.leads)
    await until(lambda: len(nodes["u"].directory.providers(LOOK)) == len(names))
    return made, nodes


def plain(cluster: Cluster | ClusterSeat) -> str:
    return "".join(sorted(member.name[0] for member in cluster.members))

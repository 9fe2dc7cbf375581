"""What tests of the store share: a network that is up, and who holds which part in it."""

from __future__ import annotations

from node_lab import NodeLab, in_lab, until

from agents.node import Node

__all__ = ["cut_off", "in_lab", "leader_of", "network_of"]


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

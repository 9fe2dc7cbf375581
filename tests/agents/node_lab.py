"""Whole nodes in virtual time: keystores and logs on real files, the rest in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from pathlib import Path
from random import Random
from typing import Any

from agents.agent import Agent
from agents.node import Node
from keys import DoorAddress, JoinedNetwork, Keystore, Role, accept_grant, make_join_request
from p2p import SwimSettings
from p2p.memory import MemoryFaults, MemoryNetwork, MemoryWorld, run_virtual

WALL_MS = 1_700_000_000_000
TRANSCRIPT = b"a conversation with a door"


class NodeLab:
    """One network; its first node made it, the others joined with tickets."""

    def __init__(self, directory: Path, voters: int = 3, seed: int = 5) -> None:
        self.network = MemoryNetwork(Random(seed), MemoryFaults())
        self._directory = directory
        self._voters = voters
        self._seed = seed
        self.membership: SwimSettings | None = None  # as it is by default
        self.nodes: dict[str, Node] = {}
        self.worlds: dict[str, MemoryWorld] = {}

    def _keystore(self, name: str, namespaces: Iterable[str], roles: Role) -> Keystore:
        home = self._directory / name
        if not self.nodes:
            return Keystore.create_network(home, "lab", name, self._voters, now_ms=WALL_MS)
        issuer = next(iter(self.nodes.values())).keystore.issuer
        assert issuer is not None
        ticket = issuer.invite(
            WALL_MS,
            roles=roles,
            addresses=(DoorAddress("127.0.0.1", 4747),),
            namespaces=namespaces,
        )
        identity = Keystore.pending_identity(home)
        request = make_join_request(ticket, identity, name, TRANSCRIPT, WALL_MS)
        grant = issuer.redeem(request, TRANSCRIPT, WALL_MS)
        joined: JoinedNetwork = accept_grant(ticket, identity, grant, WALL_MS)
        return Keystore.create_joined(home, identity, name, joined)

    async def up(
        self,
        name: str,
        agents: Iterable[Agent] = (),
        *,
        namespaces: Iterable[str] = ("*",),
        roles: Role = Role.SERVICE,
        files: Mapping[str, str] | None = None,
    ) -> Node:
        """Bring up a node, with these files in its directory beforehand."""
        self._seed += 1
        world = MemoryWorld(self.network, self._seed)
        keystore = self._keystore(name, namespaces, roles)
        node = Node(keystore, world, agents, local_door=False, membership=self.membership)
        self.nodes[name], self.worlds[name] = node, world
        for file, text in (files or {}).items():
            (node.home / file).write_text(text)
        await node.__aenter__()
        return node

    def leader(self) -> Node | None:
        """The node that the living agree leads, if they do."""
        alive = [n for name, n in self.nodes.items() if name in self.worlds]
        words = {n.quorum.leader() for n in alive}
        if len(words) != 1:
            return None
        return next((n for n in alive if n.peer.peer_id in words), None)

    def crash(self, node: Node) -> None:
        name = next(name for name, n in self.nodes.items() if n is node)
        self.worlds.pop(name).crash()

    async def down(self) -> None:
        for node in self.nodes.values():
            await node.__aexit__(None, None, None)


async def until(holds: Callable[[], Any], limit_s: float = 30.0) -> None:
    async with asyncio.timeout(limit_s):
        while not holds():
            await asyncio.sleep(0.01)


def in_lab(
    directory: Path,
    scenario: Callable[[NodeLab], Coroutine[Any, Any, None]],
    *,
    voters: int = 3,
    seed: int = 5,
) -> None:
    async def main() -> None:
        lab = NodeLab(directory, voters, seed)
        await scenario(lab)
        await lab.down()

    print(f"seed {seed}")
    run_virtual(main())

"""Peers in virtual time, for tests of whole peers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from random import Random
from typing import Any

from keys import (
    Chain,
    Entry,
    Identity,
    ListInForce,
    Revocations,
    Role,
    Trust,
    entry_of_key,
    network_id_of,
    next_list,
)
from keys.identity import decode_id
from keys.issuing import make_issuer, make_peer, make_root
from p2p import Papers, Peer, SwimSettings
from p2p.memory import MemoryFaults, MemoryNetwork, MemoryWorld, run_virtual

WALL_MS = 1_700_000_000_000


class Authority:
    """A network that issues papers."""

    def __init__(self, name: str = "lab", seed: int = 1, wall_ms: int = WALL_MS) -> None:
        self._rng = Random(seed)
        self._wall_ms = wall_ms
        self.name = name
        self._root = self._identity()
        self._issuer = self._identity()
        self._top = make_root(self._root, name, wall_ms)
        self.middle = make_issuer(
            self._root, self._top, self._issuer.public_key, f"{name}-issuer", wall_ms
        )

    def _identity(self) -> Identity:
        return Identity.from_secret(self._rng.randbytes(32))

    def papers(
        self,
        name: str,
        roles: Role = Role.SERVICE,
        incarnation: int = WALL_MS,
        namespaces: Iterable[str] = ("*",),
    ) -> Papers:
        own = self._identity()
        leaf = make_peer(
            self._issuer,
            self.middle,
            own.public_key,
            name,
            roles,
            self._wall_ms,
            namespaces=namespaces,
        )
        chain = Chain((leaf, self.middle, self._top))
        return Papers(own, chain, Trust(network_id_of(self._root.public_key)), name, incarnation)

    def renewed(self, papers: Chain, roles: Role, wall_ms: int) -> Chain:
        """Return a chain with a new certificate for the same key."""
        leaf = papers.leaf
        again = make_peer(self._issuer, self.middle, leaf.public_key, leaf.name, roles, wall_ms)
        return Chain((again, self.middle, self._top))

    def revoke(self, known: Revocations, *entries: Entry, by_root: bool = False) -> ListInForce:
        """Return the next list of the issuer, or of the root."""
        if by_root:
            return next_list(self._root, Chain((self._top,)), known, entries, self._wall_ms)
        chain = Chain((self.middle, self._top))
        return next_list(self._issuer, chain, known, entries, self._wall_ms)

    def entry_of(self, peer: Peer) -> Entry:
        """Take back this peer's key."""
        return entry_of_key(decode_id(peer.peer_id), self.middle, self._wall_ms, reason="stolen")


class Lab:
    """A network in memory and the peers on it."""

    def __init__(self, seed: int = 7) -> None:
        self.network = MemoryNetwork(Random(seed), MemoryFaults())
        self.authority = Authority(seed=seed)
        self._seed = seed
        self.worlds: dict[str, MemoryWorld] = {}
        self.peers: dict[str, Peer] = {}

    def world(self, **options: Any) -> MemoryWorld:
        self._seed += 1
        return MemoryWorld(self.network, self._seed, **options)

    def peer(
        self,
        name: str,
        *,
        papers: Papers | None = None,
        settings: SwimSettings | None = None,
        **options: Any,
    ) -> Peer:
        world = self.world(**options)
        peer = Peer(papers or self.authority.papers(name), world, settings)
        self.worlds[name], self.peers[name] = world, peer
        return peer

    async def up(self, *names: str) -> list[Peer]:
        """Bring up peers of these names and wait until each sees all others."""
        peers = [self.peers.get(name) or self.peer(name) for name in names]
        for peer in peers:
            await peer.__aenter__()
        await until(lambda: all(len(p.presence.present()) >= len(peers) - 1 for p in peers))
        return peers

    async def down(self) -> None:
        for peer in self.peers.values():
            await peer.__aexit__(None, None, None)


async def until(holds: Callable[[], Any], limit_s: float = 30.0) -> None:
    """Return once this holds, in virtual time; fail when it does not within the limit."""
    async with asyncio.timeout(limit_s):
        while not holds():
            await asyncio.sleep(0.01)


def in_lab(scenario: Callable[[Lab], Coroutine[Any, Any, None]], seed: int = 7) -> None:
    """Run a scenario on virtual time; its peers go down at the end."""

    async def main() -> None:
        lab = Lab(seed)
        await scenario(lab)
        await lab.down()

    print(f"seed {seed}")
    run_virtual(main())

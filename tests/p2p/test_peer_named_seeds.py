"""Peers without multicast that know nothing but a name, in virtual time."""

from __future__ import annotations

from peer_lab import Lab, until

from p2p import Peer
from p2p.discovery import Address
from p2p.memory import run_virtual

NAME = Address("mesh.example", 4747)


def door_of(lab: Lab, peer: Peer) -> tuple[str, int]:
    return (lab.worlds[peer.name].host, peer.ports["door"])


async def up(lab: Lab, *names: str) -> list[Peer]:
    peers = [lab.peer(name, multicast=False, seeds=(NAME,)) for name in names]
    for peer in peers:
        await peer.__aenter__()
    return peers


def meet(peers: list[Peer]) -> bool:
    return all(len(peer.presence.present()) == len(peers) - 1 for peer in peers)


def test_a_name_that_stands_for_all_of_us_is_enough() -> None:
    async def main() -> None:
        lab = Lab()
        peers = await up(lab, "ada", "bob", "cyd")
        lab.network.names[NAME.host] = [door_of(lab, peer) for peer in peers]
        await until(lambda: meet(peers))

    run_virtual(main())


def test_islands_that_formed_behind_one_name_become_one() -> None:
    async def main() -> None:
        lab = Lab()
        peers = await up(lab, "ada", "bob", "cyd", "dan")
        doors = [door_of(lab, peer) for peer in peers]
        here, there = ([lab.worlds[p.name].host for p in part] for part in (peers[:2], peers[2:]))
        lab.network.partition(here, there)
        lab.network.names[NAME.host] = doors
        await until(lambda: meet(peers[:2]) and meet(peers[2:]))
        assert not meet(peers)
        lab.network.heal()
        await until(lambda: meet(peers))

    run_virtual(main())

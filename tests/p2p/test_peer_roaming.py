"""Peers whose machine moves or sleeps, in virtual time."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from peer_lab import Lab, until

from keys import Permission
from p2p import MemberState, Peer
from p2p.clock import Clock
from p2p.memory import MemoryNetwork, MemoryWorld, run_virtual

MORE = "10.0.9.9"


class MovingWorld(MemoryWorld):
    """A machine with addresses that come and go, and a clock that jumps as a lid closes."""

    def __init__(self, network: MemoryNetwork, seed: int, **options: Any) -> None:
        super().__init__(network, seed, **options)
        self.more: tuple[str, ...] = ()
        self.is_online = True
        self.napped_ms = 0

    def hosts(self) -> tuple[str, ...]:
        return (self.host, *self.more) if self.is_online else ()

    @property
    def clock(self) -> Clock:
        return _Napping(self)

    @property
    def true_clock(self) -> Clock:
        return super().clock


class _Napping:
    def __init__(self, world: MovingWorld) -> None:
        self._world = world

    def now_ms(self) -> int:
        return self._world.true_clock.now_ms() + self._world.napped_ms

    def wall_ms(self) -> int:
        return self._world.true_clock.wall_ms() + self._world.napped_ms


class MovingLab(Lab):
    def world(self, **options: Any) -> MovingWorld:
        self._seed += 1
        return MovingWorld(self.network, self._seed, **options)


def moving(lab: Lab, name: str) -> MovingWorld:
    world = lab.worlds[name]
    assert isinstance(world, MovingWorld)
    return world


def hosts_of(seen: Peer, by: Peer) -> tuple[str, ...]:
    session = by.session_of(seen.peer_id)
    return session.hosts if session is not None else ()


async def echo(incoming: object, payload: bytes) -> bytes:
    return payload


def watched(peers: list[Peer]) -> list[object]:
    """Everybody who was held for dead by anybody, from now on."""
    dead: list[object] = []
    for peer in peers:
        peer.watch(
            lambda event: (
                dead.append(event) if getattr(event, "after", None) is MemberState.DEAD else None
            )
        )
    return dead


def test_others_learn_of_another_address_and_of_one_that_went() -> None:
    async def main() -> None:
        lab = MovingLab()
        peers = await lab.up("ada", "bob", "cyd")
        ada, bob, cyd = peers
        bob.serve("echo", echo, permission=Permission.CALL)
        dead = watched(peers)
        world = moving(lab, "ada")
        world.more = (MORE,)
        await until(lambda: all(MORE in hosts_of(ada, by) for by in (bob, cyd)))
        world.more = ()
        await asyncio.sleep(6)
        assert all(hosts_of(ada, by) == (world.host,) for by in (bob, cyd))
        assert await ada.request(bob.peer_id, "echo", b"hi", timeout_s=2.0) == b"hi"
        assert ada.counters()["roaming_moved"] == 2
        assert not dead

    run_virtual(main())


def test_a_record_made_without_a_network_names_the_last_addresses() -> None:
    async def main() -> None:
        lab = MovingLab()
        ada, bob = await lab.up("ada", "bob")
        world = moving(lab, "ada")
        world.is_online = False
        record = ada.papers.make_record()
        assert record.hosts == (world.host,)
        await asyncio.sleep(5)
        assert "roaming_moved" not in ada.counters(), "there is nobody to tell"
        world.is_online = True
        await until(lambda: ada.counters().get("roaming_moved") == 1)
        await until(lambda: bob.peer_id in ada.presence.present())

    run_virtual(main())


def test_who_wakes_up_is_among_the_others_at_once() -> None:
    async def main() -> None:
        lab = MovingLab()
        ada, bob = await lab.up("ada", "bob")
        bob.serve("echo", echo, permission=Permission.CALL)
        dead = watched([ada, bob])
        moving(lab, "ada").napped_ms += 30_000
        await until(lambda: ada.counters().get("roaming_woken") == 1)
        assert await ada.request(bob.peer_id, "echo", b"hi", timeout_s=2.0) == b"hi"
        await asyncio.sleep(10)
        assert not dead

    run_virtual(main())


def test_papers_are_shown_again_until_they_are_known_and_ever_more_seldom() -> None:
    async def main() -> None:
        lab = MovingLab()
        ada, bob = await lab.up("ada", "bob")
        knocked = ada.gathering.knock
        asked: list[float] = []
        loop = asyncio.get_running_loop()
        ada.gathering.knock = lambda _: asked.append(loop.time())  # type: ignore[method-assign]
        moving(lab, "ada").more = (MORE,)
        await asyncio.sleep(40)
        pauses = [later - earlier for earlier, later in pairwise(asked)]
        assert MORE not in hosts_of(ada, bob)
        assert pauses == pytest.approx([2, 4, 8, 16], abs=1.01)
        ada.gathering.knock = knocked  # type: ignore[method-assign]
        await until(lambda: MORE in hosts_of(ada, bob), 60)
        ada.gathering.knock = lambda _: asked.clear()  # type: ignore[method-assign]
        await asyncio.sleep(120)
        assert asked, "nobody is knocked at who knows"

    run_virtual(main())

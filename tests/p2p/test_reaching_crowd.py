"""Which links one member makes while a crowd gathers, beside doors that are slow or quick."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Sequence
from types import SimpleNamespace
from typing import Any, cast
from zlib import crc32

from peer_lab import Lab, in_lab

from keys import PeerId
from p2p.clock import Clock
from p2p.members import PaperBook, Reaching
from p2p.members.reaching import EAGER, ENOUGH, NEXT_OF_CROWD_MS
from p2p.rpc import Exchange
from p2p.slowness import Slowness

OWN = PeerId("a" * 52)  # the least: it dials first
CROWD_S, NEIGHBOURS = 10.0, 8


def other(number: int) -> PeerId:
    return PeerId("b" * 50 + "abcdefghijklmnop"[number // 16] + "abcdefghijklmnop"[number % 16])


class Everybody:
    """Those who are there, of whom some are neighbours until others are; doors; papers of all."""

    dialling = 0

    def __init__(self, clock: Clock, *, is_slow: bool) -> None:
        self.parting: set[PeerId] = set()
        self.slowness = Slowness(long_ms=250)
        self._clock = clock
        self._took_ms = 3_000 if is_slow else 3
        self.there: list[PeerId] = [other(number) for number in range(EAGER + 1)]
        self.met: set[PeerId] = set()
        self.dials = 0

    def introduce(self) -> None:
        self.slowness.took(self._took_ms, self._clock.now_ms())

    @property
    def heard_of(self) -> int:
        return len(self.there)

    def everybody(self) -> tuple[PeerId, ...]:
        return tuple(self.there)

    def neighbours(self) -> tuple[PeerId, ...]:
        return tuple(sorted(self.there, key=lambda each: crc32(each.encode()))[:NEIGHBOURS])

    def is_moved(self, peer_id: PeerId, mark: bytes) -> bool:
        return False

    async def fetch(self, peer_id: PeerId, origins: Iterable[PeerId]) -> bool:
        return False

    async def call_on(self, peer_id: PeerId, hosts: Sequence[str], port: int) -> bool:
        self.dials += 1
        self.met.add(peer_id)
        self.introduce()
        return True

    def __contains__(self, peer_id: object) -> bool:
        return True

    def get(self, peer_id: PeerId) -> Any:
        return SimpleNamespace(mark=b"", record=SimpleNamespace(hosts=("10.0.0.1",), ports={}))


async def gather(lab: Lab, seed: int, *, is_slow: bool) -> tuple[int, int]:
    """How many were dialled while others came each moment, and neighbours without a link later."""
    clock = lab.world().clock
    world = Everybody(clock, is_slow=is_slow)
    reaching = Reaching(
        OWN,
        cast(PaperBook, world),
        world,
        world,
        cast(Exchange, SimpleNamespace(serve=lambda *_: None)),
        clock,
        random.Random(seed),
        full_mesh=4,
        sessions=lambda: sorted(world.met),
        has_session=lambda peer_id: peer_id in world.met,
        links=dict,
        is_busy=lambda peer_id: False,
        part=lambda peer_id: None,
        label=str,
    )
    reaching.start()
    world.introduce()
    for number in range(50):
        world.there.append(other(EAGER + 1 + number))
        reaching.look_soon()
        await asyncio.sleep(CROWD_S / 50)
    dialled = world.dials
    await asyncio.sleep(6)
    missing = [peer_id for peer_id in world.neighbours() if peer_id not in world.met]
    await reaching.close()
    return dialled, len(missing)


def test_while_a_crowd_gathers_slowly_a_few_neighbours_are_dialled_and_then_all() -> None:
    async def scenario(lab: Lab) -> None:
        for seed in range(5):
            slowly, missing = await gather(lab, seed, is_slow=True)
            assert missing == 0
            quickly, missing = await gather(lab, seed, is_slow=False)
            assert missing == 0
            assert ENOUGH <= slowly <= ENOUGH + CROWD_S * 1000 / NEXT_OF_CROWD_MS + 3 < quickly

    in_lab(scenario)

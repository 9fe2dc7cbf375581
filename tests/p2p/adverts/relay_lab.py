"""A virtual world of many members that pass on what others offer: adverts alone.

`python tests/p2p/adverts/relay_lab.py --members 1000` prints the figures of DESIGN.md: neighbours
are those of SWIM's rings, time is virtual, delays are of 1 to 15 ms, bytes those of the real codec
and 60 for each message's envelope. Everybody knows who is there from the beginning, and the
signatures are hashes.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
from collections import Counter
from collections.abc import Callable
from random import Random
from types import SimpleNamespace
from typing import Any, cast

from keys import PeerId
from p2p import PeerUnreachable
from p2p.adverts import AdvertService, Crowd
from p2p.membership.swim.rings import Rings
from p2p.membership.swim_settings import SwimSettings
from p2p.memory import run_virtual
from p2p.rpc import Exchange

ENVELOPE_BYTES = 60
BEAT_S = 0.65


def an_id(number: int) -> PeerId:
    raw = hashlib.blake2b(number.to_bytes(8, "big"), digest_size=32).digest()
    return PeerId(base64.b32encode(raw).decode().rstrip("=").lower())


def sign_as(peer_id: PeerId, body: bytes) -> bytes:
    """Stands for a signature; tests with real keys are beside this."""
    return hashlib.blake2b(body, key=peer_id.encode(), digest_size=64).digest()


class LoopClock:
    def now_ms(self) -> int:
        return int(asyncio.get_running_loop().time() * 1000)

    def wall_ms(self) -> int:
        return self.now_ms()


class Wire:
    """An exchange that carries payloads to the other members of this world."""

    def __init__(self, world: RelayWorld, own: PeerId) -> None:
        self._world = world
        self._own = own
        self.requests: dict[str, Callable[..., Any]] = {}
        self.notices: dict[str, Callable[..., Any]] = {}

    def serve(self, method: str, handler: Callable[..., Any], *_: object) -> None:
        self.requests[method] = handler

    def serve_notice(self, method: str, handler: Callable[..., Any], *_: object) -> None:
        self.notices[method] = handler

    def notify(self, to: PeerId, method: str, payload: bytes, **_: object) -> None:
        if self._world.carries(self._own, to, method, payload):
            handler = self._world.members[to].wire.notices[method]
            self._world.later(handler, self._own, payload)

    async def request(
        self, to: PeerId, method: str, payload: bytes, *, timeout_s: float, **_: object
    ) -> bytes:
        await asyncio.sleep(self._world.delay_s())
        if not self._world.carries(self._own, to, method, payload):
            await asyncio.sleep(timeout_s)
            raise PeerUnreachable(to, "lost")
        caller = SimpleNamespace(caller=SimpleNamespace(peer_id=self._own))
        answer: bytes = await self._world.members[to].wire.requests[method](caller, payload)
        self._world.carries(to, self._own, method, answer)
        await asyncio.sleep(self._world.delay_s())
        return answer


class Member:
    def __init__(self, world: RelayWorld, own: PeerId) -> None:
        self.wire = Wire(world, own)
        self.neighbours: tuple[PeerId, ...] = ()
        self.adverts = AdvertService(
            1,
            LoopClock(),
            cast(Exchange, self.wire),
            lambda: self.neighbours,
            world.members.__contains__,
            lambda *_: None,
        )
        crowd = Crowd(
            lambda body: sign_as(own, body),
            lambda who, body, signature: sign_as(who, body) == signature,
            lambda who: 1 if who in world.members else None,
            lambda: self.neighbours,
            lambda: False,
            lambda who: None,
        )
        self.adverts.relay(own, crowd)


class RelayWorld:
    """
    Attributes:
        sent: bytes by member.
        kinds: bytes by method.
    """

    def __init__(self, size: int, seed: int, settings: SwimSettings | None = None) -> None:
        self._rng = Random(seed)
        self._settings = settings or SwimSettings()
        self.loss = 0.0
        self.sent: Counter[PeerId] = Counter()
        self.kinds: Counter[str] = Counter()
        self.members: dict[PeerId, Member] = {}
        self._beating: list[asyncio.Task[None]] = []
        for number in range(size):
            self.members[an_id(number)] = Member(self, an_id(number))
        everybody = Rings(an_id(0), self._settings.rings, self._settings.mesh)
        for peer_id in self.members:
            everybody.add(peer_id)
        for peer_id, member in self.members.items():
            rings = Rings(peer_id, self._settings.rings, self._settings.mesh)
            rings.adopt(everybody)
            member.neighbours = tuple(rings.neighbours())

    def delay_s(self) -> float:
        return self._rng.uniform(0.001, 0.015)

    def later(self, handler: Callable[..., Any], *arguments: object) -> None:
        asyncio.get_running_loop().call_later(self.delay_s(), handler, *arguments)

    def carries(self, sender: PeerId, to: PeerId, method: str, payload: bytes) -> bool:
        self.sent[sender] += len(payload) + ENVELOPE_BYTES
        self.kinds[method] += len(payload) + ENVELOPE_BYTES
        return self._rng.random() >= self.loss

    def begin(self) -> None:
        loop = asyncio.get_running_loop()
        for peer_id, member in self.members.items():
            self._beating.append(loop.create_task(self._beat(peer_id, member)))

    async def end(self) -> None:
        for task in self._beating:
            task.cancel()
        await asyncio.gather(*self._beating, return_exceptions=True)
        for member in self.members.values():
            await member.adverts.close()

    async def _beat(self, own: PeerId, member: Member) -> None:
        """Digests travel with beats, which are counted where beats are measured."""
        await asyncio.sleep(self._rng.uniform(0, BEAT_S))
        while True:
            digest = member.adverts.digest()
            for peer_id in member.neighbours:
                if self._rng.random() >= self.loss:
                    self.later(self.members[peer_id].adverts.heard, own, 1, digest)
            await asyncio.sleep(BEAT_S)

    def knowing(self, owner: PeerId, entries: dict[str, bytes]) -> int:
        """How many know exactly this of a member, itself not counted."""
        others = (each for peer, each in self.members.items() if peer != owner)
        return sum(dict(each.adverts.entries_of(owner)) == entries for each in others)

    async def until_known(self, owner: PeerId, entries: dict[str, bytes], limit_s: float) -> float:
        """How long it took until all knew."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        async with asyncio.timeout(limit_s):
            while self.knowing(owner, entries) < len(self.members) - 1:
                await asyncio.sleep(0.02)
        return loop.time() - began_s

    def reset(self) -> None:
        self.sent.clear()
        self.kinds.clear()


AN_AGENT = {"reader": bytes(200)}


async def measure(size: int, seed: int) -> None:
    world = RelayWorld(size, seed)
    world.begin()
    for number, member in enumerate(world.members.values()):
        member.adverts.change({f"agent {number}": bytes(200)})
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    wanted = size * (size - 1)
    while True:
        await asyncio.sleep(0.2)
        known = sum(len(m.adverts._tables._tables) for m in world.members.values())  # type: ignore[attr-defined]
        if known == wanted and len({m.adverts.digest() for m in world.members.values()}) == 1:
            break
    all_s, sent = loop.time() - began_s, max(world.sent.values())
    print(f"{size} members: all know all after {all_s:.2f} s; most sent {sent:,} bytes")
    await asyncio.sleep(10)
    world.reset()
    await asyncio.sleep(10)
    print(f"  at rest: {sum(world.sent.values()) / 10 / size:.1f} bytes/s each, beside beats")
    world.reset()
    owner = an_id(1)
    member = world.members[owner]
    member.adverts.change({"agent 1": bytes(201)})
    took_s = await world.until_known(owner, {"agent 1": bytes(201)}, 60)
    await asyncio.sleep(2)
    print(f"  a change of 200 bytes: all know after {took_s:.2f} s")
    print(f"  it cost {sum(world.sent.values()) / size:,.0f} bytes a member")
    world.reset()
    table = {f"of many {n}": bytes(200) for n in range(500)} | {"agent 1": bytes(201)}
    member.adverts.change(table)
    took_s = await world.until_known(owner, table, 60)
    print(f"  a change of 100 KB: all know after {took_s:.2f} s")
    mean, most = sum(world.sent.values()) / size, max(world.sent.values())
    print(f"  it cost {mean:,.0f} bytes a member, most {most:,}")
    await world.end()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--members", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    run_virtual(measure(chosen.members, chosen.seed))

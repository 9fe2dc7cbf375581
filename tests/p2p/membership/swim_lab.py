"""A virtual world of many membership cores: loss, delay, partitions, starved members, crashes.

`python tests/p2p/membership/swim_lab.py --members 1000` prints the figures of DESIGN.md. Everything
is drawn from the seed. Bytes are those of the real codec, and `ENVELOPE_BYTES` for each message.
"""

from __future__ import annotations

import argparse
import base64
import gc
import hashlib
import heapq
import random
import time
from collections import Counter
from collections.abc import Callable
from itertools import count

from swim_shared import sharing

from keys import PeerId
from p2p.membership import MemberState
from p2p.membership.swim import (
    Changed,
    Conflict,
    Message,
    Met,
    Numbered,
    Received,
    Send,
    Swim,
    SwimEvent,
    SwimSettings,
    Tick,
    decode_message,
    encode_message,
)
from p2p.membership.swim.health import Health
from p2p.membership.swim.picture import Picture

ENVELOPE_BYTES = 60  # envelope, CURVE, ZMTP
ALIVE, DEAD = MemberState.ALIVE, MemberState.DEAD
Cut = Callable[[PeerId, PeerId], bool]


def an_id(number: int) -> PeerId:
    raw = hashlib.blake2b(number.to_bytes(8, "big"), digest_size=32).digest()
    return PeerId(base64.b32encode(raw).decode().rstrip("=").lower())


def sign_as(peer_id: PeerId, body: bytes) -> bytes:
    """Stands for a signature; a test with real keys is beside this."""
    return hashlib.blake2b(body, key=peer_id.encode(), digest_size=64).digest()


def verify(signer: PeerId, body: bytes, signature: bytes) -> bool:
    return sign_as(signer, body) == signature


class Member:
    """One core, and its process: it may be down, or get the processor now and then only."""

    def __init__(self, core: Swim, peer_id: PeerId) -> None:
        self.core = core
        self.peer_id = peer_id
        self.is_up = True
        self.tick_at_ms: int | None = None
        self.awake_ms = self.every_ms = 0  # for so long in each of these; 0 is always
        self.sent_bytes = 0

    def runs_at(self, at_ms: int) -> int:
        """The next moment, from this one on, at which it has the processor."""
        if not self.every_ms or at_ms % self.every_ms < self.awake_ms:
            return at_ms
        return at_ms - at_ms % self.every_ms + self.every_ms


class World:
    def __init__(
        self,
        size: int,
        seed: int,
        *,
        settings: SwimSettings | None = None,
        delay_ms: tuple[int, int] = (1, 15),
        through_codec: bool = False,
        checked: bool = False,
        shared: bool = False,
    ) -> None:
        self.seed = seed
        self.settings = settings or SwimSettings()
        self.rng = random.Random(seed)
        self.delay_ms = delay_ms
        self.through_codec, self.checked = through_codec, checked
        self.shared = shared  # the memory of what all began with
        self.now_ms = 0
        self.order = count()
        self.queue: list[tuple[int, int, PeerId, SwimEvent | None]] = []
        self.members: dict[PeerId, Member] = {}
        self.losses: dict[frozenset[PeerId], float] = {}
        self.loss = 0.0
        self.cut: Cut | None = None
        self.changes: list[tuple[int, PeerId, Changed]] = []
        self.numbers: Counter[PeerId] = Counter()
        self.conflicts = 0
        self.kinds: Counter[str] = Counter()
        self.ids = [an_id(number) for number in range(size)]
        everybody = self._picture(self.ids)
        for peer_id in self.ids:
            self._boot(peer_id, everybody)

    def _picture(self, ids: list[PeerId]) -> Picture:
        """What a member knows that has heard everybody's first word."""
        whole = Picture(ids[0], self.settings)
        for peer_id in ids:
            word = self.core(peer_id, 1, None).word()
            whole.merge(word, 0, Health(self.settings))
            whole.rings.add(peer_id)
        return whole

    def core(self, peer_id: PeerId, incarnation: int, known: Picture | None) -> Swim:
        rng = random.Random(f"{self.seed}/{peer_id}/{incarnation}")
        mark = incarnation.to_bytes(8, "big")
        return Swim(
            peer_id,
            incarnation,
            mark,
            self.settings,
            rng,
            lambda body: sign_as(peer_id, body),
            verify,
            None if known is None else self._copy(peer_id, known),
        )

    def _copy(self, peer_id: PeerId, known: Picture) -> Picture:
        return sharing(peer_id, known, self.settings) if self.shared else known.clone(peer_id)

    def _boot(self, peer_id: PeerId, known: Picture | None, incarnation: int = 1) -> Member:
        core = self.core(peer_id, incarnation, known)
        core.status = bytes(64)
        member = self.members[peer_id] = Member(core, peer_id)
        self.step(member, Tick())
        return member

    def join(self, number: int, contact: PeerId, incarnation: int = 1) -> PeerId:
        peer_id = an_id(number)
        member = self._boot(peer_id, None, incarnation)
        self.step(member, Met(contact))
        self.step(self.members[contact], Met(peer_id))
        return peer_id

    def step(self, member: Member, event: SwimEvent) -> None:
        for effect in member.core.step(event, now_ms=self.now_ms):
            match effect:
                case Send():
                    self._post(member, effect.to, effect.message)
                case Changed():
                    self.changes.append((self.now_ms, member.peer_id, effect))
                case Numbered():
                    self.numbers[member.peer_id] += 1
                case Conflict():
                    self.conflicts += 1
        if self.checked:
            member.core.check_invariants()
        due_ms = member.core.deadline_ms
        if due_ms is not None and due_ms != member.tick_at_ms:
            member.tick_at_ms = due_ms
            at_ms = member.runs_at(max(due_ms, self.now_ms))
            heapq.heappush(self.queue, (at_ms, next(self.order), member.peer_id, None))

    def _post(self, sender: Member, to: PeerId, message: Message) -> None:
        data = encode_message(message)
        sender.sent_bytes += len(data) + ENVELOPE_BYTES
        self.kinds[type(message.body).__name__] += len(data) + ENVELOPE_BYTES
        if self.cut is not None and self.cut(sender.peer_id, to):
            return
        loss = self.losses.get(frozenset((sender.peer_id, to)), self.loss)
        if loss and self.rng.random() < loss:
            return
        at_ms = self.now_ms + self.rng.randint(*self.delay_ms)
        arrived = decode_message(data) if self.through_codec else message
        event = Received(sender.peer_id, arrived)
        heapq.heappush(self.queue, (at_ms, next(self.order), to, event))

    def run(self, duration_ms: int, until: Callable[[], bool] | None = None) -> int:
        """Let time pass; how much did."""
        begun_ms, end_ms = self.now_ms, self.now_ms + duration_ms
        look_at_ms = begun_ms
        while self.queue and self.queue[0][0] <= end_ms:
            at_ms, _, to, event = heapq.heappop(self.queue)
            if until is not None and at_ms >= look_at_ms:
                look_at_ms = at_ms + 20
                if until():
                    return self.now_ms - begun_ms
            member = self.members.get(to)
            if member is None or not member.is_up:
                continue
            runs_ms = member.runs_at(at_ms)
            if runs_ms > at_ms:
                heapq.heappush(self.queue, (runs_ms, next(self.order), to, event))
                continue
            self.now_ms = at_ms
            if event is not None:
                self.step(member, event)
            elif member.tick_at_ms is not None and member.tick_at_ms <= at_ms:
                member.tick_at_ms = None
                self.step(member, Tick())
        self.now_ms = end_ms
        return duration_ms

    # -- what is seen --------------------------------------------------------------------------

    def up(self) -> list[Member]:
        return [member for member in self.members.values() if member.is_up]

    def all_hold(self, subject: PeerId, state: MemberState) -> bool:
        return all(
            member.core.state_of(subject) is state
            for member in self.up()
            if member.peer_id != subject
        )

    def agree(self) -> bool:
        """Everybody that is up holds everybody that is up for alive."""
        ups = self.up()
        return all(
            one.core.state_of(other.peer_id) is ALIVE
            for one in ups
            for other in ups
            if one is not other
        )

    def deaths(self) -> list[tuple[int, PeerId, Changed]]:
        return [each for each in self.changes if each[2].after is DEAD]

    def bytes_a_second(self, duration_ms: int) -> tuple[float, float]:
        """Mean and most, sent by one member, since the last `forget_bytes`."""
        sent = [member.sent_bytes * 1000 / duration_ms for member in self.up()]
        return sum(sent) / len(sent), max(sent)

    def forget_bytes(self) -> None:
        self.kinds.clear()
        for member in self.members.values():
            member.sent_bytes = 0


def crash_ms(world: World, victim: PeerId, limit_ms: int = 20_000) -> int:
    """How long until all the others hold it for dead."""
    world.members[victim].is_up = False
    return world.run(limit_ms, lambda: world.all_hold(victim, DEAD))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--members", type=int, nargs="*", default=[10, 100, 1000])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--heal", type=int, default=200)
    arguments = parser.parse_args()
    gc.disable()
    for size in arguments.members:
        measure(size, arguments.seed)
    if arguments.heal:
        heal(arguments.heal, arguments.seed)


def measure(size: int, seed: int) -> None:
    begun_s = time.perf_counter()
    world = World(size, seed, shared=size > 2_000)
    world.run(4_000)
    world.forget_bytes()
    world.run(5_000)
    mean, most = world.bytes_a_second(5_000)
    links = [len(member.core.neighbours()) for member in world.up()]
    print(f"{size} members: {mean:.0f} B/s mean, {most:.0f} most, at most {max(links)} links")
    assert not world.deaths()
    world.forget_bytes()
    joined = world.join(size, world.ids[0])
    passed = world.run(
        20_000,
        lambda: world.all_hold(joined, ALIVE) and len(world.members[joined].core.present()) == size,
    )
    print(f"  join known to all, and all known to it: {passed} ms")
    world.run(6_000)
    mean, most = world.bytes_a_second(6_000 + passed)
    print(f"  traffic meanwhile {mean:.0f} B/s mean, {most:.0f} most")
    world.run(10_000)  # to one that has just come all are new, and it has patience with them
    world.forget_bytes()
    begun_ms = world.now_ms
    passed = crash_ms(world, world.ids[1])
    print(f"  crash known to all: {passed} ms")
    world.run(6_000)
    mean, most = world.bytes_a_second(world.now_ms - begun_ms)
    print(f"  traffic meanwhile {mean:.0f} B/s mean, {most:.0f} most; {dict(world.kinds)}")
    false = [each for each in world.deaths() if each[2].peer_id != world.ids[1]]
    print(f"  false deaths {len(false)}; {time.perf_counter() - begun_s:.0f} s of real time")


def heal(size: int, seed: int) -> None:
    world = World(size, seed)
    world.run(3_000)
    left = set(world.ids[: size // 2])
    world.cut = lambda one, other: (one in left) != (other in left)
    world.run(30_000)
    world.cut = None
    world.forget_bytes()
    passed = world.run(60_000, world.agree)
    print(f"{size} members, two halves for 30 s: agree {passed} ms after the heal")
    mean, most = world.bytes_a_second(passed)
    print(f"  traffic meanwhile {mean:.0f} B/s mean, {most:.0f} most; {dict(world.kinds)}")


if __name__ == "__main__":
    main()

"""A virtual world of many members with all that a member tells others at rest: who is there, what
is offered, papers.

`python tests/p2p/crowd_lab.py --members 1000` prints the figures of DESIGN.md. Each member is the
real shell of membership (`Swimming`) with the real adverts, papers, signatures and codecs; sockets,
introductions and consensus are modelled: a link to a new neighbour is there after a quarter of a
second and costs what an introduction does, and five members vote, to whom everybody keeps a link.
Links stay in order, delays are of 1 to 15 ms. Bytes are those of the real envelope and what CURVE
and ZMTP add. All begin knowing all, in memory that they share until somebody's part changes.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from random import Random
from types import SimpleNamespace
from typing import Any, Generic, TypeVar, cast

from peer_lab import Authority
from swim_shared import sharing

from keys import PeerId, TransportKey
from p2p import MemberState, PeerUnreachable, SwimSettings
from p2p.adverts.headings import Headings
from p2p.adverts.tables import Table
from p2p.members import PaperBook, mark_of, sign_as
from p2p.membership.swim import Swim
from p2p.membership.swim.health import Health
from p2p.membership.swim.picture import Picture
from p2p.memory import VirtualClock
from p2p.own_papers import OwnPapers
from p2p.rpc import Exchange
from p2p.seen import Seen
from p2p.swimming import Swimming
from p2p.wire import Envelope, Kind, encode_envelope

ALIVE, DEAD = MemberState.ALIVE, MemberState.DEAD
CURVE_BYTES, LONG_BYTES = 35, 7  # CURVE and ZMTP for each frame, and for one of more than 255 bytes
INTRODUCTION_BYTES = 2_600  # from each side, with the handshakes of CURVE
VOTERS = 5
STATUS = bytes(63), bytes(10)  # what a node that votes says in heartbeats, and one that does not
HEADS = bytes(32)
AN_ENTRY = 84  # bytes of an agent with one capability
K, V = TypeVar("K"), TypeVar("V")


class Over(dict[K, V], Generic[K, V]):
    """What all began with, and what is otherwise here. What is looked at becomes one's own."""

    def __init__(self, base: dict[K, V], copy: Callable[[V], V] = lambda value: value) -> None:
        super().__init__()
        self._base, self._copy = base, copy
        self._gone: set[K] = set()

    def _is_below(self, key: object) -> bool:
        return key in self._base and key not in self._gone and not super().__contains__(key)

    def get(self, key: K, default: Any = None) -> Any:
        if self._is_below(key):
            super().__setitem__(key, self._copy(self._base[key]))
        return super().get(key, default)

    def __getitem__(self, key: K) -> V:
        return cast(V, self.get(key)) if key in self else super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        return super().__contains__(key) or self._is_below(key)

    def __setitem__(self, key: K, value: V) -> None:
        self._gone.add(key)
        super().__setitem__(key, value)

    def setdefault(self, key: K, default: Any = None) -> Any:
        if key not in self:
            self[key] = default
        return self.get(key)

    def pop(self, key: K, default: Any = None) -> Any:
        found = self.get(key, default)
        self._gone.add(key)
        super().pop(key, None)
        return found

    def __delitem__(self, key: K) -> None:
        self.pop(key)

    def __iter__(self) -> Iterator[K]:
        yield from list(super().__iter__())
        yield from (key for key in self._base if self._is_below(key))

    def __len__(self) -> int:
        return super().__len__() + sum(map(self._is_below, self._base))

    def items(self) -> Any:
        """For reading only: nothing becomes one's own."""
        yield from list(super().items())
        yield from ((key, value) for key, value in self._base.items() if self._is_below(key))

    def values(self) -> Any:
        return (value for _, value in self.items())


class Wire:
    """An exchange whose payloads go to the other members of this world."""

    def __init__(self, world: Crowded, own: PeerId) -> None:
        self._world, self._own = world, own
        self.requests: dict[str, Callable[..., Any]] = {}
        self.notices: dict[str, Callable[..., Any]] = {}

    def serve(self, method: str, handler: Callable[..., Any], *_: object) -> None:
        self.requests[method] = handler

    def serve_notice(self, method: str, handler: Callable[..., Any], *_: object) -> None:
        self.notices[method] = handler

    def notify(self, to: PeerId, method: str, payload: bytes, **_: object) -> None:
        if self._world.carries(self._own, to, Kind.NOTIFY, method, payload):
            handler = self._world.members[to].wire.notices[method]
            at_s = self._world.arrival_s(self._own, to)
            asyncio.get_running_loop().call_at(at_s, self._arrive, to, handler, payload)

    def _arrive(self, to: PeerId, handler: Callable[..., Any], payload: bytes) -> None:
        if self._world.members[to].is_up:
            handler(self._own, payload)

    async def request(
        self, to: PeerId, method: str, payload: bytes, *, timeout_s: float, **_: object
    ) -> bytes:
        world, loop = self._world, asyncio.get_running_loop()
        if not world.carries(self._own, to, Kind.REQUEST, method, payload):
            await asyncio.sleep(timeout_s)
            raise PeerUnreachable(to, "lost")
        await asyncio.sleep(world.arrival_s(self._own, to) - loop.time())
        caller = SimpleNamespace(caller=SimpleNamespace(peer_id=self._own))
        answer: bytes = await world.members[to].wire.requests[method](caller, payload)
        if not world.carries(to, self._own, Kind.REPLY, method, answer):
            await asyncio.sleep(timeout_s)
            raise PeerUnreachable(to, "lost")
        await asyncio.sleep(world.arrival_s(to, self._own) - loop.time())
        return answer


class Member:
    """One member's shell, and its links."""

    def __init__(self, world: Crowded, number: int) -> None:
        clock = world.clock
        key = TransportKey.generate()
        papers = world.authority.papers(f"n{number}")
        self.own = OwnPapers(papers, clock, lambda: ("10.0.0.1",), key)
        names = ("door", "control", "data", "bulk", "topics")
        self.own.make_record(ports={name: 4_000 + at for at, name in enumerate(names)})
        self.peer_id = self.own.peer_id
        self.wire = Wire(world, self.peer_id)
        self.book = PaperBook(lambda: self.own.trust, clock.wall_ms)
        self.links: set[PeerId] = set()
        self.is_up = True
        self.sent_bytes = 0
        self.presence = Swimming(
            self.own,
            world.settings,
            self.book,
            clock,
            Random(f"{world.seed}/{number}"),
            cast(Exchange, self.wire),
            lambda: STATUS[number >= VOTERS],
            lambda peer_id: None,
            lambda peer_id: self.own.incarnation if peer_id in self.links else None,
            lambda peer_id: None,
        )
        self.presence.heads = lambda: HEADS
        self.presence.audience = lambda: sorted(self.links)
        self.presence.is_mesh = lambda: len(self.swim._picture.rings) - 1 <= world.settings.links
        self.presence.on_neighbours = lambda: world.link_soon(self)
        self.adverts = self.presence.adverts
        self.adverts._own.set({f"agent {number}": bytes([number % 256]) * AN_ENTRY})
        self.adverts._told = self.adverts._own.version
        self.relaying.own_changed()

    @property
    def swim(self) -> Swim:
        return self.presence._swim

    @property
    def relaying(self) -> Any:
        return self.adverts._relaying

    @property
    def headings(self) -> Headings:
        return cast(Headings, self.relaying._headings)

    def shown(self) -> tuple[bytes, bytes]:
        return self.own.chain.encode(), self.own.record().raw

    def is_told_of_all(self, members: int) -> bool:
        """Who is there, and what they offer."""
        return len(self.headings) == members == len(self.presence.present()) + 1

    def crash(self) -> None:
        """The machine is off: no connection says so."""
        self.is_up = False
        self.presence._alarm.off()
        self.presence._is_open = False


class Crowded:
    """
    Attributes:
        cut: whether nothing passes from one member to another.
        kinds: bytes by method.
    """

    def __init__(self, size: int, seed: int) -> None:
        self.seed, self.settings = seed, SwimSettings()
        self.authority = Authority(seed=seed)
        loop = cast(Any, asyncio.get_running_loop())
        self.clock = VirtualClock(loop)
        self._rng = Random(seed)
        self._last_s: dict[tuple[PeerId, PeerId], float] = {}
        self.cut: Callable[[PeerId, PeerId], bool] = lambda one, other: False
        self.kinds: Counter[str] = Counter()
        self.members: dict[PeerId, Member] = {}
        for number in range(size):
            member = Member(self, number)
            self.members[member.peer_id] = member
        self.ids = list(self.members)
        self._share()

    # -- how it begins -------------------------------------------------------------------------

    def _share(self) -> None:
        """Everybody knows everybody, and has a link to its neighbours and to those who vote."""
        everybody = list(self.members.values())
        whole = Picture(self.ids[0], self.settings)
        for member in everybody:
            member.presence._mark = mark_of(member.own.record())
            self._anew(member, None)
            whole.merge(member.swim.word(), 0, Health(self.settings))
            whole.rings.add(member.peer_id)
        whole.changes()
        book = PaperBook(lambda: everybody[0].own.trust, self.clock.wall_ms)
        for member in everybody:
            book.take(*member.shown())
        tables = {member.peer_id: _table_of(member) for member in everybody}
        headings = Headings()
        for peer_id, member in self.members.items():
            headings.put(peer_id, cast(Any, member.headings.of(peer_id)))
        for member in everybody:
            self._adopt(member, whole, book, tables, headings)
        for member in everybody:
            for other in self._needed(member):
                member.links.add(other)
                self.members[other].links.add(member.peer_id)

    def _adopt(
        self,
        member: Member,
        whole: Picture,
        book: PaperBook,
        tables: dict[PeerId, Table],
        headings: Headings,
    ) -> None:
        is_large = len(self.members) > self.settings.links
        picture = (
            sharing(member.peer_id, whole, self.settings)
            if is_large
            else whole.clone(member.peer_id)
        )
        self._anew(member, picture)
        told = dict.fromkeys((each for each in self.ids if each != member.peer_id), ALIVE)
        shared = self.__dict__.setdefault("_told", dict.fromkeys(self.ids, ALIVE))
        member.presence._told = Over(shared) if is_large else told
        member.presence._told.pop(member.peer_id, None)
        seen = {each: Seen(0, 0) for each in self.ids}
        member.presence._seen = Over(self.__dict__.setdefault("_seen", seen), lambda _: Seen(0, 0))
        member.book._papers = Over(book._papers)
        mine = member.headings
        mine._headings = Over(headings._headings)
        mine._buckets, mine._whole = list(headings._buckets), headings._whole
        member.adverts._tables._tables = Over(tables, _copied)
        member.presence._tick()
        asyncio.get_running_loop().call_later(self._rng.random(), self._look, member)

    def _anew(self, member: Member, picture: Picture | None) -> None:
        """Its core, with a picture that it begins with."""
        presence, own = member.presence, member.own
        network = own.trust.network_id
        presence._swim = Swim(
            own.peer_id,
            own.incarnation,
            presence._mark,
            self.settings,
            Random(f"{self.seed}/{own.peer_id}"),
            lambda body: sign_as(own.credentials.identity, network, body),
            presence._verify,
            picture,
            is_met=lambda peer_id: peer_id in member.links,
        )

    # -- what passes ---------------------------------------------------------------------------

    def carries(self, sender: PeerId, to: PeerId, kind: Kind, method: str, payload: bytes) -> bool:
        """Count it; whether it arrives. Whoever has no link gets nothing but an introduction."""
        one, other = self.members[sender], self.members.get(to)
        if other is None or not one.is_up:
            return False
        target = "" if kind is Kind.REPLY else method
        number = 0 if kind is Kind.NOTIFY else 1_000
        envelope = Envelope(kind, number, 0, target, number, 1, b"", payload)
        size = len(encode_envelope(envelope)) + CURVE_BYTES
        one.sent_bytes += size + LONG_BYTES * (size > 255)
        self.kinds[method] += size
        if to not in one.links:
            self.link(one, other)
        return other.is_up and not self.cut(sender, to)

    def arrival_s(self, sender: PeerId, to: PeerId) -> float:
        """When what leaves now is there; what left before it is there before."""
        at_s = asyncio.get_running_loop().time() + self._rng.uniform(0.001, 0.015)
        at_s = max(at_s, self._last_s.get((sender, to), 0.0) + 1e-6)
        self._last_s[sender, to] = at_s
        return at_s

    def link_soon(self, member: Member) -> None:
        delay_s = 0.2 + self._rng.uniform(0.02, 0.06)
        asyncio.get_running_loop().call_later(delay_s, self._link_neighbours, member)

    def _look(self, member: Member) -> None:
        """As the real ones do, each second."""
        if member.is_up:
            self._link_neighbours(member)
            asyncio.get_running_loop().call_later(
                0.8 + 0.2 * self._rng.random(), self._look, member
            )

    def _link_neighbours(self, member: Member) -> None:
        for peer_id in self._needed(member):
            other = self.members[peer_id]
            if peer_id not in member.links and member.is_up and other.is_up:
                self.link(member, other)

    def _needed(self, member: Member) -> set[PeerId]:
        """To whom it keeps links: to all, its neighbours, and those who vote."""
        known = set(member.presence.everybody()) if member.presence.is_mesh() else set()
        return {*known, *member.presence.neighbours(), *self.ids[:VOTERS]} - {member.peer_id}

    def link(self, one: Member, other: Member) -> None:
        """Both are introduced to each other."""
        if self.cut(one.peer_id, other.peer_id) or not other.is_up:
            return
        for here, there in ((one, other), (other, one)):
            here.links.add(there.peer_id)
            here.book.take(*there.shown())
            here.sent_bytes += INTRODUCTION_BYTES
            self.kinds["introductions"] += INTRODUCTION_BYTES
        for here, there in ((one, other), (other, one)):
            here.presence.admitted(there.peer_id, there.own.incarnation)

    def join(self) -> Member:
        """One that knows nobody is let in by one of those who do not vote."""
        member = Member(self, len(self.members))
        self.members[member.peer_id] = member
        member.presence._mark = mark_of(member.own.record())
        self._anew(member, None)
        member.book.take(*member.shown())
        member.presence._tick()
        self.link(member, self.members[self.ids[VOTERS]])
        self._look(member)
        self.ids.append(member.peer_id)
        return member

    # -- what is seen --------------------------------------------------------------------------

    def up(self) -> list[Member]:
        return [member for member in self.members.values() if member.is_up]

    def all_hold(self, subject: PeerId, state: MemberState) -> bool:
        others = (member for member in self.up() if member.peer_id != subject)
        return all(member.presence.state_of(subject) is state for member in others)

    def all_know(self, owner: PeerId, entries: dict[str, bytes]) -> bool:
        others = (member for member in self.up() if member.peer_id != owner)
        return all(dict(member.adverts.entries_of(owner)) == entries for member in others)

    def agree(self) -> bool:
        """All hold the same of all, and the registry is the same."""
        ups = self.up()
        first = ups[0].headings.summary
        return all(each.headings.summary == first for each in ups) and all(
            each.is_told_of_all(len(ups)) for each in ups
        )

    async def until(self, holds: Callable[[], bool], limit_s: float) -> float:
        """How long it took."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        async with asyncio.timeout(limit_s):
            while not holds():
                await asyncio.sleep(0.02)
        return loop.time() - began_s

    async def rate(self, seconds: float) -> tuple[float, float, float]:
        """Bytes a second that a member sends: mean, most of those who vote, most of the others."""
        self.forget_bytes()
        await asyncio.sleep(seconds)
        return self.sent(seconds)

    def forget_bytes(self) -> None:
        self.kinds.clear()
        for member in self.members.values():
            member.sent_bytes = 0

    def sent(self, seconds: float) -> tuple[float, float, float]:
        voters = set(self.ids[:VOTERS])
        each = {member.peer_id: member.sent_bytes / seconds for member in self.up()}
        others = [rate for peer_id, rate in each.items() if peer_id not in voters]
        mean = sum(each.values()) / len(each)
        return mean, max(each.get(peer_id, 0.0) for peer_id in voters), max(others)

    async def end(self) -> None:
        for member in self.members.values():
            await member.presence.close()


def _table_of(member: Member) -> Table:
    own = member.adverts._own
    page = own.since(0)
    table = Table(own.incarnation)
    for name, entry in page.entries:
        table.put(name, entry, page.upto)
    table.version = table.checked = page.upto
    table.proof = page.proof
    return table


def _copied(table: Table) -> Table:
    twin = table.copy()
    twin.proof, twin.checked = table.proof, table.checked
    return twin

"""Links when they are needed: an introduction on demand, those that are kept, those that may go.

While there are few members, everybody has a link to everybody. Above that (`full_mesh`) a member
has links to its neighbours, to those that somebody here has asked to keep, and to those that it
speaks with just now. Whoever speaks to a member without a link waits for the introduction; notices
wait here, within bounds. A link that neither side needs is ended by both, so that neither takes it
for a broken one.

What this module does not know: who is alive, and why; what is said.

Invariants: one dial to a peer at a time; what is held for a peer leaves in order, or is dropped and
counted; a link that is kept, or that something waits for, is not ended from here.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

from keys import PeerId, Permission
from p2p.clock import Clock
from p2p.errors import P2PError, PeerUnreachable
from p2p.links import Lane, LinkFigures
from p2p.members.growth import Growth
from p2p.members.messages import PART
from p2p.members.papers import PaperBook
from p2p.rpc import Exchange, Incoming
from p2p.slowness import Slowness

LOOK_EVERY_S = 1.0
SOON_S = 0.2  # after the last change of the neighbours
FIRST_DIALS = 8  # before the picture is there
FIRST_OF_MANY = 2  # the same where more than `EAGER` are told of
EAGER = 16  # up to so many others are dialled as soon as they are known
CALM_MS = 1_000  # more of them when nobody was added for so long: it may become a crowd; or
SLOW_CALM_MS = 2_000  # for so long, where introductions are slow
UNKNOWN_EVERY_MS = 1_000  # then one of those that nobody has told of, in so long
UNKNOWN_OF_CROWD_MS = 30_000  # the same while we are told of new ones: of it too, in a moment
CROWD_MS = 10_000  # so long after the last that was new
ENOUGH = 2  # while one gathers slowly so many neighbours carry the news; beyond them
NEXT_OF_CROWD_MS = 4_000  # one is dialled in so long: they are others again in a moment
MAX_DIALS = 64  # at the same time
MAX_WAITING = 1_024  # to so many: who speaks to everybody waits for its turn
WANTED_AT_ONCE = 8
AGAIN_MS = 1_000  # after a dial in vain; twice as long after the next, where nobody asks for it
LONGEST_MS = 60_000
OTHER_SIDE_MS = 1_500  # of two that need a link, the one with the greater id waits so long
MAX_HELD = 64  # notices to one peer
MAX_HELD_BYTES = 256 * 1024
IDLE_MS = 60_000
IDLE_LOOKS = 12  # in that time: it is a look at every link
MAX_AUDIENCE = 512
PART_AFTER_S = 0.2  # the other side hears the answer first
PART_TIMEOUT_S = 3.0
YES, NO = b"\xc3", b"\xc2"  # msgpack

Resend = Callable[[], None]
Wanted = Callable[[], Iterable[PeerId]]


class Doors(Protocol):
    """Where introductions are made."""

    parting: set[PeerId]  # these are not knocked at when their links break
    slowness: Slowness  # of introductions

    async def call_on(self, peer_id: PeerId, hosts: Sequence[str], port: int) -> bool: ...

    @property
    def dialling(self) -> int: ...

    @property
    def heard_of(self) -> int:
        """How many may be out there, as far as anybody has said."""


class Crowd(Protocol):
    """Who is there."""

    def everybody(self) -> tuple[PeerId, ...]: ...

    def neighbours(self) -> tuple[PeerId, ...]: ...

    def is_moved(self, peer_id: PeerId, mark: bytes) -> bool:
        """Whether its last word names another record than this."""

    async def fetch(self, peer_id: PeerId, origins: Iterable[PeerId]) -> bool:
        """Ask these for its papers."""


@dataclass(slots=True)
class _Dial:
    task: asyncio.Task[bool]
    held: list[Resend] = field(default_factory=list)
    held_bytes: int = 0


class Reaching:
    """See the module.

    Args:
        sessions: with whom there are sessions.
        links: the figures of each of them.
        is_busy: whether something waits for this peer, or runs for it.
        part: end the session with this peer, and everything with it.
    """

    def __init__(
        self,
        own: PeerId,
        book: PaperBook,
        crowd: Crowd,
        doors: Doors,
        exchange: Exchange,
        clock: Clock,
        rng: random.Random,
        full_mesh: int,
        *,
        sessions: Callable[[], Sequence[PeerId]],
        has_session: Callable[[PeerId], bool],
        links: Callable[[], Mapping[PeerId, LinkFigures]],
        is_busy: Callable[[PeerId], bool],
        part: Callable[[PeerId], None],
        label: Callable[[PeerId], str],
    ) -> None:
        self._own = own
        self._book = book
        self._crowd = crowd
        self._doors = doors
        self._exchange = exchange
        self._clock = clock
        self._rng = rng
        self._full_mesh = full_mesh
        self._sessions = sessions
        self._has_session = has_session
        self._links = links
        self._is_busy = is_busy
        self._part = part
        self._label = label
        self._kept: dict[str, Wanted] = {}  # by why
        self._dials: dict[PeerId, _Dial] = {}
        self._places = asyncio.Semaphore(MAX_DIALS)
        self._failed: dict[PeerId, tuple[int, int]] = {}  # when last, and how often
        self._needed_ms: dict[PeerId, int] = {}  # since when, without a link
        self._quiet: dict[PeerId, tuple[int, int]] = {}  # traffic, and since when it is that
        self._quiet_ms = 0  # not looked at again before
        self._unknown_ms = clock.now_ms() - UNKNOWN_EVERY_MS
        self._grown = Growth(clock.now_ms())
        self._dialled_ms = clock.now_ms()  # one who was needed
        self._timer: asyncio.TimerHandle | None = None
        self._look_s = 0.0  # at the latest
        self._parting: set[asyncio.Task[None]] = set()
        self._asking: set[PeerId] = set()  # whether the link may go
        self._is_open = True
        self.counts: Counter[str] = Counter()
        exchange.serve(PART, self._on_part, Permission.MEMBERSHIP, 64)

    # -- what is needed ------------------------------------------------------------------------

    @property
    def is_mesh(self) -> bool:
        """Whether everybody has a link to everybody."""
        return len(self._crowd.everybody()) <= self._full_mesh

    def keep(self, wanted: Wanted, why: str) -> None:
        """Keep links to whoever this function names, for this reason; it is asked now and then."""
        self._kept[why] = wanted

    def kept(self) -> frozenset[PeerId]:
        return frozenset().union(*(wanted() for wanted in self._kept.values())) - {self._own}

    def needed(self) -> tuple[PeerId, ...]:
        """Those present to whom there is to be a link."""
        present = self._crowd.everybody()
        if self.is_mesh:
            return present
        wanted = self.kept() | set(self._crowd.neighbours())
        return tuple(peer_id for peer_id in present if peer_id in wanted)

    def _needed_now(self) -> tuple[PeerId, ...]:
        """Those of them who are worth a dial at this moment. Of a crowd, of which the first are
        known, everybody would dial the same few, and need other links a moment later."""
        if not self._is_growing():
            return self.needed()
        first = self.kept() | set(self._crowd.neighbours())
        return tuple(peer_id for peer_id in self._crowd.everybody() if peer_id in first)

    @property
    def _heard_of(self) -> int:
        return max(len(self._crowd.everybody()), self._doors.heard_of)

    def _growth(self) -> Growth:
        now_ms = self._clock.now_ms()
        calm_ms = SLOW_CALM_MS if self._doors.slowness.is_slow(now_ms) else CALM_MS
        self._grown.look(len(self._crowd.everybody()), now_ms, calm_ms)
        return self._grown

    def _is_growing(self) -> bool:
        """Whether a crowd gathers, and more of it are to come."""
        return self._growth().is_crowd and self._heard_of > EAGER

    def _is_slow_crowd(self) -> bool:
        return self._doors.slowness.is_slow(self._clock.now_ms()) and self._is_growing()

    def _free_dials(self, now_ms: int) -> int:
        """How many of those who are needed may be dialled now. While a crowd gathers, neighbours
        are those in the picture of this moment, and the last to get in wait for those who dial."""
        free = WANTED_AT_ONCE - len(self._dials)
        if self._is_slow_crowd():
            neighbours = self._crowd.neighbours()
            met = sum(self._has_session(each) or each in self._dials for each in neighbours)
            is_next = now_ms - self._dialled_ms >= NEXT_OF_CROWD_MS
            free = min(free, max(int(is_next), ENOUGH - met))
        return max(0, free)

    def audience(self) -> tuple[PeerId, ...]:
        """Who gets our heartbeats besides our neighbours: whoever has a link to us keeps it for a
        reason, and may not be kept by us."""
        linked = (peer_id for peer_id in self._crowd.everybody() if self._has_session(peer_id))
        return tuple(islice(linked, MAX_AUDIENCE))

    def wants(self, peer_id: PeerId) -> bool:
        """Whether a hint of this peer is worth a dial just now. Of those that are known, those that
        are needed; of the others a few, and then one now and then: they may be a network of their
        own that never heard of us."""
        now_ms = self._clock.now_ms()
        if peer_id in self._crowd.everybody():
            return not self._is_slow_crowd() and peer_id in self._needed_now()
        first = FIRST_DIALS if self._doors.heard_of <= EAGER else FIRST_OF_MANY
        if len(self._sessions()) + self._doors.dialling < first:
            return True
        is_crowd = self._heard_of > EAGER and self._growth().has_grown_within(CROWD_MS)
        pause_ms = UNKNOWN_OF_CROWD_MS if is_crowd else UNKNOWN_EVERY_MS
        if now_ms - self._unknown_ms < pause_ms:
            return False
        self._unknown_ms = now_ms
        return True

    # -- reaching ------------------------------------------------------------------------------

    async def reach(self, peer_id: PeerId, timeout_s: float) -> None:
        """Return once there is a session with this peer.

        Raises:
            PeerUnreachable: there is none, definitely.
        """
        if self._has_session(peer_id):
            return
        is_there = peer_id in self._crowd.everybody()
        dial = self._dial(peer_id, is_asked_for=True) if is_there else None
        if dial is None:
            raise self._unreachable(peer_id, "it is not admitted: introduce it first")
        try:
            async with asyncio.timeout(timeout_s):
                is_met = await asyncio.shield(dial.task)
        except TimeoutError:
            raise self._unreachable(peer_id, f"no introduction within {timeout_s:g} s") from None
        if not is_met:
            raise self._unreachable(peer_id, "nobody at its addresses lets us in")

    def soon(self, peers: Iterable[PeerId]) -> None:
        """Make links to these without waiting for them; those that are kept are tried again."""
        for peer_id in peers:
            if not self._has_session(peer_id):
                self._dial(peer_id)

    def later(self, peer_id: PeerId, size_bytes: int, resend: Resend) -> bool:
        """Do this once there is a session; False where there will be none."""
        dial = self._dial(peer_id)
        if dial is None:
            return False
        if len(dial.held) >= MAX_HELD or dial.held_bytes + size_bytes > MAX_HELD_BYTES:
            self.counts["held_full"] += 1
            return False
        dial.held.append(resend)
        dial.held_bytes += size_bytes
        return True

    def start(self) -> None:
        self._look_later()

    def look_soon(self) -> None:
        """Other links are needed than before, and perhaps others again in a moment."""
        if self._timer is not None and self._is_open:
            loop = asyncio.get_running_loop()
            self._timer.cancel()
            self._timer = loop.call_at(min(self._look_s, loop.time() + SOON_S), self._look)

    async def close(self) -> None:
        self._is_open = False
        if self._timer is not None:
            self._timer.cancel()
        tasks: list[asyncio.Task[bool] | asyncio.Task[None]] = [*self._parting]
        tasks += [dial.task for dial in self._dials.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _unreachable(self, peer_id: PeerId, reason: str) -> PeerUnreachable:
        return PeerUnreachable(self._label(peer_id), reason)

    def _may_dial(self, peer_id: PeerId, *, is_asked_for: bool) -> bool:
        at_ms, times = self._failed.get(peer_id, (0, 0))
        pause_ms = AGAIN_MS if is_asked_for else min(LONGEST_MS, AGAIN_MS << min(times, 8))
        return not times or self._clock.now_ms() - at_ms >= pause_ms

    def _dial(self, peer_id: PeerId, *, is_asked_for: bool = False) -> _Dial | None:
        """The dial to this peer, begun now unless it is under way; None: it is in vain."""
        running = self._dials.get(peer_id)
        if running is not None:
            return running
        is_due = self._may_dial(peer_id, is_asked_for=is_asked_for)
        if not self._is_open or not is_due or peer_id not in self._book:
            return None
        if len(self._dials) >= MAX_WAITING:
            self.counts["dials_full"] += 1
            return None
        self.counts["dials"] += 1
        task = asyncio.get_running_loop().create_task(self._call_on(peer_id))
        dial = self._dials[peer_id] = _Dial(task)
        task.add_done_callback(lambda done: self._dialled(peer_id, done))
        return dial

    async def _call_on(self, peer_id: PeerId) -> bool:
        async with self._places:
            return await self._introduce(peer_id)

    async def _introduce(self, peer_id: PeerId) -> bool:
        papers = self._book.get(peer_id)
        if papers is not None and self._crowd.is_moved(peer_id, papers.mark):
            known = [each for each in self._crowd.neighbours() if self._has_session(each)]
            await self._crowd.fetch(peer_id, known[:3])
            papers = self._book.get(peer_id)
        if papers is None or self._has_session(peer_id):
            return self._has_session(peer_id)
        record = papers.record
        return await self._doors.call_on(peer_id, record.hosts, record.ports.get("door", 0))

    def _dialled(self, peer_id: PeerId, task: asyncio.Task[bool]) -> None:
        dial = self._dials.pop(peer_id)
        if not task.cancelled() and task.exception() is None and task.result():
            self._failed.pop(peer_id, None)
            for resend in dial.held:
                resend()
        else:
            _, times = self._failed.get(peer_id, (0, 0))
            self._failed[peer_id] = (self._clock.now_ms(), times + 1)
            self.counts["dials_failed"] += 1
            self.counts["held_dropped"] += len(dial.held)

    # -- now and then --------------------------------------------------------------------------

    def _look_later(self) -> None:
        loop = asyncio.get_running_loop()
        self._look_s = loop.time() + LOOK_EVERY_S * (1 - 0.2 * self._rng.random())
        self._timer = loop.call_at(self._look_s, self._look)

    def _look(self) -> None:
        self._look_later()
        now_ms = self._clock.now_ms()
        missing = [peer for peer in self._needed_now() if not self._has_session(peer)]
        before = self._needed_ms
        self._needed_ms = {peer_id: before.get(peer_id, now_ms) for peer_id in missing}
        due = [p for p in missing if p not in self._dials and self._is_ours(p, now_ms)]
        for peer_id in self._rng.sample(due, min(self._free_dials(now_ms), len(due))):
            self._dialled_ms = now_ms
            self._dial(peer_id)
        old_ms = now_ms - 10 * LONGEST_MS
        self._failed = {p: failed for p, failed in self._failed.items() if failed[0] > old_ms}
        if self.is_mesh:
            self._quiet.clear()
        elif now_ms >= self._quiet_ms:
            self._quiet_ms = now_ms + IDLE_MS // IDLE_LOOKS
            self._end_idle(now_ms)

    def _is_ours(self, peer_id: PeerId, now_ms: int) -> bool:
        """Both sides need the link: one dials first."""
        return self._own < peer_id or now_ms - self._needed_ms[peer_id] >= OTHER_SIDE_MS

    def _end_idle(self, now_ms: int) -> None:
        links = self._links()
        kept = {*self.kept(), *self._crowd.neighbours(), *self._doors.parting}
        quiet: dict[PeerId, tuple[int, int]] = {}
        for peer_id in self._sessions():
            if peer_id in kept or peer_id not in links or self._is_busy(peer_id):
                continue
            traffic, before = _traffic_of(links[peer_id]), self._quiet.get(peer_id)
            is_same = before is not None and before[0] == traffic
            quiet[peer_id] = before if before is not None and is_same else (traffic, now_ms)
        self._quiet = quiet
        idle = [p for p, (_, since_ms) in quiet.items() if now_ms - since_ms >= IDLE_MS]
        for peer_id in idle[:WANTED_AT_ONCE]:
            self._quiet[peer_id] = (-1, now_ms)  # asking is traffic, and it is asked once
            self._start(self._ask_to_part(peer_id))

    def _may_part(self, peer_id: PeerId) -> bool:
        is_needed = peer_id in self.needed() or self._is_busy(peer_id)
        return not is_needed and peer_id not in self._dials

    async def _ask_to_part(self, peer_id: PeerId) -> None:
        self._asking.add(peer_id)
        try:
            answer = await self._exchange.request(
                peer_id, PART, b"", timeout_s=PART_TIMEOUT_S, lane=Lane.CONTROL
            )
        except P2PError:
            return
        finally:
            self._asking.discard(peer_id)
        if answer == YES and self._may_part(peer_id) and self._has_session(peer_id):
            self.counts["parted"] += 1
            self._part(peer_id)

    async def _on_part(self, incoming: Incoming, payload: bytes) -> bytes:
        peer_id = incoming.caller.peer_id
        if self.is_mesh or peer_id in {*self.kept(), *self._crowd.neighbours()}:
            return NO
        if peer_id in self._asking and self._own < peer_id:
            return NO  # both ask at once: ours it is
        self._doors.parting.add(peer_id)
        self._start(self._part_later(peer_id))
        return YES

    async def _part_later(self, peer_id: PeerId) -> None:
        await asyncio.sleep(PART_AFTER_S)
        self._doors.parting.discard(peer_id)
        if self._may_part(peer_id) and self._has_session(peer_id):
            self.counts["parted"] += 1
            self._part(peer_id)

    def _start(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        assert isinstance(task, asyncio.Task)
        self._parting.add(task)
        task.add_done_callback(self._parting.discard)


def _traffic_of(figures: LinkFigures) -> int:
    """What somebody wants of it; beats are on the control lane."""
    lanes = [each for lane, each in figures.lanes.items() if lane is not Lane.CONTROL]
    return figures.publications_in + sum(lane.frames_in + lane.frames_out for lane in lanes)

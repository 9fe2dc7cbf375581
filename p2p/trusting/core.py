"""Which peers know the same revocation lists as we do, and what to say to those who do not.

A pure core. Everybody says the *head* of what it has in force: when a session begins, when it
changes, and with every heartbeat. Who hears another head asks for what is later. Until both heads
are the same, a session is *unsettled*: nothing of that peer counts but what it says about
revocations. So whoever was away learns what was revoked before it counts anything, and before
anything that it says counts. One that does not come to the same head in time is sent away.
What was said before a silence may arrive after it, so only the answer to a question that was asked
since settles a peer.

Nobody can tell by one voice alone whether it is the voice of one that was revoked meanwhile, and
that hides it. So a node that comes back to a network where it has known several others waits for
the heads of two of them, for a second or two at most, before it counts anybody (`COMPANY`).

What this module does not know: lists, signatures, sessions, clocks; times are the caller's
milliseconds. What it returns is to be done in order.

Invariants (`check_invariants`): a settled peer has said our head since its session began; an
unsettled one that goes on saying another head is settled or sent away within `SETTLE_MS`. One that
says none is not sent away: a broken line is no disagreement.
"""

from __future__ import annotations

from dataclasses import dataclass

from keys import PeerId

SETTLE_MS = 3_000
PAUSE_MS = 1_500  # who was silent for so long begins anew
SAY_AGAIN_MS = 500
ASK_AGAIN_MS = 1_000
LAGGING_MS = 5_000  # a settled peer that stays behind for so long has to settle again
COMPANY_MS = 1_000
RETURN_MS = 2_500  # the same after an absence: connections have to be made anew
COMPANY = 2
SILENCE_MS = 10_000  # without any head for so long, it was us who were away


@dataclass(frozen=True, slots=True)
class SayHead:
    """
    Attributes:
        asks: the number of a question: say yours; 0 for none.
        answers: the number of the other side's question; 0 for none.
    """

    to: PeerId
    asks: int = 0
    answers: int = 0


@dataclass(frozen=True, slots=True)
class AskLists:
    """Say one by one what we have; the answer is what is later there."""

    to: PeerId


@dataclass(frozen=True, slots=True)
class Settle:
    """What this peer says counts from now on, and what was held back of it."""

    peer_id: PeerId


@dataclass(frozen=True, slots=True)
class Unsettle:
    """What this peer says does not count for now."""

    peer_id: PeerId


@dataclass(frozen=True, slots=True)
class SendAway:
    """It did not come to know what we know, nor let us know what it knows."""

    peer_id: PeerId


SpreadingEffect = SayHead | AskLists | Settle | Unsettle | SendAway
_Effects = list[SpreadingEffect]


@dataclass(slots=True)
class _Settling:
    """Of a peer that is not settled."""

    since_ms: int | None  # it speaks since then
    spoke_ms: int
    said_ms: int = 0  # when we last asked for its head
    first_asked: int = 0  # the number of our first question; 0: none yet
    has_answered: bool = False  # one of them


@dataclass(frozen=True, slots=True)
class _Asked:
    """For its lists."""

    at_ms: int
    about: bytes  # its head and digest then


@dataclass(slots=True)
class _Other:
    settling: _Settling | None  # None: it is settled
    head: bytes | None = None  # the last that it said
    digest: bytes | None = None
    differs_ms: int | None = None  # settled, and at another head, since then
    asked: _Asked | None = None


class Spreading:
    """See the module.

    Args:
        known: how many other peers were met in earlier runs.
    """

    def __init__(self, head: bytes, digest: bytes, *, known: int = 0) -> None:
        self._head = head
        self._digest = digest
        self._others: dict[PeerId, _Other] = {}
        self._open: dict[PeerId, None] = {}  # those unsettled, or that say another head
        self._wanted = min(COMPANY, known)
        self._alone_until_ms: int | None = None  # None: has not begun, or is over
        self._heard_ms: int | None = None  # a head, from anybody
        self._asked = 0  # so many questions

    @property
    def is_waiting_for_company(self) -> bool:
        return self._wanted > 0

    @property
    def deadline_ms(self) -> int | None:
        """When the next `tick` is wanted; None for never."""
        due = [self._due_ms(self._others[each]) for each in self._open]
        known = [each for each in (*due, self._alone_until_ms) if each is not None]
        return min(known, default=None)

    def is_settled(self, peer_id: PeerId) -> bool:
        other = self._others.get(peer_id)
        return other is None or other.settling is None

    def others(self) -> tuple[PeerId, ...]:
        return tuple(self._others)

    # -- what happens --------------------------------------------------------------------------

    def began(self, peer_id: PeerId, now_ms: int) -> _Effects:
        """A session, with another start of this peer than before or with a new one."""
        effects: _Effects = []
        if self._wanted and self._alone_until_ms is None:
            self._alone_until_ms = now_ms + COMPANY_MS
        self._note_absence(now_ms, effects)
        settling = _Settling(now_ms, now_ms)
        self._others[peer_id] = _Other(settling)
        self._open[peer_id] = None
        return [*effects, Unsettle(peer_id), self._ask(peer_id, settling, now_ms)]

    def ended(self, peer_id: PeerId) -> None:
        """There is no session with this peer any more."""
        self._others.pop(peer_id, None)
        self._open.pop(peer_id, None)

    def away(self, peer_id: PeerId) -> _Effects:
        """It is dead as far as we know: when it is back, it has been away."""
        other = self._others.get(peer_id)
        if other is None or other.settling is not None:
            return []  # what we have asked of it may still be answered
        self._unsettle(other, None)
        self._open[peer_id] = None
        return [Unsettle(peer_id)]

    def spoke(self, peer_id: PeerId, now_ms: int) -> _Effects:
        """Something was held back of an unsettled peer: its time begins, if it has not."""
        other = self._others.get(peer_id)
        settling = None if other is None else other.settling
        if settling is None or not self._begins(settling, now_ms):
            return []
        return [self._ask(peer_id, settling, now_ms)]

    def heard(
        self,
        peer_id: PeerId,
        head: bytes,
        digest: bytes,
        now_ms: int,
        *,
        asks: int = 0,
        answers: int = 0,
    ) -> _Effects:
        """A peer says what it has in force, and perhaps asks us, or answers."""
        other = self._others.get(peer_id)
        if other is None:
            return []
        effects: _Effects = []
        self._note_absence(now_ms, effects)
        self._heard_ms = now_ms
        # Nearly everybody says what we say: one object is enough.
        other.head = self._head if head == self._head else head
        other.digest = self._digest if digest == self._digest else digest
        settling = other.settling
        if settling is not None:
            self._begins(settling, now_ms)
            if 0 < settling.first_asked <= answers:
                settling.has_answered = True
        if asks:
            effects.append(SayHead(peer_id, answers=asks))
        self._compare(peer_id, other, now_ms, effects)
        self._note(peer_id, other)
        self._settle_those_who_agree(now_ms, effects)
        return effects

    def changed(self, head: bytes, digest: bytes, now_ms: int) -> _Effects:
        """Other lists are in force here than before; everybody is told."""
        self._head, self._digest = head, digest
        effects: _Effects = []
        for peer_id, other in self._others.items():
            effects.append(SayHead(peer_id))
            if other.settling is None and other.head != head and other.differs_ms is None:
                other.differs_ms = now_ms
            elif other.head == head:
                other.differs_ms = None
            self._note(peer_id, other)
        self._settle_those_who_agree(now_ms, effects)
        return effects

    def tick(self, now_ms: int) -> _Effects:
        effects: _Effects = []
        self._settle_those_who_agree(now_ms, effects)
        for peer_id in tuple(self._open):
            other = self._others[peer_id]
            due_ms = self._due_ms(other)
            if due_ms is None or now_ms < due_ms:
                continue
            settling = other.settling
            if settling is None:
                settling = self._unsettle(other, now_ms)
                effects.append(Unsettle(peer_id))
            elif settling.since_ms is not None and now_ms >= settling.since_ms + SETTLE_MS:
                is_speaking = now_ms - settling.spoke_ms < PAUSE_MS
                if is_speaking and other.head not in (None, self._head):
                    self.ended(peer_id)
                    effects.append(SendAway(peer_id))
                else:
                    settling.since_ms = None  # it cannot hear us, or is silent: until it speaks
                continue
            effects.append(self._ask(peer_id, settling, now_ms))
        return effects

    def check_invariants(self) -> None:
        assert self._open.keys() <= self._others.keys()
        for peer_id, other in self._others.items():
            is_open = other.settling is not None or other.differs_ms is not None
            assert is_open == (peer_id in self._open)
            if other.settling is None:
                assert other.head is not None, "it has said a head"
                assert other.head == self._head or other.differs_ms is not None
            else:
                assert other.differs_ms is None

    # -- parts ---------------------------------------------------------------------------------

    def _note(self, peer_id: PeerId, other: _Other) -> None:
        """Each heartbeat comes here, so only those are looked at of whom there is something due."""
        if other.settling is None and other.differs_ms is None:
            self._open.pop(peer_id, None)
        else:
            self._open[peer_id] = None

    def _due_ms(self, other: _Other) -> int | None:
        settling = other.settling
        if settling is None:
            return None if other.differs_ms is None else other.differs_ms + LAGGING_MS
        if settling.since_ms is None:
            return None
        return min(settling.since_ms + SETTLE_MS, settling.said_ms + SAY_AGAIN_MS)

    def _ask(self, peer_id: PeerId, settling: _Settling, now_ms: int) -> SayHead:
        self._asked += 1
        settling.said_ms = now_ms
        settling.first_asked = settling.first_asked or self._asked
        return SayHead(peer_id, asks=self._asked)

    def _begins(self, settling: _Settling, now_ms: int) -> bool:
        """An unsettled peer speaks; whether its time to settle begins with that."""
        is_anew = settling.since_ms is None or now_ms - settling.spoke_ms >= PAUSE_MS
        settling.spoke_ms = now_ms
        if is_anew:
            settling.since_ms = now_ms
        return is_anew

    def _unsettle(self, other: _Other, since_ms: int | None) -> _Settling:
        other.settling = _Settling(since_ms, since_ms or 0)
        other.head = other.digest = other.differs_ms = other.asked = None
        return other.settling

    def _note_absence(self, now_ms: int, effects: _Effects) -> None:
        """Heads come twice a second from everybody alive. When none came for long, we slept, or
        were cut off: what others say now may be said by those who were revoked meanwhile."""
        if self._heard_ms is None or now_ms - self._heard_ms < SILENCE_MS:
            return
        self._heard_ms = now_ms
        self._wanted = min(COMPANY, len(self._others))
        self._alone_until_ms = now_ms + RETURN_MS if self._wanted else None
        for peer_id, other in self._others.items():
            settling = other.settling
            if settling is None:
                effects.append(Unsettle(peer_id))
                settling = self._unsettle(other, None)
            self._open[peer_id] = None
            effects.append(self._ask(peer_id, settling, now_ms))

    def _compare(self, peer_id: PeerId, other: _Other, now_ms: int, effects: _Effects) -> None:
        agrees = other.head == self._head
        if other.settling is None:
            if agrees:
                other.differs_ms = None
            elif other.differs_ms is None:
                other.differs_ms = now_ms
        if agrees and other.digest == self._digest:
            return
        assert other.head is not None
        assert other.digest is not None
        about = other.head + other.digest
        # The same head with another digest is a conflict, which asking does not mend by itself.
        again_ms = ASK_AGAIN_MS if not agrees else 60 * ASK_AGAIN_MS
        before = other.asked
        if before is None or before.about != about or now_ms - before.at_ms >= again_ms:
            other.asked = _Asked(now_ms, about)
            effects.append(AskLists(peer_id))

    def _settle_those_who_agree(self, now_ms: int, effects: _Effects) -> None:
        if self._wanted:
            is_over = self._alone_until_ms is not None and now_ms >= self._alone_until_ms
            agreeing = sum(self._agrees(each) for each in self._others.values())
            if not is_over and agreeing < self._wanted:
                return
            self._wanted, self._alone_until_ms = 0, None
        for peer_id in tuple(self._open):
            other = self._others[peer_id]
            if other.settling is not None and self._agrees(other):
                other.settling = other.differs_ms = None
                del self._open[peer_id]
                effects.append(Settle(peer_id))

    def _agrees(self, other: _Other) -> bool:
        has_answered = other.settling is None or other.settling.has_answered
        return has_answered and other.head == self._head

"""Revocations at work in one peer: lists come in, are kept, spread, and those they mean are cut.

A list that is news is kept on disk first, then judged by, then sent on to everybody; each receiver
does so once, so that it is everywhere after a few round trips. All sessions are judged again, and
our own certificate too. Whatever was lost on the way shows in the heads (`core`).

Order of the steps, so that a stop between any two is harmless: kept (nobody was told yet, and a
restart judges by it), adopted, sent on, sessions cut.

What this module does not know: what a list means, where it is kept, how a session is cut.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from keys import (
    MAX_LISTS,
    MAX_PACKED_BYTES,
    CertificateRevoked,
    Have,
    KeysError,
    ListInForce,
    PeerId,
    Permission,
    Principal,
    RevocationConflict,
    RevocationOlder,
    RevocationRefused,
    Revocations,
    pack_list,
    read_list,
)
from p2p.admission import RateLimit, SessionTable
from p2p.alarm import Alarm
from p2p.clock import Clock
from p2p.errors import P2PError
from p2p.links import Lane
from p2p.own_papers import OwnPapers
from p2p.rpc import Exchange
from p2p.trusting.core import (
    SETTLE_MS,
    AskLists,
    SayHead,
    SendAway,
    Settle,
    Spreading,
    SpreadingEffect,
    Unsettle,
)
from p2p.trusting.freshness import Freshness
from p2p.trusting.messages import (
    HEAD,
    HEAD_BYTES,
    LIST,
    NAMES,
    WANT,
    head_from_wire,
    head_message,
    list_from_wire,
    list_message,
    want_from_wire,
    want_message,
)
from p2p.wire import Envelope, Kind

log = logging.getLogger("conclave.p2p.trusting")

MAX_HELD = 2_048  # messages of one unsettled peer
MAX_HELD_BYTES = 4 * 1024 * 1024
PER_SECOND = 16  # lists and questions of one peer, in the long run
BURST = 160
# Bytes of lists that one peer is told: every list there can be at once, then so many a second.
TOLD_BURST_BYTES = MAX_LISTS * MAX_PACKED_BYTES
TOLD_BYTES_PER_S = 256 * 1024
MAX_LIMITED = 16_384  # peers
_NOTIFY = int(Kind.NOTIFY)

OnCut = Callable[[PeerId, CertificateRevoked], None]


class _Held:
    """What an unsettled peer said meanwhile, in order, within bounds."""

    def __init__(self) -> None:
        self._work: deque[tuple[int, int, Callable[[], None]]] = deque()
        self._size_bytes = 0

    def put(self, work: Callable[[], None], size_bytes: int, now_ms: int) -> int:
        """Return how many were forgotten for it: the oldest, and those of long ago."""
        self._work.append((now_ms, size_bytes, work))
        self._size_bytes += size_bytes
        return self._forget(now_ms)

    def take(self, now_ms: int) -> list[Callable[[], None]]:
        """Everything that is not of long ago; who asked then has given up waiting."""
        self._forget(now_ms)
        return [work for _, _, work in self._work]

    def _forget(self, now_ms: int) -> int:
        forgotten = 0
        while self._work and (
            len(self._work) > MAX_HELD
            or self._size_bytes > MAX_HELD_BYTES
            or now_ms - self._work[0][0] > SETTLE_MS
        ):
            self._size_bytes -= self._work.popleft()[1]
            forgotten += 1
        return forgotten


class Trusting:
    """One peer's revocations.

    Args:
        on_cut: this peer was revoked: end everything with it, a moment later its connections too.
        on_sent_away: this peer does not come to agree on what is revoked.
        on_own: our own certificate was revoked, or a list could not be kept: stop.
        on_withheld: ourselves, with what may be asked just now.
        known: how many others were met in earlier runs.
    """

    def __init__(
        self,
        own: OwnPapers,
        clock: Clock,
        exchange: Exchange,
        sessions: SessionTable,
        label: Callable[[PeerId], str],
        *,
        on_cut: OnCut,
        on_sent_away: Callable[[PeerId], None],
        on_own: Callable[[Exception], None],
        on_withheld: Callable[[Principal], None],
        known: int = 0,
    ) -> None:
        self._own = own
        self._clock = clock
        self._exchange = exchange
        self._sessions = sessions
        self._label = label
        self._on_cut = on_cut
        self._on_sent_away = on_sent_away
        self._on_own = on_own
        self._on_withheld = on_withheld
        self.freshness = Freshness()
        self._listeners: list[Callable[[], None]] = []
        now = self.revocations
        self._core = Spreading(now.head, now.digest, known=known)
        self._alarm = Alarm(clock, self._tick)
        self._starts: dict[PeerId, int] = {}  # the incarnation of each session
        self._held: dict[PeerId, _Held] = {}
        self._allowance = RateLimit(PER_SECOND, BURST, MAX_LIMITED)
        self._told_bytes = RateLimit(TOLD_BYTES_PER_S, TOLD_BURST_BYTES, MAX_LIMITED)
        self._revoked: set[PeerId] = set()
        self.on_conflict: Callable[[ListInForce], None] = lambda _: None
        self.conflict: str | None = None
        self.counts: Counter[str] = Counter()
        self._is_open = True
        membership = Permission.MEMBERSHIP
        exchange.serve_notice(HEAD, self._on_head, membership)
        exchange.serve_notice(WANT, self._on_want, membership)
        exchange.serve_notice(LIST, self._on_list, membership)

    @property
    def revocations(self) -> Revocations:
        return self._own.trust.revocations

    @property
    def heads(self) -> bytes:
        """For heartbeats: the head and the long head."""
        return self.revocations.head + self.revocations.digest

    def listen(self, listener: Callable[[], None]) -> None:
        """Call this function whenever other lists are in force than before."""
        self._listeners.append(listener)

    def close(self) -> None:
        self._is_open = False
        self._alarm.off()

    # -- lists ---------------------------------------------------------------------------------

    def take(self, listed: ListInForce) -> bool:
        """Put a verified list in force here, and spread it. False if it was no news.

        Raises:
            RevocationRefused: it is older than what is in force, or in conflict with it.
            KeystoreError: it could not be kept, and is not in force.
        """
        after = self.revocations.taking(listed)
        if after is self.revocations:
            return False
        self._own.adopt_trust(self._own.keep(after))
        log.warning(
            "a revocation list is in force: %s, number %d with %d entries",
            listed.signer.name,
            listed.list.sequence,
            len(listed.list.entries),
        )
        self.counts["lists_taken"] += 1
        packed = list_message(pack_list(listed))
        for peer_id in self._core.others():
            self._send(peer_id, LIST, packed)
        self._do(self._core.changed(after.head, after.digest, self._clock.now_ms()))
        for session in self._sessions:
            self.judge(session.peer_id)
        self.look()
        for listener in self._listeners:
            listener()
        self._judge_ourselves()
        return True

    def look(self) -> None:
        """Whether the lists are still fresh; now and then, and when they change."""
        for limit in (self._allowance, self._told_bytes):
            limit.rest(self._clock.now_ms())
        if self.freshness.look(self.revocations, self._clock.wall_ms()):
            if self.freshness.withheld:
                log.error("a revocation list is stale: what changes the network is refused")
            self._on_withheld(self.freshness.seen(self._own.principal))

    def judge(self, peer_id: PeerId) -> bool:
        """Cut this peer if it was revoked; whether it was."""
        session = self._sessions.get(peer_id)
        if session is None:
            return False
        try:
            self.revocations.check(session.principal.lineage)
        except CertificateRevoked as error:
            self._revoked.add(peer_id)
            self.counts["peers_cut"] += 1
            self.ended(peer_id)
            self._on_cut(peer_id, error)
            return True
        self._revoked.discard(peer_id)  # it has another certificate meanwhile
        return False

    def was_revoked(self, peer_id: PeerId) -> bool:
        """Whether we have cut this peer because it was revoked, and it is not back since."""
        return peer_id in self._revoked

    def _judge_ourselves(self) -> None:
        try:
            self.revocations.check(self._own.principal.lineage)
        except CertificateRevoked as error:
            self._on_own(error)

    # -- sessions ------------------------------------------------------------------------------

    def began(self, peer_id: PeerId, incarnation: int) -> None:
        """A session began, or its papers were shown again."""
        if self.judge(peer_id) or self._starts.get(peer_id) == incarnation:
            return
        self._starts[peer_id] = incarnation
        self._held.pop(peer_id, None)
        self._do(self._core.began(peer_id, self._clock.now_ms()))

    def ended(self, peer_id: PeerId) -> None:
        """There is no session any more."""
        self._core.ended(peer_id)
        self._starts.pop(peer_id, None)
        self._held.pop(peer_id, None)
        # What it was told counts on: a session may be ended and begun to be told it all again.
        self._allowance.forget(peer_id)

    def away(self, peer_id: PeerId) -> None:
        """It is dead, or has left; its session may outlast that."""
        self._do(self._core.away(peer_id))

    def heartbeat(self, peer_id: PeerId, heads: bytes) -> None:
        """A settled peer's heartbeat says what it has in force."""
        if len(heads) == 2 * HEAD_BYTES:
            head, digest = heads[:HEAD_BYTES], heads[HEAD_BYTES:]
            self._do(self._core.heard(peer_id, head, digest, self._clock.now_ms()))

    # -- holding back --------------------------------------------------------------------------

    def holds(self, peer_id: PeerId) -> bool:
        """Whether what this peer says does not count yet."""
        return peer_id in self._held

    def hold_frame(
        self,
        peer_id: PeerId,
        lane: Lane,
        envelopes: Sequence[Envelope],
        size_bytes: int,
        take: Callable[[PeerId, Lane, Sequence[Envelope]], None],
    ) -> None:
        """Keep a frame of an unsettled peer, but for its words about revocations."""
        at_once: list[Envelope] = []
        later: list[Envelope] = []
        for one in envelopes:
            is_ours = one.kind == _NOTIFY and one.target in NAMES
            (at_once if is_ours else later).append(one)
        if later:
            self.hold(peer_id, partial(take, peer_id, lane, later), size_bytes)
        if at_once:
            self._exchange.on_envelopes(peer_id, Lane.CONTROL, at_once)

    def hold(self, peer_id: PeerId, work: Callable[[], None], size_bytes: int) -> None:
        """Do this once the peer is settled, after what was held before."""
        held = self._held.get(peer_id)
        if held is None:
            work()
            return
        now_ms = self._clock.now_ms()
        self.counts["held"] += 1
        self.counts["held_dropped"] += held.put(work, size_bytes, now_ms)
        self._do(self._core.spoke(peer_id, now_ms))

    # -- what arrives --------------------------------------------------------------------------

    def _on_head(self, peer_id: PeerId, payload: bytes) -> None:
        said = head_from_wire(payload)
        if said is None:
            self.counts["malformed"] += 1
            return
        head, digest, asks, answers = said
        if asks and not self._allows(peer_id):
            asks = 0
        now_ms = self._clock.now_ms()
        self._do(self._core.heard(peer_id, head, digest, now_ms, asks=asks, answers=answers))

    def _on_want(self, peer_id: PeerId, payload: bytes) -> None:
        theirs = want_from_wire(payload)
        if theirs is None:
            self.counts["malformed"] += 1
        elif self._allows(peer_id):
            self._answer(peer_id, {each.key_id: each for each in theirs})

    def _answer(self, peer_id: PeerId, theirs: dict[bytes, Have]) -> None:
        for listed in self.revocations:
            known = theirs.get(listed.key_id)
            ours = listed.list.sequence
            if known is None or known.sequence < ours or _differs(known, listed):
                packed = list_message(pack_list(listed))
                if not self._may_tell(peer_id, len(packed)):
                    break  # it asks again for what it still lacks
                self._send(peer_id, LIST, packed)
        self._do([SayHead(peer_id)])
        if any(self._is_later(each) for each in theirs.values()):
            self._do([AskLists(peer_id)])

    def _may_tell(self, peer_id: PeerId, size_bytes: int) -> bool:
        """A question of some bytes is answered by megabytes, so those are counted too."""
        if not self._told_bytes.take(peer_id, self._clock.now_ms(), size_bytes):
            self.counts["told_too_much"] += 1
            return False
        return True

    def _is_later(self, have: Have) -> bool:
        ours = self.revocations.of(have.key_id)
        return ours is None or have.sequence > ours.list.sequence

    def _on_list(self, peer_id: PeerId, payload: bytes) -> None:
        packed = list_from_wire(payload)
        if packed is None:
            self.counts["malformed"] += 1
        elif self._allows(peer_id):
            self._take_packed(packed, self._label(peer_id))

    def told(self, packed: bytes) -> None:
        """A door that refuses us shows a list: signed, or it is nothing."""
        self.counts["told_at_doors"] += 1
        self._take_packed(packed, "a door that refuses us")

    def _take_packed(self, packed: bytes, source: str) -> None:
        try:
            listed = read_list(packed, self._own.trust, self._clock.wall_ms())
            try:
                self.take(listed)
            except RevocationConflict as error:
                self.conflict = str(error)
                log.error("%s", error)
                self.on_conflict(listed)
        except RevocationOlder:
            self.counts["lists_older"] += 1
        except RevocationRefused as error:
            self.counts["lists_refused"] += 1
            log.error("a list from %s is refused: %s", source, error)
        except KeysError as error:
            self._on_own(error)  # better down than judging by what was revoked

    def _allows(self, peer_id: PeerId) -> bool:
        """Whether this peer has not asked or told us too much lately."""
        if not self._allowance.take(peer_id, self._clock.now_ms()):
            self.counts["too_often"] += 1
            return False
        return True

    # -- what is done --------------------------------------------------------------------------

    def _tick(self) -> None:
        self._do(self._core.tick(self._clock.now_ms()))

    def _do(self, effects: Iterable[SpreadingEffect]) -> None:
        if not self._is_open:
            return
        for effect in effects:
            match effect:
                case SayHead(to, asks, answers):
                    now = self.revocations
                    said = head_message(now.head, now.digest, asks=asks, answers=answers)
                    self._send(to, HEAD, said)
                case AskLists(to):
                    self._send(to, WANT, want_message(self.revocations.have()))
                case Unsettle(peer_id):
                    self._held.setdefault(peer_id, _Held())
                case Settle(peer_id):
                    self._release(peer_id)
                case SendAway(peer_id):
                    self.counts["sent_away"] += 1
                    self.ended(peer_id)
                    self._on_sent_away(peer_id)
        self._alarm.set(self._core.deadline_ms)

    def _release(self, peer_id: PeerId) -> None:
        """All at once, so that nothing that comes meanwhile overtakes it."""
        held = self._held.pop(peer_id, None)
        for work in held.take(self._clock.now_ms()) if held is not None else ():
            work()

    def _send(self, to: PeerId, method: str, payload: bytes) -> None:
        try:
            self._exchange.notify(to, method, payload, lane=Lane.CONTROL)
        except P2PError as error:
            log.debug("not sent: %s", error, extra={"method": method})


def _differs(have: Have, listed: ListInForce) -> bool:
    return have.sequence == listed.list.sequence and have.digest != listed.list.digest

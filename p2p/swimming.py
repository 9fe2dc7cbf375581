"""Liveness: the shell around SWIM. `p2p/membership/DESIGN.md` says what it does.

Its messages travel on the control lane as notices, over sessions; whoever has none is introduced
first, by whoever carries notices. A beat's status is a heartbeat; it is in a beat when it is new,
and in one of a few, and reaches the neighbours, and the audience: everybody, while there is a link
to everybody.

Our number is the incarnation of this start, which the keystore has made durable before this process
had it, and how often we have spoken anew; so no number that is sent here can be used again by a
later start, and nothing has to be written down when we refute.

A statement counts if its signer's papers are in the book. Where they are not, it waits with the
strangers. Whoever is cut off for what it does is not listened to for a while, though others tell
of it.

What this module does not know: introductions, what a status means, whom links are needed for.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from keys import PeerId, Permission, verify_signature
from p2p.adverts import DOMAIN as ADVERTS
from p2p.adverts import Crowd
from p2p.alarm import Alarm
from p2p.clock import Clock
from p2p.members import PaperBook, Strangers, mark_of, sign_as
from p2p.members.papers import DOMAIN, signed_bytes
from p2p.membership import Heartbeat, Member, MemberState
from p2p.membership.swim import (
    Beat,
    Changed,
    Conflict,
    Drop,
    DropReason,
    Expelled,
    Ignored,
    Leave,
    LinkLost,
    Message,
    Met,
    Neighbours,
    Proven,
    Received,
    Renewed,
    Say,
    Send,
    Statement,
    Swim,
    SwimEffect,
    SwimEvent,
    SwimSettings,
    Tick,
    Unknown,
    Why,
    decode_message,
    encode_message,
    start_of,
)
from p2p.membership.swim.messages import News
from p2p.own_papers import OwnPapers
from p2p.presence import LinkBroken, MemberChange, Presence
from p2p.rpc import Exchange
from p2p.seen import Seen
from p2p.wire import PayloadError, decode_payload, encode_payload

log = logging.getLogger("conclave.p2p.swimming")

MESSAGE = "members.message"
SHUNNED_MS = 10_000
MAX_STRIKES = 16
KNOCK_AGAIN_MS = 1_000
_PRESENT = (MemberState.ALIVE, MemberState.SUSPECT)


class Swimming(Presence):
    """See the module.

    Args:
        book: whose papers are known.
        reintroduce: knock at this peer's door again: there is a session with it.
        start_met: which start of a peer there is a session with.
        on_garbage: this member has passed on too much that nobody has signed.

    Attributes:
        audience: says who gets our heartbeats besides our neighbours.
        is_mesh: whether everybody has a link to everybody; then who has none is not told of yet.
    """

    def __init__(
        self,
        own: OwnPapers,
        settings: SwimSettings,
        book: PaperBook,
        clock: Clock,
        rng: random.Random,
        exchange: Exchange,
        status: Callable[[], bytes],
        reintroduce: Callable[[PeerId], None],
        start_met: Callable[[PeerId], int | None],
        on_garbage: Callable[[PeerId], None],
    ) -> None:
        super().__init__(own.incarnation, clock, exchange, status, reintroduce)
        self._own = own
        self._book = book
        self._start_met = start_met
        self._on_garbage = on_garbage
        self._strikes: Counter[PeerId] = Counter()
        network = own.trust.network_id
        self._swim = Swim(
            own.peer_id,
            own.incarnation,
            b"",
            settings,
            random.Random(rng.getrandbits(64)),
            lambda body: sign_as(own.credentials.identity, network, body),
            self._verify,
            is_met=lambda peer_id: start_met(peer_id) is not None,
        )
        self._strangers = Strangers(
            book, self._own_pair, exchange, clock, lambda told: self.step(Proven(told))
        )
        self._mark = b""
        self._sequence = 0
        self._seen: dict[PeerId, Seen] = {}
        self._shunned: dict[PeerId, int] = {}  # until
        self._knocked: dict[PeerId, int] = {}
        self._counts: Counter[str] = Counter()
        self._told: dict[PeerId, MemberState] = {}  # what those above were told last
        self._untold: set[PeerId] = set()  # who are here, and have no link yet
        self.audience: Callable[[], Sequence[PeerId]] = tuple
        self.is_mesh: Callable[[], bool] = lambda: True
        self.adverts.relay(
            own.peer_id,
            Crowd(
                lambda body: sign_as(own.credentials.identity, network, body, ADVERTS),
                lambda who, body, said: book.has_signed(who, body, said, ADVERTS),
                self._start_told,
                lambda: [p for p in self.neighbours() if start_met(p) is not None],
                lambda: self.is_mesh(),
                on_garbage,
                lambda: 1 + len(self.everybody()),
            ),
        )
        self.on_neighbours: Callable[[], None] = lambda: None  # they are others than before
        self._alarm = Alarm(clock, self._tick)
        exchange.serve_notice(MESSAGE, self._on_message, Permission.MEMBERSHIP)

    # -- what it knows -------------------------------------------------------------------------

    def members(self) -> tuple[Member, ...]:
        now_ms = self._clock.now_ms()
        told = (peer_id for peer_id in self._swim.known() if peer_id in self._told)
        return tuple(self._view(peer_id, now_ms) for peer_id in told)

    def present(self) -> tuple[PeerId, ...]:
        return tuple(sorted(peer for peer, state in self._told.items() if state in _PRESENT))

    def everybody(self) -> tuple[PeerId, ...]:
        """Those alive or suspected, also those to whom we have no link and should have one."""
        return self._swim.present()

    def neighbours(self) -> tuple[PeerId, ...]:
        return self._swim.neighbours()

    def state_of(self, peer_id: PeerId) -> MemberState | None:
        return self._told.get(peer_id)

    def is_moved(self, peer_id: PeerId, mark: bytes) -> bool:
        word = self._swim.word_of(peer_id)
        return word is not None and word.mark != mark

    async def fetch(self, peer_id: PeerId, origins: Iterable[PeerId]) -> bool:
        return await self._strangers.fetch(peer_id, origins)

    def counters(self) -> Mapping[str, int]:
        waiting = {f"strangers_{k}": v for k, v in self._strangers.counts.items()}
        book = {f"papers_{k}": v for k, v in self._book.counts.items()}
        adverts = {f"adverts_{k}": v for k, v in self.adverts.counters().items()}
        sums = {**self._swim.counters(), **self._counts, **waiting, **book, **adverts}
        return {**sums, "papers": len(self._book)}

    # -- what happens --------------------------------------------------------------------------

    def admitted(self, peer_id: PeerId, incarnation: int) -> None:
        self._shunned.pop(peer_id, None)
        self._end_start_before(peer_id, incarnation)
        self.step(Met(peer_id))
        self._tell_late(peer_id)
        self.adverts.admitted(peer_id)
        self._look_at_status()
        beat = Beat(0, self._swim.digest, self._swim.status, self._swim.summary)
        self._send(peer_id, MESSAGE, encode_message(Message(beat, (self._swim.word(),))))

    def door_failed(self, peer_id: PeerId) -> None:
        """Its door is one opinion: others are asked, and it itself."""
        if peer_id in self._swim.neighbours():
            self.step(LinkLost(peer_id))

    def link_lost(self, peer_id: PeerId) -> None:
        self._tell(LinkBroken(peer_id))
        self.step(LinkLost(peer_id))
        self._knock(peer_id)

    def expelled(self, peer_id: PeerId) -> None:
        self._shunned[peer_id] = self._clock.now_ms() + SHUNNED_MS
        self._strangers.forget(peer_id)
        self.step(Expelled(peer_id))

    def look(self) -> None:
        """Whoever is revoked by now, or whose certificates are over, is no member."""
        for peer_id in (*self._book.judge(), *self._book.ended()):
            self.step(Expelled(peer_id))

    def say_goodbye(self) -> None:
        self.step(Leave())
        self._is_open = False

    async def close(self) -> None:
        self._alarm.off()
        self._is_open = False
        await self._strangers.close()
        await super().close()

    def step(self, event: SwimEvent) -> None:
        """Give the core an event and do what it asks."""
        if not self._is_open:
            return
        if self._swim.is_beat_due(self._clock.now_ms()):  # also where others wake us before it
            self._look_at_status()
            self._swim.audience = tuple(self.audience())
        self._renew()
        self._perform(self._swim.step(event, now_ms=self._clock.now_ms()))
        self._alarm.set(self._swim.deadline_ms)

    def _tick(self) -> None:
        self.step(Tick())
        if self._untold and not self.is_mesh():
            for peer_id in sorted(self._untold):
                self._tell_late(peer_id)

    def _look_at_status(self) -> None:
        """The time is in it too, and no reason to tell it."""
        self._sequence += 1
        beat, swim = self._heartbeat(self._sequence), self._swim
        swim.status, swim.summary = encode_payload(beat.to_wire()), self.adverts.summary
        swim.says = (None if swim.summary else beat.adverts, beat.body, beat.heads)

    def _renew(self) -> None:
        """Where we are is part of our word."""
        mark = mark_of(self._own.record())
        if mark != self._mark:
            self._mark = mark
            self._perform(self._swim.step(Renewed(mark), now_ms=self._clock.now_ms()))

    def _perform(self, effects: Sequence[SwimEffect]) -> None:
        packed: tuple[Message | None, bytes] = (None, b"")  # beats to many are all alike
        for effect in effects:
            match effect:
                case Send(to, message) if self._is_in_vain(to, message):
                    self._counts["unmet"] += 1
                case Send(to, message):
                    if message != packed[0]:
                        packed = (message, encode_message(message))
                    self._send(to, MESSAGE, packed[1])
                case Changed():
                    self._changed(effect)
                case Neighbours():
                    self.on_neighbours()
                case Unknown(origin, statement) if not self._is_shunned(statement.signer):
                    self._strangers.wait(origin, statement)
                case Drop(peer_id, DropReason.BAD_SIGNATURE):
                    self._strike(peer_id)
                case Conflict(peer_id):
                    self._counts["conflicts"] += 1
                    log.error("two processes speak as %s: was its directory copied?", peer_id)
                case Ignored(peer_id):
                    self._counts["ignored accusers"] += 1
                    log.warning("%s accuses those who are there; it is not believed", peer_id)
                case _:
                    pass

    def _is_in_vain(self, to: PeerId, message: Message) -> bool:
        """Beats and news are no reason for an introduction: among many that begin at once most of
        those who are neighbours for a moment are none in the next. Pictures are compared then."""
        return isinstance(message.body, Beat | News) and self._start_met(to) is None

    def _changed(self, change: Changed) -> None:
        peer_id, now_ms = change.peer_id, self._clock.now_ms()
        seen = self._seen.setdefault(peer_id, Seen(now_ms, now_ms))
        seen.changed_ms = now_ms
        if change.after is MemberState.SUSPECT and peer_id in self._swim.neighbours():
            self._knock(peer_id)  # all others at its door at once would be what it can stand least
        elif change.after not in _PRESENT:
            if self._told.get(peer_id) in _PRESENT:
                self._gone(peer_id)
            seen.forget_beat()
            if self._swim.word_of(peer_id) is None:
                del self._seen[peer_id]
        self._tell_change(peer_id, start_of(change.incarnation), change.after, change.why.value)
        if self._swim.word_of(peer_id) is None:
            self._told.pop(peer_id, None)

    def _tell_change(self, peer_id: PeerId, start: int, after: MemberState, why: str) -> None:
        """Those above count on a link to whoever is here, while everybody is to have one."""
        before = self._told.get(peer_id)
        self._untold.discard(peer_id)
        if after not in _PRESENT:
            met = self._start_met(peer_id)
            is_over = before not in _PRESENT and met is not None and met > start
            if before is None or before is after or is_over:
                return
        elif before not in _PRESENT and not self._is_linked(peer_id, start):
            self._untold.add(peer_id)
            if self._start_met(peer_id) is not None:
                self._knock(peer_id)  # there is a link to an earlier start of it
            return
        if before is not after:
            self._told[peer_id] = after
            self._tell(MemberChange(peer_id, start, before, after, why))
            if after in _PRESENT:
                self.adverts.appeared(peer_id)

    def _end_start_before(self, peer_id: PeerId, start: int) -> None:
        """A session with a later start ends the earlier one for those above, at once: what they
        ask from now on is asked of the later one, and must not be lost with the earlier."""
        word, before = self._swim.word_of(peer_id), self._told.get(peer_id)
        if word is None or before not in _PRESENT or start_of(word.incarnation) >= start:
            return
        self._gone(peer_id)
        self._tell_change(
            peer_id, start_of(word.incarnation), MemberState.DEAD, Why.RESTARTED.value
        )

    def _tell_late(self, peer_id: PeerId) -> None:
        word, state = self._swim.word_of(peer_id), self._swim.state_of(peer_id)
        if peer_id in self._untold and word is not None and state is not None:
            why = Why.RETURNED if peer_id in self._told else Why.JOINED
            self._tell_change(peer_id, start_of(word.incarnation), state, why.value)

    def _start_told(self, peer_id: PeerId) -> int | None:
        word = self._swim.word_of(peer_id)
        is_told = self.is_present(peer_id) and word is not None
        return start_of(word.incarnation) if is_told and word is not None else None

    def _is_linked(self, peer_id: PeerId, start: int) -> bool:
        met = self._start_met(peer_id)
        return not self.is_mesh() or (met is not None and met >= start)

    def _knock(self, peer_id: PeerId) -> None:
        """It may have been started again, under another key."""
        now_ms = self._clock.now_ms()
        is_here = self._swim.state_of(peer_id) in _PRESENT and self._start_met(peer_id) is not None
        if is_here and now_ms - self._knocked.get(peer_id, -KNOCK_AGAIN_MS) >= KNOCK_AGAIN_MS:
            self._knocked[peer_id] = now_ms
            self._reintroduce(peer_id)

    # -- what arrives --------------------------------------------------------------------------

    def _on_message(self, peer_id: PeerId, payload: bytes) -> None:
        message = decode_message(payload)
        self.step(Received(peer_id, message))
        if message is None:
            return
        seen = self._seen.get(peer_id)
        if seen is not None:
            seen.heard_ms = self._clock.now_ms()
        self._refresh(peer_id, message.statements)
        if isinstance(message.body, Beat):
            self._on_beat(peer_id, message.body)

    def _on_beat(self, peer_id: PeerId, beat: Beat) -> None:
        if beat.status:
            self._on_status(peer_id, beat.status)
        elif beat.summary and self.state_of(peer_id) is MemberState.ALIVE:
            self.adverts.heard_summary(peer_id, beat.summary)

    def _on_status(self, peer_id: PeerId, status: bytes) -> None:
        try:
            beat = Heartbeat.from_wire(decode_payload(status))
        except PayloadError:
            beat = None
        word, seen = self._swim.word_of(peer_id), self._seen.get(peer_id)
        if beat is None or word is None or seen is None:
            return
        if beat.incarnation != start_of(word.incarnation):
            return
        if not seen.take(beat, self._clock.wall_ms()):
            return
        if self.state_of(peer_id) is MemberState.ALIVE:
            self._heard(peer_id, beat)

    def _refresh(self, origin: PeerId, statements: Sequence[Statement]) -> None:
        """Who is elsewhere now has another record; whoever told us has it."""
        for said in statements:
            papers = self._book.get(said.subject)
            is_news = said.say is Say.ALIVE and papers is not None and papers.mark != said.mark
            if is_news and self._swim.word_of(said.subject) == said:
                self._strangers.refresh(origin, said.subject)

    def _verify(self, signer: PeerId, body: bytes, signature: bytes) -> bool | None:
        if self._is_shunned(signer):
            return None
        if signer == self._own.peer_id:
            said = signed_bytes(self._own.trust.network_id, body)
            return verify_signature(self._own.principal.public_key, DOMAIN, said, signature)
        return self._book.has_signed(signer, body, signature)

    def _is_shunned(self, peer_id: PeerId) -> bool:
        return self._shunned.get(peer_id, 0) > self._clock.now_ms()

    def _strike(self, peer_id: PeerId) -> None:
        """Whoever passes statements on has verified them; this one has not, or has made them up."""
        self._strikes[peer_id] += 1
        if self._strikes[peer_id] >= MAX_STRIKES:
            del self._strikes[peer_id]
            asyncio.get_running_loop().call_soon(self._on_garbage, peer_id)

    # -- parts ---------------------------------------------------------------------------------

    def _own_pair(self) -> tuple[PeerId, tuple[bytes, bytes]]:
        return self._own.peer_id, (self._own.chain.encode(), self._own.record().raw)

    def _linked(self) -> Sequence[PeerId]:
        return [peer_id for peer_id in self.present() if self._start_met(peer_id) is not None]

    def _clock_offset_ms(self) -> int | None:
        here = (self._seen.get(peer_id) for peer_id in self.present())
        offsets = (seen.offset_ms() for seen in here if seen is not None)
        known = sorted(offset for offset in offsets if offset is not None)
        return known[len(known) // 2] if known else None

    def _view(self, peer_id: PeerId, now_ms: int) -> Member:
        word, state = self._swim.word_of(peer_id), self._swim.state_of(peer_id)
        seen = self._seen.get(peer_id) or Seen(now_ms, now_ms)
        assert word is not None
        assert state is not None
        return Member(
            peer_id,
            state,
            start_of(word.incarnation),
            now_ms - max(seen.heard_ms, seen.changed_ms),
            now_ms - seen.changed_ms,
            seen.offset_ms(),
        )

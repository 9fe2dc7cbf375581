"""Membership for many: bounded neighbours, signed accusations, verdicts of one's own.

A pure core: `step(event, now_ms=...)` returns effects, `deadline_ms` says when it next wants a
`Tick`. SWIM (Das et al. 2002) with the corrections of Lifeguard (Dadgar et al. 2018), on the rings
of Rapid (Suresh et al. 2018). `p2p/membership/DESIGN.md` has the rules S1 to S7 and says where we
differ.

What this module does not know: sockets, certificates, tasks, consensus. It never changes who may
vote, it hints (S7). Whose statements count at all is `verify`'s to say.

Invariants: nobody but its subject makes a number; who is dead was accused at the number that it
holds, and had the time to answer; what is passed on was verified.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping

from keys import PeerId
from p2p.membership.member import MemberState
from p2p.membership.swim.events import (
    Conflict,
    DropReason,
    Expelled,
    Ignored,
    Leave,
    LinkLost,
    Met,
    Neighbours,
    Numbered,
    Proven,
    Received,
    Renewed,
    SwimEffect,
    SwimEvent,
    Unknown,
)
from p2p.membership.swim.liars import Liars
from p2p.membership.swim.messages import (
    Ack,
    Beat,
    Compare,
    Have,
    Helping,
    Message,
    News,
    Ping,
    PingFor,
    Want,
)
from p2p.membership.swim.picture import Picture
from p2p.membership.swim.speaking import Speaking
from p2p.membership.swim.statements import (
    Say,
    Sign,
    Statement,
    number_after,
    peer_of,
    signed,
    start_of,
)
from p2p.membership.swim.table import MAX_ACCUSERS, Merged
from p2p.membership.swim_settings import SwimSettings

# signer, body, signature; None: its papers are not here
Verify = Callable[[PeerId, bytes, bytes], bool | None]

_HOUSEKEEPING_MS = 60_000
_REFUSED = {Merged.STALE: DropReason.STALE, Merged.UNPROVEN: DropReason.UNPROVEN}


class Swim(Speaking):
    """One member's picture of all the others.

    Args:
        incarnation: greater than any of an earlier life: it is kept on disk, and if that was lost,
            our own old statements come back to us from the others, and are outbid.
        mark: a fingerprint of our address and transport key; another process with our identity
            has another.
        picture: start from this one, as if all of it had been heard.
        is_met: whether messages can reach this one; a neighbour is given time to be introduced.
    """

    def __init__(
        self,
        own: PeerId,
        incarnation: int,
        mark: bytes,
        settings: SwimSettings,
        rng: random.Random,
        sign: Sign,
        verify: Verify,
        picture: Picture | None = None,
        is_met: Callable[[PeerId], bool] = lambda peer_id: True,
    ) -> None:
        super().__init__(own, incarnation, mark, settings, rng, sign, picture, is_met)
        self._verify = verify
        self._liars = Liars(settings.liar_accusations, settings.liar_ms)
        self._knock_at_ms = self._clean_at_ms = 0
        self._is_newcomer = picture is None
        self._newcomer_until_ms = 0
        self._has_left = False
        self._picture.table.merge(self._say(Say.ALIVE))

    # -- what it knows -------------------------------------------------------------------------

    @property
    def deadline_ms(self) -> int | None:
        if self._beat_at_ms is None or self._has_left:
            return None
        dues = [self._beat_at_ms, *(probe.due_ms for probe in self._watch.probes.values())]
        others = (self._flush_at_ms, self._picture.judge_at_ms, self._watch.look_at_ms)
        dues += [other_ms for other_ms in others if other_ms is not None]
        return min(*dues, self._knock_at_ms) if self._picture.gone else min(dues)

    def state_of(self, peer_id: PeerId) -> MemberState | None:
        return self._picture.state_of(peer_id)

    def present(self) -> tuple[PeerId, ...]:
        """Those alive or suspected, by peer id, without ourselves."""
        return self._picture.present()

    def neighbours(self) -> tuple[PeerId, ...]:
        """To whom we need links."""
        return tuple(self._watch.neighbours)

    @property
    def digest(self) -> int:
        """Equal for two members: they hold the same statements."""
        return self._picture.table.digest

    @property
    def health(self) -> int:
        """0 is well; each sign that the trouble is ours adds one, and limits grow by half."""
        return self._health.score

    def counters(self) -> Mapping[str, int]:
        return {**self._counters, "health": self.health, "neighbours": len(self.neighbours())}

    # -- what happens --------------------------------------------------------------------------

    def step(self, event: SwimEvent, *, now_ms: int) -> list[SwimEffect]:
        """Take in one event and return what to do about it."""
        if self._has_left:
            return []
        self._now_ms, self._effects = now_ms, []
        if self._beat_at_ms is None:
            self._begin()
        self._notice_own_stall()
        match event:
            case Met():
                self._watch.hear(event.peer_id, now_ms)
                self._comparing.meet(event.peer_id)
                asks = self._is_newcomer or self._own < event.peer_id  # both learn by one
                if asks and self._comparing.may_greet(now_ms):
                    self._send_compare(event.peer_id)
            case Received():
                self._on_received(event.sender, event.message)
            case Proven():
                for teller, statements in event.told:
                    for statement in statements:
                        self._take(statement, teller)
            case LinkLost():
                if event.peer_id in self._watch.neighbours:
                    self._probe(event.peer_id, is_again=False)
            case Expelled():
                self._picture.expel(event.peer_id)
            case Renewed():
                self._mark = event.mark
                self._renumber(self.incarnation + 1)
            case Leave():
                self._leave()
        if not self._has_left:
            self._run_timers()
            self._settle()
        return self._effects

    def _begin(self) -> None:
        self._beat_at_ms = self._now_ms + self._rng.randint(1, self._settings.beat_ms)
        self._clean_at_ms = self._now_ms + _HOUSEKEEPING_MS
        self._newcomer_until_ms = self._now_ms + self._settings.newcomer_ms

    def _notice_own_stall(self) -> None:
        """S6: who comes late was not listening, so nobody else was silent."""
        planned_ms, many = self.deadline_ms, len(self._picture.rings) > self._settings.crowd
        limit_ms = self._settings.lag_ms // 2 if many else self._settings.lag_ms
        if planned_ms is not None and self._now_ms - planned_ms > limit_ms:
            lag_ms = self._now_ms - planned_ms
            self._watch.forgive(lag_ms, self._now_ms)
            self._picture.forgive(lag_ms, self._now_ms)
            self._distrust_self("own stalls")
        else:
            self._health.recover(self._now_ms)

    def _distrust_self(self, why: str) -> None:
        self._health.worsen(self._now_ms)
        self._counters[why] += 1

    # -- what is said --------------------------------------------------------------------------

    def _leave(self) -> None:
        left = self._say(Say.LEFT)
        self._picture.table.merge(left)
        for peer_id in dict.fromkeys((*self._watch.neighbours, *self.audience)):
            self._send(peer_id, News(), (left,))
        self._has_left = True

    # -- statements ----------------------------------------------------------------------------

    def _take(self, statement: Statement, origin: PeerId) -> None:
        """Something that was said, by whomever; `origin` is who passed it on."""
        subject = statement.subject
        if subject == self._own:
            self._take_own(statement, origin)
            return
        judged = self._picture.table.judge(statement)
        if judged is Merged.KNOWN:
            self._outboxes.discard(origin, statement)
        elif judged in _REFUSED:
            self._drop(origin, _REFUSED[judged])
        elif statement.incarnation <= self._picture.forgotten.get(subject, -1):
            self._drop(origin, DropReason.FORGOTTEN)
        elif self._is_lie(statement):
            self._drop(origin, DropReason.LIAR)
        elif self._is_signed(statement, origin):
            self._believe(statement, origin)

    def _is_signed(self, statement: Statement, origin: PeerId) -> bool:
        is_signed = self._verify(statement.signer, statement.body(), statement.signature)
        if is_signed is None:
            self._effects.append(Unknown(origin, statement))
        if not is_signed:
            reason = DropReason.UNKNOWN if is_signed is None else DropReason.BAD_SIGNATURE
            self._drop(origin, reason)
        return bool(is_signed)

    def _is_lie(self, statement: Statement) -> bool:
        is_accusation = statement.say is Say.ACCUSED
        return is_accusation and self._liars.is_one(statement.signer, self._now_ms)

    def _refuted(self, accusations: Iterable[Statement]) -> None:
        """The subject was there, in the very start that was accused."""
        for each in accusations:
            if each.signer != self._own and self._liars.refuted(each.signer, self._now_ms):
                self._effects.append(Ignored(each.signer))

    def _believe(self, statement: Statement, origin: PeerId) -> None:
        subject, number = statement.subject, statement.incarnation
        before, record = self._picture.touch(subject), self._picture.table.get(subject)
        if (
            record is not None
            and start_of(number) == start_of(record.incarnation)
            and (statement.say is Say.ALIVE and number > record.incarnation)
        ):
            self._refuted(record.accusations)
        if self._picture.merge(statement, self._now_ms, self._health) is Merged.CONFLICT:
            self._effects.append(Conflict(subject))  # S5
        if not self._is_newcomer or origin == self._own:
            self._spread(statement, origin)
        if before is MemberState.DEAD and self.state_of(subject) is MemberState.ALIVE:
            self._compare(subject)  # a partition heals here: its side has news for ours

    def _take_own(self, statement: Statement, origin: PeerId) -> None:
        """S1: only we make our numbers, and we outbid whatever holds us for gone."""
        number, is_accused = statement.incarnation, statement.say is Say.ACCUSED
        if number < self.incarnation:
            self._queue([origin], (self.word(),))  # it has not heard our answer
        elif number > self.incarnation and is_accused:
            self._drop(origin, DropReason.UNPROVEN)
        elif is_accused or statement.body() != self.word().body():
            if origin == statement.signer and self._is_lie(statement):
                self._drop(origin, DropReason.LIAR)  # only it believes that
                return
            if not self._is_signed(statement, origin):
                return
            if is_accused:
                self._refuted((statement,))
                self._distrust_self("refutations")
            else:
                self._outbid(number)
            self._renumber(number_after(self.incarnation, number), origin)

    def _outbid(self, number: int) -> None:
        """Our own signature, and not of this life: an earlier one, or another process has our key.

        An earlier life is outbid once; whoever answers after that is alive.
        """
        if self._counters["outbid"] or number == self.incarnation:
            self._effects.append(Conflict(self._own))
        self._counters["outbid"] += 1

    def _renumber(self, incarnation: int, origin: PeerId | None = None) -> None:
        self.incarnation = incarnation
        self._effects.append(Numbered(incarnation))
        self._picture.table.merge(self._say(Say.ALIVE))
        to = {*self._watch.neighbours} if origin is None else {*self._watch.neighbours, origin}
        self._queue(sorted(to), (self.word(),))

    # -- what arrives --------------------------------------------------------------------------

    def _on_received(self, sender: PeerId, message: Message | None) -> None:
        if message is None or sender == self._own:
            self._drop(sender, DropReason.MALFORMED)
            return
        for statement in message.statements:
            self._take(statement, sender)
        self._watch.hear(sender, self._now_ms)
        body, table = message.body, self._picture.table
        match body:
            case Beat():
                self._on_beat(sender, body)
            case Ping():
                self._send(sender, Ack(body.nonce))
            case Ack():
                self._send_all(self._watch.on_ack(sender, body.nonce, self._now_ms))
            case PingFor():
                self._on_ping_for(sender, body)
            case Helping():
                self._watch.on_helping(sender, body.nonce)
            case Compare():
                have = self._comparing.on_compare(body, table)
                if have is not None:
                    self._send(sender, have)
            case Have():
                self._comparing.answered(sender, self._now_ms)
                want, given = self._comparing.on_have(body, table)
                self._queue([sender], given)
                if want is not None:
                    self._send(sender, want)
            case Want():
                self._queue([sender], self._comparing.on_want(body, table))

    def _on_beat(self, sender: PeerId, beat: Beat) -> None:
        if sender in self._picture.gone:
            self._send(sender, News())  # with the accusations: it does not know that it is dead
        elif sender not in self._picture.table:
            self._compare(sender)
        neighbour = self._watch.neighbours.get(sender)
        if neighbour is None:
            return
        if beat.digest == self.digest:
            neighbour.differs_since_ms = None
            self._is_newcomer = False
        elif neighbour.differs_since_ms is None:
            neighbour.differs_since_ms = self._now_ms
        elif self._now_ms - neighbour.differs_since_ms >= self._mismatch_ms():
            self._compare(sender)

    def _on_ping_for(self, asker: PeerId, asked: PingFor) -> None:
        subject = peer_of(asked.subject)
        if subject is None or subject == self._own or subject not in self._picture.table:
            return
        self._send_all(self._watch.on_ping_for(asker, asked.nonce, subject, self._now_ms))

    # -- time ----------------------------------------------------------------------------------

    def _run_timers(self) -> None:
        now_ms, watch, picture = self._now_ms, self._watch, self._picture
        if watch.look_at_ms is not None and now_ms >= watch.look_at_ms:
            limits_ms = (self._settings.silence_ms, self._settings.meeting_ms)
            for peer_id in watch.silent(now_ms, *map(self._health.patient, limits_ms)):
                self._probe(peer_id, is_again=False)
        for subject in [p for p, probe in watch.probes.items() if now_ms >= probe.due_ms]:
            self._on_no_answer(subject)
        if picture.judge_at_ms is not None and now_ms >= picture.judge_at_ms:
            heard = picture.judge(now_ms, self._health, self._hears)
            self._send_all([(each, Ping(self._rng.getrandbits(63))) for each in heard])
        if picture.gone and now_ms >= self._knock_at_ms:
            self._knock()
        assert self._beat_at_ms is not None
        if now_ms >= self._beat_at_ms:
            self._beat()
        if self._flush_at_ms is not None and now_ms >= self._flush_at_ms:
            self._flush()

    def _beat(self) -> None:
        pace_ms = self._beat_pace_ms()
        self._say_beats()
        self._beat_at_ms = self._now_ms + pace_ms - self._rng.randint(0, pace_ms // 10)
        for stranger in self._comparing.strangers(self._picture.table):
            self._compare(stranger)
        self._is_newcomer &= self._now_ms < self._newcomer_until_ms
        if self._now_ms >= self._clean_at_ms:
            self._clean_at_ms = self._now_ms + _HOUSEKEEPING_MS
            self._picture.forget_old(self._now_ms)

    def _flush(self) -> None:
        for peer_id, packet in self._outboxes.flush(self._picture.table.holds):
            self._send(peer_id, News(), packet)
        is_more = self._outboxes.waiting
        self._flush_at_ms = self._now_ms + self._gather_ms() if is_more else None

    def _probe(self, subject: PeerId, *, is_again: bool) -> None:
        record, picture = self._picture.table.get(subject), self._picture
        if record is None or self._own in {each.signer for each in record.accusations}:
            return  # it was probed, and it is accused; its answer is awaited
        others = [p for p in self._watch.neighbours if p != subject and p not in picture.suspects]
        due_ms = self._now_ms + self._health.patient(self._settings.probe_ms)
        most = self._settings.helpers
        self._send_all(self._watch.probe(subject, due_ms, others, most, is_again=is_again))

    def _on_no_answer(self, subject: PeerId) -> None:
        probe = self._watch.probes.pop(subject)
        if probe.may_be_us:
            self._distrust_self("nobody answered")
            self._probe(subject, is_again=True)
            return
        record = self._picture.table.get(subject)
        if record is None or subject in self._picture.gone:
            return
        if len(record.accusations) < MAX_ACCUSERS:  # more would change nothing
            number = record.incarnation
            accusation = signed(Say.ACCUSED, subject, number, self._own, b"", self._sign)
            self._believe(accusation, self._own)

    def _hears(self, peer_id: PeerId) -> bool:
        return self._watch.hears(peer_id, self._now_ms, self._settings.silence_ms)

    def _knock(self) -> None:
        """At one of the dead: that is how partitions heal, and wrong verdicts."""
        pace_ms = self._picture.knock_pace_ms()
        self._knock_at_ms = self._now_ms + self._rng.randint(pace_ms // 2, pace_ms)
        dead = self._picture.dead()
        if dead:
            self._send(self._rng.choice(dead), Ping(self._rng.getrandbits(63)), (self.word(),))

    # -- what follows --------------------------------------------------------------------------

    def _settle(self) -> None:
        """Tell what changed in this step, and watch whom we are to watch now."""
        for change in self._picture.changes():
            self._counters[f"became {change.after}"] += 1
            self._effects.append(change)
        if self._picture.is_dirty:
            self._picture.is_dirty = False
            limit_ms = self._health.patient(self._settings.silence_ms)
            if self._watch.adopt(self._picture.rings.neighbours(), self._now_ms, limit_ms):
                self._effects.append(Neighbours(tuple(self._watch.neighbours)))

    def check_invariants(self) -> None:
        self._picture.check_invariants()
        assert self._has_left or self.word().incarnation == self.incarnation
        for peer_id in self._watch.neighbours:
            assert peer_id in self._picture.rings
            assert peer_id != self._own

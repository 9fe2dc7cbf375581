"""What a member says: its own words, and everything that leaves it.

What this module does not know: what arrives, time other than that of the step it is in.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

from keys import PeerId
from p2p.membership.swim.comparing import Comparing
from p2p.membership.swim.events import Drop, DropReason, Send, SwimEffect
from p2p.membership.swim.gossip import Outboxes
from p2p.membership.swim.health import Health
from p2p.membership.swim.messages import Beat, Body, Compare, Message
from p2p.membership.swim.picture import Picture
from p2p.membership.swim.statements import Say, Sign, Statement, signed
from p2p.membership.swim.telling import Telling
from p2p.membership.swim.watching import To, Watch
from p2p.membership.swim_settings import SwimSettings

CROWD_FLUSHES = 5  # in the time of so many there is one, while a crowd gathers; or of
SLOW_FLUSHES = 10  # so many, where answers are slow
CROWD_MARGIN_MS = 200  # for the way of a beat, before a silence is one


class Speaking:
    """The half of `Swim` that speaks.

    Attributes:
        status: what those above say with beats.
        says: what of the status is worth telling; other figures of it are not.
        summary: what they say with every beat.
        audience: who get our beats though they do not watch us.
    """

    def __init__(
        self,
        own: PeerId,
        incarnation: int,
        mark: bytes,
        settings: SwimSettings,
        rng: random.Random,
        sign: Sign,
        picture: Picture | None,
        is_met: Callable[[PeerId], bool],
    ) -> None:
        self._own, self._mark, self._settings, self._rng = own, mark, settings, rng
        self._sign = sign
        self.incarnation = incarnation
        self._picture = picture or Picture(own, settings)
        self._watch = Watch(rng, is_met)
        self._outboxes = Outboxes(own, settings.packet_bytes, settings.flush_bytes)
        self._comparing = Comparing(settings)
        self._health = Health(settings)
        self._effects: list[SwimEffect] = []
        self._now_ms = 0
        self._flush_at_ms: int | None = None
        self._counters: Counter[str] = Counter()
        self._sequence = 0
        self._beat_at_ms: int | None = None  # None before the first step
        self._telling = Telling()
        self.status = self.summary = b""
        self.says: object = None
        self.audience: tuple[PeerId, ...] = ()

    def word(self) -> Statement:
        """What we say of ourselves now."""
        return self._picture.word()

    def word_of(self, peer_id: PeerId) -> Statement | None:
        """The last that somebody has said of itself, as far as we know."""
        record = self._picture.table.get(peer_id)
        return record.word if record is not None else None

    def known(self) -> tuple[PeerId, ...]:
        """Everybody that was heard of, by peer id, without ourselves; the gone too, for a day."""
        return tuple(sorted(peer for peer in self._picture.table if peer != self._own))

    def is_beat_due(self, now_ms: int) -> bool:
        """Whether the next tick says to others how we are."""
        return self._beat_at_ms is None or now_ms >= self._beat_at_ms

    def _beat_pace_ms(self) -> int:
        """While a crowd gathers all are patient, and have more to do than to hear each other; but
        who is patient with us may not see a crowd."""
        settings = self._settings
        slow_ms = min(settings.beat_ms * 3 // 2, settings.silence_ms - CROWD_MARGIN_MS)
        return max(settings.beat_ms, slow_ms) if self._health.is_crowd else settings.beat_ms

    def _say(self, say: Say) -> Statement:
        return signed(say, self._own, self.incarnation, self._own, self._mark, self._sign)

    def _send(self, to: PeerId, body: Body, statements: tuple[Statement, ...] = ()) -> None:
        """The buddy rule (S3): whoever is suspected hears it with whatever it hears."""
        record = self._picture.table.get(to)
        accused = record.accusations[:1] if record is not None else ()
        if accused and accused[0] not in statements:
            statements = (*statements, *accused)
        self._effects.append(Send(to, Message(body, statements)))

    def _say_beats(self) -> None:
        """To the neighbours, and to those of the audience whose turn it is. Beats of everybody to
        everybody would cost each member what all do."""
        picture, neighbours = self._picture, self._watch.neighbours
        digest = picture.table.digest
        self._sequence += 1
        whole = Beat(self._sequence, digest, self.status, self.summary)
        is_new = self._telling.beat(self.says, digest)
        beat = whole if is_new else Beat(self._sequence, digest, b"", self.summary)
        for peer_id in neighbours:
            self._send(peer_id, beat, self._outboxes.take(peer_id, picture.table.holds))
        rest = [p for p in self.audience if p not in neighbours and p not in picture.gone]
        for peer_id in self._telling.turn(rest):
            self._send(peer_id, whole)

    def _send_all(self, messages: To) -> None:
        for to, body in messages:
            self._send(to, body)

    def _send_compare(self, to: PeerId) -> None:
        self._comparing.asked(to, self._now_ms)
        self._send(to, Compare(self._picture.table.buckets()), (self.word(),))

    def _compare(self, peer_id: PeerId) -> None:
        if self._comparing.is_due(self._now_ms, self._rng):
            self._send_compare(peer_id)

    def _spread(self, statement: Statement, origin: PeerId | None) -> None:
        self._queue([p for p in self._watch.neighbours if p != origin], (statement,))

    def _queue(self, to: list[PeerId], statements: tuple[Statement, ...]) -> None:
        self._outboxes.add(to, statements)
        if self._outboxes.waiting and self._flush_at_ms is None:
            self._flush_at_ms = self._now_ms + self._gather_ms()

    def _mismatch_ms(self) -> int:
        """How long pictures may differ before they are compared: of a crowd news is under way."""
        return self._settings.mismatch_ms * (2 if self._is_slow_crowd() else 1)

    def _is_slow_crowd(self) -> bool:
        return self._health.is_crowd and self._comparing.is_slow(self._now_ms)

    def _gather_ms(self) -> int:
        """How long news waits for more: of a crowd there is more at once."""
        flushes = SLOW_FLUSHES if self._is_slow_crowd() else CROWD_FLUSHES
        return self._settings.flush_ms * (flushes if self._health.is_crowd else 1)

    def _drop(self, peer_id: PeerId, reason: DropReason) -> None:
        self._counters[f"dropped: {reason}"] += 1
        self._effects.append(Drop(peer_id, reason))

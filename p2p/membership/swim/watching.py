"""Those that we watch: when each was last heard, and the probes that are under way.

Whom we have not met yet is silent until it is introduced, which takes its time where many begin at
once: it is not probed before that time is over. Else a slow introduction makes a suspect, and the
suspect makes work for all.

A probe asks straight and by way of others at once: a silence costs one wait, not two. A helper
says at once that it helps. If not even a helper is heard, then it may be us.

What this module does not know: how messages travel, what follows from a silence.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from keys import PeerId
from p2p.membership.swim.messages import Ack, Body, Helping, Ping, PingFor
from p2p.membership.swim.statements import raw_of

MAX_HELPS = 64
HELP_MS = 2_000

To = list[tuple[PeerId, Body]]


@dataclass(slots=True)
class Neighbour:
    heard_ms: int
    since_ms: int  # it is one
    differs_since_ms: int | None = None  # its digest and ours


@dataclass(slots=True)
class Probe:
    """A question whether somebody is there."""

    nonce: int
    due_ms: int
    helpers: tuple[PeerId, ...]
    was_helped: bool = False  # somebody at least is heard by us, and hears us
    is_again: bool = False

    @property
    def may_be_us(self) -> bool:
        return bool(self.helpers) and not self.was_helped and not self.is_again


@dataclass(frozen=True, slots=True)
class Help:
    """Somebody asked us to ask."""

    asker: PeerId
    nonce: int
    subject: PeerId
    until_ms: int


class Watch:
    """See the module. `is_met` says with whom messages can be exchanged."""

    def __init__(self, rng: random.Random, is_met: Callable[[PeerId], bool]) -> None:
        self._rng = rng
        self._is_met = is_met
        self.neighbours: dict[PeerId, Neighbour] = {}
        self.probes: dict[PeerId, Probe] = {}
        self._helps: dict[int, Help] = {}
        self.look_at_ms: int | None = None  # no silence is long enough before

    def adopt(self, peers: list[PeerId], now_ms: int, limit_ms: int) -> bool:
        """Watch exactly these from now on; whether that is a change."""
        if peers == list(self.neighbours):
            return False
        before = self.neighbours
        self.neighbours = {peer: before.get(peer) or Neighbour(now_ms, now_ms) for peer in peers}
        self.probes = {p: probe for p, probe in self.probes.items() if p in self.neighbours}
        due_ms = now_ms + limit_ms
        self.look_at_ms = due_ms if self.look_at_ms is None else min(self.look_at_ms, due_ms)
        return True

    def hear(self, peer_id: PeerId, now_ms: int) -> None:
        neighbour = self.neighbours.get(peer_id)
        if neighbour is not None:
            neighbour.heard_ms = now_ms
            self.probes.pop(peer_id, None)

    def hears(self, peer_id: PeerId, now_ms: int, limit_ms: int) -> bool:
        neighbour = self.neighbours.get(peer_id)
        return neighbour is not None and now_ms - neighbour.heard_ms < limit_ms

    def silent(self, now_ms: int, limit_ms: int, meeting_ms: int) -> list[PeerId]:
        """Who is due for a probe; finds when the next could be.

        Args:
            meeting_ms: how long an introduction may take.
        """
        found: list[PeerId] = []
        next_ms: int | None = None
        for peer_id, neighbour in self.neighbours.items():
            due_ms = neighbour.heard_ms + limit_ms
            if not self._is_met(peer_id):
                due_ms = max(due_ms, neighbour.since_ms + meeting_ms)
            if due_ms <= now_ms:
                due_ms = now_ms + limit_ms
                if peer_id not in self.probes:
                    found.append(peer_id)
            next_ms = due_ms if next_ms is None else min(next_ms, due_ms)
        self.look_at_ms = next_ms
        return found

    def forgive(self, lag_ms: int, now_ms: int) -> None:
        """That time was ours: nobody was silent in it."""
        for neighbour in self.neighbours.values():
            neighbour.heard_ms = min(now_ms, neighbour.heard_ms + lag_ms)
            neighbour.since_ms = min(now_ms, neighbour.since_ms + lag_ms)
        for probe in self.probes.values():
            probe.due_ms += lag_ms

    # -- probes --------------------------------------------------------------------------------

    def probe(
        self, subject: PeerId, due_ms: int, others: list[PeerId], most: int, *, is_again: bool
    ) -> To:
        """Ask, and let up to `most` of the others ask."""
        helpers = tuple(self._rng.sample(others, min(most, len(others))))
        nonce = self._rng.getrandbits(63)
        self.probes[subject] = Probe(nonce, due_ms, helpers, is_again=is_again)
        asked = PingFor(nonce, raw_of(subject))
        return [(subject, Ping(nonce)), *((helper, asked) for helper in helpers)]

    def on_ping_for(self, asker: PeerId, nonce: int, subject: PeerId, now_ms: int) -> To:
        if len(self._helps) >= MAX_HELPS:
            self._helps = {n: each for n, each in self._helps.items() if each.until_ms > now_ms}
        if len(self._helps) >= MAX_HELPS:
            return []
        own_nonce = self._rng.getrandbits(63)
        self._helps[own_nonce] = Help(asker, nonce, subject, now_ms + HELP_MS)
        return [(asker, Helping(nonce)), (subject, Ping(own_nonce))]

    def on_helping(self, sender: PeerId, nonce: int) -> None:
        for probe in self.probes.values():
            if probe.nonce == nonce and sender in probe.helpers:
                probe.was_helped = True

    def on_ack(self, sender: PeerId, nonce: int, now_ms: int) -> To:
        """What we asked for another is passed on; what a helper passed on counts as heard."""
        helped = self._helps.get(nonce)
        if helped is not None and helped.subject == sender:
            del self._helps[nonce]
            return [(helped.asker, Ack(helped.nonce))]
        for subject, probe in self.probes.items():
            if probe.nonce == nonce and sender in probe.helpers:
                self.hear(subject, now_ms)
                break
        return []

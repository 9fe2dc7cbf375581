"""One member of SWIM with its time: what is said to it, and what it does."""

from __future__ import annotations

import random
from collections.abc import Collection

from swim_lab import an_id, sign_as, verify

import p2p.membership.swim as swim
from keys import PeerId
from p2p.membership import MemberState
from p2p.membership.swim import (
    Changed,
    Message,
    Received,
    Say,
    Send,
    Statement,
    Swim,
    SwimEffect,
    SwimSettings,
    Tick,
)
from p2p.membership.swim.messages import Beat, News
from p2p.membership.swim.statements import signed

OWN, PEER, OTHER, THIRD = (an_id(number) for number in range(4))
ALIVE, SUSPECT, DEAD, LEFT = MemberState


def say(say: Say, subject: PeerId, number: int, signer: PeerId, mark: bytes = b"m") -> Statement:
    mark = b"" if say is Say.ACCUSED else mark
    return signed(say, subject, number, signer, mark, lambda body: sign_as(signer, body))


def alive(peer_id: PeerId, number: int = 1) -> Statement:
    return say(Say.ALIVE, peer_id, number, peer_id)


def accused(peer_id: PeerId, by: PeerId, number: int = 1) -> Statement:
    return say(Say.ACCUSED, peer_id, number, by)


class One:
    """A core, and the time.

    Args:
        unmet: with these it has exchanged no word.
        crowd: so many that are new make it patient.
    """

    def __init__(
        self,
        *others: PeerId,
        incarnation: int = 1,
        unmet: Collection[PeerId] = (),
        crowd: int = 1_000,
    ) -> None:
        self.unmet = set(unmet)
        self.core = Swim(
            OWN,
            incarnation,
            b"m",
            SwimSettings(crowd=crowd),
            random.Random(1),
            lambda body: sign_as(OWN, body),
            verify,
            is_met=lambda peer_id: peer_id not in self.unmet,
        )
        self.now_ms = 1_000
        self.step(Tick())
        if others:
            self.hear(others[0], *(alive(other) for other in others))

    def step(self, event: swim.SwimEvent) -> list[SwimEffect]:
        effects = self.core.step(event, now_ms=self.now_ms)
        self.core.check_invariants()
        return effects

    def hear(self, sender: PeerId, *said: Statement) -> list[SwimEffect]:
        return self.step(Received(sender, Message(News(), said)))

    def pass_ms(self, duration_ms: int, *beating: PeerId) -> list[SwimEffect]:
        """Every wish to be woken is fulfilled; these peers are heard all the time."""
        end_ms = self.now_ms + duration_ms
        effects: list[SwimEffect] = []
        while True:
            due_ms = self.core.deadline_ms
            assert due_ms is not None
            self.now_ms = max(self.now_ms, min(due_ms, end_ms))
            for peer_id in beating:
                beat = Beat(1, self.core.digest)
                effects += self.step(Received(peer_id, Message(beat)))
            if due_ms > end_ms:
                return effects
            effects += self.step(Tick())

    def state(self, peer_id: PeerId = PEER) -> MemberState | None:
        return self.core.state_of(peer_id)


def sent(effects: list[SwimEffect], to: PeerId) -> list[Statement]:
    found = [e.message.statements for e in effects if isinstance(e, Send) and e.to == to]
    return [each for statements in found for each in statements]


def changes(effects: list[SwimEffect]) -> list[Changed]:
    return [effect for effect in effects if isinstance(effect, Changed)]

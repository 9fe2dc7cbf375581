"""A bench for the table of candidates: virtual time and the dials that it asked for."""

from __future__ import annotations

import random

from keys import PeerId
from p2p.discovery import (
    Address,
    CandidateEffect,
    CandidateEvent,
    CandidateSettings,
    CandidateTable,
    Dial,
    DialFailed,
    Found,
    Introduced,
    Source,
    Tick,
)

OWN, ANN, BOB = (PeerId(letter * 52) for letter in "mpq")  # ours is the lesser: it dials first
LESSER = PeerId("a" * 52)
AT_ANN, AT_BOB = Address("10.0.0.1", 4747), Address("10.0.0.2", 4747)
MINUTE, HOUR = 60_000, 3_600_000


def peer(number: int) -> PeerId:
    digits = "abcdefghijklmnopqrstuvwxyz234567"
    return PeerId("z" * 48 + "".join(digits[number >> shift & 31] for shift in (15, 10, 5, 0)))


class CandidateBench:
    """One table, a clock that we move, and the dials it asked for."""

    def __init__(self, **settings: int) -> None:
        self.table = CandidateTable(
            OWN, CandidateSettings(**settings), random.Random(1), own_networks=["10.0.0.9/24"]
        )
        self.now_ms = 1_000
        self.dials: list[Dial] = []

    def do(self, event: CandidateEvent) -> list[CandidateEffect]:
        effects = self.table.step(event, now_ms=self.now_ms)
        self.table.check_invariants()
        self.dials += [effect for effect in effects if isinstance(effect, Dial)]
        return effects

    def find(
        self,
        peer_id: PeerId | None,
        host: str,
        port: int = 4747,
        source: Source = Source.MDNS,
    ) -> list[CandidateEffect]:
        return self.do(Found(source, peer_id, (host,), port))

    def pass_ms(self, duration_ms: int, *, failing: str | None = None) -> None:
        """Let time pass; with `failing`, every dial fails at once for that reason."""
        end_ms = self.now_ms + duration_ms
        while True:
            if failing is not None:
                self.fail_all(failing)
            due_ms = self.table.deadline_ms
            if due_ms is None or due_ms > end_ms:
                break
            assert due_ms >= self.now_ms
            self.now_ms = due_ms
            self.do(Tick())
            due_ms = self.table.deadline_ms
            assert due_ms is None or due_ms > self.now_ms, "it would spin"
        self.now_ms = end_ms

    def fail_all(self, reason: str = "refused") -> int:
        dials, self.dials = self.dials, []
        for dial in dials:
            self.do(DialFailed(dial.number, ((dial.addresses[0], reason),)))
        return len(dials)

    def take_dial(self) -> Dial:
        (dial,) = self.dials
        self.dials.clear()
        return dial

    def next_dial(self) -> Dial:
        """Let time pass until somebody is dialled."""
        self.wait_for_dials()
        return self.take_dial()

    def wait_for_dials(self) -> None:
        """Let time pass until at least one is dialled."""
        while not self.dials:
            due_ms = self.table.deadline_ms
            assert due_ms is not None, "nobody will ever be dialled"
            self.now_ms = due_ms
            self.do(Tick())

    def meet(self, peer_id: PeerId) -> None:
        """Answer the one dial under way: this peer opened."""
        dial = self.take_dial()
        self.do(Introduced(peer_id, dial.addresses[0], dial.number))

"""Whose papers are asked for, of whom, when many tell of one that has just come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest
from peer_lab import Authority
from test_member_papers import record_of

from keys import PeerId
from p2p import PeerUnreachable
from p2p.members import PaperBook, Strangers
from p2p.members.messages import papers_message, wanted_from_wire
from p2p.members.strangers import ASK_TIMEOUT_S, GATHER_S, LONG_MS
from p2p.membership.swim import Say, Statement
from p2p.memory import VirtualClock, run_virtual
from p2p.rpc import Exchange

A, B, C = (PeerId(name * 52) for name in "abc")
Answer = tuple[float, bool | None]  # after so long; with the papers, without, or none at all


class Desk:
    """Strangers, whose questions are answered as a test says."""

    def __init__(self, answers: dict[PeerId, Answer]) -> None:
        loop = cast(Any, asyncio.get_running_loop())
        self.answers = answers
        self.asked: list[tuple[PeerId, int]] = []  # whom, and when
        self.known: list[tuple[PeerId, Statement]] = []
        authority = Authority()
        self._papers = authority.papers("far")
        self.far = self._papers.identity.peer_id
        self.clock = VirtualClock(loop)
        book = PaperBook(lambda: self._papers.trust, self.clock.wall_ms)
        self.strangers = Strangers(
            book,
            lambda: (A, (b"", b"")),
            cast(Exchange, self),
            self.clock,
            lambda told: self.known.extend((origin, *said) for origin, said in told),
        )

    def serve(self, *_: object) -> None:
        """What others ask is no matter here."""

    async def request(self, origin: PeerId, method: str, payload: bytes, **options: Any) -> bytes:
        assert wanted_from_wire(payload) == (self.far,)
        self.asked.append((origin, self.clock.now_ms()))
        after_s, has_it = self.answers[origin]
        await asyncio.sleep(after_s)
        if has_it is None:
            raise PeerUnreachable(origin, "no answer")
        pair = (self._papers.chain.encode(), record_of(self._papers).raw)
        return papers_message([pair] if has_it else [])

    def tell(self, *origins: PeerId) -> None:
        said = Statement(Say.ALIVE, self.far, 1, self.far, b"mark", bytes(64))
        for origin in origins:
            self.strangers.wait(origin, said)


def asked_when(answers: dict[PeerId, Answer], then: Callable[[Desk], None]) -> Desk:
    async def scenario() -> Desk:
        desk = Desk(answers)
        desk.tell(*answers)
        await asyncio.sleep(20)
        then(desk)
        assert not desk.strangers._said
        assert not desk.strangers._wanted
        assert not desk.strangers._sought
        await desk.strangers.close()
        return desk

    return run_virtual(scenario())


def test_of_many_who_tell_of_one_a_single_one_is_asked() -> None:
    def then(desk: Desk) -> None:
        assert [origin for origin, _ in desk.asked] == [A]
        assert [origin for origin, _ in desk.known] == [A, B, C]

    asked_when({A: (0.05, True), B: (0.05, True), C: (0.05, True)}, then)


def test_where_the_one_who_is_asked_is_silent_the_next_is_asked() -> None:
    def then(desk: Desk) -> None:
        assert [origin for origin, _ in desk.asked] == [A, B]
        assert desk.asked[1][1] - desk.asked[0][1] <= 1000 * ASK_TIMEOUT_S + 200
        assert [origin for origin, _ in desk.known] == [A, B, C]

    asked_when({A: (ASK_TIMEOUT_S, None), B: (0.05, True), C: (0.05, True)}, then)


def test_where_the_one_who_is_asked_does_not_have_them_another_is_asked_at_once() -> None:
    def then(desk: Desk) -> None:
        assert len(desk.asked) == 2
        assert desk.asked[1][1] - desk.asked[0][1] <= 300
        assert [origin for origin, _ in desk.known] == [A, B, C]

    asked_when({A: (0.05, False), B: (0.05, True), C: (0.05, True)}, then)


@pytest.mark.parametrize("is_late", [True, False])
def test_where_answers_take_long_the_next_question_waits_for_more(is_late: bool) -> None:
    async def scenario() -> None:
        desk = Desk({A: (LONG_MS / 1000 + (0.1 if is_late else -0.1), True), B: (0.05, True)})
        desk.strangers.refresh(A, desk.far)
        await asyncio.sleep(1)
        began_ms = desk.clock.now_ms()
        desk.strangers.refresh(B, desk.far)
        await asyncio.sleep(1)
        (_, _), (origin, asked_ms) = desk.asked
        assert origin == B
        assert asked_ms - began_ms == (1000 * GATHER_S if is_late else 0)
        await desk.strangers.close()

    run_virtual(scenario())


def test_where_nobody_has_them_each_is_asked_once_and_nothing_waits() -> None:
    def then(desk: Desk) -> None:
        assert sorted(origin for origin, _ in desk.asked) == [A, B, C]
        assert not desk.known

    asked_when({A: (0.05, False), B: (0.05, False), C: (0.05, False)}, then)


def test_a_newer_record_is_asked_of_each_who_says_that_there_is_one() -> None:
    async def scenario() -> None:
        desk = Desk({A: (0.05, True), B: (0.05, True)})
        for origin in (A, B):
            desk.strangers.refresh(origin, desk.far)
        await asyncio.sleep(3)
        assert sorted(origin for origin, _ in desk.asked) == [A, B], "the first may have an old one"
        await desk.strangers.close()

    run_virtual(scenario())

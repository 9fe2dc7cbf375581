"""News of many that several tell: one question, one step, and nothing left over."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from peer_lab import Authority
from test_member_papers import Shelf, record_of

from keys import PeerId
from p2p import Papers
from p2p.members import Strangers
from p2p.members.messages import papers_message, wanted_from_wire
from p2p.membership.swim import Say, Statement
from p2p.memory.virtual_time import run_virtual

FIRST, SECOND, THIRD = (PeerId(letter * 52) for letter in "abc")


class Loop:
    """The time of the loop, as a clock."""

    def now_ms(self) -> int:
        return int(asyncio.get_running_loop().time() * 1000)

    def wall_ms(self) -> int:
        return self.now_ms()


class Neighbours:
    """Those who can be asked: some have nothing, the others have all papers."""

    def __init__(self, *papers: Papers) -> None:
        self.papers = {each.identity.peer_id: each for each in papers}
        self.poor: set[PeerId] = set()
        self.asked: list[tuple[PeerId, int]] = []  # of whom, for how many

    def serve(self, *_: object) -> None:
        return None

    async def request(self, to: PeerId, method: str, payload: bytes, **_: object) -> bytes:
        wanted = wanted_from_wire(payload)
        assert wanted is not None
        self.asked.append((to, len(wanted)))
        await asyncio.sleep(0.05)
        found = [self.papers[each] for each in wanted if to not in self.poor]
        return papers_message([(each.chain.encode(), record_of(each).raw) for each in found])


class Desk:
    """Strangers with their neighbours, and what became known."""

    def __init__(self, shelf: Shelf, *papers: Papers) -> None:
        self.neighbours = Neighbours(*papers)
        self.known: list[tuple[PeerId, tuple[Statement, ...]]] = []
        self.strangers = Strangers(
            shelf.book,
            lambda: (FIRST, (b"", b"")),
            self.neighbours,  # type: ignore[arg-type]
            Loop(),
            self.known.extend,
        )

    def hear(self, origin: PeerId, *papers: Papers) -> None:
        for each in papers:
            peer_id = each.identity.peer_id
            said = Statement(Say.ALIVE, peer_id, 1, peer_id, b"mark", bytes(64))
            self.strangers.wait(origin, said)


def people(authority: Authority, count: int) -> list[Papers]:
    return [authority.papers(f"far{number}") for number in range(count)]


def run(work: Coroutine[Any, Any, None]) -> None:
    run_virtual(work)


def test_news_that_several_tell_is_asked_of_one_and_taken_in_at_once() -> None:
    async def scenario() -> None:
        shelf = Shelf()
        far = people(shelf.authority, 6)
        desk = Desk(shelf, *far)
        for origin in (FIRST, SECOND, THIRD):
            desk.hear(origin, *far)
        await asyncio.sleep(1)
        assert desk.neighbours.asked == [(FIRST, 6)]
        told = [(origin, len(said)) for origin, said in desk.known]
        assert told == [(FIRST, 6), (SECOND, 6), (THIRD, 6)], "none of them is told of it by us"
        assert shelf.book.counts["again"] == 0
        await desk.strangers.close()

    run(scenario())


def test_what_nobody_has_papers_of_is_forgotten() -> None:
    async def scenario() -> None:
        shelf = Shelf()
        (far,) = people(shelf.authority, 1)
        desk = Desk(shelf, far)
        desk.neighbours.poor = {FIRST, SECOND}
        desk.hear(FIRST, far)
        desk.hear(SECOND, far)
        await asyncio.sleep(1)
        assert not desk.known
        strangers = desk.strangers
        assert not strangers._said
        assert not strangers._sought
        assert not strangers._tellers
        assert not strangers._wanted
        await strangers.close()

    run(scenario())

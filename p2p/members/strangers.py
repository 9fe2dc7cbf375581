"""Statements of members whose papers are not here: they wait, and the papers are asked for.

Who passed a statement on has verified it, so it has the papers. They are asked for in batches, one
question to a peer at a time; everything that waits is bounded, and what does not fit is forgotten:
pictures that differ are compared again.

What this module does not know: what a statement means, who is a member.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

from keys import PeerId, Permission
from p2p.clock import Clock
from p2p.errors import P2PError
from p2p.links import Lane
from p2p.members.messages import (
    MAX_WANTED,
    PAPERS,
    Pair,
    papers_from_wire,
    papers_message,
    wanted_from_wire,
    wanted_message,
)
from p2p.members.papers import PaperBook
from p2p.rpc import Exchange, Incoming
from p2p.slowness import Slowness

if TYPE_CHECKING:
    from p2p.membership.swim import Statement

MAX_WAITING = 4_096  # signers of whom something waits
MAX_OF_ONE = 1_024  # of those, told by one peer: others have room beside a flood
MAX_SAID = 4  # statements of one signer
MAX_ASKED = 16  # peers at the same time
SLOW_MS = 2_000  # who is asked for so long is no reason not to ask another
MAX_TELLERS = 4  # who told of one signer, beside the one that is asked; and of one statement
ASK_TIMEOUT_S = 5.0
LONG_MS = 500  # where an answer takes longer,
GATHER_S = 0.3  # the next question waits for more that is wanted
IN_VAIN_MS = 5_000  # so long is not asked again for papers that did not come
MAX_IN_VAIN = 8_192
VERIFIED_AT_ONCE = 8  # then others have a turn of the loop
SERVED_AT_ONCE = 16

Told = tuple[PeerId, "tuple[Statement, ...]"]  # by whom
OnKnown = Callable[[tuple[Told, ...]], None]


class _Said(NamedTuple):
    statement: Statement
    tellers: dict[PeerId, None]  # all of them know it: none is told of it by us


class Strangers:
    """
    Args:
        own: our own papers as they are now, for those who ask.
        on_known: these statements can be verified now, each as often as it was told.
    """

    def __init__(
        self,
        book: PaperBook,
        own: Callable[[], tuple[PeerId, Pair]],
        exchange: Exchange,
        clock: Clock,
        on_known: OnKnown,
    ) -> None:
        self._book = book
        self._own = own
        self._exchange = exchange
        self._clock = clock
        self._on_known = on_known
        self._said: dict[PeerId, dict[tuple[PeerId, PeerId], _Said]] = {}
        self._wanted: dict[PeerId, dict[PeerId, None]] = {}  # of whom, whose
        self._in_vain: dict[tuple[PeerId, PeerId], int] = {}  # of whom, whose; not before
        # Of signers: who is asked, and who else has told of them and is asked if that is in vain.
        self._sought: dict[PeerId, tuple[PeerId, int]] = {}  # and since when
        self._tellers: dict[PeerId, dict[PeerId, None]] = {}
        self._asking: dict[PeerId, asyncio.Task[None]] = {}
        self._slowness = Slowness(LONG_MS)
        self._is_open = True
        self.counts: Counter[str] = Counter()
        exchange.serve(PAPERS, self._give, Permission.MEMBERSHIP, SERVED_AT_ONCE)

    def wait(self, origin: PeerId, statement: Statement) -> None:
        """Keep this statement until the papers of its signer are here."""
        signer = statement.signer
        said = self._said.get(signer)
        if said is None:
            of_one = len(self._wanted.get(origin, ()))
            if len(self._said) >= MAX_WAITING or of_one >= MAX_OF_ONE:
                self.counts["forgotten"] += 1
                return
            said = self._said[signer] = {}
        waiting = said.get(statement.key)
        if waiting is not None and waiting.statement == statement:
            if len(waiting.tellers) < MAX_TELLERS:
                waiting.tellers[origin] = None
        elif waiting is not None or len(said) < MAX_SAID:
            said[statement.key] = _Said(statement, {origin: None})
        self._seek(origin, signer)

    def _seek(self, origin: PeerId, peer_id: PeerId) -> None:
        """News comes from several neighbours at once: one of them is asked, and another if the
        first is slow."""
        now_ms = self._clock.now_ms()
        asked, since_ms = self._sought.get(peer_id, (origin, now_ms))
        if asked != origin and now_ms - since_ms < SLOW_MS and asked in self._wanted:
            tellers = self._tellers.setdefault(peer_id, {})
            if len(tellers) < MAX_TELLERS:
                tellers[origin] = None
            return
        self.refresh(origin, peer_id)
        if peer_id in self._wanted.get(origin, ()):
            self._sought[peer_id] = (origin, since_ms if asked == origin else now_ms)

    def _seek_on(self, peer_id: PeerId) -> bool:
        """It did not come: whether somebody else has told of it, who is asked now."""
        now_ms = self._clock.now_ms()
        tellers = self._tellers.pop(peer_id, {})
        for origin in tellers:
            if now_ms >= self._in_vain.get((origin, peer_id), 0):
                del tellers[origin]
                self._tellers[peer_id] = tellers
                self._seek(origin, peer_id)
                return True
        return False

    def refresh(self, origin: PeerId, peer_id: PeerId) -> None:
        """Ask this peer for another's papers, soon, unless that was in vain just now."""
        if self._clock.now_ms() < self._in_vain.get((origin, peer_id), 0):
            self._said.pop(peer_id, None)
            return
        wanted = self._wanted.setdefault(origin, {})
        if len(wanted) < MAX_OF_ONE:
            wanted[peer_id] = None
        self._ask_soon(origin)

    async def fetch(self, peer_id: PeerId, origins: Iterable[PeerId]) -> bool:
        """Ask these, one after the other, for the papers of a member; whether any came."""
        for origin in origins:
            if await self._ask(origin, [peer_id]):
                return True
        return False

    def forget(self, peer_id: PeerId) -> None:
        """It may not be here any more: nothing of it waits, and its papers are not asked for."""
        self._said.pop(peer_id, None)
        self._tellers.pop(peer_id, None)

    async def close(self) -> None:
        self._is_open = False
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- asking --------------------------------------------------------------------------------

    def _ask_soon(self, origin: PeerId) -> None:
        if self._is_open and origin not in self._asking and len(self._asking) < MAX_ASKED:
            task = asyncio.get_running_loop().create_task(self._ask_all(origin))
            self._asking[origin] = task
            task.add_done_callback(lambda _: self._done(origin))

    def _done(self, origin: PeerId) -> None:
        del self._asking[origin]
        for waiting in [each for each in self._wanted if each not in self._asking]:
            self._ask_soon(waiting)

    async def _ask_all(self, origin: PeerId) -> None:
        """In batches, until nothing more is wanted of this peer."""
        try:
            if self._slowness.is_slow(self._clock.now_ms()):
                await asyncio.sleep(GATHER_S)
            while wanted := list(self._wanted[origin])[:MAX_WANTED]:
                came = await self._ask(origin, wanted)
                for peer_id in wanted:
                    del self._wanted[origin][peer_id]
                    if self._sought.get(peer_id, (origin, 0))[0] == origin:
                        self._sought.pop(peer_id, None)
                if came is not None:
                    self._tell(origin, wanted, came)
                    continue
                for peer_id in wanted:  # else what they said waits for whoever tells of them next
                    self._seek_on(peer_id)
        finally:
            del self._wanted[origin]

    async def _ask(self, origin: PeerId, wanted: list[PeerId]) -> set[PeerId] | None:
        """Whose papers came, and are good; None where no answer came."""
        self.counts["asked"] += 1
        began_ms = self._clock.now_ms()
        try:
            answer = await self._exchange.request(
                origin,
                PAPERS,
                wanted_message(wanted),
                timeout_s=ASK_TIMEOUT_S,
                lane=Lane.CONTROL,
            )
        except P2PError:
            self.counts["unanswered"] += 1
            return None
        now_ms = self._clock.now_ms()
        self._slowness.took(now_ms - began_ms, now_ms)
        pairs = papers_from_wire(answer)
        if pairs is None:
            self.counts["malformed"] += 1
            return set()
        came: set[PeerId] = set()
        for number, (chain, record) in enumerate(pairs, 1):
            peer_id = self._book.take(chain, record)
            if peer_id is not None:
                came.add(peer_id)
            if number % VERIFIED_AT_ONCE == 0:
                await asyncio.sleep(0)
        return came & set(wanted)

    def _tell(self, origin: PeerId, wanted: list[PeerId], came: set[PeerId]) -> None:
        now_ms = self._clock.now_ms()
        known: dict[PeerId, list[Statement]] = {}
        for peer_id in wanted:
            if peer_id not in came:
                self.counts["in_vain"] += 1
                self._in_vain[origin, peer_id] = now_ms + IN_VAIN_MS
                if not self._seek_on(peer_id):
                    self._said.pop(peer_id, None)
                continue
            self._tellers.pop(peer_id, None)
            for said in self._said.pop(peer_id, {}).values():
                for teller in said.tellers:
                    known.setdefault(teller, []).append(said.statement)
        if known:
            self._on_known(tuple((teller, tuple(said)) for teller, said in known.items()))
        still = [(each, until) for each, until in self._in_vain.items() if until > now_ms]
        self._in_vain = dict(still[-MAX_IN_VAIN:])

    async def _give(self, incoming: Incoming, payload: bytes) -> bytes:
        wanted = wanted_from_wire(payload)
        if wanted is None:
            self.counts["malformed"] += 1
            return papers_message(())
        own_id, own = self._own()
        found = [own] if own_id in wanted else []
        known = (self._book.get(peer_id) for peer_id in wanted)
        found += [(each.shown.encode(), each.record.raw) for each in known if each is not None]
        return papers_message(found)

"""Tables that travel further than links: members pass on what its owner has signed.

    changed, or heard of -> verified, whole -> ours -> told to the neighbours that may not know it

An owner tells those that it has links to; each of these tells its neighbours, and so on. Small
changes travel with the news; of large ones only the heading does, and the rest is asked for from
whoever told of it, since nobody tells of a table that it does not have. What is lost on the way is
repaired by comparing (`comparing.py`).

While everybody has a link to everybody nothing is passed on: owners tell everybody themselves.

What this module does not know: what an entry means, how signatures are checked, who is alive.

Invariants: a table from here is one that its owner has signed, and never older than what was here
or of an earlier start than its owner is in;
whoever passes on what nobody has signed is counted, and after a few times cut off.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from keys import PeerId, Permission
from p2p.adverts.comparing import Comparing
from p2p.adverts.headings import Heading, Headings
from p2p.adverts.messages import Page, encode_page, signed_body
from p2p.adverts.outbox import FLUSH_MS, Outbox
from p2p.adverts.own import PAGE_BYTES, OwnTable
from p2p.adverts.pulling import Pulling
from p2p.adverts.relay_messages import (
    NEWS,
    TABLES,
    pages_from_wire,
    pages_message,
    wanted_from_wire,
)
from p2p.adverts.staged import Staged
from p2p.adverts.tables import Changes, Tables
from p2p.clock import Clock
from p2p.errors import P2PError
from p2p.links import Lane
from p2p.rpc import Exchange, Incoming

log = logging.getLogger("conclave.p2p.adverts")

TOLD_BYTES = 1_024  # a larger change is told of, and asked for
GIVEN_BYTES = 64 * 1024  # in one answer
SERVED_AT_ONCE = 16
MAX_STRIKES = 8
MAX_MISSED = 4_096
MISSED_MS = 30_000


@dataclass(frozen=True, slots=True)
class Crowd:
    """Who is there, and how its words are checked.

    Attributes:
        sign: makes our own signature.
        has_signed: whether a member has signed this; None where its papers are not here.
        start_of: in which of its starts a peer is that is alive, as those above are told.
        neighbours: who gets the news; only those that are met.
        is_mesh: whether everybody has a link to everybody.
        on_garbage: this member passes on too much that nobody has signed.
        members: how many there are, ourselves too.
    """

    sign: Callable[[bytes], bytes]
    has_signed: Callable[[PeerId, bytes, bytes], bool | None]
    start_of: Callable[[PeerId], int | None]
    neighbours: Callable[[], Sequence[PeerId]]
    is_mesh: Callable[[], bool]
    on_garbage: Callable[[PeerId], None]
    members: Callable[[], int] = lambda: 1


class Relaying:
    """
    Args:
        own: our id, and our table.
        tell: a table of somebody has changed.
    """

    def __init__(
        self,
        own_id: PeerId,
        own: OwnTable,
        tables: Tables,
        crowd: Crowd,
        clock: Clock,
        exchange: Exchange,
        tell: Callable[[PeerId, int, Changes], None],
        counts: Counter[str],
    ) -> None:
        self._own_id = own_id
        self._own = own
        self._tables = tables
        self._crowd = crowd
        self._clock = clock
        self._exchange = exchange
        self._tell = tell
        self._counts = counts
        self._headings = Headings()
        self._outbox = Outbox()
        self._timer: asyncio.TimerHandle | None = None
        self._missed: dict[PeerId, tuple[int, PeerId, Heading]] = {}  # since when, who told
        self._strikes: Counter[PeerId] = Counter()
        self._is_open = True
        self._pulling = Pulling(exchange, tables.standing, self._is_behind, self._take, counts)
        self._comparing = Comparing(self._headings, clock, exchange, self._listed, counts)
        self.on_summary = self._comparing.on_summary
        exchange.serve_notice(NEWS, self._on_news, Permission.MEMBERSHIP)
        exchange.serve(TABLES, self._give, Permission.MEMBERSHIP, SERVED_AT_ONCE)
        self.own_changed()

    @property
    def is_mesh(self) -> bool:
        return self._crowd.is_mesh()

    @property
    def members(self) -> int:
        """How many may have a table; most of those that have none here have none at all."""
        return max(len(self._headings), self._crowd.members())

    @property
    def summary(self) -> bytes:
        """What each heartbeat says of where all tables stand."""
        return self._headings.summary

    # -- what happens --------------------------------------------------------------------------

    def own_changed(self) -> None:
        own = self._own
        if own.version > 0:
            heading = Heading(own.incarnation, own.version, own.table_hash())
            self._headings.put(self._own_id, heading)

    def told_directly(self, owner: PeerId, since: int, page: Page) -> None:
        """The owner itself has told us what changed after that version."""
        proof, start = page.proof, page.incarnation
        if page.latest == 0:
            return
        if self._tables.standing(owner) != (start, page.latest) or proof is None:
            if self._tables.proof_of(owner) is None:
                self._headings.drop(owner)
            return
        heading = Heading(start, page.latest, proof.table_hash)
        if heading == self._headings.of(owner):
            return
        self._headings.drop(owner)
        if self._has_signed(owner, heading, proof.signature) and self._tables.prove(owner, proof):
            self._headings.put(owner, heading)
            self._pass_on(owner, owner, since)
        else:
            self._counts["unproven"] += 1

    def miss(self, origin: PeerId, owner: PeerId, heading: Heading) -> None:
        """It is not here yet: its table is asked for once it is."""
        now_ms = self._clock.now_ms()
        if len(self._missed) >= MAX_MISSED:
            old_ms = now_ms - MISSED_MS
            self._missed = {p: told for p, told in self._missed.items() if told[0] > old_ms}
        known = self._missed.get(owner)
        if known is None and len(self._missed) >= MAX_MISSED:
            return
        if heading.replaces(known[2] if known is not None else None):
            self._missed[owner] = now_ms, origin, heading

    def appeared(self, owner: PeerId) -> None:
        """It is here now."""
        missed = self._missed.pop(owner, None)
        if missed is not None and self._is_behind(owner, missed[2]):
            self._pulling.want(missed[1], owner, missed[2])

    def gone(self, owner: PeerId) -> None:
        self._headings.drop(owner)
        self._missed.pop(owner, None)
        self._comparing.gone(owner)

    async def close(self) -> None:
        self._is_open = False
        if self._timer is not None:
            self._timer.cancel()
        await self._comparing.close()
        await self._pulling.close()

    # -- what others pass on -------------------------------------------------------------------

    def _on_news(self, sender: PeerId, payload: bytes) -> None:
        told = pages_from_wire(payload)
        if told is None:
            self._counts["malformed"] += 1
            return
        for owner, page in told:
            if page.proof is None or owner == self._own_id:
                continue
            heading = Heading(page.incarnation, page.latest, page.proof.table_hash)
            known = self._headings.of(owner)
            if heading == known or heading.replaces(known):
                self._outbox.discard(sender, owner)
            if self._is_behind(owner, heading):
                self._on_told(sender, owner, page, heading)

    def _on_told(self, sender: PeerId, owner: PeerId, page: Page, heading: Heading) -> None:
        if self._crowd.start_of(owner) is None:
            self.miss(sender, owner, heading)
        elif page.since == 0 or self._tables.standing(owner) == (page.incarnation, page.since):
            if not self._take(sender, owner, Staged(page)):
                self._pulling.want(sender, owner, heading)
        else:
            self._pulling.want(sender, owner, heading)

    def _listed(self, sender: PeerId, owner: PeerId, heading: Heading) -> bool:
        """A neighbour has this table; whether it is newer than ours."""
        if owner == self._own_id or not self._is_behind(owner, heading):
            return False
        if self._crowd.start_of(owner) is None:
            self.miss(sender, owner, heading)
        else:
            self._pulling.want(sender, owner, heading)
        return True

    def _is_behind(self, owner: PeerId, heading: Heading) -> bool:
        """Whether this is newer than what is here; what an earlier start said is over, and one
        that has never offered anything has nothing to be passed on."""
        if heading.version == 0:
            return False
        start = self._crowd.start_of(owner)
        is_newer = heading[:2] >= max(self._tables.standing(owner), (start or 0, 0))
        return is_newer and heading.replaces(self._headings.of(owner))

    def _take(self, origin: PeerId, owner: PeerId, staged: Staged) -> bool:
        """Take a whole table that somebody has passed on; False where it should begin anew."""
        proof, start = staged.proof, staged.incarnation
        assert proof is not None
        heading = Heading(start, staged.upto, proof.table_hash)
        if not self._is_behind(owner, heading):
            return True
        if self._crowd.start_of(owner) is None:
            self.miss(origin, owner, heading)
            return True
        is_signed = self._has_signed(owner, heading, proof.signature)
        if is_signed is None:
            self.miss(origin, owner, heading)
            return True
        changes = self._tables.commit(owner, staged, proof) if is_signed else None
        if changes is None:
            if is_signed and staged.since > 0:
                return False
            self._strike(origin)
            return True
        self._headings.put(owner, heading)
        self._counts["relayed"] += 1
        self._tell(owner, start, changes)
        self._pass_on(origin, owner, staged.since)
        return True

    def _has_signed(self, owner: PeerId, heading: Heading, signature: bytes) -> bool | None:
        return self._crowd.has_signed(owner, signed_body(*heading), signature)

    def _strike(self, peer_id: PeerId) -> None:
        """Whoever tells of a table has verified it; this one has not, or has made it up."""
        self._counts["relays_refused"] += 1
        self._strikes[peer_id] += 1
        if self._strikes[peer_id] >= MAX_STRIKES:
            del self._strikes[peer_id]
            asyncio.get_running_loop().call_soon(self._crowd.on_garbage, peer_id)

    # -- what we pass on -----------------------------------------------------------------------

    def _pass_on(self, origin: PeerId, owner: PeerId, since: int) -> None:
        if self.is_mesh or not self._is_open:
            return
        to = [p for p in self._crowd.neighbours() if p not in (origin, owner)]
        self._outbox.add(owner, since, to)
        self._flush_soon()

    def _flush_soon(self) -> None:
        if self._timer is None and self._outbox.waiting:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(FLUSH_MS / 1000, self._flush)

    def _flush(self) -> None:
        self._timer = None
        neighbours = frozenset(self._crowd.neighbours())
        now_ms = self._clock.now_ms()
        for peer_id, items in self._outbox.flush(now_ms, neighbours, self._page_of):
            payload = pages_message(items)
            self._counts["relays_told"] += len(items)
            self._counts["relays_told_bytes"] += len(payload)
            try:
                self._exchange.notify(peer_id, NEWS, payload, lane=Lane.CONTROL)
            except P2PError as error:
                log.debug("not told: %s", error)
        self._flush_soon()

    def _page_of(self, owner: PeerId, since: int) -> bytes | None:
        """What has changed, or only the heading where that is much."""
        start, version = self._tables.standing(owner)
        page = self._tables.page(owner, since, TOLD_BYTES)
        if page is None:
            return None
        told = encode_page(page)
        if page.is_last and len(told) <= TOLD_BYTES:
            return told
        proof = self._tables.proof_of(owner)
        return encode_page(Page(start, version, version, version, (), proof))

    async def _give(self, incoming: Incoming, payload: bytes) -> bytes:
        wanted = wanted_from_wire(payload)
        if wanted is None:
            self._counts["malformed"] += 1
            return pages_message(())
        given, room = [], GIVEN_BYTES
        for owner, start, version in wanted:
            if room <= 0:
                break
            page = self._page_after(owner, start, version)
            if page is not None:
                told = encode_page(page)
                given.append((owner, told))
                room -= len(told)
        answer = pages_message(given)
        self._counts["given"] += 1
        self._counts["given_bytes"] += len(answer)
        return answer

    def _page_after(self, owner: PeerId, start: int, version: int) -> Page | None:
        if owner == self._own_id:
            return self._own.since(version if start == self._own.incarnation else 0)
        known = self._tables.standing(owner)
        if known < (start, version):
            return None
        return self._tables.page(owner, version if start == known[0] else 0, PAGE_BYTES)

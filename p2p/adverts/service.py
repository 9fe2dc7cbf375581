"""Tells all what we offer, and keeps what they offer: the shell around the tables.

What changes is told to everybody who is present as soon as it does, the changes of a moment in one
message, and never more than what changed. Every heartbeat carries the digest of the sender's
table: who is behind, because a message was lost or it has just come, asks for the rest by pages.

Where not everybody has a link to everybody, those who have one pass it on (`relaying.py`), and
heartbeats carry the digest of where all tables stand instead.

Nothing here is durable: each start begins a table, and heartbeats name the start.

What this module does not know: what an entry means, who is alive; presence tells.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from keys import PeerId, Permission
from p2p.adverts.headings import SUMMARY_BYTES, Heading
from p2p.adverts.messages import (
    OWN_PREFIX,
    Page,
    decode_page,
    encode_page,
    encode_since,
    is_of_nothing,
    read_since,
)
from p2p.adverts.own import PAGE_BYTES, OwnTable
from p2p.adverts.relaying import TOLD_BYTES, Crowd, Relaying
from p2p.adverts.tables import Changes, Tables, Wish
from p2p.clock import Clock
from p2p.errors import DeadlineExceeded, P2PError
from p2p.links import Lane
from p2p.rpc import Exchange, Incoming

log = logging.getLogger("conclave.p2p.adverts")

CHANGED = "adverts.changed"
SINCE = "adverts.since"
GATHER_S = 0.02  # changes of one moment share a message
RELAYED_EVERY_S = 0.2  # what all others pass on is told once in so long
EACH_S = 0.5  # times the members, what is not urgent: two such changes a second among all of them
FIRST_ASK_S = 0.5  # doubled while nothing comes: what was lost should be here in two seconds
ASK_S = 2.0
PAGES_AT_A_STRETCH = 128  # then the next heartbeat has to ask: no peer keeps us busy by itself


class AdvertService:
    """One peer's table, and what it knows of the others'.

    Args:
        present: who is to be told.
        tell: a peer's entries changed.
    """

    def __init__(
        self,
        incarnation: int,
        clock: Clock,
        exchange: Exchange,
        present: Callable[[], Sequence[PeerId]],
        is_present: Callable[[PeerId], bool],
        tell: Callable[[PeerId, int, Changes], None],
    ) -> None:
        self._clock = clock
        self._exchange = exchange
        self._present = present
        self._is_present = is_present
        self._tell = tell
        self._own = OwnTable(incarnation)
        self._tables = Tables()
        self._told = 0  # everybody present was told of all up to this version
        self._timer: asyncio.TimerHandle | None = None
        self._due_s = 0.0  # its own, since uvloop makes a handle without a time of what is due now
        self._asking: dict[PeerId, asyncio.Task[None]] = {}
        self._told_ms = -10_000
        self._relaying: Relaying | None = None
        self._is_open = True
        self.counts: Counter[str] = Counter()
        exchange.serve_notice(CHANGED, self._on_changed, Permission.MEMBERSHIP)
        exchange.serve(SINCE, self._give, Permission.MEMBERSHIP)

    def relay(self, own_id: PeerId, crowd: Crowd) -> None:
        """Pass on what others offer, from now on, and have others pass on what we do."""
        self._own.sign = lambda body: crowd.sign(body)
        self._relaying = Relaying(
            own_id,
            self._own,
            self._tables,
            crowd,
            self._clock,
            self._exchange,
            self._tell,
            self.counts,
        )

    # -- our own -------------------------------------------------------------------------------

    def change(self, changes: Changes, *, is_urgent: bool = True) -> None:
        """Put or take away entries of ours, by name.

        Args:
            is_urgent: otherwise, where all others have to pass it on, it is told the more seldom
                the more members there are.

        Raises:
            MisuseError, PayloadTooLarge: that is more than others would keep; nothing changed.
        """
        if not self._own.set(changes) or not self._is_open:
            return
        loop = asyncio.get_running_loop()
        due_s = loop.time() + max(GATHER_S, self._pause_s(is_urgent=is_urgent))
        if self._timer is None or due_s < self._due_s:
            if self._timer is not None:
                self._timer.cancel()
            self._timer, self._due_s = loop.call_at(due_s, self._tell_all), due_s

    def _pause_s(self, *, is_urgent: bool) -> float:
        if self._relaying is None or not self._relays:
            return 0.0
        pause_s = RELAYED_EVERY_S if is_urgent else EACH_S * self._relaying.members
        return pause_s - (self._clock.now_ms() - self._told_ms) / 1000

    def offer(self, entries: Mapping[str, bytes]) -> None:
        """Offer exactly these agents from now on. Raises as `change`."""
        agents = (name for name in self._own.names() if not name.startswith(OWN_PREFIX))
        self.change({**dict.fromkeys(agents), **entries})

    def digest(self) -> bytes:
        """What each heartbeat says; at most 64 bytes."""
        return self.summary or self._own.digest()

    @property
    def summary(self) -> bytes:
        """What each beat says where tables are passed on, and nothing elsewhere."""
        relaying = self._relaying
        return relaying.summary if relaying is not None and self._relays else b""

    @property
    def _relays(self) -> bool:
        """Whether others are reached by way of others."""
        return self._relaying is not None and not self._relaying.is_mesh

    def _tell_all(self) -> None:
        self._timer = None
        self._told_ms = self._clock.now_ms()
        if self._relaying is not None:
            self._relaying.own_changed()
        page = self._own.since(self._told, PAGE_BYTES)
        self._told = self._own.version  # of what did not fit, `latest` tells
        payload = encode_page(page)
        for peer_id in self._present():
            self._tell_one(peer_id, payload)

    def _tell_one(self, peer_id: PeerId, payload: bytes) -> None:
        self._count("told", payload)
        try:
            self._exchange.notify(peer_id, CHANGED, payload, lane=Lane.CONTROL)
        except P2PError as error:
            log.debug("not told: %s", error)

    def _greet(self, peer_id: PeerId) -> None:
        """It may be the first that has a link to us, and all others wait for its word."""
        version = self._own.version
        if version == 0:
            return  # nobody waits to hear that we offer nothing
        page = self._own.since(0, TOLD_BYTES)
        if not page.is_last:
            page = Page(self._own.incarnation, version, version, version, (), self._own.proof())
        self._tell_one(peer_id, encode_page(page))

    async def _give(self, incoming: Incoming, payload: bytes) -> bytes:
        incarnation, version = read_since(payload) or (0, 0)
        knows_us = incarnation == self._own.incarnation
        answer = encode_page(self._own.since(version if knows_us else 0))
        self._count("given", answer)
        return answer

    def _count(self, what: str, payload: bytes) -> None:
        self.counts[what] += 1
        self.counts[f"{what}_bytes"] += len(payload)

    # -- those of others -----------------------------------------------------------------------

    def entries_of(self, peer_id: PeerId) -> Mapping[str, bytes]:
        """Return what a peer offers, as far as we know."""
        return self._tables.entries_of(peer_id)

    def heard(self, peer_id: PeerId, incarnation: int, digest: bytes) -> None:
        """A living peer said where its table stands, or where all do."""
        if len(digest) == SUMMARY_BYTES:
            self.heard_summary(peer_id, digest)
            return
        now_ms = self._clock.now_ms()
        if self._tables.heard(peer_id, incarnation, digest, now_ms) is not Wish.ASK:
            return
        if is_of_nothing(digest) and self._is_present(peer_id):
            self._take(peer_id, Page(incarnation, 0, 0, 0, ()))  # as it would answer
        else:
            self._ask(peer_id)

    def heard_summary(self, peer_id: PeerId, summary: bytes) -> None:
        """A living peer said where all tables stand."""
        if self._relaying is not None and len(summary) == SUMMARY_BYTES:
            self._relaying.on_summary(peer_id, summary)

    def admitted(self, peer_id: PeerId) -> None:
        """It showed papers, perhaps other ones: what it may offer is to be judged anew."""
        entries = self._tables.entries_of(peer_id)
        if entries:
            self._tell(peer_id, self._tables.standing(peer_id)[0], dict(entries))
        if self._relays:
            self._greet(peer_id)

    def appeared(self, peer_id: PeerId) -> None:
        """It is here, as those above are told."""
        if self._relaying is not None:
            self._relaying.appeared(peer_id)

    def gone(self, peer_id: PeerId) -> None:
        self._tables.forget(peer_id)
        if self._relaying is not None:
            self._relaying.gone(peer_id)
        task = self._asking.get(peer_id)
        if task is not None:
            task.cancel()

    def counters(self) -> Mapping[str, int]:
        return {**self.counts, **self._tables.counts}

    async def close(self) -> None:
        self._is_open = False
        if self._timer is not None:
            self._timer.cancel()
        for task in self._asking.values():
            task.cancel()
        await asyncio.gather(*self._asking.values(), return_exceptions=True)
        if self._relaying is not None:
            await self._relaying.close()

    def _on_changed(self, peer_id: PeerId, payload: bytes) -> None:
        page = decode_page(payload)
        if page is None:
            self.counts["malformed"] += 1
        elif self._is_present(peer_id):
            if self._take(peer_id, page) is Wish.ASK:
                self._ask(peer_id)
        elif self._relaying is not None and page.proof is not None:
            heading = Heading(page.incarnation, page.latest, page.proof.table_hash)
            self._relaying.miss(peer_id, peer_id, heading)

    def _take(self, peer_id: PeerId, page: Page) -> Wish:
        start, version = self._tables.standing(peer_id)
        changes, wish = self._tables.take(peer_id, page)
        if changes or start != self._tables.standing(peer_id)[0]:
            self._tell(peer_id, page.incarnation, changes)
        if self._relaying is not None:
            is_same = start == page.incarnation
            self._relaying.told_directly(peer_id, version if is_same else 0, page)
        return wish

    def _ask(self, peer_id: PeerId) -> None:
        if peer_id in self._asking or not self._is_open:
            return
        task = asyncio.get_running_loop().create_task(self._fetch(peer_id))
        self._asking[peer_id] = task
        task.add_done_callback(lambda _: self._asking.pop(peer_id, None))

    async def _fetch(self, peer_id: PeerId) -> None:
        """Ask page after page; what fails is asked for again at the next heartbeat."""
        patience_s = FIRST_ASK_S
        for _ in range(PAGES_AT_A_STRETCH):
            standing = self._tables.standing(peer_id)
            try:
                answer = await self._exchange.request(
                    peer_id, SINCE, encode_since(*standing), timeout_s=patience_s, lane=Lane.CONTROL
                )
            except DeadlineExceeded:
                patience_s *= 2
                if patience_s > ASK_S:
                    return
                continue
            except P2PError as error:
                log.debug("no advert: %s", error)
                return
            page = decode_page(answer)
            self.counts["asked"] += 1
            if page is None:
                self.counts["malformed"] += 1
                return
            if not self._is_present(peer_id) or self._take(peer_id, page) is not Wish.ASK:
                return
            if self._tables.standing(peer_id) == standing:
                return  # it says that there is more, and does not give it

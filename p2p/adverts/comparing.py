"""Comparing where all tables stand with a neighbour, when our digests differ for a while.

At rest it costs eight bytes of a heartbeat. Who is behind finds it out by itself: it says its
digests of the parts, is told what the neighbour holds in those that differ, and asks for what is
newer. Where that was in vain, since it is the neighbour who is behind, it waits longer each time.

What this module does not know: tables, how they are asked for.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

from keys import PeerId, Permission
from p2p.adverts.headings import Heading, Headings
from p2p.adverts.relay_messages import (
    COMPARE,
    MAX_LISTED,
    buckets_from_wire,
    buckets_message,
    listing_from_wire,
    listing_message,
)
from p2p.clock import Clock
from p2p.errors import P2PError
from p2p.links import Lane
from p2p.rpc import Exchange, Incoming

DIFFERS_MS = 1_000
AGAIN_MS = 1_000
LONGEST_MS = 30_000
NEWCOMER_MS = 5_000  # after a start nobody waits until it differs for long
MAX_COMPARED = 2  # neighbours at the same time
TIMEOUT_S = 2.0
SERVED_AT_ONCE = 16

Listed = Callable[[PeerId, PeerId, Heading], bool]  # who has it, whose; whether it is newer


class Comparing:
    """See the module."""

    def __init__(
        self,
        headings: Headings,
        clock: Clock,
        exchange: Exchange,
        listed: Listed,
        counts: Counter[str],
    ) -> None:
        self._headings = headings
        self._clock = clock
        self._exchange = exchange
        self._listed = listed
        self._counts = counts
        self._differs_ms: dict[PeerId, int] = {}  # since when
        self._not_before: dict[PeerId, tuple[int, int]] = {}  # and the pause before that
        self._tasks: dict[PeerId, asyncio.Task[None]] = {}
        self._began_ms = clock.now_ms()
        self._is_open = True
        exchange.serve(COMPARE, self._give, Permission.MEMBERSHIP, SERVED_AT_ONCE)

    def on_summary(self, peer_id: PeerId, summary: bytes) -> None:
        """A heartbeat says where all tables stand at its sender."""
        now_ms = self._clock.now_ms()
        if summary == self._headings.summary:
            self._differs_ms.pop(peer_id, None)
            self._not_before.pop(peer_id, None)
            return
        since_ms = self._differs_ms.setdefault(peer_id, now_ms)
        due_ms, _ = self._not_before.get(peer_id, (0, 0))
        is_new = now_ms - self._began_ms < NEWCOMER_MS
        is_due = (is_new or now_ms - since_ms >= DIFFERS_MS) and now_ms >= due_ms
        is_free = self._is_open and peer_id not in self._tasks and len(self._tasks) < MAX_COMPARED
        if is_due and is_free:
            task = asyncio.get_running_loop().create_task(self._compare(peer_id))
            self._tasks[peer_id] = task
            task.add_done_callback(lambda _: self._tasks.pop(peer_id, None))

    def gone(self, peer_id: PeerId) -> None:
        self._differs_ms.pop(peer_id, None)
        self._not_before.pop(peer_id, None)

    async def close(self) -> None:
        self._is_open = False
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _compare(self, peer_id: PeerId) -> None:
        self._counts["compared"] += 1
        _, pause_ms = self._not_before.get(peer_id, (0, 0))
        is_news = await self._ask(peer_id)
        pause_ms = AGAIN_MS if is_news else min(max(AGAIN_MS, 2 * pause_ms), LONGEST_MS)
        self._not_before[peer_id] = self._clock.now_ms() + pause_ms, pause_ms

    async def _ask(self, peer_id: PeerId) -> bool:
        """Whether it has anything that is newer."""
        question = buckets_message(self._headings.buckets())
        try:
            answer = await self._exchange.request(
                peer_id, COMPARE, question, timeout_s=TIMEOUT_S, lane=Lane.CONTROL
            )
        except P2PError:
            return False
        listed = listing_from_wire(answer)
        if listed is None:
            self._counts["malformed"] += 1
            return False
        return sum(self._listed(peer_id, owner, heading) for owner, heading in listed) > 0

    async def _give(self, incoming: Incoming, payload: bytes) -> bytes:
        buckets = buckets_from_wire(payload)
        if buckets is None:
            self._counts["malformed"] += 1
            return listing_message(())
        return listing_message(self._headings.differing(buckets)[:MAX_LISTED])

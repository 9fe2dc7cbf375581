"""The subscriber's way to what it has missed: it asks the publisher's history, topic by topic.

One question at a time to each publisher, so that a subscriber with many gaps does not flood it.
What cannot be had is given up after a few attempts, and counted as lost by the lines.

What this module does not know: sockets, buffers, what a publisher keeps.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from keys import PeerId
from p2p.errors import DeadlineExceeded, P2PError, RemoteError
from p2p.pubsub.archive import HISTORY
from p2p.pubsub.feed import Feed
from p2p.pubsub.line import Items, Line
from p2p.pubsub.messages import MAX_COUNTER, Ask, Head, Page, decode_page, encode_ask
from p2p.pubsub.names import is_below
from p2p.rpc import Exchange

TIMEOUTS_S = (0.25, 0.5, 1.0, 2.0, 4.0)  # of the attempts: soon again, before history is gone
PAUSE_S = 0.5
QUIET_S = 0.5  # so long nothing came, so what is missing at the end is no longer under way
MAX_JOBS = 16_384  # that wait for one publisher

Take = Callable[[int, Items], bool]  # gets the number of the first; whether more is wanted
Job = Callable[[], Coroutine[Any, Any, None]]


class CatchingUp:
    """
    Args:
        is_holding: whether publications are not read just now.
        may_hear: whether a publisher may publish on a topic, and we may read it.
    """

    def __init__(
        self,
        exchange: Exchange,
        is_holding: Callable[[], bool],
        may_hear: Callable[[PeerId, str], bool],
        counts: Counter[str],
    ) -> None:
        self._exchange = exchange
        self._is_holding = is_holding
        self._may_hear = may_hear
        self._counts = counts
        self._jobs: dict[PeerId, deque[Job]] = {}
        self._workers: dict[PeerId, asyncio.Task[None]] = {}
        self._tails: dict[tuple[PeerId, int], tuple[Feed, Line, tuple[int, int]]] = {}
        self._tails_due: asyncio.TimerHandle | None = None
        self._is_closed = False

    def repair(self, feed: Feed) -> None:
        """Ask for what the lines of this feed want."""
        incoming = feed.incoming
        wants, incoming.wants = incoming.wants, []
        for sender, line in wants:
            if not self._add(sender, partial(self._repair, sender, feed, line)):
                feed.deliver(sender, line.topic, incoming.settled(sender, line))
        wants, incoming.wants_restricted = incoming.wants_restricted, []
        for sender, line in wants:
            if not self._add(sender, partial(self._repair_restricted, sender, feed, line)):
                feed.deliver(sender, line.topic, incoming.settled_restricted(sender, line))

    def replay(self, feed: Feed, sender: PeerId, method: str = HISTORY) -> None:
        """Ask for what this publisher published before, or for what is due."""
        feed.incoming.replaying.add(sender)
        name = feed.subscription.topic
        if not self._add(sender, partial(self._replay, sender, feed, name, method)):
            self._replayed(sender, feed)

    def compare(self, feed: Feed, sender: PeerId) -> None:
        """Ask how far this publisher has come, after it was out of reach."""
        self._add(sender, partial(self._compare, sender, feed))

    def heard(self, feed: Feed, sender: PeerId, head: Head) -> None:
        """Take a publisher's word of how far it has come."""
        if not self._may_hear(sender, head.topic):
            return
        line = feed.incoming.heads(sender, *head)
        if line is not None:
            self._watch_tail(feed, sender, line)

    async def close(self) -> None:
        self._is_closed = True
        if self._tails_due is not None:
            self._tails_due.cancel()
        workers = list(self._workers.values())
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)

    # -- the end of a line ---------------------------------------------------------------------

    def _watch_tail(self, feed: Feed, sender: PeerId, line: Line) -> None:
        self._tails[sender, id(line)] = (feed, line, _place(line))
        if self._tails_due is None:
            loop = asyncio.get_running_loop()
            self._tails_due = loop.call_later(QUIET_S, self._check_tails)

    def _check_tails(self) -> None:
        """What is missing may still be under way: ask once nothing comes any more."""
        self._tails_due = None
        tails, self._tails = self._tails, {}
        for (sender, _), (feed, line, before) in tails.items():
            if feed.subscription.is_closed or not line.is_behind:
                continue
            if _place(line) != before or line.is_asking or self._is_holding():
                self._watch_tail(feed, sender, line)
            else:
                feed.incoming.ask_rest(sender, line)
                self.repair(feed)

    # -- jobs ----------------------------------------------------------------------------------

    def _add(self, sender: PeerId, job: Job) -> bool:
        jobs = self._jobs.setdefault(sender, deque())
        if self._is_closed or len(jobs) >= MAX_JOBS:
            self._counts["catching_up_refused"] += 1
            return False
        jobs.append(job)
        if sender not in self._workers:
            self._workers[sender] = asyncio.get_running_loop().create_task(self._work(sender))
        return True

    async def _work(self, sender: PeerId) -> None:
        jobs = self._jobs[sender]
        try:
            while jobs:
                await jobs.popleft()()
        finally:
            del self._jobs[sender], self._workers[sender]

    async def _repair(self, sender: PeerId, feed: Feed, line: Line) -> None:
        asked, epoch, incoming = line.asked, line.epoch, feed.incoming
        if asked is None or feed.subscription.is_closed:
            return

        def is_asked() -> bool:
            return line.asked == asked and line.epoch == epoch

        def take(first: int, items: Items) -> bool:
            if is_asked():
                feed.deliver(sender, line.topic, incoming.repaired(line, epoch, first, items))
            return is_asked()

        await self._fetch(sender, feed, epoch, Ask(line.topic, *asked, 0, ""), take)
        if is_asked():
            feed.deliver(sender, line.topic, incoming.settled(sender, line))
            self.repair(feed)

    async def _repair_restricted(self, sender: PeerId, feed: Feed, line: Line) -> None:
        chain, incoming = line.chain, feed.incoming
        asked, epoch = chain.asked, chain.epoch
        if asked is None or feed.subscription.is_closed:
            return

        def is_asked() -> bool:
            return chain.asked == asked and chain.epoch == epoch

        def take(first: int, items: Items) -> bool:
            if is_asked():
                found = incoming.repaired_restricted(line, epoch, first, items)
                feed.deliver(sender, line.topic, found)
            return is_asked()

        await self._fetch(sender, feed, epoch, Ask(line.topic, *asked, 0, "", True), take)
        if is_asked():
            feed.deliver(sender, line.topic, incoming.settled_restricted(sender, line))
            self.repair(feed)

    async def _fetch(self, sender: PeerId, feed: Feed, epoch: int, ask: Ask, take: Take) -> None:
        """Hand on what there is of a range, part by part."""
        first, last = ask.first, ask.last
        while first <= last:
            page = await self._ask(sender, feed, ask._replace(first=first))
            if page is None or len(page.entries) != 1:
                return
            head, begin, items = page.entries[0]
            end = begin + len(items)
            if (head.topic, head.epoch) != (ask.name, epoch) or not first < end <= last + 1:
                return
            if not take(begin, items):
                return
            first = end

    async def _replay(self, sender: PeerId, feed: Feed, name: str, method: str = HISTORY) -> None:
        after = ""
        incoming = feed.incoming
        try:
            while not feed.subscription.is_closed:
                page = await self._ask(sender, feed, Ask(name, 0, 0, feed.replay, after), method)
                if page is None:
                    break
                for head, first, items in page.entries:
                    if is_below(head.topic, name) and self._may_hear(sender, head.topic):
                        line = incoming.line(sender, head.topic)
                        found = incoming.replayed(line, head.epoch, first, items)
                        feed.deliver(sender, head.topic, found)
                        incoming.heads(sender, *head)
                if page.next_after <= after:
                    break
                after = page.next_after
        finally:
            self._replayed(sender, feed)

    def _replayed(self, sender: PeerId, feed: Feed) -> None:
        incoming = feed.incoming
        incoming.replaying.discard(sender)
        for line in incoming.lines_of(sender):
            if line.is_replaying:
                feed.deliver(sender, line.topic, incoming.settled(sender, line))
                incoming.ask_rest(sender, line)  # a page may end before the history does
        self.repair(feed)

    async def _compare(self, sender: PeerId, feed: Feed) -> None:
        """Topics of which nothing was heard before are replayed, where that is wanted."""
        after, unheard = "", []
        name = feed.subscription.topic
        while not feed.subscription.is_closed:
            page = await self._ask(sender, feed, Ask(name, MAX_COUNTER, MAX_COUNTER, 0, after))
            if page is None:
                break
            for entry in page.entries:
                if is_below(entry.head.topic, name):
                    self.heard(feed, sender, entry.head)
                    if feed.replay and not feed.incoming.line(sender, entry.head.topic).next:
                        unheard.append(entry.head.topic)
            if page.next_after <= after:
                break
            after = page.next_after
        for topic in unheard:
            line = feed.incoming.line(sender, topic)
            if not line.next:
                line.is_replaying = True
                await self._replay(sender, feed, topic)

    async def _ask(
        self, sender: PeerId, feed: Feed, ask: Ask, method: str = HISTORY
    ) -> Page | None:
        """Return a page, or None after some attempts; it is for a reader that reads."""
        await feed.subscription.room()
        payload = encode_ask(ask)
        for timeout_s in TIMEOUTS_S:
            try:
                answer = await self._exchange.request(sender, method, payload, timeout_s=timeout_s)
            except DeadlineExceeded:
                continue
            except RemoteError:
                break
            except P2PError:
                await asyncio.sleep(PAUSE_S)
                continue
            page = decode_page(answer)
            if page is not None:
                return page
            break
        self._counts["history_refused"] += 1
        return None


def _place(line: Line) -> tuple[int, int]:
    """How far a line has come."""
    return line.next, line.chain.last

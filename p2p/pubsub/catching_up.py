"""The subscriber's way to what it has missed: it asks the publisher's history, topic by topic.

One question at a time to each publisher, so that a subscriber with many gaps does not flood it.
What cannot be had is given up after a few attempts, and counted as lost by the lines.

What this module does not know: sockets, buffers, what a publisher keeps.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from typing import Any

from keys import PeerId
from p2p.errors import DeadlineExceeded, P2PError, RemoteError
from p2p.pubsub.archive import HISTORY
from p2p.pubsub.feed import Feed
from p2p.pubsub.incoming import Line
from p2p.pubsub.messages import MAX_COUNTER, Ask, Head, Page, decode_page, encode_ask
from p2p.rpc import Exchange

TIMEOUTS_S = (0.25, 0.5, 1.0, 2.0, 4.0)  # of the attempts: soon again, before history is gone
PAUSE_S = 0.5
QUIET_S = 0.5  # so long nothing came, so what is missing at the end is no longer under way
MAX_JOBS = 16_384  # that wait for one publisher

Job = Callable[[], Coroutine[Any, Any, None]]


class CatchingUp:
    """
    Args:
        is_holding: whether publications are not read just now.
    """

    def __init__(
        self, exchange: Exchange, is_holding: Callable[[], bool], counts: Counter[str]
    ) -> None:
        self._exchange = exchange
        self._is_holding = is_holding
        self._counts = counts
        self._jobs: dict[PeerId, deque[Job]] = {}
        self._workers: dict[PeerId, asyncio.Task[None]] = {}
        self._tails: dict[tuple[PeerId, int], tuple[Feed, Line, int]] = {}
        self._tails_due: asyncio.TimerHandle | None = None
        self._is_closed = False

    def repair(self, feed: Feed) -> None:
        """Ask for what the lines of this feed want."""
        wants, feed.incoming.wants = feed.incoming.wants, []
        for sender, line in wants:
            if not self._add(sender, lambda s=sender, n=line: self._repair(s, feed, n)):  # type: ignore[misc]
                feed.deliver(sender, line.topic, feed.incoming.settled(sender, line))

    def replay(self, feed: Feed, sender: PeerId) -> None:
        """Ask for what this publisher published before."""
        feed.incoming.replaying.add(sender)
        if not self._add(sender, lambda: self._replay(sender, feed)):
            self._replayed(sender, feed)

    def compare(self, feed: Feed, sender: PeerId) -> None:
        """Ask how far this publisher has come, after it was out of reach."""
        self._add(sender, lambda: self._compare(sender, feed))

    def heard(self, feed: Feed, sender: PeerId, head: Head) -> None:
        """Take a publisher's word of how far it has come."""
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
        self._tails[sender, id(line)] = (feed, line, line.next)
        if self._tails_due is None:
            loop = asyncio.get_running_loop()
            self._tails_due = loop.call_later(QUIET_S, self._check_tails)

    def _check_tails(self) -> None:
        """What is missing may still be under way: ask once nothing comes any more."""
        self._tails_due = None
        tails, self._tails = self._tails, {}
        for (sender, _), (feed, line, before) in tails.items():
            if feed.subscription.is_closed or not line.is_behind or line.asked is not None:
                continue
            if line.next != before or self._is_holding():
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
        asked, epoch = line.asked, line.epoch
        if asked is None or feed.subscription.is_closed:
            return
        first, last = asked
        while first <= last and line.asked == asked:
            page = await self._ask(sender, Ask(line.topic, first, last, 0, ""))
            entry = page.entries[0] if page is not None and page.entries else None
            if entry is None or entry.topic != line.topic or entry.epoch != epoch:
                break
            end = entry.first + len(entry.items)
            if not first < end <= last + 1 or line.epoch != epoch:
                break
            found = feed.incoming.repaired(line, epoch, entry.first, entry.items)
            feed.deliver(sender, line.topic, found)
            first = end
        if line.asked == asked and line.epoch == epoch:
            feed.deliver(sender, line.topic, feed.incoming.settled(sender, line))
            self.repair(feed)

    async def _replay(self, sender: PeerId, feed: Feed) -> None:
        after = ""
        name = feed.subscription.topic
        try:
            while not feed.subscription.is_closed:
                page = await self._ask(sender, Ask(name, 0, 0, feed.replay, after))
                if page is None:
                    break
                for entry in page.entries:
                    if entry.topic == name or (name[-1] == "/" and entry.topic.startswith(name)):
                        line = feed.incoming.line(sender, entry.topic)
                        found = feed.incoming.replayed(line, entry.epoch, entry.first, entry.items)
                        feed.deliver(sender, entry.topic, found)
                        feed.incoming.heads(sender, entry.topic, entry.epoch, entry.head)
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
        after = ""
        while not feed.subscription.is_closed:
            page = await self._ask(
                sender, Ask(feed.subscription.topic, MAX_COUNTER, MAX_COUNTER, 0, after)
            )
            if page is None:
                return
            for entry in page.entries:
                self.heard(feed, sender, (entry.topic, entry.epoch, entry.head))
            if page.next_after <= after:
                return
            after = page.next_after

    async def _ask(self, sender: PeerId, ask: Ask) -> Page | None:
        """Return a page, or None after some attempts."""
        payload = encode_ask(ask)
        for timeout_s in TIMEOUTS_S:
            try:
                answer = await self._exchange.request(sender, HISTORY, payload, timeout_s=timeout_s)
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

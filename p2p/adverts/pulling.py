"""Asking those who have a table for it: one question to a peer at a time, of many tables at once.

A table is asked for from one peer at a time. If that one does not have it after all, or lies, the
next who has told of it is asked; when nobody is left, comparing finds it again.

What this module does not know: whether a table is true, who is alive.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import islice

from keys import PeerId
from p2p.adverts.headings import Heading
from p2p.adverts.relay_messages import (
    MAX_WANTED,
    TABLES,
    Told,
    pages_from_wire,
    wanted_message,
)
from p2p.adverts.staged import Staged
from p2p.errors import P2PError
from p2p.links import Lane
from p2p.rpc import Exchange

ASK_TIMEOUT_S = 2.0
PATIENCE_S = 20.0  # with one peer; others have what it does not give
MAX_ASKED = 16  # peers at the same time

Standing = Callable[[PeerId], tuple[int, int]]
IsBehind = Callable[[PeerId, Heading], bool]
Take = Callable[[PeerId, PeerId, Staged], bool]  # from whom, whose; False: begin anew


class Pulling:
    """
    Args:
        standing: where a table stands here.
        is_behind: whether this heading is newer than what is here.
        take: gets each table that is whole.
    """

    def __init__(
        self,
        exchange: Exchange,
        standing: Standing,
        is_behind: IsBehind,
        take: Take,
        counts: Counter[str],
    ) -> None:
        self._exchange = exchange
        self._standing = standing
        self._is_behind = is_behind
        self._take = take
        self._counts = counts
        # Of each table, who told of which and was not asked yet. Each has its turn: what one
        # makes up must not keep us from what others have.
        self._tellers: dict[PeerId, dict[PeerId, Heading]] = {}
        self._busy: set[PeerId] = set()  # these tables are asked for
        self._anew: set[PeerId] = set()  # all of it, since the changes alone did not fit
        self._queues: dict[PeerId, dict[PeerId, None]] = {}
        self._tasks: dict[PeerId, asyncio.Task[None]] = {}
        self._is_open = True

    def want(self, origin: PeerId, owner: PeerId, heading: Heading) -> None:
        """This peer has a newer table of that owner."""
        self._tellers.setdefault(owner, {})[origin] = heading
        if owner not in self._busy:
            self._next(owner)

    async def close(self) -> None:
        self._is_open = False
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _next(self, owner: PeerId) -> None:
        """Ask the next who told of it, if it is still wanted."""
        self._busy.discard(owner)
        tellers = self._tellers.get(owner, {})
        behind = (peer for peer, heading in tellers.items() if self._is_behind(owner, heading))
        origin = next(behind, None)
        if origin is None:
            self._tellers.pop(owner, None)
            self._anew.discard(owner)
            return
        del tellers[origin]
        self._busy.add(owner)
        self._queues.setdefault(origin, {})[owner] = None
        self._ask_soon(origin)

    def _ask_soon(self, origin: PeerId) -> None:
        if self._is_open and origin not in self._tasks and len(self._tasks) < MAX_ASKED:
            task = asyncio.get_running_loop().create_task(self._ask_all(origin))
            self._tasks[origin] = task
            task.add_done_callback(lambda _: self._done(origin))

    def _done(self, origin: PeerId) -> None:
        del self._tasks[origin]
        for waiting in list(self._queues):
            self._ask_soon(waiting)

    async def _ask_all(self, origin: PeerId) -> None:
        staged: dict[PeerId, Staged] = {}
        queue, loop = self._queues[origin], asyncio.get_running_loop()
        until_s = loop.time() + PATIENCE_S
        try:
            while queue and loop.time() < until_s:
                asked = {o: self._from(o, staged) for o in islice(queue, MAX_WANTED)}
                pages = await self._ask(origin, asked)
                if not pages:
                    break
                for owner, page in pages:
                    if owner in queue and owner in asked:
                        part = staged.get(owner)
                        is_next = page[:2] == asked[owner] or page.since == 0
                        if part is None:
                            part = staged[owner] = Staged(page)
                        elif not part.add(page):
                            is_next = False
                        if not is_next or part.proof is not None or page.is_last:
                            del staged[owner], queue[owner]
                            self._came(origin, owner, part if is_next else None)
                await asyncio.sleep(0)
        finally:
            del self._queues[origin]
            for owner in list(queue):
                self._next(owner)

    def _from(self, owner: PeerId, staged: Mapping[PeerId, Staged]) -> tuple[int, int]:
        part = staged.get(owner)
        if part is not None:
            return part.incarnation, part.upto
        return (0, 0) if owner in self._anew else self._standing(owner)

    def _came(self, origin: PeerId, owner: PeerId, part: Staged | None) -> None:
        if part is None or part.proof is None:
            self._counts["relays_useless"] += 1
        elif not self._take(origin, owner, part):
            self._anew.add(owner)
            last = Heading(part.incarnation, part.upto, part.proof.table_hash)
            self._tellers[owner] = {origin: last, **self._tellers.get(owner, {})}
        self._next(owner)

    async def _ask(
        self, origin: PeerId, asked: Mapping[PeerId, tuple[int, int]]
    ) -> Sequence[Told] | None:
        self._counts["relays_asked"] += 1
        try:
            answer = await self._exchange.request(
                origin,
                TABLES,
                wanted_message([(owner, *standing) for owner, standing in asked.items()]),
                timeout_s=ASK_TIMEOUT_S,
                lane=Lane.CONTROL,
            )
        except P2PError:
            self._counts["relays_unanswered"] += 1
            return None
        pages = pages_from_wire(answer)
        if pages is None:
            self._counts["malformed"] += 1
        return pages

"""Following what changes in the store, without gaps, wherever the feed comes from.

A member follows its own replica's feed, any other node asks the leader again and again, each time
behind the log index that it has come to. That index means the same on every replica, so nothing is
missed or told twice when the leader changes, this node becomes a member, or a connection breaks.
Where a feed no longer reaches back so far, the keys are listed anew and the changes go on behind
the listing.

    ["listing", index, time_ms, [[key, entry], ...], is_last]   all there is, in parts
    ["changes", [[change, resume], ...]]                        `resume`: since where to go on

Invariant: indexes of what is yielded never go back.
What this module does not know: programs, values, how the leader is found.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterator, Sequence
from typing import Any, Final, NamedTuple

from agents.errors import NetworkError, NoQuorum, OutcomeUnknown
from agents.keeping import reading
from agents.keeping.client import Client
from agents.keeping.serving import Serving
from agents.keeping.wire import WATCH, What, read_change
from agents.tasking import Asking
from consensus.kv import Change, Changes, FeedCompacted
from p2p import P2PError, Peer, PermissionDenied

log = logging.getLogger("conclave.agents.keeping")

WAIT_S: Final = 5.0
ANSWER_S: Final = 3.0  # beyond the wait
ASK_S: Final = 30.0
RETRY_S: Final = 0.5
LIST_S: Final = 10.0


class Page(NamedTuple):
    """Of a listing: every key up to `last` as of a log index; of the last page, all keys."""

    last: str | None
    as_of: int


class Watching:
    """Follows the store for the programs of this node."""

    def __init__(self, peer: Peer, asking: Asking, client: Client, serving: Serving) -> None:
        self._peer = peer
        self._asking = asking
        self._client = client
        self._serving = serving

    async def watch(
        self, prefix: str, since: int | None, *, is_listed: bool
    ) -> AsyncGenerator[list[Any], None]:
        """Yield what happens to the keys that begin with `prefix`, behind log index `since`.

        Args:
            since: None for from now on.
            is_listed: begin with a listing.

        Raises:
            NoQuorum: where to begin could not be found out; what has begun goes on for ever.
        """
        pages: list[Page] = []
        if since is None and not is_listed:
            since = (await self._client.read(What.INDEX, [], LIST_S)).as_of
        if since is None or is_listed:
            async for item in self._listing(prefix, pages, is_patient=False):
                yield item
            since = pages[0].as_of
        while True:
            found = await self._next(prefix, since)
            if isinstance(found, FeedCompacted):
                log.info("listing %r anew: the feed begins at %d", prefix, found.first_index)
                pages = []
                async for item in self._listing(prefix, pages, is_patient=True):
                    yield item
                since = pages[0].as_of
                continue
            rows = [
                [reading.change_row(change), resume]
                for change, resume in with_resumes(found.changes)
                if not is_listed_already(change, pages)
            ]
            since = found.through
            if rows:
                yield ["changes", rows]

    async def _listing(
        self, prefix: str, pages: list[Page], *, is_patient: bool
    ) -> AsyncGenerator[list[Any], None]:
        """All keys, as the leader has them, in pages of which each is of a moment of its own."""
        after, is_last = None, False
        while not is_last:
            arguments = [prefix, after, reading.PAGE_KEYS]
            try:
                found = await self._client.read(What.LIST, arguments, LIST_S)
            except NoQuorum:
                if not is_patient:
                    raise
                await asyncio.sleep(RETRY_S)
                continue
            rows, has_more = found.value
            is_last = not has_more
            after = rows[-1][0] if rows else after
            pages.append(Page(None if is_last else after, found.as_of))
            yield ["listing", pages[0].as_of, found.time_ms, rows, is_last]

    async def _next(self, prefix: str, since: int) -> Changes | FeedCompacted:
        """What came behind `since`, or nothing for a while."""
        while True:
            if self._serving.is_member():
                own = self._peer.principal
                return await self._serving.changes(prefix, since, WAIT_S, own)
            value = [prefix, since, int(WAIT_S * 1000)]
            try:
                said = await self._asking.ask(WATCH, value, ASK_S, attempt_s=WAIT_S + ANSWER_S)
            except PermissionDenied:
                raise
            except (NoQuorum, OutcomeUnknown, P2PError) as error:
                log.debug("a watch goes on: %s", error)
                await asyncio.sleep(RETRY_S)
                continue
            found = read_changes(said)
            if found is None:
                raise NetworkError("the leader does not understand how a watch is asked; upgrade")
            return found


def read_changes(said: Any) -> Changes | FeedCompacted | None:
    """Return what the leader said of a feed, or None for anything else."""
    if not (isinstance(said, list) and len(said) == 2):
        return None
    through, rows = said
    if through is None and type(rows) is int:
        return FeedCompacted(rows)
    if type(through) is not int or not isinstance(rows, list):
        return None
    changes = [change for change in map(read_change, rows) if change is not None]
    return Changes(tuple(changes), through) if len(changes) == len(rows) else None


def with_resumes(changes: Sequence[Change]) -> Iterator[tuple[Change, int]]:
    """Each change with the index behind which nothing is missed once it was told: within a
    command, that of what came before the command, since a feed gives out whole commands."""
    for place, change in enumerate(changes):
        is_last = place + 1 == len(changes) or changes[place + 1].log_index != change.log_index
        yield change, change.log_index if is_last else change.log_index - 1


def is_listed_already(change: Change, pages: Sequence[Page]) -> bool:
    """Whether the page of the latest listing that holds this key was read after the change."""
    for page in pages:
        if page.last is None or change.key <= page.last:
            return change.log_index <= page.as_of
    return False

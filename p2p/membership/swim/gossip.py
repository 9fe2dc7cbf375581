"""News that waits to be passed on: a queue for each peer, bounded in bytes for each flush.

A newer statement of the same signer about the same subject takes the place of the older one, and
what no longer counts when its turn comes is left out. Our own words go first: a refutation is in a
hurry.

What this module does not know: time, who the neighbours are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from keys import PeerId
from p2p.membership.swim.statements import STATEMENT_BYTES, Statement

_Queue = dict[tuple[PeerId, PeerId], Statement]


class Outboxes:
    """See the module."""

    def __init__(self, own: PeerId, packet_bytes: int, flush_bytes: int) -> None:
        self._own = own
        self._most = packet_bytes // STATEMENT_BYTES
        self._most_in_all = flush_bytes // STATEMENT_BYTES
        self._queues: dict[PeerId, _Queue] = {}

    @property
    def waiting(self) -> bool:
        return bool(self._queues)

    def flush(
        self, counts: Callable[[Statement], bool]
    ) -> list[tuple[PeerId, tuple[Statement, ...]]]:
        """The next packets; who gets none for the bound is the first of the next time."""
        packets: list[tuple[PeerId, tuple[Statement, ...]]] = []
        spent = 0
        for peer_id in list(self._queues):
            if spent >= self._most_in_all:
                break
            packet = self.take(peer_id, counts)
            if packet:
                packets.append((peer_id, packet))
                spent += len(packet)
            if peer_id in self._queues:  # there is more: to the end of the line
                self._queues[peer_id] = self._queues.pop(peer_id)
        return packets

    def discard(self, to: PeerId, statement: Statement) -> None:
        """It has just told us the same."""
        queue = self._queues.get(to)
        if queue is not None and queue.get(statement.key) == statement:
            del queue[statement.key]
            if not queue:
                del self._queues[to]

    def add(self, to: Iterable[PeerId], statements: Iterable[Statement]) -> None:
        said = tuple(statements)
        for peer_id in to:
            queue = self._queues.setdefault(peer_id, {})
            for statement in said:
                queue.pop(statement.key, None)
                queue[statement.key] = statement
            if not queue:
                del self._queues[peer_id]

    def take(self, to: PeerId, counts: Callable[[Statement], bool]) -> tuple[Statement, ...]:
        """The next packet for this peer; what is in it waits no longer."""
        queue = self._queues.get(to)
        if queue is None:
            return ()
        taken: list[Statement] = []
        own = queue.pop((self._own, self._own), None)
        if own is not None and counts(own):
            taken.append(own)
        while queue and len(taken) < self._most:
            statement = queue.pop(next(iter(queue)))
            if counts(statement):
                taken.append(statement)
        if not queue:
            del self._queues[to]
        return tuple(taken)

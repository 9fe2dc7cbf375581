"""Tables that are to be passed on: a queue for each neighbour, bounded in bytes for each flush.

Only whose table it is waits here, and from which version on it has changed; the page is made when
it leaves, so that many changes of a moment are one. What a neighbour has told us is not told back.

What this module does not know: tables, who the neighbours are, how a page travels.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from keys import PeerId
from p2p.adverts.relay_messages import MAX_NEWS

FLUSH_MS = 50  # news waits so long for more news
PACKET_BYTES = 4_096  # to one neighbour, in one flush
FLUSH_BYTES = 8_192  # and to all of them
EVERY_MS = 200  # one table leaves once in so long: its owner may change it all the time

Item = tuple[PeerId, bytes]  # whose, and its page


class Outbox:
    """See the module."""

    def __init__(self) -> None:
        self._queues: dict[PeerId, dict[PeerId, None]] = {}
        self._since: dict[PeerId, int] = {}  # of each table that waits: what all have
        self._left_ms: dict[PeerId, int] = {}

    @property
    def waiting(self) -> bool:
        return bool(self._queues)

    def add(self, owner: PeerId, since: int, to: Iterable[PeerId]) -> None:
        """This table has changed after that version."""
        known = self._since.get(owner)
        self._since[owner] = since if known is None else min(known, since)
        for peer_id in to:
            self._queues.setdefault(peer_id, {})[owner] = None

    def discard(self, to: PeerId, owner: PeerId) -> None:
        """It knows."""
        queue = self._queues.get(to)
        if queue is not None:
            queue.pop(owner, None)

    def flush(
        self,
        now_ms: int,
        neighbours: Collection[PeerId],
        page_of: Callable[[PeerId, int], bytes | None],
    ) -> list[tuple[PeerId, list[Item]]]:
        """Return what leaves now; who gets nothing for the bound is the first of the next time.

        Args:
            page_of: what a table has to say from this version on; None where it is gone.
        """
        packets: list[tuple[PeerId, list[Item]]] = []
        made: dict[PeerId, bytes | None] = {}
        left = FLUSH_BYTES
        for peer_id in list(self._queues):
            queue = self._queues.pop(peer_id)
            if peer_id not in neighbours:
                continue
            packet: list[Item] = []
            room = min(PACKET_BYTES, left)
            for owner in list(queue):
                if room <= 0 or len(packet) >= MAX_NEWS:
                    break
                if now_ms - self._left_ms.get(owner, -EVERY_MS) < EVERY_MS:
                    continue
                del queue[owner]
                if owner not in made:
                    made[owner] = page_of(owner, self._since[owner])
                page = made[owner]
                if page is not None:
                    packet.append((owner, page))
                    room -= len(page)
                    left -= len(page)
            if packet:
                packets.append((peer_id, packet))
            if queue:
                self._queues[peer_id] = queue  # at the end of the line
        self._forget(now_ms, made)
        return packets

    def _forget(self, now_ms: int, made: Iterable[PeerId]) -> None:
        waiting = set().union(*self._queues.values())
        self._since = {owner: at for owner, at in self._since.items() if owner in waiting}
        old_ms = now_ms - EVERY_MS
        self._left_ms = {owner: at for owner, at in self._left_ms.items() if at > old_ms}
        self._left_ms.update((owner, now_ms) for owner in made if owner not in waiting)

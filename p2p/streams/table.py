"""Which streams there are, and how much the ones that are over have carried.

What this module does not know: what becomes of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from keys import PeerId
from p2p.streams.carrier import Key
from p2p.streams.stream import Stream


class Table:
    """The live streams of one peer."""

    def __init__(self) -> None:
        self._streams: dict[Key, Stream] = {}
        self._by_peer: Counter[tuple[PeerId, bool]] = Counter()
        self._carried: Counter[str] = Counter()

    def __bool__(self) -> bool:
        return bool(self._streams)

    def __iter__(self) -> Iterator[tuple[Key, Stream]]:
        return iter(tuple(self._streams.items()))

    def get(self, key: Key) -> Stream | None:
        return self._streams.get(key)

    def key_of(self, stream: Stream) -> Key | None:
        """Return the key of a stream, or None when it is over."""
        key = Key(stream.peer_id, stream.number, stream.is_opener)
        return key if self._streams.get(key) is stream else None

    def of(self, peer: PeerId) -> list[tuple[Key, Stream]]:
        """Return the streams with one peer."""
        return [(key, stream) for key, stream in self if key.peer_id == peer]

    def count(self, peer: PeerId, *, is_opener: bool) -> int:
        """Return how many streams with a peer we opened, or it did."""
        return self._by_peer[peer, is_opener]

    def add(self, key: Key, stream: Stream) -> None:
        self._streams[key] = stream
        self._by_peer[key.peer_id, key.is_opener] += 1

    def remove(self, key: Key) -> bool:
        """Take a stream out; False when it was out already."""
        stream = self._streams.pop(key, None)
        if stream is None:
            return False
        self._by_peer[key.peer_id, key.is_opener] -= 1
        if not self._by_peer[key.peer_id, key.is_opener]:
            del self._by_peer[key.peer_id, key.is_opener]
        self._carried["sent"] += stream.sent_bytes
        self._carried["received"] += stream.received_bytes
        return True

    def figures(self) -> dict[str, int]:
        """Return plain counters; bytes are those of all streams, live or over."""
        live = self._streams.values()
        return {
            "open": len(live),
            "sent_bytes": self._carried["sent"] + sum(s.sent_bytes for s in live),
            "received_bytes": self._carried["received"] + sum(s.received_bytes for s in live),
            "doubtful": sum(s.core.is_doubtful for s in live),
        }

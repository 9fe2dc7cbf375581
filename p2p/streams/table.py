"""Which streams there are, with whom, and which there were.

Streams are found by the id of what arrives for them; that of an opener is odd, so the ids of both
sides never meet.

What this module does not know: how streams begin, travel and end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from keys import PeerId
from p2p.streams.past import Past
from p2p.streams.stream import Stream


class WithPeer:
    """What there is with one peer, by the id of what arrives."""

    def __init__(self, own_name: str) -> None:
        self.streams: dict[int, Stream] = {}
        self.past = Past(own_name)

    def opened_by_us(self) -> int:
        return sum(not ident & 1 for ident in self.streams)

    def opened_by_them(self) -> int:
        return sum(ident & 1 for ident in self.streams)


class Table:
    """All streams of one peer; `own_name` is who we are in what we say."""

    def __init__(self, own_name: str) -> None:
        self._own_name = own_name
        self._peers: dict[PeerId, WithPeer] = {}
        self._over: Counter[str] = Counter()

    def __iter__(self) -> Iterator[Stream]:
        """Those that are not over; the table may change meanwhile."""
        return iter([stream for peer in self._peers.values() for stream in peer.streams.values()])

    def of(self, peer: PeerId) -> WithPeer:
        found = self._peers.get(peer)
        if found is None:
            found = self._peers[peer] = WithPeer(self._own_name)
        return found

    def has_any(self, peer: PeerId) -> bool:
        """Whether any stream with this peer is not over."""
        return peer in self._peers and bool(self._peers[peer].streams)

    def add(self, stream: Stream) -> None:
        self.of(stream.peer_id).streams[stream.ident ^ 1] = stream

    def remove(self, stream: Stream) -> bool:
        """It is over; False when it was so before."""
        if self.of(stream.peer_id).streams.pop(stream.ident ^ 1, None) is None:
            return False
        self._over.update(_figures_of(stream))
        return True

    def forget(self, peer: PeerId) -> None:
        """What was is of no interest any more to this peer; all its streams are over."""
        gone = self._peers.pop(peer, None)
        assert gone is None or not gone.streams

    def figures(self) -> Counter[str]:
        """Sums over all streams, those that are over among them."""
        sums = Counter(self._over)
        for stream in self:
            sums.update(_figures_of(stream))
            sums.update(open=1, doubtful=stream.core.is_doubtful)
        return sums


def _figures_of(stream: Stream) -> dict[str, int]:
    outgoing, arriving = stream.core.outgoing, stream.core.arriving
    return {
        "sent_bytes": outgoing.sent_bytes,
        "acknowledged_bytes": outgoing.acknowledged_bytes,
        "received_bytes": arriving.received_bytes,
        "chunks_sent_again": outgoing.repeated,
        "resumed": stream.core.resumed,
    }

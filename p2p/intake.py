"""Where everything arrives: frames become envelopes, and go to whom they are for.

A member that keeps sending garbage is reported. What comes of a peer that does not count yet
(`p2p.trusting`) is held back.

What this module does not know: sockets, who is admitted, what an envelope means.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

from keys import PeerId
from p2p.links import Lane
from p2p.pubsub import Topics
from p2p.rpc import Exchange
from p2p.streams import Streams
from p2p.trusting import Trusting
from p2p.wire import BadFrame, Envelope, decode_frame

MAX_STRIKES = 16


class Intake:
    """Of one peer.

    Args:
        on_garbage: this member has sent too much of it.
    """

    def __init__(
        self,
        exchange: Exchange,
        streams: Streams,
        topics: Topics,
        trusting: Trusting,
        on_garbage: Callable[[PeerId], None],
    ) -> None:
        self._exchange = exchange
        self._streams = streams
        self._topics = topics
        self._trusting = trusting
        self._on_garbage = on_garbage
        self._strikes: Counter[PeerId] = Counter()
        self.counts: Counter[str] = Counter()

    def on_frame(self, peer_id: PeerId, lane: Lane, frame: bytes, body: bytes | None) -> None:
        """A frame on a lane, perhaps with a body beside it."""
        try:
            envelopes, faults = decode_frame(frame)
        except BadFrame as error:
            self.counts[f"bad_frame_{error.fault}"] += 1
            self._strike(peer_id)
            return
        for fault in faults:
            self.counts[f"skipped_{fault}"] += 1
        if body is not None:
            if len(envelopes) + len(faults) != 1:
                self.counts["bad_frame_body"] += 1
                self._strike(peer_id)
                return
            for one in envelopes:
                one.payload = body
        if self._trusting.holds(peer_id):
            size_bytes = len(frame) + len(body or b"")
            self._trusting.hold_frame(peer_id, lane, envelopes, size_bytes, self._take)
        else:
            self._take(peer_id, lane, envelopes)

    def on_publication(self, peer_id: PeerId, topic: str, frame: bytes | memoryview) -> None:
        """A frame on a topic."""
        try:
            envelopes, _ = decode_frame(frame)
        except BadFrame as error:
            self.counts[f"bad_frame_{error.fault}"] += 1
            self._strike(peer_id)
            return
        if self._trusting.holds(peer_id):
            hear = partial(self._hear, peer_id, topic, envelopes)
            self._trusting.hold(peer_id, hear, len(frame))
        else:
            self._hear(peer_id, topic, envelopes)

    def forget(self, peer_id: PeerId) -> None:
        """This peer is gone; another start of it begins anew."""
        self._strikes.pop(peer_id, None)

    def _take(self, peer_id: PeerId, lane: Lane, envelopes: Sequence[Envelope]) -> None:
        if lane is Lane.BULK:
            self._streams.on_envelopes(peer_id, envelopes)
        else:
            self._exchange.on_envelopes(peer_id, lane, envelopes)

    def _hear(self, peer_id: PeerId, topic: str, envelopes: Sequence[Envelope]) -> None:
        for envelope in envelopes:
            self._topics.on_envelope(peer_id, topic, envelope)

    def _strike(self, peer_id: PeerId) -> None:
        self._strikes[peer_id] += 1
        if self._strikes[peer_id] >= MAX_STRIKES:
            self._on_garbage(peer_id)

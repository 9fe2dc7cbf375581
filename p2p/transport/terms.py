"""What all outlets of one lane have in common, held once instead of once for each peer.

What this module does not know: peers, what becomes of a link. Nothing in it changes.
"""

from __future__ import annotations

from dataclasses import dataclass

import zmq

from p2p.links import Lane, OnFrame, OnLink
from p2p.transport.counters import FlowCounters, TransportCounters
from p2p.transport.dial import Exchange
from p2p.transport.dialler import Dialler, DiallerOwner
from p2p.transport.outbox import Outbox

_YIELD_S = 0.1  # longer than a handshake on a busy machine, shorter than between two heartbeats


@dataclass(frozen=True, slots=True)
class LaneTerms:
    """Of one lane of one node.

    Attributes:
        port_name: of the lane, in a `Contact`.
        report: gets what becomes of a link.
        on_frame: gets what arrives over connections that we dialled.
        limit_bytes: the largest envelope.
        window_s: from the first dial until what waits is given up.
        yield_s: who leaves the dialling to the other side does so for so long.
        longest_pause_ms: between two attempts.
    """

    lane: Lane
    port_name: str
    exchange: Exchange
    counters: TransportCounters
    flow: FlowCounters
    report: OnLink
    on_frame: OnFrame
    limit_bytes: int
    window_s: float
    yield_s: float
    longest_pause_ms: int

    @classmethod
    def of(
        cls,
        lane: Lane,
        exchange: Exchange,
        counters: TransportCounters,
        report: OnLink,
        on_frame: OnFrame,
    ) -> LaneTerms:
        settings = exchange.settings
        window_s = settings.connect_timeout_ms / 1000
        return cls(
            lane,
            lane.name.lower(),
            exchange,
            counters,
            counters.of(lane),
            report,
            on_frame,
            settings.frame_limit_bytes,
            window_s,
            min(_YIELD_S, window_s / 8),
            # At least one attempt must fit into a window, however often the peer was down before.
            min(settings.redial_max_ms, settings.connect_timeout_ms // 2),
        )

    def outbox(self) -> Outbox:
        """A new one, for one peer."""
        settings = self.exchange.settings
        return Outbox(
            budget_bytes=settings.budget_of(self.lane),
            batch_envelopes=settings.batch_envelopes,
            batch_bytes=settings.batch_bytes,
            frame_limit_bytes=self.limit_bytes,
        )

    def dialler(self, owner: DiallerOwner) -> Dialler:
        """A new one, for one peer."""
        return Dialler(
            self.exchange,
            self.counters,
            zmq.DEALER,
            owner,
            longest_pause_ms=self.longest_pause_ms,
            bulk=self.lane is Lane.BULK,
        )

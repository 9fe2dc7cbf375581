"""What all outlets of one lane have in common, held once instead of once for each peer.

What this module does not know: peers, what becomes of a link. Nothing in it changes.
"""

from __future__ import annotations

from dataclasses import dataclass

import zmq

from p2p.links import Lane, OnFrame, OnLink
from p2p.transport.counters import FlowCounters, TransportCounters
from p2p.transport.dial import Exchange
from p2p.transport.dialler import Manner
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
        manner: of dialling.
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
    manner: Manner

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
        # At least one attempt must fit into a window, however often the peer was down before.
        longest_pause_ms = min(settings.redial_max_ms, settings.connect_timeout_ms // 2)
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
            Manner(exchange, counters, zmq.DEALER, longest_pause_ms, bulk=lane is Lane.BULK),
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

"""Plain integers that the hot path adds to; whoever publishes metrics reads them at scrape time.

Does not know: Prometheus, peers. Every silent drop of this package ends in one of these numbers.
Written by the event loop alone, but for the `zap_*` fields, which only the ZAP thread writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from p2p.links import Lane


@dataclass(slots=True)
class FlowCounters:
    """Traffic of one lane, or of the topics. Envelopes are counted on their way out only: what
    arrives is not looked into here."""

    frames_in: int = 0
    bytes_in: int = 0
    frames_out: int = 0
    bytes_out: int = 0
    envelopes_out: int = 0


@dataclass(slots=True)
class TransportCounters:
    control: FlowCounters = field(default_factory=FlowCounters)
    data: FlowCounters = field(default_factory=FlowCounters)
    bulk: FlowCounters = field(default_factory=FlowCounters)
    topics: FlowCounters = field(default_factory=FlowCounters)

    dropped_unknown_sender: int = 0  # frames whose key is on no list any more
    dropped_malformed: int = 0  # too many parts or too large, no topic, not a subscription
    dropped_unreachable: int = 0  # envelopes given up at the connect timeout
    dropped_expelled: int = 0  # envelopes that waited for a peer which was expelled
    dropped_at_close: int = 0  # envelopes that could not leave when we closed
    dropped_key_taken: int = 0  # admissions under a key that another peer already holds
    dropped_bad_address: int = 0  # addresses of a contact that are not an IP address
    refused_queue_full: int = 0  # envelopes, told to the sender as QueueFull
    topics_lossy_frames: int = 0  # sent although a slow subscriber had no room: it has a gap
    topics_dropped_held: int = 0  # frames on connections that ended while we held topics
    topics_cut_subscriptions: int = 0  # subscribers cut for asking for too much

    dials: int = 0
    dials_failed: int = 0
    dials_refused: int = 0
    links_lost: int = 0
    links_open: int = 0  # a gauge: (peer, lane) pairs that have a connection
    connections_cut: int = 0
    connections_shed: int = 0  # silent ones, cut because descriptors ran short
    connections_unfinished: int = 0  # cut for a message that did not end
    handshakes_failed: int = 0  # incoming, for whatever reason, denied keys included
    zap_accepted: int = 0
    zap_denied: int = 0
    zap_errors: int = 0
    self_tests_passed: int = 0
    self_tests_unanswered: int = 0

    def of(self, lane: Lane) -> FlowCounters:
        return (self.control, self.data, self.bulk)[lane]

    def by_name(self) -> Mapping[str, int]:
        """Flat, for the metrics endpoint: `control_frames_in`, `zap_denied`."""
        flat: dict[str, int] = {}
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, FlowCounters):
                for inner in fields(value):
                    flat[f"{one.name}_{inner.name}"] = getattr(value, inner.name)
            else:
                flat[one.name] = value
        return flat

"""What a transport may be told. Plain data; every default is meant for a LAN of tens of peers.

Does not know: sockets, peers. Durations are milliseconds, sizes are bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

from p2p.links import MAX_BODY_BYTES, Lane

# A CURVE MESSAGE command adds 40 bytes to a payload (measured: 1,048,536 is the largest payload
# under a limit of 1 MiB); the rest is room for what a later libzmq may add.
CURVE_SLACK_BYTES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportSettings:
    """Where to listen and how much to hold."""

    host: str = "0.0.0.0"
    control_port: int = 0  # 0: the system chooses
    data_port: int = 0
    bulk_port: int = 0
    topics_port: int = 0
    other_ports_from: int = 4  # ports that are fixed alternate with those so much higher

    max_message_bytes: int = 1024 * 1024  # as seen by libzmq, encryption included
    control_budget_bytes: int = 8 * 1024 * 1024  # waiting for one peer
    data_budget_bytes: int = 16 * 1024 * 1024  # waiting for one peer
    bulk_budget_bytes: int = 32 * 1024 * 1024  # waiting for one peer
    topics_budget_bytes: int = 8 * 1024 * 1024  # waiting for the slowest subscriber
    topics_patience_ms: int = 100  # how long a slow subscriber may hold the others up
    topics_hold_patience_ms: int = 30_000  # the same for one that said that it does not read

    batch_envelopes: int = 64  # measured: more in one frame makes both sides wait for each other
    batch_bytes: int = 32 * 1024
    drain_frames: int = 16  # read from one socket before others get their turn
    bulk_drain_frames: int = 2
    high_water_frames: int = 64  # inside libzmq, per connection and direction; more gains nothing
    bulk_high_water_frames: int = 64  # of up to 1 MiB each
    routes_per_peer: int = 4  # live incoming connections of one peer on one lane
    subscriptions_per_peer: int = 4096  # of one subscriber, per connection
    topic_bytes: int = 255
    unfinished_bytes: int = 32 * 1024 * 1024  # of a message of many parts whose last one is to come
    unfinished_check_ms: int = 250

    connect_timeout_ms: int = 3_000  # from the first dial until what waits is given up
    redial_min_ms: int = 100
    redial_max_ms: int = 2_000
    topics_redial_max_ms: int = 10_000  # subscriptions are dialled for as long as they stand
    handshake_timeout_ms: int = 5_000
    zap_quiet_ms: int = 1_000  # after it the pipes of those that were let in go; see `zap_desk`
    former_key_ms: int = 75_000  # how long the key that a peer gave up is let in; see `rotation`
    silence_ms: int = 6_000  # nothing acknowledged for so long: the connection is over
    topics_silence_ms: int = 45_000  # longer than a subscriber may hold
    keepalive_s: int = 2  # an idle connection is asked for so often, by the system
    self_test_interval_ms: int = 60_000
    self_test_timeout_ms: int = 5_000
    linger_ms: int = 200  # what close() grants to what was already handed to libzmq
    io_threads: int = 2  # the second one is the bulk lane's alone

    @property
    def frame_limit_bytes(self) -> int:
        """The largest payload of one ZeroMQ message, and so the largest envelope."""
        return self.max_message_bytes - CURVE_SLACK_BYTES

    @property
    def bulk_message_bytes(self) -> int:
        """The largest part of a message on the bulk lane, as seen by libzmq."""
        return MAX_BODY_BYTES + CURVE_SLACK_BYTES

    def drain_frames_of(self, lane: Lane) -> int:
        return self.bulk_drain_frames if lane is Lane.BULK else self.drain_frames

    def port_of(self, lane: Lane, *, other: bool = False) -> int:
        port = (self.control_port, self.data_port, self.bulk_port)[lane]
        return port + self.other_ports_from if port and other else port

    def topics_port_of(self, *, other: bool = False) -> int:
        port = self.topics_port
        return port + self.other_ports_from if port and other else port

    def budget_of(self, lane: Lane) -> int:
        return (self.control_budget_bytes, self.data_budget_bytes, self.bulk_budget_bytes)[lane]

"""The seam between what travels and how it travels.

A transport carries opaque envelopes between admitted peers on a lane, and publications on a
topic. Two of them exist: CURVE sockets (`p2p.transport`) and the in-memory network
(`p2p.memory`); everything above is written against this file and runs unchanged over both.

What this module does not know: envelopes, certificates, discovery, sockets, time.

Promises of every transport: a frame is attributed to the peer whose key sent it; frames of one
peer on one lane over one connection arrive in order, at most once; what cannot be carried is an
error at `send` or a `LinkDown`, never silence without a counter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Protocol, runtime_checkable

from keys import PeerId


class Lane(IntEnum):
    """One connection each, so that bulk on one never delays the other."""

    CONTROL = 0  # heartbeats, consensus, who is who
    DATA = 1  # calls, notifications, tasks


@dataclass(frozen=True, slots=True)
class Contact:
    """How to reach an admitted peer and by which CURVE key it is known."""

    peer_id: PeerId
    curve_public: bytes  # 32 bytes
    hosts: tuple[str, ...]  # best first
    ports: Mapping[str, int]  # "control", "data", "topics"


class LinkState(StrEnum):
    UP = "up"  # connected and authenticated
    DOWN = "down"  # was up, is not; the transport redials by itself
    REFUSED = "refused"  # the other side does not know our key: introduce ourselves again
    UNREACHABLE = "unreachable"  # no connection within the connect timeout; what was queued is gone


@dataclass(frozen=True, slots=True)
class LinkChanged:
    peer_id: PeerId
    lane: Lane
    state: LinkState
    reason: str = ""


OnFrame = Callable[[PeerId, Lane, bytes], None]
OnLink = Callable[[LinkChanged], None]
OnPublication = Callable[[PeerId, str, bytes], None]
OnFatal = Callable[[Exception], None]


@runtime_checkable
class Transport(Protocol):
    """Carries envelopes. Its callbacks run on the event loop and must not block or raise."""

    def receive_with(
        self,
        on_frame: OnFrame,
        on_link: OnLink,
        on_publication: OnPublication,
        on_fatal: OnFatal,
    ) -> None:
        """Say who gets what arrives; call it before `start`."""

    async def start(self) -> Mapping[str, int]:
        """Bind and return the ports: "control", "data", "topics".

        Raises:
            PortInUse: another process has the port.
        """

    async def close(self) -> None:
        """Flush what leaves at once, then close everything; never hangs."""

    def admit(self, contact: Contact) -> None:
        """Let this peer's key in and make it reachable. A new key or address replaces the old."""

    def expel(self, peer_id: PeerId) -> None:
        """Off the allow-list, refused per frame, and the connection cut."""

    def send(self, to: PeerId, lane: Lane, envelope: bytes) -> None:
        """Queue one envelope. An envelope is whole and opaque; several may share a frame.

        Raises:
            PeerUnreachable: `to` was never admitted, or is expelled.
            QueueFull: the budget in bytes for this peer and lane is used up.
            PayloadTooLarge: the envelope is over the limit of one frame.
        """

    def publish(self, topic: str, envelope: bytes) -> None:
        """Send to every subscriber of exactly this topic (no prefix matching).

        Raises:
            PayloadTooLarge: the envelope is over the limit of one frame.
        """

    def subscribe(self, topic: str) -> None:
        """Receive this topic from all admitted peers, present and future."""

    def unsubscribe(self, topic: str) -> None:
        """Stop receiving it."""

    def counters(self) -> Mapping[str, int]:
        """Plain counters for the metrics endpoint, by name."""

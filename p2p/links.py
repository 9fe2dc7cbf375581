"""The seam between what travels and how it travels.

A transport carries opaque envelopes between admitted peers on a lane, and publications on a
topic. Two of them exist: CURVE sockets (`p2p.transport`) and the in-memory network
(`p2p.memory`); everything above is written against this file and runs unchanged over both.

What this module does not know: envelopes, certificates, discovery, sockets, time.

Promises of every transport: a frame is attributed to the peer whose key sent it; frames of one
peer on one lane over one connection arrive in order, at most once; what cannot be carried is an
error at `send` or a `LinkDown`, never silence without a counter. While keys rotate, a lane moves
from one connection to another without losing, doubling or overtaking anything, and so do
publications; a connection that breaks on the way is reported as ever.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Protocol, runtime_checkable

from keys import PeerId, TransportKey

MAX_BODY_BYTES = 1024 * 1024
JOIN_BYTES = 5  # in front of several envelopes in a frame


def frame_of(envelopes: Sequence[bytes]) -> bytes:
    """Return the frame of several envelopes: a msgpack array of them. One alone is a frame."""
    return b"\xdd%b%b" % (len(envelopes).to_bytes(4, "big"), b"".join(envelopes))


class Lane(IntEnum):
    """One connection each, so that bulk on one never delays the other."""

    CONTROL = 0  # heartbeats, consensus, who is who
    DATA = 1  # calls, notifications, tasks
    BULK = 2  # the chunks of streams


@dataclass(frozen=True, slots=True)
class Contact:
    """How to reach an admitted peer and by which CURVE key it is known.

    Attributes:
        curve_public: 32 bytes.
        hosts: best first.
        ports: "control", "data", "bulk", "topics"; no port, no way there. Others are ignored.
        incarnation: which start of the peer this is: a new key under the same one is a rotation.
        knows_key: our own CURVE key that the peer knows; empty for the one that is current.
    """

    peer_id: PeerId
    curve_public: bytes
    hosts: tuple[str, ...]
    ports: Mapping[str, int]
    incarnation: int = 0
    knows_key: bytes = b""


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


@dataclass(frozen=True, slots=True)
class LaneFigures:
    """Traffic with one peer on one lane since it was admitted.

    What arrives is not looked into, so that envelopes are counted on their way out only.

    Attributes:
        state: "up", "dialling" (something waits for a connection) or "idle".
    """

    state: str
    queued_bytes: int = 0
    frames_out: int = 0
    bytes_out: int = 0
    envelopes_out: int = 0
    frames_in: int = 0
    bytes_in: int = 0
    refused: int = 0  # envelopes, told to the sender as QueueFull
    dropped: int = 0  # envelopes given up unsent, told as a LinkChanged


@dataclass(frozen=True, slots=True)
class LinkFigures:
    """Everything between us and one peer.

    Attributes:
        subscriptions: how many names it has subscribed to at us.
        holds_topics: it has asked us to wait, because it reads no publications just now.
        publications_in: frames of publications that came from it.
        publications_in_bytes: their bytes.
    """

    lanes: Mapping[Lane, LaneFigures]
    subscriptions: int = 0
    holds_topics: bool = False
    publications_in: int = 0
    publications_in_bytes: int = 0


OnFrame = Callable[[PeerId, Lane, bytes, bytes | None], None]  # peer, lane, frame, body
OnLink = Callable[[LinkChanged], None]
OnPublication = Callable[[PeerId, str, bytes | memoryview], None]  # peer, topic, frame
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
        """Bind and return the ports: "control", "data", "bulk", "topics".

        Raises:
            PortInUse: another process has the port.
        """

    async def close(self) -> None:
        """Flush what leaves at once, then close everything; never hangs."""

    def admit(self, contact: Contact) -> None:
        """Let this peer's key in and make it reachable. A new key or address replaces the old; but
        a new key of the same start stands beside the old one for a while, until all has moved."""

    def redial(self, peer_id: PeerId) -> None:
        """An address of ours or of theirs is gone: give up all connections with this peer, since
        neither end is told that they are dead, and make those anew that are wanted."""

    def expel(self, peer_id: PeerId) -> None:
        """Off the allow-list, refused per frame, and the connection cut."""

    async def begin_rotation(self, key: TransportKey) -> Mapping[str, int]:
        """Listen under a new key beside the present one, and return the new ports. Peers who know
        the new key by then (`Contact.knows_key`) are dialled with it.

        Raises:
            RotationFailed: with the reason; nothing has changed then.
            MisuseError: a rotation is under way.
        """

    def left_behind(self) -> int:
        """How many connections are still under the former key."""

    def come_over(self) -> int:
        """How many connections others have made under the new key."""

    def undo_rotation(self) -> Mapping[str, int]:
        """Rotate back to the former key, and return its ports; `end_rotation` ends this, too. What
        others have made at the new ports is cut, and reported.

        Raises:
            MisuseError: no rotation is under way.
        """

    def end_rotation(self) -> None:
        """Forget the former key. What still uses it is cut, and reported."""

    def send(
        self,
        to: PeerId,
        lane: Lane,
        envelope: bytes,
        priority: int = 1,
        body: bytes | memoryview | None = None,
    ) -> None:
        """Queue one envelope. An envelope is whole and opaque; several may share a frame.

        Envelopes of one priority keep their order. When the connection takes nothing more, those
        of a higher priority leave first; low ones are refused once half of the budget waits,
        normal ones once nine tenths do.

        Args:
            priority: 0 low, 1 normal, 2 high.
            body: on the BULK lane only, up to `MAX_BODY_BYTES`: it travels beside its envelope
                without being copied, so it must not change any more.

        Raises:
            PeerUnreachable: `to` was never admitted, or is expelled.
            QueueFull: too much is waiting for this peer on this lane.
            PayloadTooLarge: the envelope is over the limit of one frame, or the body over its own.
            MisuseError: a body on a lane that carries none.
        """

    def queued_bytes(self, to: PeerId, lane: Lane) -> int:
        """What waits here for this peer; 0 for a peer that is not admitted."""

    def publish(self, topic: str, envelope: bytes) -> None:
        """Send to every subscriber of this topic, and of a subtree that it lies in.

        Raises:
            PayloadTooLarge: the envelope is over the limit of one frame.
            MisuseError: no topic can have that name, or it is the name of a subtree.
        """

    @property
    def topics_queued_bytes(self) -> int:
        """What waits for the slowest subscriber."""

    @property
    def topics_waiting_s(self) -> float:
        """For how long the first publication has waited that has left to nobody; 0 if none has."""

    def subscribers(self, topic: str) -> frozenset[PeerId]:
        """The peers whose living connection has subscribed to this topic, or to a subtree above.

        Raises:
            MisuseError: as `publish`.
        """

    def subscribe(self, topic: str) -> None:
        """Receive this topic from all admitted peers, present and future.

        A name that ends with "/" is a subtree: everything below it, as it was published; "task/"
        hears "task/1" and "task/1/log", and neither "task" nor "tasks".
        """

    def unsubscribe(self, topic: str) -> None:
        """Stop receiving it."""

    def hold_topics(self, hold: bool) -> None:
        """Stop reading publications, all of them, or go on.

        Publishers are told, and wait for us longer than for a subscriber that is merely slow;
        then they leave us behind all the same. What a broken connection held unread is counted.
        """

    def links(self) -> Mapping[PeerId, LinkFigures]:
        """What goes on between us and every admitted peer."""

    def counters(self) -> Mapping[str, int]:
        """Plain counters for the metrics endpoint, by name."""

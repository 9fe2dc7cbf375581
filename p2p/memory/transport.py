"""The in-memory transport: the promises of `p2p.links.Transport` without sockets.

Frames are attributed by the CURVE key that the sender's transport holds, looked up in the
receiver's own table of contacts, as over real sockets: a peer that was not admitted is not heard.

What this module does not know: encryption (there is none), envelopes, sessions.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping

from keys import PeerId, TransportKey
from p2p.errors import PayloadTooLarge, PeerUnreachable, QueueFull
from p2p.links import (
    Contact,
    Lane,
    LinkChanged,
    LinkState,
    OnFatal,
    OnFrame,
    OnLink,
    OnPublication,
)
from p2p.memory.network import MemoryNetwork

MAX_ENVELOPE_BYTES = 1_000_000
MAX_QUEUED_BYTES = 8 * 1024 * 1024
CONNECT_TIMEOUT_S = 2.0


class MemoryTransport:
    """One peer's transport on a `MemoryNetwork`."""

    def __init__(self, network: MemoryNetwork, host: str, key: TransportKey) -> None:
        self._network = network
        self._host = host
        self._key = key.public
        self._contacts: dict[PeerId, Contact] = {}
        self._of_key: dict[bytes, PeerId] = {}
        self._topics: set[str] = set()
        self._ports: dict[str, int] = {}
        self._links: dict[tuple[PeerId, Lane], LinkState] = {}
        self._queued: Counter[tuple[PeerId, Lane]] = Counter()
        self._counts: Counter[str] = Counter()
        self._is_open = False

    def receive_with(
        self,
        on_frame: OnFrame,
        on_link: OnLink,
        on_publication: OnPublication,
        on_fatal: OnFatal,
    ) -> None:
        self._on_frame = on_frame
        self._on_link = on_link
        self._on_publication = on_publication

    async def start(self) -> Mapping[str, int]:
        self._ports = {
            name: self._network.listen(self._host, self) for name in ("control", "data", "topics")
        }
        self._is_open = True
        return dict(self._ports)

    async def close(self) -> None:
        self._is_open = False
        for port in self._ports.values():
            self._network.silence(self._host, port)

    def crash(self) -> None:
        """Vanish without a word, as a killed process does: the others' connections break."""
        self._is_open = False
        for port in self._ports.values():
            self._network.silence(self._host, port)

    def admit(self, contact: Contact) -> None:
        before = self._contacts.get(contact.peer_id)
        if before is not None:
            self._of_key.pop(before.curve_public, None)
        self._contacts[contact.peer_id] = contact
        self._of_key[contact.curve_public] = contact.peer_id
        for lane in Lane:
            self._links.pop((contact.peer_id, lane), None)

    def expel(self, peer_id: PeerId) -> None:
        contact = self._contacts.pop(peer_id, None)
        if contact is not None:
            self._of_key.pop(contact.curve_public, None)

    def send(self, to: PeerId, lane: Lane, envelope: bytes) -> None:
        if len(envelope) > MAX_ENVELOPE_BYTES:
            raise PayloadTooLarge(len(envelope), MAX_ENVELOPE_BYTES)
        contact = self._contacts.get(to)
        if contact is None or not self._is_open:
            raise PeerUnreachable(to, "it was not admitted")
        if self._queued[to, lane] + len(envelope) > MAX_QUEUED_BYTES:
            raise QueueFull(to, lane.name.lower(), self._queued[to, lane])
        other = self._at(contact, "control" if lane is Lane.CONTROL else "data")
        if other is None:
            self._fail(to, lane, envelope)
            return
        self._queued[to, lane] += len(envelope)
        self._counts["envelopes_out"] += 1

        def arrive() -> None:
            self._queued[to, lane] -= len(envelope)
            other._take(self._key, lane, envelope)

        if not self._network.deliver(self._host, contact.hosts[0], arrive):
            self._queued[to, lane] -= len(envelope)
            self._fail(to, lane, envelope)
        elif not other.knows(self._key):
            self._report(to, lane, LinkState.REFUSED, "it does not know our key")
        elif self._links.get((to, lane)) is not LinkState.UP:
            self._report(to, lane, LinkState.UP, "")

    def publish(self, topic: str, envelope: bytes) -> None:
        if len(envelope) > MAX_ENVELOPE_BYTES:
            raise PayloadTooLarge(len(envelope), MAX_ENVELOPE_BYTES)
        for contact in tuple(self._contacts.values()):
            other = self._at(contact, "topics")
            if other is not None and topic in other._topics:
                self._network.deliver(
                    self._host,
                    contact.hosts[0],
                    lambda other=other: other._publication(self._key, topic, envelope),  # type: ignore[misc]
                )

    def subscribe(self, topic: str) -> None:
        self._topics.add(topic)

    def unsubscribe(self, topic: str) -> None:
        self._topics.discard(topic)

    def counters(self) -> Mapping[str, int]:
        return dict(self._counts)

    def knows(self, key: bytes) -> bool:
        """Return whether frames of this key are let in."""
        return key in self._of_key

    def _at(self, contact: Contact, port: str) -> MemoryTransport | None:
        found = self._network.listener(contact.hosts[0], contact.ports[port])
        if isinstance(found, MemoryTransport) and found._key == contact.curve_public:
            return found
        return None

    def _fail(self, to: PeerId, lane: Lane, envelope: bytes) -> None:
        """Notice, as TCP does: at once when it was connected, after a while when it was not."""
        self._counts["envelopes_unsent"] += 1
        if self._links.get((to, lane)) is LinkState.UP:
            self._report(to, lane, LinkState.DOWN, "the connection broke")
            return
        asyncio.get_running_loop().call_later(
            CONNECT_TIMEOUT_S, self._report, to, lane, LinkState.UNREACHABLE, "no answer"
        )

    def _report(self, to: PeerId, lane: Lane, state: LinkState, reason: str) -> None:
        if self._is_open and to in self._contacts:
            self._links[to, lane] = state
            asyncio.get_running_loop().call_soon(
                self._on_link, LinkChanged(to, lane, state, reason)
            )

    def _take(self, key: bytes, lane: Lane, envelope: bytes) -> None:
        peer = self._of_key.get(key)
        if peer is None or not self._is_open:
            self._counts["frames_unattributed"] += 1
            return
        self._counts["envelopes_in"] += 1
        self._on_frame(peer, lane, envelope)

    def _publication(self, key: bytes, topic: str, envelope: bytes) -> None:
        peer = self._of_key.get(key)
        if peer is not None and self._is_open and topic in self._topics:
            self._on_publication(peer, topic, envelope)

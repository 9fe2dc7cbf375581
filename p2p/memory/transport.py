"""The in-memory transport: the promises of `p2p.links.Transport` without sockets.

Frames are attributed by the CURVE key that the sender's transport holds, looked up in the
receiver's own table of contacts, as over real sockets: a peer that was not admitted is not heard.

There are no connections that could be left, so a rotation of keys moves everything at once; but for
a while there are two keys of ours, at two places, and two of a peer that changed its own.

What this module does not know: encryption (there is none), envelopes, sessions.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping

from keys import PeerId, TransportKey
from p2p.errors import MisuseError, NotRunning, PayloadTooLarge, PeerUnreachable, QueueFull
from p2p.links import (
    MAX_BODY_BYTES,
    Contact,
    Lane,
    LinkChanged,
    LinkFigures,
    LinkState,
    OnFatal,
    OnFrame,
    OnLink,
    OnPublication,
)
from p2p.memory.network import MemoryNetwork
from p2p.memory.outlet import Carried, Frame, Outlet, bytes_of
from p2p.memory.topics import Found, MemoryTopics

MAX_ENVELOPE_BYTES = 1024 * 1024 - 64
BUDGET_BYTES = (8 * 1024 * 1024, 16 * 1024 * 1024, 32 * 1024 * 1024)  # by lane
REFUSED_FROM = (0.5, 0.9, 1.0)  # of the budget, by priority
FORMER_KEY_S = 75.0
PORTS = ("control", "data", "bulk", "topics")


class MemoryTransport:
    """One peer's transport on a `MemoryNetwork`."""

    def __init__(self, network: MemoryNetwork, host: str, key: TransportKey) -> None:
        self._network = network
        self._host = host
        self._key = key.public
        self._former_key: bytes | None = None  # while we change it
        self._contacts: dict[PeerId, Contact] = {}
        self._of_key: dict[bytes, PeerId] = {}
        self._given_up: dict[PeerId, tuple[bytes, asyncio.TimerHandle]] = {}
        self._outlets: dict[tuple[PeerId, Lane], Outlet] = {}
        self._under_way: Counter[tuple[PeerId, Lane]] = Counter()  # bytes handed to the network
        self._topics = MemoryTopics(network, host, self._others, self._publication)
        self._published: Counter[PeerId] = Counter()
        self._published_bytes: Counter[PeerId] = Counter()
        self._ports: dict[str, int] = {}
        self._former_ports: dict[str, int] = {}
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
        self._ports = {name: self._network.listen(self._host, self) for name in PORTS}
        self._is_open = True
        return dict(self._ports)

    async def close(self) -> None:
        self.vanish()

    def vanish(self) -> None:
        """End, as the process ends: what is under way arrives, and then the connections break."""
        if not self._is_open:
            return
        self._is_open = False
        for peer_id in self._contacts:
            self._hang_up(peer_id, "connection closed by the other side")
        for port in (*self._ports.values(), *self._former_ports.values()):
            self._network.silence(self._host, port)
        for _, timer in self._given_up.values():
            timer.cancel()
        self._topics.close()
        for outlet in self._outlets.values():
            self._counts["dropped_at_close"] += outlet.close()

    def admit(self, contact: Contact) -> None:
        peer_id, key = contact.peer_id, contact.curve_public
        if not self._is_open:
            raise NotRunning("the transport")
        if key in self._own_keys or self._of_key.get(key, peer_id) != peer_id:
            self._counts["dropped_key_taken"] += 1
            return
        before = self._contacts.get(peer_id)
        self._contacts[peer_id] = contact
        if before is not None and before.curve_public != key:
            if peer_id in self._given_up and self._given_up[peer_id][0] == key:
                self._given_up.pop(peer_id)[1].cancel()  # it has come back to it
            self._end_given_up(peer_id)
            if 0 < before.incarnation == contact.incarnation:
                self._give_up_later(peer_id, before.curve_public)
            else:
                del self._of_key[before.curve_public]
                self._topics.forget(peer_id)
                for lane in Lane:
                    self._outlets[peer_id, lane].lose("it came back under a new key")
        self._of_key[key] = peer_id
        for lane in Lane:
            if (peer_id, lane) not in self._outlets:
                self._outlets[peer_id, lane] = self._new_outlet(peer_id, lane)
            asyncio.get_running_loop().call_soon(self._outlets[peer_id, lane].flush)

    async def begin_rotation(self, key: TransportKey) -> Mapping[str, int]:
        if not self._is_open:
            raise NotRunning("the transport")
        if self._former_key is not None:
            raise MisuseError("one rotation at a time")
        self._former_key, self._key = self._key, key.public
        self._former_ports = self._ports
        self._ports = {name: self._network.listen(self._host, self) for name in PORTS}
        return dict(self._ports)

    def left_behind(self) -> int:
        return 0

    def come_over(self) -> int:
        return 0

    def undo_rotation(self) -> Mapping[str, int]:
        if self._former_key is None:
            raise MisuseError("no rotation is under way")
        self._key, self._former_key = self._former_key, self._key
        self._ports, self._former_ports = self._former_ports, self._ports
        return dict(self._ports)

    def end_rotation(self) -> None:
        if not self._is_open:
            raise NotRunning("the transport")
        if self._former_key is None:
            return
        self._former_key = None
        for port in self._former_ports.values():
            self._network.silence(self._host, port)
        self._former_ports = {}

    def expel(self, peer_id: PeerId) -> None:
        contact = self._contacts.get(peer_id)
        if contact is None:
            return
        self._end_given_up(peer_id)
        self._hang_up(peer_id, "connection closed by the other side")
        for lane in Lane:
            outlet = self._outlets.pop((peer_id, lane))
            outlet.lose("expelled")
            self._counts["dropped_expelled"] += outlet.close()
        self._topics.forget(peer_id)
        del self._contacts[peer_id]
        del self._of_key[contact.curve_public]

    def send(
        self,
        to: PeerId,
        lane: Lane,
        envelope: bytes,
        priority: int = 1,
        body: bytes | memoryview | None = None,
    ) -> None:
        if len(envelope) > MAX_ENVELOPE_BYTES:
            raise PayloadTooLarge(len(envelope), MAX_ENVELOPE_BYTES, "envelope")
        if not self._is_open:
            raise NotRunning("the transport")
        frame = (envelope, _copied(lane, body))
        outlet = self._outlets.get((to, lane))
        if outlet is None:
            raise PeerUnreachable(to, "it is not admitted: introduce it first")
        queued_bytes, budget_bytes = self.queued_bytes(to, lane), BUDGET_BYTES[lane]
        if (
            queued_bytes >= budget_bytes * REFUSED_FROM[priority]
            or queued_bytes + bytes_of(frame) > budget_bytes
        ):
            outlet.refused += 1
            self._counts["refused_queue_full"] += 1
            raise QueueFull(to, lane.name.lower(), queued_bytes)
        outlet.push(frame, priority)

    def queued_bytes(self, to: PeerId, lane: Lane) -> int:
        outlet = self._outlets.get((to, lane))
        return outlet.waiting_bytes + self._under_way[to, lane] if outlet is not None else 0

    def redial(self, peer_id: PeerId) -> None:
        if peer_id in self._contacts:
            for lane in Lane:
                self._outlets[peer_id, lane].lose("an address is over")

    def publish(self, topic: str, envelope: bytes) -> None:
        if len(envelope) > MAX_ENVELOPE_BYTES:
            raise PayloadTooLarge(len(envelope), MAX_ENVELOPE_BYTES, "envelope")
        if not self._is_open:
            raise NotRunning("the transport")
        self._topics.publish(topic, envelope)

    @property
    def topics_queued_bytes(self) -> int:
        return self._topics.queued_bytes

    @property
    def topics_waiting_s(self) -> float:
        """Whoever has no room is waited for alone."""
        return 0.0

    def subscribers(self, topic: str) -> frozenset[PeerId]:
        return self._topics.subscribers(topic)

    def subscribe(self, topic: str) -> None:
        self._topics.subscribe(topic)

    def unsubscribe(self, topic: str) -> None:
        self._topics.unsubscribe(topic)

    def hold_topics(self, hold: bool) -> None:
        self._topics.hold(hold)

    def links(self) -> Mapping[PeerId, LinkFigures]:
        readers = {found.peer_id: found.topics for found in self._others()}
        return {
            peer_id: LinkFigures(
                {
                    lane: self._outlets[peer_id, lane].figures(self._under_way[peer_id, lane])
                    for lane in Lane
                },
                readers[peer_id].names if peer_id in readers else 0,
                peer_id in readers and readers[peer_id].is_holding,
                self._published[peer_id],
                self._published_bytes[peer_id],
            )
            for peer_id in self._contacts
        }

    def counters(self) -> Mapping[str, int]:
        return dict(self._counts + self._topics.counts)

    # -- the way out ---------------------------------------------------------------------------

    def _new_outlet(self, peer_id: PeerId, lane: Lane) -> Outlet:
        def tell(state: LinkState, reason: str) -> None:
            """Later, never inside a call of ours."""
            change = LinkChanged(peer_id, lane, state, reason)
            asyncio.get_running_loop().call_soon(self._report, change)

        return Outlet(
            lambda: self._connect(peer_id, lane),
            lambda frame: self._carry(peer_id, lane, frame),
            tell,
        )

    def _report(self, change: LinkChanged) -> None:
        if self._is_open:
            self._on_link(change)

    def _connect(self, to: PeerId, lane: Lane) -> Carried:
        contact = self._contacts[to]
        other = self._at(contact, lane.name.lower())
        there = self._network.reaches(self._host, contact.hosts[0])
        back = self._network.reaches(contact.hosts[0], self._host)
        if other is None or not there or not back:
            return Carried.CUT
        return Carried.YES if self._key_for(contact) in other._of_key else Carried.REFUSED

    def _carry(self, to: PeerId, lane: Lane, frame: Frame) -> Carried:
        contact = self._contacts[to]
        other = self._at(contact, lane.name.lower())
        key = self._key_for(contact)
        if other is None or key not in other._of_key:
            self._counts["frames_lost"] += 1
            return Carried.CUT

        def arrive() -> None:
            self._under_way[to, lane] -= bytes_of(frame)
            other._take(key, lane, frame)

        self._under_way[to, lane] += bytes_of(frame)
        if not self._network.deliver(self._host, contact.hosts[0], arrive):
            self._under_way[to, lane] -= bytes_of(frame)
            self._counts["frames_lost"] += 1
            return Carried.CUT
        self._counts["envelopes_out"] += 1
        return Carried.YES

    def _at(self, contact: Contact, port: str) -> MemoryTransport | None:
        found = self._network.listener(contact.hosts[0], contact.ports.get(port, 0))
        if not isinstance(found, MemoryTransport):
            return None
        is_former = contact.ports.get(port, 0) in found._former_ports.values()
        key = found._former_key if is_former else found._key
        return found if key == contact.curve_public else None

    @property
    def _own_keys(self) -> tuple[bytes | None, ...]:
        return (self._key, self._former_key)

    def _key_for(self, contact: Contact) -> bytes:
        """Under which of our keys a peer knows us."""
        former = self._former_key
        return former if former is not None and contact.knows_key == former else self._key

    def _others(self) -> Iterator[Found]:
        """Those that can hear us publish, and whom we know."""
        for peer_id, contact in self._contacts.items():
            other = self._at(contact, "topics")
            key = self._key_for(contact)
            if other is not None and key in other._of_key:
                yield Found(peer_id, contact.hosts[0], key, other._topics)

    # -- the way in ----------------------------------------------------------------------------

    def _hang_up(self, peer_id: PeerId, reason: str) -> None:
        """The other side learns that its connections to us have ended, after what is under way."""
        contact = self._contacts[peer_id]
        other = self._at(contact, "control")
        key = self._key_for(contact)
        if other is not None:
            self._network.deliver(self._host, contact.hosts[0], lambda: other._broken(key, reason))

    def _broken(self, key: bytes, reason: str) -> None:
        peer_id = self._of_key.get(key)
        if peer_id is not None and self._is_open:
            for lane in Lane:
                self._outlets[peer_id, lane].lose(reason)

    def _give_up_later(self, peer_id: PeerId, key: bytes) -> None:
        loop = asyncio.get_running_loop()
        timer = loop.call_later(FORMER_KEY_S, self._end_given_up, peer_id)
        self._given_up[peer_id] = (key, timer)

    def _end_given_up(self, peer_id: PeerId) -> None:
        given_up = self._given_up.pop(peer_id, None)
        if given_up is not None:
            given_up[1].cancel()
            del self._of_key[given_up[0]]

    def _take(self, key: bytes, lane: Lane, frame: Frame) -> None:
        peer_id = self._of_key.get(key)
        if peer_id is None or not self._is_open:
            self._counts["frames_unattributed"] += 1
            return
        self._counts["envelopes_in"] += 1
        self._outlets[peer_id, lane].heard(frame)
        self._on_frame(peer_id, lane, *frame)

    def _publication(self, key: bytes, topic: str, envelope: bytes) -> None:
        peer_id = self._of_key.get(key)
        if peer_id is not None and self._is_open:
            self._published[peer_id] += 1
            self._published_bytes[peer_id] += len(envelope)
            self._on_publication(peer_id, topic, envelope)


def _copied(lane: Lane, body: bytes | memoryview | None) -> bytes | None:
    """What arrives is of another process, so it cannot be the sender's own memory."""
    if body is None:
        return None
    if lane is not Lane.BULK:
        raise MisuseError(f"the {lane.name.lower()} lane carries no bodies; use the bulk lane")
    if isinstance(body, memoryview) and not body.c_contiguous:
        raise MisuseError("a body is one run of bytes; this view has holes in it")
    copy = bytes(body)
    if len(copy) > MAX_BODY_BYTES:
        raise PayloadTooLarge(len(copy), MAX_BODY_BYTES, "body")
    return copy

"""CURVE sockets as a `p2p.links.Transport`: who is admitted, and which part does what for them.

One ROUTER per lane and one XPUB listen; a DEALER per peer and lane and a SUB per publisher are
dialled when they are first needed. See `sockets` for the profile, `outlet` for the way out,
`lane_server` for the way in, `zap` for who gets in, `self_test` for the proof of it.

Does not know: certificates, sessions, envelopes, membership. Invariants: the allow-list of ZAP
is the table that attributes frames, and the contacts name the same keys; no key has two peers; no
callback runs inside a call of ours, they all come from the event loop.

A node that changes its key listens under both until everybody has come over. A peer that changes
its own is known here by both until it changes it again, or for `former_key_ms`.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import NamedTuple, Self

from keys import PeerId, TransportKey
from p2p.errors import (
    MisuseError,
    NotRunning,
    PeerUnreachable,
    TransportFailed,
)
from p2p.links import (
    Contact,
    Lane,
    LaneFigures,
    LinkChanged,
    LinkFigures,
    LinkState,
    OnFatal,
    OnFrame,
    OnLink,
    OnPublication,
)
from p2p.transport.assembly import Assembly
from p2p.transport.counters import TransportCounters
from p2p.transport.dial import Dial
from p2p.transport.dialler import unfit_hosts
from p2p.transport.lane_server import Route
from p2p.transport.outbox import Body, check_body
from p2p.transport.outlet import Outlet
from p2p.transport.rotating import GivenUpKeys, OwnKeys
from p2p.transport.self_test import SelfTest
from p2p.transport.settings import TransportSettings
from p2p.transport.terms import LaneTerms

_CURVE_KEY_BYTES = 32


class _Receivers(NamedTuple):
    on_frame: OnFrame
    on_link: OnLink
    on_publication: OnPublication
    on_fatal: OnFatal


class ZmqTransport:
    """One node's sockets: one context, one key. Say who receives, then `async with`, once."""

    def __init__(self, settings: TransportSettings, key: TransportKey) -> None:
        self.settings = settings
        self.ports: Mapping[str, int] = {}
        self._own = OwnKeys(key)
        self._counters = TransportCounters()
        self._contacts: dict[PeerId, Contact] = {}
        self._peers: dict[str, PeerId] = {}  # user id, as ZAP gives it to a key, to peer
        self._given_up = GivenUpKeys(settings.former_key_ms / 1000, self._end_given_up)
        # By the number of the lane: as a key, a member of an enum would be hashed in Python.
        self._outlets: list[dict[PeerId, Outlet]] = [{} for _ in Lane]
        self._terms: list[LaneTerms] = []
        self._receivers: _Receivers | None = None
        self._assembly: Assembly | None = None
        self._running = False
        self._self_test: SelfTest | None = None
        self._watch: asyncio.Task[None] | None = None

    def receive_with(
        self,
        on_frame: OnFrame,
        on_link: OnLink,
        on_publication: OnPublication,
        on_fatal: OnFatal,
    ) -> None:
        self._receivers = _Receivers(on_frame, on_link, on_publication, on_fatal)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def start(self) -> Mapping[str, int]:
        """Bind, prove that a stranger is refused, and return the ports.

        Raises:
            MisuseError: nobody receives, or it was started before.
            PortInUse: another process has a port.
            TransportFailed: libzmq is too old, or the self-test found that anyone gets in.
        """
        if self._receivers is None or self._assembly is not None:
            raise MisuseError("call receive_with() first, and start a transport only once")
        assembly = self._assembly = Assembly(
            self.settings,
            self._own.now,
            self._counters,
            self._peers,
            route_owner=self,
            aim_at=self._own.aim_at,
            on_frame=self._receivers.on_frame,
            on_publication=self._receivers.on_publication,
        )
        report, on_frame = self._report, self._receivers.on_frame
        self._terms = [
            LaneTerms.of(lane, assembly.exchange, self._counters, report, on_frame) for lane in Lane
        ]
        try:
            self.ports = assembly.open()
            self_test = self._self_test = assembly.self_test(self.ports)
            failure = await self_test.prove()
            if failure is not None:
                raise failure
        except BaseException:  # a half-open node is none; also when we are cancelled
            assembly.shut()
            await assembly.term()
            raise
        self._running = True
        self._watch = asyncio.create_task(self_test.watch(self._fail), name="transport-self-test")
        return self.ports

    async def close(self) -> None:
        """Flush what leaves at once, then close everything; never hangs."""
        assembly = self._assembly
        if assembly is None:
            return
        self._shut(assembly, self.settings.linger_ms)
        if self._watch is not None and self._watch is not asyncio.current_task():
            self._watch.cancel()
            await asyncio.wait([self._watch])
            self._watch = None
        await assembly.term()

    def admit(self, contact: Contact) -> None:
        """Let this peer's key in and make it reachable. A new key or address replaces the old.

        A key that another peer holds, or our own, is not admitted: whoever claims it would be
        taken for its holder. Sending to that peer then fails.

        Raises:
            NotRunning: not started, or closed.
            MisuseError: the key is not a CURVE key.
        """
        assembly = self._opened()
        key, peer_id = contact.curve_public, contact.peer_id
        if len(key) != _CURVE_KEY_BYTES:
            raise MisuseError(f"a CURVE key has {_CURVE_KEY_BYTES} bytes, not {len(key)}")
        user_id = sys.intern(key.hex())  # it stands beside every connection of this peer
        if self._own.are(key) or self._peers.get(user_id, peer_id) != peer_id:
            self._counters.dropped_key_taken += 1
            return
        before = self._contacts.get(peer_id)
        new_start = False
        if before is not None and before.curve_public != key:
            rotated = 0 < before.incarnation == contact.incarnation
            new_start = not rotated
            if self._given_up.of(peer_id) == user_id:
                self._given_up.take(peer_id)  # it has come back to it
            self._end_given_up(peer_id)
            if new_start:
                del self._peers[before.curve_public.hex()]
            else:
                self._given_up.keep(peer_id, before.curve_public.hex())
        self._contacts[peer_id] = contact
        self._peers[user_id] = peer_id
        if before is not None and new_start:
            assembly.cut(before.curve_public.hex())
        self._aim(assembly, contact, new_start=new_start)
        self._counters.dropped_bad_address += unfit_hosts(contact)

    async def begin_rotation(self, key: TransportKey) -> Mapping[str, int]:
        """Listen under a new key too; whoever knows it is dialled with it. Returns the new ports.

        Raises:
            NotRunning, MisuseError, RotationFailed: nothing has changed then.
        """
        assembly, test = self._opened(), self._self_test
        assert test is not None
        try:
            self.ports = await self._own.begin(
                key, assembly, test, self.ports, lambda: self._running
            )
        except TransportFailed as failure:
            self._fail(failure)
            raise
        return self.ports

    def left_behind(self) -> int:
        """How many connections are still under the former key."""
        former, assembly = self._own.former, self._opened()
        if former is None:
            return 0
        ours = sum(outlet.uses(former.public) for each in self._outlets for outlet in each.values())
        return ours + assembly.links.uses(former.public) + assembly.left_behind()

    def come_over(self) -> int:
        """How many connections others have made at the new ports."""
        return self._opened().come_over()

    def undo_rotation(self) -> Mapping[str, int]:
        """Listen under the former key only, and return its ports; then it ends like any other."""
        assembly, test = self._opened(), self._self_test
        assert test is not None
        self.ports = self._own.take_back(assembly, test)
        return self.ports

    def end_rotation(self) -> None:
        """Forget the former key. What still uses it is cut, and reported.

        What arrived last over the connections that are cut is delivered from in here.
        """
        assembly = self._opened()
        public = self._own.end()
        if public is None:
            return
        assembly.leave_old()
        for contact in list(self._contacts.values()):
            self._aim(assembly, contact)
            self._drop(contact.peer_id, lambda dial: dial.own_public == public)

    def redial(self, peer_id: PeerId) -> None:
        """Give up all connections with this peer; what is wanted is dialled anew."""
        user_ids = [user_id for user_id, holder in self._peers.items() if holder == peer_id]
        for user_id in user_ids:
            self._opened().cut_former(user_id)
            self._drop(peer_id, lambda dial: True, user_id)

    def expel(self, peer_id: PeerId) -> None:
        """Off the allow-list, refused per frame, and the connection cut."""
        assembly = self._opened()
        contact = self._contacts.pop(peer_id, None)
        if contact is None:
            return
        self._end_given_up(peer_id, is_expelled=True)
        user_id = contact.curve_public.hex()
        del self._peers[user_id]
        assembly.cut(user_id)
        assembly.links.forget(peer_id)
        for lane in Lane:
            outlet = self._outlets[lane].pop(peer_id, None)
            if outlet is None:
                continue
            was_up = outlet.up
            self._counters.dropped_expelled += outlet.close()
            if was_up:
                self._report(LinkChanged(peer_id, lane, LinkState.DOWN, "expelled"))

    def send(
        self,
        to: PeerId,
        lane: Lane,
        envelope: bytes,
        priority: int = 1,
        body: Body | None = None,
    ) -> None:
        """Queue one envelope; it leaves at the end of this turn of the loop at the latest.

        Raises:
            NotRunning, PeerUnreachable, QueueFull, PayloadTooLarge, MisuseError: see `links`.
        """
        outlet = self._outlets[lane].get(to) or self._outlet_of(to, lane)
        if outlet is None:
            raise PeerUnreachable(to, "it is not admitted: introduce it first")
        if body is None:
            said = outlet.outbox.push(envelope, priority)
        else:
            check_body(lane, body)
            said = outlet.outbox.push_with_body(envelope, priority, body)
        if said or not outlet.dirty:
            outlet.pushed(said, len(envelope))

    def queued_bytes(self, to: PeerId, lane: Lane) -> int:
        """What waits here for this peer; 0 for a peer that is not admitted."""
        outlet = self._outlets[lane].get(to)
        return outlet.queued_bytes if outlet is not None else 0

    def publish(self, topic: str, envelope: bytes) -> None:
        """Send to every subscriber of this topic, and of a subtree that it lies in.

        Raises:
            NotRunning, PayloadTooLarge, MisuseError: see `links`.
        """
        self._opened().topics.publish(topic, envelope)

    @property
    def topics_queued_bytes(self) -> int:
        """What waits for the slowest subscriber; who paces itself by this loses nothing."""
        return self._assembly.topics.queued_bytes if self._assembly is not None else 0

    @property
    def topics_waiting_s(self) -> float:
        """For how long the first publication has waited that has left to nobody; 0 if none has."""
        return self._assembly.topics.waiting_s if self._assembly is not None else 0.0

    def subscribers(self, topic: str) -> frozenset[PeerId]:
        """The peers whose living connection has subscribed to this topic, or to a subtree above."""
        return self._opened().topics.subscribers(topic)

    def subscribe(self, topic: str) -> None:
        """Receive this topic, or this subtree, from all admitted peers, present and future."""
        self._opened().links.subscribe(topic)

    def unsubscribe(self, topic: str) -> None:
        """Stop receiving it."""
        self._opened().links.unsubscribe(topic)

    def hold_topics(self, hold: bool) -> None:
        """Stop reading publications, all of them, or go on."""
        self._opened().links.hold(hold)

    def links(self) -> Mapping[PeerId, LinkFigures]:
        """What goes on between us and every admitted peer."""
        assembly = self._opened()
        subscribed = assembly.topics.by_peer()
        published = assembly.links.by_peer()
        return {
            peer_id: LinkFigures(
                {lane: self._figures(peer_id, lane) for lane in Lane},
                *subscribed.get(peer_id, (0, False)),
                *published.get(peer_id, (0, 0)),
            )
            for peer_id in self._contacts
        }

    def counters(self) -> Mapping[str, int]:
        """Plain counters for the metrics endpoint, by name."""
        return self._counters.by_name()

    def route_opened(self, lane: Lane, route: Route) -> None:
        """A peer's own connection came in."""
        outlet = self._outlet_of(route.peer_id, lane)
        if outlet is not None:
            outlet.route_opened(route)

    def route_closed(self, lane: Lane, route: Route, reason: str) -> None:
        """It ended."""
        outlet = self._outlets[lane].get(route.peer_id)
        if outlet is not None:
            outlet.route_closed(route, reason)

    def route_word(self, lane: Lane, route: Route, message: bytes) -> None:
        """The transport at its other end says something about it."""
        outlet = self._outlets[lane].get(route.peer_id)
        if outlet is not None:
            outlet.word(route, message)

    def _aim(self, assembly: Assembly, contact: Contact, *, new_start: bool = False) -> None:
        for lane in Lane:
            outlet = self._outlets[lane].get(contact.peer_id)
            if outlet is not None:
                outlet.target(
                    self._own.aim_at(contact, self._terms[lane].port_name), new_start=new_start
                )
        assembly.links.target(contact, new_start=new_start)

    def _end_given_up(self, peer_id: PeerId, *, is_expelled: bool = False) -> None:
        """The key that this peer gave up is nobody's any more; what still uses it is cut."""
        user_id = self._given_up.take(peer_id)
        if user_id is None:
            return
        assembly = self._opened()
        del self._peers[user_id]
        if is_expelled:
            assembly.cut(user_id)
            return
        server_key = bytes.fromhex(user_id)
        self._drop(peer_id, lambda dial: dial.server_key == server_key, user_id)
        assembly.cut_former(user_id)

    def _drop(self, peer_id: PeerId, is_over: Callable[[Dial], bool], user_id: str = "") -> None:
        """End such connections, and those that came in under this key, also when at work."""

        def is_path_over(path: Dial | Route) -> bool:
            return path.user_id == user_id if isinstance(path, Route) else is_over(path)

        for lane in Lane:
            outlet = self._outlets[lane].get(peer_id)
            if outlet is not None:
                outlet.drop(is_path_over, "its key or an address is over")
        assert self._assembly is not None
        self._assembly.links.drop(peer_id, is_over)

    def _opened(self) -> Assembly:
        if self._assembly is None or not self._running:
            raise NotRunning("the transport")
        return self._assembly

    def _outlet_of(self, peer_id: PeerId, lane: Lane) -> Outlet | None:
        """Made when it is first needed: most pairs of peers never speak on most lanes."""
        self._opened()
        outlet = self._outlets[lane].get(peer_id)
        contact = self._contacts.get(peer_id)
        if outlet is None and contact is not None:
            terms = self._terms[lane]
            outlet = self._outlets[lane][peer_id] = Outlet(peer_id, terms)
            outlet.target(self._own.aim_at(contact, terms.port_name))
        return outlet

    def _figures(self, peer_id: PeerId, lane: Lane) -> LaneFigures:
        outlet = self._outlets[lane].get(peer_id)
        return outlet.figures() if outlet is not None else LaneFigures("idle")

    def _report(self, change: LinkChanged) -> None:
        """Later, never inside a call of ours."""
        assert self._assembly is not None
        assert self._receivers is not None
        self._assembly.exchange.loop.call_soon(self._receivers.on_link, change)

    def _shut(self, assembly: Assembly, linger_ms: int) -> None:
        self._running = False
        for outlets in self._outlets:
            for outlet in outlets.values():
                if outlet.up:
                    outlet.flush()
                self._counters.dropped_at_close += outlet.close(linger_ms)
            outlets.clear()
        self._given_up.clear()
        self._contacts.clear()
        self._peers.clear()
        assembly.shut(linger_ms)

    def _fail(self, failure: TransportFailed) -> None:
        """Closed ports are better than open doors: shut everything, then tell."""
        assert self._assembly is not None
        assert self._receivers is not None
        self._shut(self._assembly, 0)
        self._receivers.on_fatal(failure)

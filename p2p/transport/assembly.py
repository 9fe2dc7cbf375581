"""The parts of a running transport, put together in the one safe order and taken apart again.

Order of opening: the ZAP handler is bound before any other socket, the monitors run before
anything that is watched, the listeners bind last. Taking apart is synchronous but for the context,
which waits for what lingers; it ends in a thread of its own, so that nothing can hang on it.

Does not know: contacts, envelopes. Invariant: after `shut` no socket but those of the ZAP handler
is left, and the loop holds no reader of ours.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Mapping

from keys import PeerId, TransportKey
from p2p.links import Contact, Lane, OnFrame, OnPublication
from p2p.transport.connections import are_short
from p2p.transport.counters import TransportCounters
from p2p.transport.dial import Exchange
from p2p.transport.dialler import Aim
from p2p.transport.flushing import Flusher
from p2p.transport.lane_server import LaneServer, RouteOwner
from p2p.transport.monitors import Monitors
from p2p.transport.self_test import SelfTest
from p2p.transport.settings import TransportSettings
from p2p.transport.sockets import Sockets
from p2p.transport.topic_links import TopicLinks
from p2p.transport.topic_server import TopicServer
from p2p.transport.zap import ZapHandler

_TERM_GRACE_S = 1.0


class Assembly:
    """Opened by `open`, taken apart by `shut` and then `term`."""

    def __init__(
        self,
        settings: TransportSettings,
        key: TransportKey,
        counters: TransportCounters,
        peers: Mapping[str, PeerId],
        *,
        route_owner: RouteOwner,
        aim_at: Callable[[Contact, str], Aim],
        on_frame: OnFrame,
        on_publication: OnPublication,
    ) -> None:
        """`peers` maps user ids to peers and is kept up to date by its maker."""
        loop = asyncio.get_running_loop()
        self._settings = settings
        self._loop = loop
        self._shut = False
        self._sockets = Sockets(settings, key)
        context = self._sockets.context
        self.zap = ZapHandler(context, counters, peers, settings.zap_quiet_ms)
        self.zap.start()
        monitors = Monitors(context, loop)
        monitors.start()
        self._monitors = monitors
        self.exchange = Exchange(
            loop, settings, self._sockets, monitors, Flusher(loop), random.Random()
        )
        self.lanes = {
            lane: LaneServer(lane, self.exchange, counters, peers, route_owner, on_frame)
            for lane in Lane
        }
        self.topics = TopicServer(self.exchange, counters, peers)
        self.links = TopicLinks(self.exchange, counters, aim_at, on_publication)
        self._counters = counters
        self._is_at_other_ports = False

    def open(self) -> dict[str, int]:
        """Bind every listener; returns the ports.

        Raises:
            PortInUse: another process has one of them.
            TransportFailed: the system refuses for another reason.
        """
        ports = {
            lane.name.lower(): server.open(self._settings.port_of(lane))
            for lane, server in self.lanes.items()
        }
        ports["topics"] = self.topics.open(self._settings.topics_port)
        self._look_around()
        return ports

    def open_beside(self, key: TransportKey) -> dict[str, int]:
        """Bind every listener once more, under this key, which we dial with from now on.

        Raises:
            PortInUse, TransportFailed: as `open` says; nothing has changed then.
        """
        other = self._is_at_other_ports = not self._is_at_other_ports
        former = self._sockets.turn_to(key)
        try:
            ports = {
                lane.name.lower(): server.listening.open(self._settings.port_of(lane, other=other))
                for lane, server in self.lanes.items()
            }
            topics_port = self._settings.topics_port_of(other=other)
            ports["topics"] = self.topics.listening.open(topics_port)
        except BaseException:
            self.take_back(former)
            raise
        return ports

    def take_back(self, former: TransportKey) -> None:
        """Undo `open_beside`."""
        self._is_at_other_ports = not self._is_at_other_ports
        self._sockets.turn_to(former)
        for listener in self._listeners():
            listener.listening.take_back()
            listener.forget_left()

    def leave_old(self) -> None:
        """Close the old endpoints, and end what came in there."""
        for listener in self._listeners():
            listener.leave_old()

    def left_behind(self) -> int:
        """How many connections are still at the old endpoints."""
        return sum(listener.listening.left_behind() for listener in self._listeners())

    def come_over(self) -> int:
        """How many connections are at the new endpoints."""
        return sum(listener.listening.come_over() for listener in self._listeners())

    def self_test(self, ports: Mapping[str, int]) -> SelfTest:
        return SelfTest(self.exchange, self._counters, self.zap, self._sockets.key.public, ports)

    def cut(self, user_id: str) -> None:
        """Hang up on the holder of a key, wherever it came in.

        A handshake that ZAP allowed a moment ago may not have ended yet, so the connections that
        nobody can attribute are swept once more when every such handshake must be over.
        """
        for listener in self._listeners():
            self._counters.connections_cut += listener.cut(user_id)
        delay_s = self._settings.handshake_timeout_ms / 1000
        self._loop.call_later(delay_s, self._sweep)

    def cut_former(self, user_id: str) -> None:
        """Hang up on the holder of a key that its peer gave up. Connections that nobody can
        attribute are left alone: one that is young and honest may be among them, and whoever else
        holds that key is cut at its first word."""
        for listener in self._listeners():
            self._counters.connections_cut += listener.cut_key(user_id)

    def _listeners(self) -> list[TopicServer | LaneServer]:
        return [self.topics, *self.lanes.values()]

    def _sweep(self) -> None:
        if not self._shut:
            for listener in self._listeners():
                self._counters.connections_cut += listener.cut_silent()

    def _look_around(self) -> None:
        """Again and again: who sends one message without end would fill our memory with it, and
        who opens connections without end would take all descriptors."""
        if self._shut:
            return
        if are_short(sum(listener.connections for listener in self._listeners())):
            for listener in self._listeners():
                self._counters.connections_shed += listener.shed()
        limit_bytes, cuts = self._settings.unfinished_bytes, 0
        for listener in self._listeners():
            cuts += listener.cut_unfinished(limit_bytes)
        for dial in tuple(self.exchange.dials):
            dial.look()
            cuts += dial.end_unfinished(limit_bytes)
        self._counters.connections_unfinished += cuts
        delay_s = self._settings.unfinished_check_ms / 1000
        self._loop.call_later(delay_s, self._look_around)

    def shut(self, linger_ms: int = 0) -> None:
        """Close every socket. What libzmq already holds may linger until `term`."""
        if self._shut:
            return
        self._shut = True
        self.exchange.flusher.close()
        self.links.close()
        self._counters.dropped_at_close += self.topics.close(linger_ms)
        for server in self.lanes.values():
            server.close(linger_ms)
        self._monitors.stop()
        self.zap.stop()

    async def term(self) -> None:
        """Wait for what lingers, but not for ever."""
        done = asyncio.Event()

        def run() -> None:
            self._sockets.context.term()
            try:
                self._loop.call_soon_threadsafe(done.set)
            except RuntimeError:  # the loop was closed meanwhile; nobody waits
                return

        threading.Thread(target=run, name="conclave-term", daemon=True).start()
        try:
            async with asyncio.timeout(self._settings.linger_ms / 1000 + _TERM_GRACE_S):
                await done.wait()
        except TimeoutError:
            return

"""Everything on its way to one peer on one lane, and the connection it takes.

One connection is used in both directions: a route that the peer opened serves as well as one that
we dialled, whichever was there first, until it ends. When there is none, the first envelope opens
a window of `connect_timeout_ms` in which we dial; at its end what waits is given up and reported.
On the control lane both sides speak at once when they have met. There the holder of the greater key
dials a moment later, or a third of all pairs would keep two connections where one does.

States, by what there is: a path (up); no path but a window (dialling); neither (idle).

Does not know: sockets' options, who else there is, what envelopes hold. Invariants: frames leave
in the order of `push`; a frame is handed to one connection only, so it arrives at most once; a
path that is lost is reported even when another takes over, because frames on it may be lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import zmq

from keys import PeerId
from p2p.errors import PayloadTooLarge, QueueFull
from p2p.links import Lane, LaneFigures, LinkChanged, LinkState, OnFrame, OnLink
from p2p.transport.counters import FlowCounters, TransportCounters
from p2p.transport.dial import Dial, Exchange, Sent
from p2p.transport.dialler import Dialler
from p2p.transport.lane_server import Route
from p2p.transport.outbox import FULL, REFUSED, TOO_LARGE, Outbox
from p2p.transport.parts import read_body, skip_rest
from p2p.transport.reading import Room, SocketReader

_YIELD_S = 0.1  # longer than a handshake on a busy machine, shorter than between two heartbeats

Path = Dial | Route


class Outlet:
    def __init__(
        self,
        peer_id: PeerId,
        lane: Lane,
        exchange: Exchange,
        counters: TransportCounters,
        *,
        report: OnLink,
        on_frame: OnFrame,
    ) -> None:
        """`on_frame` gets what arrives over a connection that we dialled."""
        settings = exchange.settings
        self.peer_id = peer_id
        self.lane = lane
        self.dirty = False
        self._loop = exchange.loop
        self._limit_bytes = settings.frame_limit_bytes
        self._window_s = settings.connect_timeout_ms / 1000
        self._own_key = exchange.sockets.public_key
        self._yield_s = 0.0
        self._counters = counters
        self._flow = counters.of(lane)
        self._mine = FlowCounters()
        self._refused = 0
        self._given_up = 0
        self._report = report
        self._flusher = exchange.flusher
        self._on_frame = on_frame
        self.outbox = Outbox(
            budget_bytes=settings.budget_of(lane),
            batch_envelopes=settings.batch_envelopes,
            batch_bytes=settings.batch_bytes,
            frame_limit_bytes=settings.frame_limit_bytes,
        )
        # At least one attempt must fit into a window, however often the peer was down before.
        longest_ms = min(settings.redial_max_ms, settings.connect_timeout_ms // 2)
        self._dialler = Dialler(
            exchange,
            counters,
            zmq.DEALER,
            self,
            longest_pause_ms=longest_ms,
            bulk=lane is Lane.BULK,
        )
        self._routes: list[Route] = []
        self._path: Path | None = None
        self._window: asyncio.TimerHandle | None = None

    def pushed(self, said: int, size_bytes: int) -> None:
        """The sender has pushed into `outbox`, and this is what the outbox said.

        Raises:
            QueueFull: too much is waiting already.
            PayloadTooLarge: no frame holds an envelope of this size.
        """
        if said == REFUSED:
            self._refused += 1
            self._counters.refused_queue_full += 1
            raise QueueFull(self.peer_id, self.lane.name.lower(), self.outbox.queued_bytes)
        if said == TOO_LARGE:
            raise PayloadTooLarge(size_bytes, self._limit_bytes, "envelope")
        if said == FULL and self._path is not None:
            self.flush()
        if not self.dirty:
            self._flusher.mark(self)

    def flush(self) -> Room:
        """Hand over what waits, as far as the connection takes it; dial when there is none."""
        outbox = self.outbox
        moved = Room.NONE
        outbox.seal()
        while (frame := outbox.first()) is not None:
            path = self._path
            if path is None:
                self._open_window()
                return Room.UNWANTED
            payload, envelopes, body, size_bytes = frame
            sent = path.send(payload, body)
            if sent is Sent.FULL:
                return moved
            if sent is Sent.GONE:
                self._lose(path, "the connection is gone")
                continue
            outbox.pop()
            moved = Room.USED
            for flow in (self._flow, self._mine):
                flow.frames_out += 1
                flow.bytes_out += size_bytes
                flow.envelopes_out += envelopes
        return Room.UNWANTED

    @property
    def reader(self) -> SocketReader | None:
        return self._path.reader if self._path is not None else None

    def target(self, server_key: bytes, endpoints: Sequence[str], *, new_key: bool) -> None:
        """The peer was admitted, perhaps again. Under a new key the old connections are void."""
        if new_key:
            self._routes.clear()
            self._dialler.stop()
            if self._path is not None:
                self._lose(self._path, "it came back under a new key")
        yields = self.lane is Lane.CONTROL and self._own_key > server_key
        self._yield_s = min(_YIELD_S, self._window_s / 8) if yields else 0.0
        dial = self._dialler.dial
        self._dialler.target(server_key, endpoints)
        if dial is not None and dial.closed and self._path is dial:
            self._lose(dial, "its address changed")
        self._flusher.mark(self)
        if self._window is not None:
            self._dialler.start()

    def close(self, linger_ms: int = 0) -> int:
        """End everything; returns how many envelopes were still waiting."""
        self._close_window()
        self._dialler.stop(linger_ms)
        self._routes.clear()
        if self._path is not None:
            self._counters.links_open -= 1
            self._path = None
        return self.outbox.clear()

    @property
    def up(self) -> bool:
        return self._path is not None

    @property
    def queued_bytes(self) -> int:
        return self.outbox.queued_bytes

    def figures(self) -> LaneFigures:
        state = "up" if self._path else "dialling" if self._window else "idle"
        mine = self._mine
        return LaneFigures(
            state=state,
            queued_bytes=self.outbox.queued_bytes,
            frames_out=mine.frames_out,
            bytes_out=mine.bytes_out,
            envelopes_out=mine.envelopes_out,
            frames_in=mine.frames_in,
            bytes_in=mine.bytes_in,
            refused=self._refused,
            dropped=self._given_up,
        )

    def route_opened(self, route: Route) -> None:
        route.flow = self._mine
        self._routes.append(route)
        if self._path is None:
            # One connection for a pair of peers: ours, which nothing was sent on, is not needed.
            self._dialler.stop()
            self._take(route)

    def route_closed(self, route: Route, reason: str) -> None:
        if route in self._routes:
            self._routes.remove(route)
        if self._path is route:
            self._lose(route, reason)

    def dialler_up(self, dial: Dial) -> None:
        if self._path is None:
            self._take(dial)
        else:
            self._dialler.stop()

    def dialler_lost(self, reason: str) -> None:
        if not isinstance(self._path, Dial):
            return
        self._lose(self._path, reason)
        if self._path is None:
            self._open_window()

    def dialler_refused(self, reason: str) -> None:
        self._tell(LinkState.REFUSED, reason)

    def dialler_message(self, dial: Dial) -> None:
        frame = dial.socket.recv(zmq.NOBLOCK, copy=False)
        body: bytes | None = None
        if frame.more:
            if self.lane is Lane.BULK:
                body = read_body(dial.socket)
            else:
                skip_rest(dial.socket)
            if body is None:
                self._counters.dropped_malformed += 1
                return
        payload = frame.bytes
        size_bytes = len(payload) if body is None else len(payload) + len(body)
        for flow in (self._flow, self._mine):
            flow.frames_in += 1
            flow.bytes_in += size_bytes
        self._on_frame(self.peer_id, self.lane, payload, body)

    def _take(self, path: Path) -> None:
        self._path = path
        self._close_window()
        self._counters.links_open += 1
        self._tell(LinkState.UP)
        if self.outbox:
            self._flusher.mark(self)

    def _lose(self, path: Path, reason: str) -> None:
        assert self._path is path
        self._path = None
        self._counters.links_open -= 1
        if isinstance(path, Route) and path in self._routes:
            self._routes.remove(path)
        self._tell(LinkState.DOWN, reason)
        spare = self._dialler.dial or (self._routes[-1] if self._routes else None)
        if spare is not None:
            self._take(spare)
        elif self.outbox:
            self._open_window()

    def _open_window(self) -> None:
        self._dialler.start(self._yield_s)
        if self._window is None:
            self._window = self._loop.call_later(self._window_s, self._give_up)

    def _close_window(self) -> None:
        if self._window is not None:
            self._window.cancel()
            self._window = None

    def _give_up(self) -> None:
        self._window = None
        self._dialler.stop()
        given_up = self.outbox.clear()
        self._given_up += given_up
        self._counters.dropped_unreachable += given_up
        self._tell(LinkState.UNREACHABLE, self._dialler.why)

    def _tell(self, state: LinkState, reason: str = "") -> None:
        self._report(LinkChanged(self.peer_id, self.lane, state, reason))

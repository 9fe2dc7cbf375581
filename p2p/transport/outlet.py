"""Everything on its way to one peer on one lane, and the connection it takes.

One connection is used in both directions: a route that the peer opened serves as well as one that
we dialled, whichever was there first, until it ends. When there is none, the first envelope opens
a window of `connect_timeout_ms` in which we dial; at its end what waits is given up and reported.
On the control lane both sides speak at once when they have met. There the holder of the greater key
dials a moment later, or a third of all pairs would keep two connections where one does.

States, by what there is: a path (up); no path but a window (dialling); neither (idle).

When keys rotate, the path is stale but good until there is a connection under the new keys: then
what was handed over is waited for, and the rest takes the new one; see `words`. Whoever dialled the
old connection dials the new one.

Does not know: sockets' options, who else there is, what envelopes hold. Invariants: frames leave
in the order of `push`; a frame is handed to one connection only, so it arrives at most once; a
path that is lost is reported even when another takes over, because frames on it may be lost; a path
that is left is not, because none are; a connection that we dialled and have left stays open until
the other side has left it too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import zmq

from keys import PeerId
from p2p.errors import PayloadTooLarge, QueueFull
from p2p.links import Lane, LaneFigures, LinkChanged, LinkState
from p2p.transport.counters import FlowCounters
from p2p.transport.dial import Dial, Sent
from p2p.transport.dialler import Aim, Dialler
from p2p.transport.lane_server import Route
from p2p.transport.outbox import FULL, REFUSED, TOO_LARGE
from p2p.transport.parts import read_body, skip_rest
from p2p.transport.reading import Room, SocketReader
from p2p.transport.terms import LaneTerms
from p2p.transport.words import MARK, NUMBERS, Owed, Verb, decode_word

_OTHERS_TURN_S = 0.5  # in which the other side should dial anew what it had dialled

Path = Dial | Route

_NONE: frozenset[Any] = frozenset()


class Outlet:
    __slots__ = (
        "_aim",
        "_dialler",
        "_draining",
        "_finished",
        "_flusher",
        "_given_up",
        "_mine",
        "_number",
        "_owed",
        "_path",
        "_refused",
        "_released",
        "_routes",
        "_terms",
        "_window",
        "_yields",
        "dirty",
        "outbox",
        "peer_id",
    )

    def __init__(self, peer_id: PeerId, terms: LaneTerms) -> None:
        self.peer_id = peer_id
        self.dirty = False
        self._terms = terms
        self._flusher = terms.exchange.flusher
        self._yields = False
        self._mine = FlowCounters()
        self._refused = 0
        self._given_up = 0
        self.outbox = terms.outbox()
        self._dialler = Dialler(terms.manner, self)
        self._aim: Aim | None = None
        self._routes: tuple[Route, ...] = ()
        self._path: Path | None = None
        self._draining: int | None = None  # waiting for this answer, to leave the path
        self._number = 0
        # Made anew while keys rotate: those under keys of before, open while anybody sends there;
        # those of ours on which LAST was heard, of theirs on which it is said; what is to be said.
        self._released: frozenset[Dial] = _NONE
        self._finished: frozenset[Path] = _NONE
        self._owed: Owed[Path] | None = None
        self._window: asyncio.TimerHandle | None = None

    @property
    def lane(self) -> Lane:
        return self._terms.lane

    def pushed(self, said: int, size_bytes: int) -> None:
        """The sender has pushed into `outbox`, and this is what the outbox said.

        Raises:
            QueueFull: too much is waiting already.
            PayloadTooLarge: no frame holds an envelope of this size.
        """
        if said == REFUSED:
            self._refused += 1
            self._terms.counters.refused_queue_full += 1
            raise QueueFull(self.peer_id, self._terms.port_name, self.outbox.queued_bytes)
        if said == TOO_LARGE:
            raise PayloadTooLarge(size_bytes, self._terms.limit_bytes, "envelope")
        if said == FULL and self._path is not None:
            self.flush()
        if not self.dirty:
            self._flusher.mark(self)

    def flush(self) -> Room:
        """Hand over what waits, as far as the connection takes it; dial when there is none."""
        outbox = self.outbox
        moved = Room.NONE
        stalled = self._owed is not None and not self._say_owed()
        if self._draining is not None:
            return Room.NONE if stalled else Room.UNWANTED
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
            for flow in (self._terms.flow, self._mine):
                flow.frames_out += 1
                flow.bytes_out += size_bytes
                flow.envelopes_out += envelopes
        return Room.NONE if stalled else Room.UNWANTED

    @property
    def reader(self) -> SocketReader | None:
        return self._path.reader if self._path is not None else None

    def target(self, aim: Aim, *, new_start: bool = False) -> None:
        """The peer was admitted, perhaps again. After a new start the old connections are void;
        under new keys of the same start they are left one by one."""
        self._aim = aim
        if new_start:
            self.drop(lambda path: True, "it came back under a new key")
        self._yields = self.lane is Lane.CONTROL and aim.own_key.public > aim.server_key
        dial = self._dialler.dial
        if dial is not None and not aim.fits(dial):
            self._dialler.release()
            dial.hand_to(self)
            self._released |= {dial}
        self._dialler.target(aim)
        if dial is not None and dial.closed and self._path is dial:
            self._lose(dial, "its address changed")
        self._flusher.mark(self)
        if self._window is not None:
            self._dialler.start()
        self._improve()

    def drop(self, is_over: Callable[[Path], bool], reason: str) -> None:
        """End these connections, also when they are at work."""
        path = self._path
        self._routes = tuple(route for route in self._routes if not is_over(route))
        for dial in [dial for dial in self._released if is_over(dial)]:
            self._close(dial)
        current = self._dialler.dial
        if current is not None and is_over(current):
            current.reader.finish()
            self._dialler.stop()
        if path is not None and path is self._path and is_over(path):
            self._lose(path, reason)

    def uses(self, own_public: bytes) -> int:
        """How many connections there are that we dialled under this key."""
        return sum(dial.own_public == own_public for dial in self._released)

    def close(self, linger_ms: int = 0) -> int:
        """End everything; returns how many envelopes were still waiting."""
        self._close_window()
        self._dialler.stop(linger_ms)
        for dial in self._released:
            dial.close(linger_ms)
        self._released = _NONE
        self._finished = _NONE
        self._owed = None
        self._draining = None
        self._routes = ()
        if self._path is not None:
            self._terms.counters.links_open -= 1
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
        self._routes += (route,)
        if self._path is None:
            # One connection for a pair of peers: ours, which nothing was sent on, is not needed.
            self._dialler.stop()
            self._take(route)
        else:
            self._improve()

    def route_closed(self, route: Route, reason: str) -> None:
        self._forget(route)
        self._gone(route)
        if self._path is route:
            self._lose(route, reason)

    def word(self, path: Path, message: bytes) -> None:
        """The other end says something about a connection; see `words`."""
        word = decode_word(message)
        if word is None:
            self._terms.counters.dropped_malformed += 1
        elif word.verb is Verb.DRAIN:
            self._owe(path, Verb.DRAINED, word.number)
        elif word.verb is Verb.DRAINED:
            if path is self._path and word.number == self._draining:
                self._leave(path)
        elif word.verb is Verb.LAST and isinstance(path, Dial):
            self._finished |= {path}
            self._close_if_left(path)

    def dial_up(self, dial: Dial) -> None:
        raise AssertionError("what was released was up before")

    def dial_ended(self, dial: Dial, reason: str, refused: bool) -> None:
        """One that was released is gone."""
        self._released -= {dial}
        self._gone(dial)
        if self._path is dial:
            self._terms.counters.links_lost += 1
            self._lose(dial, reason)

    def dial_message(self, dial: Dial) -> None:
        self.dialler_message(dial)

    def dialler_up(self, dial: Dial) -> None:
        if self._path is None:
            self._take(dial)
        elif self._is_stale(self._path):
            self._owe(dial, Verb.HERE)
            self._improve()
        else:
            self._dialler.stop()

    def dialler_lost(self, dial: Dial, reason: str) -> None:
        self._gone(dial)
        if self._path is not dial:
            self._improve()
            return
        self._lose(dial, reason)
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
                self._terms.counters.dropped_malformed += 1
                return
        payload = frame.bytes
        if payload[:1] == MARK:
            self.word(dial, payload)
            return
        size_bytes = len(payload) if body is None else len(payload) + len(body)
        for flow in (self._terms.flow, self._mine):
            flow.frames_in += 1
            flow.bytes_in += size_bytes
        self._terms.on_frame(self.peer_id, self.lane, payload, body)

    def _take(self, path: Path) -> None:
        self._path = path
        self._close_window()
        self._terms.counters.links_open += 1
        self._tell(LinkState.UP)
        if self.outbox:
            self._flusher.mark(self)
        self._improve()

    def _lose(self, path: Path, reason: str) -> None:
        assert self._path is path
        self._path = None
        path.reader.look_again()  # it is shared with others, and was sent on a moment ago
        self._draining = None
        self._terms.counters.links_open -= 1
        self._forget(path)
        self._tell(LinkState.DOWN, reason)
        spare = self._fresh() or self._dialler.dial or self._last_route()
        if spare is not None:
            self._take(spare)
        elif self.outbox:
            self._open_window()

    # -- from one connection to another --------------------------------------------------------

    def _is_stale(self, path: Path) -> bool:
        """Whether it is under keys of before: good, but better left."""
        aim = self._aim
        assert aim is not None, "whoever has a path was admitted"
        if isinstance(path, Dial):
            return not aim.fits(path)
        return path.user_id != aim.server_key.hex() or path.is_at_old_port

    def _fresh(self) -> Path | None:
        dial = self._dialler.dial
        if dial is not None and not self._is_stale(dial):
            return dial
        return next((one for one in reversed(self._routes) if not self._is_stale(one)), None)

    def _last_route(self) -> Route | None:
        """The newest on which we have not yet said that nothing more comes."""
        return next((one for one in reversed(self._routes) if one not in self._finished), None)

    def _improve(self) -> None:
        """Leave a stale path for a fresh one, or dial for one if the stale one was ours."""
        path = self._path
        if path is None or self._draining is not None:
            return
        if not self._is_stale(path):
            if self._dialler.dial is None:
                self._dialler.stop()  # one connection for a pair of peers
            for route in self._routes:
                if route not in self._finished and self._is_stale(route):
                    self._finished |= {route}
                    self._owe(route, Verb.LAST)
        elif self._fresh() is not None:
            self._number = (self._number + 1) % NUMBERS
            self._draining = self._number
            self._owe(path, Verb.DRAIN, self._number)
        elif isinstance(path, Dial):
            self._dialler.start()
        elif not self._dialler.active:
            # It dials anew when it hears of the keys; unless it sends over another one of ours.
            self._dialler.start(_OTHERS_TURN_S)

    def _leave(self, path: Path) -> None:
        """All that we sent there has been read: go on over the fresh one, if it is still there."""
        self._draining = None
        fresh = self._fresh()
        if fresh is not None:
            self._path = fresh
            if isinstance(path, Dial):
                self._close_if_left(path)
        self._flusher.mark(self)
        self._improve()

    def _close_if_left(self, dial: Dial) -> None:
        if dial in self._released and dial in self._finished and dial is not self._path:
            self._close(dial)

    def _close(self, dial: Dial) -> None:
        self._released -= {dial}
        dial.reader.finish()
        dial.close()
        self._gone(dial)

    def _forget(self, path: Path) -> None:
        if path in self._routes:
            self._routes = tuple(route for route in self._routes if route is not path)

    def _gone(self, path: Path) -> None:
        if self._finished:
            self._finished -= {path}
        if self._owed is not None:
            self._owed.forget(path)

    def _say_owed(self) -> bool:
        """Whether nothing is left. To say a word may change what is owed."""
        if self._owed is not None and not self._owed.say(self._say):
            return False
        self._owed = None
        return True

    def _say(self, path: Path, word: bytes) -> bool:
        sent = path.send(word)
        path.reader.look_again()  # the flusher looks at the path that we are on, and only there
        if sent is Sent.GONE:
            self._forget(path)
            if path is self._path:
                self._lose(path, "the connection is gone")
        return sent is not Sent.FULL

    def _owe(self, path: Path, verb: Verb, number: int = 0) -> None:
        if self._owed is None:
            self._owed = Owed()
        self._owed.owe(path, verb, number)
        self._flusher.mark(self)

    def _open_window(self) -> None:
        terms = self._terms
        self._dialler.start(terms.yield_s if self._yields else 0.0)
        if self._window is None:
            self._window = terms.exchange.loop.call_later(terms.window_s, self._give_up)

    def _close_window(self) -> None:
        if self._window is not None:
            self._window.cancel()
            self._window = None

    def _give_up(self) -> None:
        self._window = None
        self._dialler.stop()
        given_up = self.outbox.clear()
        self._given_up += given_up
        self._terms.counters.dropped_unreachable += given_up
        self._tell(LinkState.UNREACHABLE, self._dialler.why)

    def _tell(self, state: LinkState, reason: str = "") -> None:
        self._terms.report(LinkChanged(self.peer_id, self.lane, state, reason))

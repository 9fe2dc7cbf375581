"""The subscribing side of topics: one SUB connection to every admitted peer, while there is
anything to subscribe to.

Publications are attributed by the connection that they came over: only the holder of the key that
we dialled can have sent them.

When keys rotate, a second connection is made beside the first, and both subscribe to one random
name, the seam. The publisher answers with one message that both get at the same place among all
others: what comes before it counts on the old connection, what comes after it on the new one. So
nothing is lost or doubled.

Does not know: sequence numbers, gaps, what a publication holds. Invariant: there are connections
exactly while there are subscriptions, one per admitted peer, two while keys rotate.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

import zmq

from keys import PeerId
from p2p.links import Contact, OnPublication
from p2p.topic_names import HOLD, SEAM, TERMINATOR, subscription_name, subtrees_above
from p2p.transport.counters import TransportCounters
from p2p.transport.dial import Dial, Exchange
from p2p.transport.dialler import Aim, Dialler, Manner
from p2p.transport.parts import skip_rest

_MAX_HEARD = 4096
_SEAM_BYTES = 16


class TopicLinks:
    """All subscriptions of this node, and the links to all publishers."""

    def __init__(
        self,
        exchange: Exchange,
        counters: TransportCounters,
        aim_at: Callable[[Contact, str], Aim],
        on_publication: OnPublication,
    ) -> None:
        self._aim_at = aim_at
        self._exchange = exchange
        self._counters = counters
        self._on_publication = on_publication
        self._targets: dict[PeerId, Contact] = {}
        self._links: dict[PeerId, _TopicLink] = {}
        self._names: set[bytes] = set()
        self._heard: dict[bytes, str] = {}  # names that came in and are subscribed to
        self._holding = False
        longest_pause_ms = exchange.settings.topics_redial_max_ms
        self._manner = Manner(exchange, counters, zmq.SUB, longest_pause_ms, prepare=self._prepare)
        self._head_bytes = exchange.settings.topic_bytes + len(TERMINATOR)

    def subscribe(self, topic: str) -> None:
        name = subscription_name(topic, self._exchange.settings.topic_bytes)
        if name in self._names:
            return
        self._names.add(name)
        for peer_id in self._targets.keys() - self._links.keys():
            self._link(peer_id)
        for link in self._links.values():
            link.subscribe(name)

    def unsubscribe(self, topic: str) -> None:
        name = subscription_name(topic, self._exchange.settings.topic_bytes)
        if name not in self._names:
            return
        self._names.discard(name)
        self._heard.clear()
        for link in self._links.values():
            link.unsubscribe(name)
            if not self._names:
                link.close()

    def hold(self, hold: bool) -> None:
        """Stop reading, everything, and say so to all publishers; or go on."""
        if hold is not self._holding:
            self._holding = hold
            for link in self._links.values():
                link.hold(hold)

    def by_peer(self) -> dict[PeerId, tuple[int, int]]:
        """How many frames came from each publisher, and how many bytes."""
        return {peer_id: (link.frames, link.size_bytes) for peer_id, link in self._links.items()}

    def target(self, contact: Contact, *, new_start: bool = False) -> None:
        peer_id = contact.peer_id
        self._targets[peer_id] = contact
        if new_start and peer_id in self._links:
            self._links[peer_id].close()
        if self._names or peer_id in self._links:
            self._link(peer_id)

    def drop(self, peer_id: PeerId, is_over: Callable[[Dial], bool]) -> None:
        """End these connections, also when they are at work."""
        if peer_id in self._links:
            self._links[peer_id].drop(is_over)

    def uses(self, own_public: bytes) -> int:
        """How many connections there are that we dialled under this key, and are leaving."""
        return sum(link.leaves(own_public) for link in self._links.values())

    def forget(self, peer_id: PeerId) -> None:
        self._targets.pop(peer_id, None)
        link = self._links.pop(peer_id, None)
        if link is not None:
            link.close()

    def close(self) -> None:
        for link in self._links.values():
            link.close()
        self._links.clear()
        self._targets.clear()

    def new_dialler(self, link: _TopicLink) -> Dialler:
        return Dialler(self._manner, link)

    @property
    def wanted(self) -> bool:
        return bool(self._names)

    @property
    def holding(self) -> bool:
        return self._holding

    def take(self, link: _TopicLink, dial: Dial) -> None:
        """Read one publication."""
        frame = dial.socket.recv(zmq.NOBLOCK, copy=False)
        if frame.more:
            skip_rest(dial.socket)
            self._counters.dropped_malformed += 1
            return
        if self._holding:  # the connection is over, and what it held is read for the last time
            self._counters.topics_dropped_held += 1
            return
        view = frame.buffer  # nothing of it is copied before the messages themselves are
        size_bytes = len(view)
        dial.reader.weigh(size_bytes)
        if link.is_moving and not link.counts(dial, frame.bytes):
            return
        head = bytes(view[: self._head_bytes])
        end = head.find(TERMINATOR) + len(TERMINATOR)
        name = head[:end]
        topic = self._heard.get(name) or self._recognise(name)
        if topic is None:  # unsubscribed a moment ago, or no topic in it at all
            self._counters.dropped_malformed += end == 0
            return
        flow = self._counters.topics
        flow.frames_in += 1
        flow.bytes_in += size_bytes
        link.frames += 1
        link.size_bytes += size_bytes
        self._on_publication(link.peer_id, topic, view[end:])

    def _recognise(self, name: bytes) -> str | None:
        """The topic, if it is one that we subscribed to, or lies in a subtree that we did."""
        names = self._names
        if name not in names and not any(one in names for one in subtrees_above(name)):
            return None
        try:
            topic = name[: -len(TERMINATOR)].decode()
        except UnicodeDecodeError:
            self._counters.dropped_malformed += 1
            return None
        if len(self._heard) >= _MAX_HEARD:
            self._heard.clear()
        self._heard[name] = topic
        return topic

    def _link(self, peer_id: PeerId) -> None:
        link = self._links.get(peer_id)
        if link is None:
            link = self._links[peer_id] = _TopicLink(peer_id, self)
        link.target(self._aim_at(self._targets[peer_id], "topics"))

    def _prepare(self, socket: zmq.Socket[bytes]) -> None:
        for name in self._names:
            socket.setsockopt(zmq.SUBSCRIBE, name)
        if self._holding:
            socket.setsockopt(zmq.SUBSCRIBE, HOLD)


class _TopicLink:
    """The connection to one publisher, and while keys rotate the one before it.

    A move: the old connection is released and goes on; the new one comes up; both subscribe to the
    seam (`_seam` is set); each passes it, in any order; the old one is closed.
    """

    def __init__(self, peer_id: PeerId, links: TopicLinks) -> None:
        self.peer_id = peer_id
        self.frames = 0
        self.size_bytes = 0
        self._links = links
        self._dialler = links.new_dialler(self)
        self._old: Dial | None = None
        self._seam = b""
        self._is_past_seam = False  # the new one; it waits until the old one is there too
        self._later: Aim | None = None  # where to move when this move is over

    def target(self, aim: Aim) -> None:
        if self._seam:
            self._later = aim
            return
        dial = self._dialler.dial
        if dial is not None and self._old is None and not aim.fits(dial):
            self._old = self._dialler.release()
            dial.hand_to(self)
        self._dialler.target(aim)
        if self._links.wanted:
            self._dialler.start()

    def subscribe(self, name: bytes) -> None:
        for socket in self._sockets():
            socket.setsockopt(zmq.SUBSCRIBE, name)
        self._dialler.start()

    def unsubscribe(self, name: bytes) -> None:
        for socket in self._sockets():
            socket.setsockopt(zmq.UNSUBSCRIBE, name)

    def hold(self, hold: bool) -> None:
        for socket in self._sockets():
            socket.setsockopt(zmq.SUBSCRIBE if hold else zmq.UNSUBSCRIBE, HOLD)
        for dial in (self._old, self._dialler.dial):
            if dial is None:
                continue
            if hold:
                dial.reader.pause()
            elif dial is self._old or not self._is_past_seam:
                dial.reader.resume()

    def close(self) -> None:
        self._end_old()
        self._end_seam()
        self._later = None
        self._dialler.stop()

    def drop(self, is_over: Callable[[Dial], bool]) -> None:
        """End these connections, also when they are at work."""
        if self._old is not None and is_over(self._old):
            self._old.reader.finish()
            self._old_is_gone()
        dial = self._dialler.dial
        if dial is not None and is_over(dial):
            dial.reader.finish()
            self._dialler.stop()
            self.dialler_lost(dial, "")

    def leaves(self, own_public: bytes) -> bool:
        return self._old is not None and self._old.own_public == own_public

    @property
    def is_moving(self) -> bool:
        """Whether not everything that arrives counts."""
        return bool(self._seam)

    def counts(self, dial: Dial, message: bytes) -> bool:
        """Whether this message of a move is a publication that the other connection has not."""
        if message != self._seam:
            return dial is self._old or self._is_past_seam
        if dial is self._old:
            self._end_old()
            if self._is_past_seam:
                self._moved()
        elif self._old is None:
            self._moved()
        else:
            self._is_past_seam = True
            dial.reader.pause()
        return False

    def dialler_up(self, dial: Dial) -> None:
        """The socket sends its subscriptions by itself."""
        if self._links.holding:
            dial.reader.pause()
        if self._old is not None:
            self._seam = SEAM + secrets.token_bytes(_SEAM_BYTES)
            for socket in self._sockets():
                socket.setsockopt(zmq.SUBSCRIBE, self._seam)

    def dialler_lost(self, dial: Dial, reason: str) -> None:
        self._end_seam()
        if self._later is not None:
            aim, self._later = self._later, None
            self.target(aim)
        self._dialler.start()

    def dialler_refused(self, reason: str) -> None:
        """The control lane is refused too, and reported."""

    def dialler_message(self, dial: Dial) -> None:
        self._links.take(self, dial)

    def dial_up(self, dial: Dial) -> None:
        raise AssertionError("what was released was up before")

    def dial_ended(self, dial: Dial, reason: str, refused: bool) -> None:
        """The old one is gone before its time; what it had not brought is a gap."""
        if dial is self._old:
            self._old_is_gone()

    def dial_message(self, dial: Dial) -> None:
        self._links.take(self, dial)

    def _old_is_gone(self) -> None:
        self._end_old()
        if self._seam:
            self._moved()

    def _moved(self) -> None:
        """The new connection is the only one."""
        self._end_seam()
        dial = self._dialler.dial
        if dial is not None and not self._links.holding:
            dial.reader.resume()
        if self._later is not None:
            aim, self._later = self._later, None
            self.target(aim)

    def _end_old(self) -> None:
        if self._old is not None:
            self._old.close()
            self._old = None

    def _end_seam(self) -> None:
        if self._seam:
            for socket in self._sockets():
                socket.setsockopt(zmq.UNSUBSCRIBE, self._seam)
        self._seam = b""
        self._is_past_seam = False

    def _sockets(self) -> list[zmq.Socket[bytes]]:
        """Those at work, connected or not yet."""
        old = self._old.socket if self._old is not None else None
        return [one for one in (old, self._dialler.socket) if one is not None]

"""Two cores and what lies between them: connections that keep order until they break.

Whatever is on a connection when it breaks is lost; what waits for one leaves on the next, or is
given up when none can be made. The side that sent is always told, some time later; what it says
before it is told goes to the next connection. The other side may be told or not.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from random import Random

from p2p.streams.arriving import Taken
from p2p.streams.core import End, State, StreamCore, StreamSettings
from p2p.streams.outgoing import cost_of
from p2p.streams.verbs import Say, Verb

WINDOW = 4096
SETTINGS = StreamSettings(window=WINDOW)
Item = Say | tuple[int, bytes | None]


class Side:
    """One core, its program, and its half of the connections."""

    def __init__(self, name: str, *, is_opener: bool) -> None:
        self.name = name
        self.core = StreamCore(SETTINGS, 0, is_opener=is_opener)
        self.outbox: deque[Item] = deque()  # waits for a connection
        self.wire: deque[Item] = deque()
        self.late: deque[Item] = deque()  # from a broken connection, and not read there yet
        self.to_tell: deque[bool] = deque()  # broken connections that we know nothing of: wait?
        self.written: list[bytes] = []
        self.read: list[bytes] = []
        self.is_known = is_opener  # the other side knows of the stream when it was asked
        self.room = 1000

    def pump(self, now_ms: int) -> None:
        """Hand over what is to be said, as far as there is room."""
        core, outgoing = self.core, self.core.outgoing
        while len(self.outbox) + len(self.wire) < self.room:
            if core.has_says:
                say = core.next_say()
                self.outbox.append(say)
                core.said(say.verb, now_ms)
            elif core.may_send and outgoing.has_unsent():
                run = outgoing.unsent_run(150, 1000, 3)
                for chunk in run or [outgoing.first_unsent()]:
                    self.outbox.append((outgoing.next, None if chunk is None else bytes(chunk)))
                    outgoing.handed_over()
            else:
                return

    def write(self, chunk: bytes) -> bool:
        core = self.core
        if core.state is not State.OPEN or core.outgoing.is_finished:
            return False
        if not core.outgoing.may_take(len(chunk)):
            return False
        core.outgoing.take(chunk)
        self.written.append(chunk)
        return True

    def read_one(self) -> bool:
        arriving = self.core.arriving
        if not arriving.waiting:
            return False
        chunk, is_due = arriving.read()
        self.read.append(chunk)
        if is_due:
            self.core.tell()
        return True


class Pair:
    """The opener and the other side."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.now_ms = 0
        self.a = Side("a", is_opener=True)
        self.b = Side("b", is_opener=False)
        self.is_up = True
        self.most_waiting = 0

    def other(self, side: Side) -> Side:
        return self.b if side is self.a else self.a

    def deliver(self, side: Side) -> bool:
        """Hand the first item that this side sent to the other."""
        self.pump()
        if not side.wire and not side.late:
            return False
        from_late = side.late and (not side.wire or self.rng.random() < 0.5)
        self.take(self.other(side), (side.late if from_late else side.wire).popleft())
        self.check()
        return True

    def pump(self) -> None:
        for side in (self.a, self.b):
            if side.is_known:
                side.pump(self.now_ms)
            if self.is_up:
                side.wire.extend(side.outbox)
                side.outbox.clear()

    def take(self, side: Side, item: Item) -> None:
        """What the shell does with a message."""
        core, now_ms = side.core, self.now_ms
        if isinstance(item, tuple) and not isinstance(item, Say):
            number, chunk = item
            taken = (
                core.on_end(number, now_ms)
                if chunk is None
                else core.on_chunk(number, chunk, now_ms)
            )
            assert taken in (Taken.YES, Taken.AGAIN, Taken.GAP), taken
            return
        good = True
        match item.verb:
            case Verb.OPEN if not side.is_known:
                side.is_known = True
                core.outgoing.acknowledge(0, item.credit)
            case Verb.OPEN:
                core.on_open()
            case Verb.ACCEPT:
                core.on_accept(item.credit, now_ms)
            case Verb.CREDIT:
                good = core.on_credit(item.expected, item.credit, now_ms)
            case Verb.RESUME if core.end is End.DONE:  # the memory of ended streams answers
                said = Say(Verb.RESUMED, core.arriving.expected, 0, item.epoch, core.outgoing.sent)
                side.outbox.append(said)
            case Verb.RESUME:
                good = core.on_resume(item, now_ms)
            case Verb.RESUMED:
                good = core.on_resumed(item, now_ms)
        assert good, f"{side.name} calls {item} impossible"

    def cut(self) -> None:
        """The connection breaks in both directions; who had something on it is told later."""
        for side in (self.a, self.b):
            told = bool(side.wire) or self.rng.random() < 0.7
            if self.rng.random() < 0.5:
                side.late.extend(islice(side.wire, self.rng.randint(0, len(side.wire))))
            side.wire.clear()
            if told:
                side.to_tell.append(False)
        self.is_up = False

    def give_up(self) -> None:
        """No connection could be made: what waits is gone."""
        for side in (self.a, self.b):
            if side.outbox:
                side.outbox.clear()
                side.to_tell.append(True)

    def tell(self, side: Side) -> None:
        if side.to_tell:
            wait = side.to_tell.popleft()
            if side.is_known:
                side.core.link_down(self.now_ms, wait=wait)

    def pass_time(self, ms: int) -> None:
        self.now_ms += ms
        for side in (self.a, self.b):
            if side.is_known and self.now_ms >= side.core.deadline_ms:
                side.core.tick(self.now_ms)

    def settle(self, limit_ms: int = 200_000) -> None:
        """No more breaks: let everything that is under way arrive, reading all the while."""
        self.is_up = True
        until_ms = self.now_ms + limit_ms
        while self.now_ms < until_ms and not all(
            s.core.state is State.ENDED and not s.core.has_says for s in (self.a, self.b)
        ):
            for side in (self.a, self.b):
                while side.to_tell:
                    self.tell(side)
                while self.deliver(side) or side.read_one():
                    pass
            self.pass_time(100)
        for side in (self.a, self.b):
            while side.read_one():
                pass

    def check(self) -> None:
        for side in (self.a, self.b):
            side.core.check_invariants()
            other = self.other(side)
            assert side.read == other.written[: len(side.read)], "in order, each once"
            waiting = sum(cost_of(len(chunk)) for chunk in side.core.arriving.waiting)
            self.most_waiting = max(self.most_waiting, waiting)
            kept = side.core.outgoing.cost - sum(map(cost_of, map(len, side.written))) + waiting
            assert kept <= WINDOW

    def random_step(self) -> None:
        """Anything that can happen, but for the end."""
        rng = self.rng
        if rng.random() < 0.05:
            self.a.room, self.b.room = rng.choice((1, 2, 5, 1000)), rng.choice((1, 2, 5, 1000))
        side = rng.choice((self.a, self.b))
        draw = rng.random()
        if draw < 0.35:
            side.write(rng.randbytes(rng.choice((0, 1, 63, 64, 65, 500, 2000, WINDOW - 64))))
        elif draw < 0.65:
            for _ in range(rng.randint(1, 8)):
                self.deliver(side)
        elif draw < 0.82:
            side.read_one()
        elif draw < 0.92:
            self.pass_time(rng.choice((1, 20, 100, 100, 1000)))
        elif draw < 0.95 and self.is_up:
            self.cut()
        elif draw < 0.99:
            self.tell(side)
            self.is_up = self.is_up or rng.random() < 0.5
        elif not self.is_up:
            self.give_up()
        self.pump()
        self.check()

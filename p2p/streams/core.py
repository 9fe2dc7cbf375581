"""One stream at one side: both directions, and what happens when connections break.

A core without I/O. Methods take what happened and return what is to be said; chunks are handed
over by the shell, which asks `outgoing.first_unsent()` while `may_send`.

States: OPENING (asked, not answered), OPEN, ENDED. Beside that a doubt: a connection broke, a
chunk is missing, or nothing was heard of what is owed. While there is one, nothing is sent but
`resume`, again and again; it says what we expect next, so the other side sends again from there,
and its `resumed` says the same to us and ends the doubt. A doubt that lasts `resume_ms` ends the
stream.

Ends: DONE (both sides have everything), LOST, ABORTED (with a fault, ours or theirs).

What this module does not know: connections, time (it is passed in), who reads and writes.

Invariants: those of both directions; nothing is sent before the stream is open or after its end;
a stream ends once.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import NamedTuple

from p2p.streams.arriving import Arriving, Taken
from p2p.streams.outgoing import Outgoing


class Verb(StrEnum):
    """What an envelope of a stream says; it is the envelope's target."""

    OPEN = "open"
    ACCEPT = "accept"
    REFUSE = "refuse"
    CHUNK = ""
    END = "end"
    CREDIT = "credit"
    RESUME = "resume"
    RESUMED = "resumed"
    ABORT = "abort"


class Say(NamedTuple):
    """One message without a chunk."""

    verb: Verb
    number: int = 0
    credit: int = 0


class State(Enum):
    OPENING = auto()
    OPEN = auto()
    ENDED = auto()


class End(Enum):
    DONE = auto()
    LOST = auto()
    ABORTED = auto()


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """Times in milliseconds, the window as a cost.

    Attributes:
        window: how much may wait unread; at least a chunk of the largest size.
        resume_ms: so long a connection may be away.
        retry_ms: between two attempts to resume.
        silence_ms: so long nothing may be heard of what is owed before we ask.
    """

    window: int = 8 * 1024 * 1024
    resume_ms: int = 30_000
    retry_ms: int = 500
    silence_ms: int = 5_000


class StreamCore:
    """One side of one stream.

    Args:
        is_opener: whether this side asked for it.
    """

    def __init__(self, settings: StreamSettings, now_ms: int, *, is_opener: bool) -> None:
        self.outgoing = Outgoing()
        self.arriving = Arriving(settings.window)
        self.state = State.OPENING if is_opener else State.OPEN
        self.end: End | None = None
        self.resumed = 0  # how often a doubt was settled
        self._settings = settings
        self._heard_ms = now_ms
        self._doubt_since_ms: int | None = None
        self._next_try_ms = 0

    @property
    def may_send(self) -> bool:
        """Whether chunks may be handed to the connection now."""
        return self.state is State.OPEN and self._doubt_since_ms is None

    @property
    def is_doubtful(self) -> bool:
        return self._doubt_since_ms is not None

    @property
    def deadline_ms(self) -> int | None:
        """When `tick` has something to do, or None."""
        if self.state is State.ENDED:
            return None
        if self._doubt_since_ms is not None:
            return min(self._next_try_ms, self._doubt_since_ms + self._settings.resume_ms)
        return self._heard_ms + self._settings.silence_ms if self._is_owed else None

    # -- what this side wants ------------------------------------------------------------------

    def wrote(self, now_ms: int) -> None:
        """The program wrote while nothing was owed: silence counts from now."""
        self._heard_ms = max(self._heard_ms, now_ms)

    def abort(self) -> None:
        """This side gives it up; the shell says why."""
        self._finish(End.ABORTED)

    # -- what the other side says --------------------------------------------------------------

    def on_accept(self, credit: int, now_ms: int) -> None:
        """It takes part. Said again where an `open` was repeated."""
        if self.state is State.OPENING:
            self.state = State.OPEN
            self._settle(now_ms)
        if self.state is State.OPEN:
            self.outgoing.acknowledge(0, credit)

    def on_chunk(self, number: int, chunk: bytes, now_ms: int) -> tuple[Taken, list[Say]]:
        """A chunk arrived."""
        self._heard_ms = now_ms
        taken = self.arriving.take(number, chunk)
        return taken, self._doubt(now_ms) if taken is Taken.GAP else []

    def on_end(self, number: int, now_ms: int) -> tuple[Taken, list[Say]]:
        """It has nothing more to say; what it had to say is here, or missing."""
        self._heard_ms = now_ms
        taken = self.arriving.take_end(number)
        if taken is Taken.GAP:
            return taken, self._doubt(now_ms)
        says = [Say(Verb.CREDIT, self.arriving.expected, self.arriving.grant())]
        self._end_when_done()
        return taken, says

    def on_credit(self, expected: int, credit: int, now_ms: int) -> bool:
        """It has everything before `expected`, and grants; False when that cannot be."""
        self._heard_ms = now_ms
        if not self.outgoing.acknowledge(expected, credit):
            return False
        self._end_when_done()
        return True

    def on_resume(
        self, expected: int, credit: int, now_ms: int, *, is_answer: bool
    ) -> tuple[bool, list[Say]]:
        """It says what it expects next; False when that cannot be."""
        if self.state is not State.OPEN or not self.outgoing.acknowledge(expected, credit):
            return self.state is not State.OPEN, []
        says: list[Say] = []
        if not is_answer or self._doubt_since_ms is not None:
            self.outgoing.rewind()
            self._settle(now_ms)
        if not is_answer:
            says.append(Say(Verb.RESUMED, self.arriving.expected, self.arriving.grant()))
        self._end_when_done()
        return True, says

    # -- connections and time ------------------------------------------------------------------

    def link_down(self, now_ms: int) -> None:
        """A connection ended, or could not be made; what was under way on it may be lost."""
        if self.state is not State.ENDED and self._doubt_since_ms is None:
            self._doubt_since_ms = now_ms
            self._next_try_ms = now_ms  # the transport dials when there is something to say

    def link_up(self, now_ms: int) -> list[Say]:
        """There is a connection again."""
        return self._try(now_ms) if self._doubt_since_ms is not None else []

    def tick(self, now_ms: int) -> list[Say]:
        """The deadline has passed."""
        deadline_ms = self.deadline_ms
        if deadline_ms is None or now_ms < deadline_ms:
            return []
        if self._doubt_since_ms is None:
            return self._doubt(now_ms)
        if now_ms - self._doubt_since_ms >= self._settings.resume_ms:
            self._finish(End.LOST)
            return []
        return self._try(now_ms)

    def check_invariants(self) -> None:
        self.outgoing.check_invariants()
        self.arriving.check_invariants()
        assert (self.state is State.ENDED) == (self.end is not None)

    @property
    def _is_owed(self) -> bool:
        return self.state is State.OPENING or self.outgoing.is_owed

    def _doubt(self, now_ms: int) -> list[Say]:
        if self._doubt_since_ms is not None:
            return []
        self._doubt_since_ms = now_ms
        return self._try(now_ms)

    def _try(self, now_ms: int) -> list[Say]:
        self._next_try_ms = now_ms + self._settings.retry_ms
        if self.state is State.OPENING:
            return [Say(Verb.OPEN)]
        return [Say(Verb.RESUME, self.arriving.expected, self.arriving.grant())]

    def _settle(self, now_ms: int) -> None:
        self._heard_ms = now_ms
        if self._doubt_since_ms is not None:
            self._doubt_since_ms = None
            self.resumed += 1

    def _end_when_done(self) -> None:
        if self.outgoing.is_over and self.arriving.has_end:
            self._finish(End.DONE)

    def _finish(self, end: End) -> None:
        if self.state is not State.ENDED:
            self.state = State.ENDED
            self.end = end
            self.outgoing.forget()

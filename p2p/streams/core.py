"""One stream at one side: both directions, and what happens when connections break.

A core without I/O. Its methods take what happened; what is to be said then, `next_say` returns,
and chunks are in `outgoing` while `may_send`. A thing that must be said is remembered as a wish
and not as a message, so nothing piles up however long nothing can be sent.

States: OPENING (asked, not answered), OPEN, ENDED. Beside that:

- doubt: a connection ended, and what was under way on it may be lost. No chunk is sent while it
  lasts.
- asking: `resume` says which chunk we expect next and how many we have handed over. Connections
  keep order, so the answer tells what is missing: it says which chunk of ours is expected, and we
  go back to there if more was handed over when we asked; it says how many were handed over to us,
  and we ask to go back if they did not all arrive. We ask in a doubt, when a number is missing,
  and when nothing is heard; a question that stays open for `resume_ms` without a word ends the
  stream.

Ends: DONE (both sides have everything), LOST, ABORTED (by either side).

What this module does not know: connections, time (it is passed in), who reads and writes.

Invariants: those of both directions; a doubt has a question; no chunk may be sent before the
stream is open, in doubt, or after its end; a stream ends once.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from p2p.streams.arriving import Arriving, Taken
from p2p.streams.outgoing import Outgoing
from p2p.streams.verbs import Say, Verb

NEVER = 2**62
LATE_MS = 2_000  # a tick so late means that this process stood still; others need not have


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
        resume_ms: so long a question may stay open.
        retry_ms: between two times that it is put.
        again_ms: after a connection could not be made, before it is put again.
        owed_ms: so long nothing may be heard of what is owed before we ask.
        idle_ms: so long nothing at all may be heard before we ask.
        tell_ms: what has arrived is acknowledged after so long at the latest.
    """

    window: int = 8 * 1024 * 1024
    resume_ms: int = 30_000
    retry_ms: int = 3_000
    again_ms: int = 500
    owed_ms: int = 3_000
    idle_ms: int = 10_000
    tell_ms: int = 50


class StreamCore:
    """One side of one stream.

    Args:
        is_opener: whether this side asked for it.

    Attributes:
        has_says: whether `next_say` has something.
        deadline_ms: when `tick` wants to be called; earlier is harmless.
        resumed: how often a doubt was settled.
        was_down: a connection ended while it was not answered: it may be open over there.
    """

    def __init__(self, settings: StreamSettings, now_ms: int, *, is_opener: bool) -> None:
        self.outgoing = Outgoing()
        self.arriving = Arriving(settings.window)
        self.state = State.OPENING if is_opener else State.OPEN
        self.end: End | None = None
        self.may_send = not is_opener
        self.has_says = True
        self.deadline_ms = now_ms + settings.owed_ms
        self.resumed = 0
        self.is_doubtful = False
        self.was_down = False
        self._settings = settings
        self._heard_ms = now_ms
        self._owed_ms = NEVER  # since when something is known to be owed
        self._tell_ms = NEVER
        self._is_asking = False
        self._asking_since_ms = 0
        self._ask_ms = NEVER  # when the question is put next
        self._epoch = 0  # of the question
        self._asked_sent = NEVER  # what was handed over before the question was first put
        self._is_missing = False  # they have handed over what did not arrive
        self._wants: dict[Verb, int] = {}  # what is to be said, once each; resumed: their epoch
        self._want(Verb.OPEN if is_opener else Verb.ACCEPT)
        if is_opener:
            self._ask(now_ms)

    # -- what this side does -------------------------------------------------------------------

    def tell(self) -> None:
        """The program has read a good part: say so."""
        if self.state is State.OPEN:
            self._want(Verb.CREDIT)

    def abort(self) -> None:
        """This side, or the other, gives it up; the shell says why."""
        self._finish(End.ABORTED)

    def next_say(self) -> Say:
        """Return what is to be said next; ask `has_says` first."""
        verb = next(iter(self._wants))
        arriving = self.arriving
        if verb is Verb.RESUME or verb is Verb.RESUMED:
            epoch = self._epoch if verb is Verb.RESUME else self._wants[verb]
            return Say(
                verb,
                arriving.expected,
                arriving.grant(),
                epoch,
                self.outgoing.next,
                verb is Verb.RESUME and self._is_missing,
            )
        return Say(verb, arriving.expected if verb is Verb.CREDIT else 0, arriving.grant())

    def said(self, verb: Verb, now_ms: int) -> None:
        """That has left."""
        del self._wants[verb]
        self.has_says = bool(self._wants)
        if verb is Verb.RESUME or verb is Verb.OPEN:
            self._ask_ms = now_ms + self._settings.retry_ms
            if self._asked_sent == NEVER:
                self._asked_sent = self.outgoing.next
            self.deadline_ms = min(self.deadline_ms, self._ask_ms)
        if verb is not Verb.OPEN:
            self._tell_ms = NEVER

    # -- what the other side says --------------------------------------------------------------

    def on_accept(self, credit: int, now_ms: int) -> None:
        """It takes part. Said again where an `open` was repeated."""
        self._heard_ms = now_ms
        if self.state is not State.OPENING:
            return
        self.state = State.OPEN
        self.may_send = True
        self.outgoing.acknowledge(0, credit)
        self._is_asking = self.is_doubtful = False
        self._drop(Verb.OPEN)
        if self.was_down or self._is_missing:  # an earlier acceptance, and more, may be lost
            self._ask(now_ms)

    def on_open(self) -> None:
        """It asks again: our answer was lost, or is late."""
        if self.state is State.OPEN:
            self._want(Verb.ACCEPT)

    def on_chunk(self, number: int, chunk: bytes, now_ms: int) -> Taken:
        """A chunk arrived."""
        if self.state is State.ENDED:
            return Taken.AGAIN
        self._heard_ms = now_ms
        taken = self.arriving.take(number, chunk)
        if taken is Taken.GAP:
            self._missed(now_ms)
        elif self._tell_ms == NEVER:
            self._tell_ms = now_ms + self._settings.tell_ms
            self.deadline_ms = min(self.deadline_ms, self._tell_ms)
        return taken

    def on_end(self, number: int, now_ms: int) -> Taken:
        """It has nothing more to say; what it had to say is here, or missing."""
        if self.state is State.ENDED:
            return Taken.AGAIN
        self._heard_ms = now_ms
        taken = self.arriving.take_end(number)
        if taken is Taken.GAP:
            self._missed(now_ms)
        elif self.state is State.OPEN:
            self._want(Verb.CREDIT)
        self._end_when_done()
        return taken

    def on_credit(self, expected: int, credit: int, now_ms: int) -> bool:
        """It has everything before `expected`, and grants; False when that cannot be."""
        if self.state is not State.OPEN:
            return True
        self._heard_ms = now_ms
        if not self.outgoing.acknowledge(expected, credit):
            return False
        self._end_when_done()
        return True

    def on_resume(self, say: Say, now_ms: int) -> bool:
        """It asks where we are, and says where it is; False when that cannot be."""
        if self.state is not State.OPEN:
            return True  # not open yet: an answer to our `open` comes, or came before
        self._heard_ms = now_ms
        if not self.outgoing.acknowledge(say.expected, say.credit):
            return False
        if say.is_missing or self.is_doubtful:
            self._go_back(say.expected)
        self._want(Verb.RESUMED, say.epoch)
        self._end_when_done()
        return True

    def on_resumed(self, say: Say, now_ms: int) -> bool:
        """It answers; False when that cannot be. The answer to an older question is stale."""
        if self.state is not State.OPEN:
            return True
        self._heard_ms = now_ms
        if not self.outgoing.acknowledge(say.expected, say.credit):
            return False
        if self._is_asking and say.epoch == self._epoch:
            self._is_asking = self._is_missing = False
            self._drop(Verb.RESUME)
            if self.is_doubtful or say.expected < self._asked_sent:
                self._go_back(say.expected)
            if say.sent > self.arriving.expected:
                self._missed(now_ms)
        self._end_when_done()
        return True

    # -- connections and time ------------------------------------------------------------------

    def ask(self, now_ms: int) -> None:
        """The other side may be gone, though no connection broke: let it say that it is there."""
        if self.state is State.OPEN and not self._is_asking:
            self._ask(now_ms)

    def link_down(self, now_ms: int, *, wait: bool = False) -> None:
        """A connection ended; what was under way on it may be lost.

        Args:
            wait: none could be made: ask again only after a while.
        """
        if self.state is State.ENDED:
            return
        self.was_down = True
        self.is_doubtful = self.state is State.OPEN
        self.may_send = False
        self._ask(now_ms, wait_ms=self._settings.again_ms if wait else 0)

    def tick(self, now_ms: int) -> None:
        """Time has passed."""
        if self.state is State.ENDED:
            return
        late_ms = now_ms - self.deadline_ms
        if late_ms > LATE_MS:  # what others said meanwhile waits to be read
            self._heard_ms = min(now_ms, self._heard_ms + late_ms)
            self._asking_since_ms = min(now_ms, self._asking_since_ms + late_ms)
        if now_ms >= self._tell_ms:
            self.tell()
        if self._is_asking:
            silent_ms = now_ms - max(self._asking_since_ms, self._heard_ms)
            if silent_ms >= self._settings.resume_ms:
                self._finish(End.LOST)
                return
            if now_ms >= self._ask_ms:
                self._put()
        else:
            self._listen(now_ms)
        self.deadline_ms = min(
            self._tell_ms if Verb.CREDIT not in self._wants else NEVER,
            self._ask_ms if self._is_asking and now_ms < self._ask_ms else NEVER,
            now_ms + self._settings.owed_ms,
        )

    def check_invariants(self) -> None:
        self.outgoing.check_invariants()
        self.arriving.check_invariants()
        assert (self.state is State.ENDED) == (self.end is not None)
        assert self.may_send == (self.state is State.OPEN and not self.is_doubtful)
        assert self._is_asking or not self.is_doubtful, "a doubt has a question"
        assert self.has_says == bool(self._wants)
        assert not self._is_missing or self._is_asking or self.state is State.ENDED

    def _listen(self, now_ms: int) -> None:
        """Ask when it is too quiet."""
        if self.outgoing.is_owed:
            self._owed_ms = min(self._owed_ms, now_ms)
            quiet_ms = now_ms - max(self._owed_ms, self._heard_ms)
            if quiet_ms >= self._settings.owed_ms:
                self._ask(now_ms)
        else:
            self._owed_ms = NEVER
            if now_ms - self._heard_ms >= self._settings.idle_ms:
                self._ask(now_ms)

    def _missed(self, now_ms: int) -> None:
        """They have handed over what did not arrive."""
        self._is_missing = True
        if not self._is_asking:
            self._ask(now_ms)

    def _ask(self, now_ms: int, wait_ms: int = 0) -> None:
        """Begin a question, or begin it anew: no answer that is under way counts."""
        if not self._is_asking:
            self._is_asking = True
            self._asking_since_ms = now_ms
        self._epoch += 1
        self._asked_sent = NEVER
        if wait_ms:
            self._drop(Verb.OPEN)
            self._drop(Verb.RESUME)
            self._ask_ms = now_ms + wait_ms
            self.deadline_ms = min(self.deadline_ms, self._ask_ms)
        else:
            self._put()

    def _put(self) -> None:
        self._want(Verb.OPEN if self.state is State.OPENING else Verb.RESUME)

    def _go_back(self, number: int) -> None:
        self.outgoing.rewind(number)
        self._asked_sent = min(self._asked_sent, self.outgoing.next)  # so the answer is no news
        if self.is_doubtful:
            self.is_doubtful = False
            self.may_send = True
            self.resumed += 1

    def _want(self, verb: Verb, epoch: int = 0) -> None:
        self._wants[verb] = epoch
        self.has_says = True

    def _drop(self, verb: Verb) -> None:
        self._wants.pop(verb, None)
        self.has_says = bool(self._wants)

    def _end_when_done(self) -> None:
        if self.arriving.has_end and self.outgoing.is_over and self.state is State.OPEN:
            self._finish(End.DONE)

    def _finish(self, end: End) -> None:
        if self.state is State.ENDED:
            return
        self.state = State.ENDED
        self.end = end
        self.may_send = self.is_doubtful = self._is_asking = self._is_missing = False
        self.deadline_ms = NEVER
        self.outgoing.forget()
        kept = {Verb.CREDIT, Verb.RESUMED} if end is End.DONE else set()
        self._wants = {verb: epoch for verb, epoch in self._wants.items() if verb in kept}
        self.has_says = bool(self._wants)

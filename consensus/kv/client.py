"""A client's side of a session: numbers its requests, and says what became of each.

A request is encoded once and sent again as the same bytes for as long as its outcome is not known;
within a session that is always safe. The outcome is one of

    Done       it ran; the results say what each operation did
    Refused    it certainly changed nothing
    Unknown    it may have run, once, or may still; the caller reads before it goes on

A request without a reply stays in flight, however long that takes: only a reply, `abandon` or the
end of the session settle it. It is taken for granted that no other copies are sent than those made
here, and that a client's id is used by one `ClientSession` only.

Invariants: a request is settled exactly once; everything up to `acknowledged` is settled; no more
than WINDOW sequences lie behind it.
What this module does not know: how commands travel, time, which node leads.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple, TypeVar

from consensus.kv.commands import (
    Operation,
    encode,
    encode_batch,
    encode_end_session,
    encode_keep_alive,
    encode_register,
)
from consensus.kv.errors import SessionNotOpen, WindowFull
from consensus.kv.model import WINDOW, ClientId, Refusal, Reply, Result, SessionRef

# What every copy of the same bytes is told, whenever it is applied.
_ALWAYS: Final = (Refusal.MALFORMED, Refusal.SEQUENCE_INVALID)


class Sent(NamedTuple):
    """Bytes to propose, and the sequence under which their reply is reported."""

    sequence: int
    command: bytes


class Done(NamedTuple):
    sequence: int
    results: tuple[Result, ...]


class Refused(NamedTuple):
    """`results` has one item if a single operation was judged, none if no operation was."""

    sequence: int
    refusal: Refusal
    results: tuple[Result, ...] = ()


class Unknown(NamedTuple):
    """`refusal` is what the last copy was told, if it was told anything."""

    sequence: int
    refusal: Refusal | None = None


Outcome = Done | Refused | Unknown
AnOutcome = TypeVar("AnOutcome", bound=Outcome)


class _InFlight:
    __slots__ = ("batch", "command", "copies", "lost")

    def __init__(self, command: bytes, batch: bool) -> None:
        self.command = command
        self.batch = batch
        self.copies = 1
        self.lost = False


class ClientSession:
    """One session of one client.

    Args:
        client: 16 bytes drawn at random for this session, as 32 lowercase hex digits.
        ttl_ms: for how long the session lives unused, in ledger time.
    """

    def __init__(self, client: ClientId, ttl_ms: int) -> None:
        self.client = client
        self.ttl_ms = ttl_ms
        self.number: int | None = None  # log index of the registration
        self.gone = False
        self.acknowledged = 0
        self._last = 0
        self._in_flight: dict[int, _InFlight] = {}  # by sequence, ascending

    # -- the session ---------------------------------------------------------------------------

    def register(self) -> bytes:
        """The command that opens the session; it may be sent again until it is answered."""
        return encode_register(self.client, self.ttl_ms)

    def registered(self, reply: Reply) -> int:
        """The registration was answered: the session's number.

        Raises:
            SessionNotOpen: it was refused.
        """
        refusal = reply.refusal or reply.results[0].refusal
        if refusal is not None:
            raise SessionNotOpen(self.client, f"its registration was refused: {refusal}")
        number = reply.results[0].token
        if self.number is not None and number != self.number:
            self.gone = True  # the first one ended meanwhile, and this is another
            raise SessionNotOpen(self.client, f"session {self.number} ended, {number} is another")
        self.number = number
        return number

    def keep_alive(self) -> bytes:
        """The command that keeps an idle session; any request does, too.

        Raises:
            SessionNotOpen.
        """
        return encode_keep_alive(self.client, self._number())

    def end(self) -> bytes:
        """The command that ends the session and releases what is tied to it.

        Raises:
            SessionNotOpen.
        """
        return encode_end_session(self.client, self._number())

    def close(self) -> tuple[Unknown, ...]:
        """Make no more requests; settle those in flight as unknown."""
        self.gone = True
        return tuple(self.abandon(sequence) for sequence in list(self._in_flight))

    # -- requests ------------------------------------------------------------------------------

    def request(self, op: Operation) -> Sent:
        """Number and encode one operation.

        Raises:
            SessionNotOpen.
            WindowFull: too many sequences since the oldest without an outcome.
        """
        ref = self._next()
        return self._send(ref, encode(op, ref), batch=False)

    def request_batch(self, ops: Iterable[Operation]) -> Sent:
        """Number and encode several operations; they fail each for itself.

        Raises:
            SessionNotOpen.
            WindowFull: too many sequences since the oldest without an outcome.
        """
        ref = self._next()
        return self._send(ref, encode_batch(ops, ref), batch=True)

    def replied(self, sequence: int, reply: Reply) -> Outcome | None:
        """A copy was applied; the outcome, or None if it is settled already or must be resent."""
        flight = self._in_flight.get(sequence)
        if flight is None:
            return None
        if reply.refusal is None:
            return self._settle(sequence, _outcome_of(sequence, flight, reply))
        if reply.refusal is Refusal.WINDOW_FULL:
            flight.lost = True  # not run; a later copy will be, once others are settled
            return None
        if reply.refusal is Refusal.SESSION_GONE:
            self.gone = True
        definite = reply.refusal in _ALWAYS or (
            reply.refusal is Refusal.SESSION_GONE and flight.copies == 1
        )
        outcome = Refused if definite else Unknown
        return self._settle(sequence, outcome(sequence, reply.refusal))

    def lost(self, sequence: int) -> None:
        """No reply came, or none will: the request is to be sent again."""
        flight = self._in_flight.get(sequence)
        if flight is not None:
            flight.lost = True

    def to_resend(self) -> tuple[Sent, ...]:
        """The requests to send again now, oldest first; each is given out once per loss."""
        found = []
        for sequence, flight in self._in_flight.items():
            if flight.lost:
                flight.lost = False
                flight.copies += 1
                found.append(Sent(sequence, flight.command))
        return tuple(found)

    def abandon(self, sequence: int) -> Unknown:
        """Nobody waits for this outcome any more. Once a later request says so to the store, it
        will not run if it did not yet."""
        assert sequence in self._in_flight, sequence
        return self._settle(sequence, Unknown(sequence))

    @property
    def in_flight(self) -> tuple[int, ...]:
        """Sequences without an outcome, oldest first."""
        return tuple(self._in_flight)

    def check_invariants(self) -> None:
        assert all(sequence > self.acknowledged for sequence in self._in_flight)
        assert self._last <= self.acknowledged + WINDOW
        assert list(self._in_flight) == sorted(self._in_flight)

    # -- within --------------------------------------------------------------------------------

    def _number(self) -> int:
        if self.number is None:
            raise SessionNotOpen(self.client, "it was not registered")
        if self.gone:
            raise SessionNotOpen(self.client, "it has ended")
        return self.number

    def _next(self) -> SessionRef:
        number = self._number()
        if self._last >= self.acknowledged + WINDOW:
            raise WindowFull(self.client, self.acknowledged + 1, WINDOW)
        return SessionRef(self.client, number, self._last + 1, self.acknowledged)

    def _send(self, ref: SessionRef, command: bytes, *, batch: bool) -> Sent:
        self._last = ref.sequence
        self._in_flight[ref.sequence] = _InFlight(command, batch)
        return Sent(ref.sequence, command)

    def _settle(self, sequence: int, outcome: AnOutcome) -> AnOutcome:
        del self._in_flight[sequence]
        self.acknowledged = next(iter(self._in_flight), self._last + 1) - 1
        return outcome


def _outcome_of(sequence: int, flight: _InFlight, reply: Reply) -> Outcome:
    refusal = None if flight.batch else reply.results[0].refusal
    if refusal is not None:
        return Refused(sequence, refusal, reply.results)
    return Done(sequence, reply.results)

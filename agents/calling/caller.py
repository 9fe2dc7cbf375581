"""Calls: find who offers a capability, ask, and try another where that is safe.

A call goes to the next provider after a refusal that is definite: unreachable, overloaded, or no
longer offered there. When it is unknown whether it was done (the connection was lost, or the time
for one attempt is over), it is made again only where all who offer the capability declare it
idempotent, after a wait with jitter, while the budget for repeats lasts. All of it ends with the
deadline, and inside a handler with that handler's.

What this module does not know: how handlers run, what arguments mean, tasks.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence

from agents.calling.choosers import Choosers, Providers, outcome_of
from agents.calling.messages import CALL, LOW, NORMAL
from agents.choosing import BALANCERS, Chooser, Destination, Outcome, backoff_ms
from agents.errors import CircuitOpen, InvalidArguments
from agents.hosting import handler_deadline_ms
from keys import PeerId
from p2p import (
    Clock,
    ConnectionLost,
    DeadlineExceeded,
    NoSuchMethod,
    Overloaded,
    P2PError,
    Peer,
    PeerUnreachable,
    QueueFull,
)

NEXT_MAY_DO = (PeerUnreachable, QueueFull, Overloaded, NoSuchMethod)  # and this one did not
MAY_BE_DONE = (ConnectionLost, DeadlineExceeded)
ABOUT_MS = 50  # the other side counts the same milliseconds, and may be the first to notice


class Wishes:
    """How a caller wants to be served, as it was said.

    Attributes:
        to: this peer and no other.
        balance: a name of `BALANCERS`, or empty for what the providers declare.
        key: for `consistent_hash`.
        priority: 0 low, 1 normal, 2 high.
        attempt_s: an idempotent capability is asked elsewhere after so long.
        among: nobody but these, where it is said.
    """

    __slots__ = ("among", "attempt_s", "balance", "key", "priority", "to")

    def __init__(
        self,
        to: PeerId | None = None,
        balance: str = "",
        key: str | None = None,
        priority: int = NORMAL,
        attempt_s: float | None = None,
    ) -> None:
        self.to = to
        self.balance = balance
        self.key = key
        self.priority = priority
        self.attempt_s = attempt_s
        self.among: frozenset[str] | None = None

    def check(self, capability: str) -> None:
        """Check what can never work.

        Raises:
            InvalidArguments: no such balancer, or a key is missing.
        """
        if self.balance and self.balance not in BALANCERS:
            known = ", ".join(BALANCERS)
            raise InvalidArguments(capability, f"balance {self.balance!r} is none of {known}")
        if self.balance == "consistent_hash" and self.key is None:
            raise InvalidArguments(capability, "balance 'consistent_hash' needs a key")

    def named(self) -> list[PeerId] | None:
        """Return who may be asked, or None where that is not said."""
        if self.to is not None:
            return [self.to]
        if self.among is not None:
            return [PeerId(peer) for peer in sorted(self.among)]
        return None


class Course:
    """The way of one message from provider to provider.

    Attributes:
        unknown: the failure after which it may have been done, if there was one.
    """

    __slots__ = ("failure", "refused", "repeats", "unknown", "unsure")

    def __init__(self) -> None:
        self.refused: list[Destination] = []
        self.unsure: list[Destination] = []
        self.failure: P2PError | None = None
        self.unknown: P2PError | None = None
        self.repeats = 0


class Caller:
    """Makes the calls of one node.

    Args:
        nobody: makes the error for a capability that nobody offers.
    """

    def __init__(
        self,
        peer: Peer,
        choosers: Choosers,
        clock: Clock,
        rng: random.Random,
        nobody: Callable[[str], Exception],
    ) -> None:
        self._peer = peer
        self._choosers = choosers
        self._now_ms = clock.now_ms
        self._rng = rng
        self._nobody = nobody

    def deadline_ms(self, timeout_s: float) -> int:
        """Return when what begins now must end: no later than the handler that wants it."""
        deadline_ms = self._now_ms() + int(timeout_s * 1000)
        above_ms = handler_deadline_ms()
        return deadline_ms if above_ms is None else min(deadline_ms, above_ms)

    async def call(
        self, capability: str, message: bytes, deadline_ms: int, wishes: Wishes
    ) -> bytes:
        """Ask a provider and return its encoded answer; see `Net.call` for what it raises."""
        course = Course()
        while True:
            providers = self._choosers.of(capability)
            now_ms = self._now_ms()
            named = wishes.named()
            if providers is None or (
                named is not None and not any(map(providers.chooser.of, named))
            ):
                return await self._call_unknown(
                    capability, message, deadline_ms, named or [], wishes.priority, course
                )
            if course.failure is None:
                providers.chooser.budget.deposit()
            one = self.next(capability, providers.chooser, wishes, course, now_ms)
            left_s = self._left_s(capability, deadline_ms, now_ms, course)
            if wishes.attempt_s is not None and providers.is_idempotent:
                left_s = min(left_s, wishes.attempt_s)
            try:
                return await self.attempt(
                    providers.chooser,
                    one,
                    CALL,
                    message,
                    left_s,
                    capability,
                    wishes.priority,
                    now_ms,
                )
            except NEXT_MAY_DO as error:
                course.failure = error
                course.refused.append(one)
            except MAY_BE_DONE as error:
                course.failure = course.unknown = error
                course.unsure.append(one)
                if not await self._may_repeat(providers, course, deadline_ms):
                    raise

    async def _call_unknown(
        self,
        capability: str,
        message: bytes,
        deadline_ms: int,
        named: list[PeerId],
        priority: int,
        course: Course,
    ) -> bytes:
        """Ask those named, one after another: what they offer has not come to us yet."""
        self._rng.shuffle(named)
        for peer in named if course.failure is None else ():
            left_s = self._left_s(capability, deadline_ms, self._now_ms(), course)
            try:
                return await self._peer.request(
                    peer, CALL, message, timeout_s=left_s, what=capability, priority=priority
                )
            except NEXT_MAY_DO as error:
                course.failure = error
        raise course.unknown or course.failure or self._nobody(capability)

    def next(
        self,
        capability: str,
        chooser: Chooser,
        wishes: Wishes,
        course: Course,
        now_ms: int,
    ) -> Destination:
        """Return whom to ask next.

        Raises:
            P2PError: nobody is left, and this is why.
            CircuitOpen: nobody was asked and nobody may be.
        """
        one: Destination | None
        if wishes.to is not None:
            one = chooser.of(wishes.to)
            if one in course.refused or (one is not None and not chooser.may_pass(one, now_ms)):
                one = None
        else:
            refused: Sequence[Destination] = course.refused
            if wishes.among is not None:
                others = [d for d in chooser.providers if d.peer not in wishes.among]
                refused = [*refused, *others]
            tried = [*refused, *course.unsure] if course.unsure else refused
            one = chooser.choose(wishes.balance, wishes.key, now_ms, tried)
            if one is None and course.unsure:
                one = chooser.choose(wishes.balance, wishes.key, now_ms, refused)
        if one is not None:
            return one
        if course.failure is not None:
            raise course.unknown or course.failure
        meant = chooser.providers
        if wishes.among is not None:
            meant = tuple(d for d in meant if d.peer in wishes.among)
        asked = [d for d in meant if wishes.to in (None, d.peer)]
        labels = tuple(self._peer.label(PeerId(d.peer)) for d in asked)
        left_ms = min((d.breaker.left_ms(now_ms) for d in asked), default=0)
        raise CircuitOpen(capability, labels, left_ms)

    async def attempt(
        self,
        chooser: Chooser,
        one: Destination,
        method: str,
        payload: bytes,
        timeout_s: float,
        what: str,
        priority: int,
        now_ms: int,
    ) -> bytes:
        """Ask one provider, and remember how it did."""
        time = asyncio.get_running_loop().time
        began_s = time()
        is_probe = chooser.begin(one, now_ms)
        outcome = Outcome.ABANDONED
        try:
            answer = await self._peer.request(
                PeerId(one.peer),
                method,
                payload,
                timeout_s=timeout_s,
                what=what,
                priority=priority,
            )
            outcome = Outcome.ANSWERED
            return answer
        except P2PError as error:
            if self.tells(error, one, priority):
                outcome = outcome_of(error)
            raise
        finally:
            took_us = int((time() - began_s) * 1_000_000)
            chooser.end(one, is_probe, outcome, took_us, now_ms + took_us // 1000)

    def tells(self, error: P2PError, one: Destination, priority: int) -> bool:
        """Whether an error says anything of the provider."""
        if not isinstance(error, (Overloaded, QueueFull)):
            return True
        if priority == LOW:
            return False  # room is kept from it on purpose
        # An error in our own name: our own table is full, and nothing left this node.
        return error.peer != self._peer.name or one.peer == self._peer.peer_id

    def _left_s(self, capability: str, deadline_ms: int, now_ms: int, course: Course) -> float:
        if deadline_ms > now_ms:
            return (deadline_ms - now_ms) / 1000
        if course.failure is not None:
            raise course.unknown or course.failure
        raise nobody_was_asked(capability)

    async def _may_repeat(self, providers: Providers, course: Course, deadline_ms: int) -> bool:
        """Wait and return True where doing it twice is harmless and can be paid for."""
        course.repeats += 1
        wait_ms = backoff_ms(course.repeats, self._rng)
        now_ms = self._now_ms()
        if not providers.is_idempotent or now_ms + wait_ms >= deadline_ms:
            return False
        if not providers.chooser.budget.take(now_ms):
            return False
        await asyncio.sleep(wait_ms / 1000)
        return True


def as_asked(
    error: DeadlineExceeded, asked_s: float, deadline_ms: int, now_ms: int
) -> DeadlineExceeded:
    """Return the error with the time that was asked for, where all of it has passed.

    What failed may have been one attempt, which had what was left then.
    """
    is_ours = deadline_ms != handler_deadline_ms()
    if error.definite or not is_ours or now_ms + ABOUT_MS < deadline_ms:
        return error
    return DeadlineExceeded(error.peer, error.what, asked_s)


def nobody_was_asked(capability: str) -> DeadlineExceeded:
    """Return the error for a deadline that passed before anybody was asked."""
    error = DeadlineExceeded("nobody yet", capability, 0)
    error.definite = True
    return error

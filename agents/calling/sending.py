"""Notices, acknowledged messages and broadcasts: what is sent without waiting for a result.

A message of `send` is repeated under the same number to the same receiver while it is unknown
whether it was accepted, until the deadline. It goes to another provider only after the first one
certainly did not accept it. It is never repeated to another start of the receiver, which would
know nothing of what the first accepted.

What this module does not know: how handlers run, what arguments mean.
"""

from __future__ import annotations

import asyncio
import random

from agents.calling.caller import NEXT_MAY_DO, Caller, Course, Wishes, nobody_was_asked
from agents.calling.choosers import Choosers
from agents.calling.messages import (
    ACCEPTED,
    NOTIFY,
    RESTARTED,
    SEND,
    Sent,
    read_verdict,
)
from agents.calling.window import KEEP_MS, Numbers
from agents.choosing import Chooser, Destination, Outcome, backoff_ms
from agents.directory import Directory
from agents.errors import InvalidArguments
from agents.hosting import to_bytes
from keys import PeerId
from p2p import (
    Clock,
    ConnectionLost,
    DeadlineExceeded,
    P2PError,
    Peer,
    PeerUnreachable,
    QueueFull,
    RemoteError,
)

FIRST_ATTEMPT_S = 1.0  # a receiver answers before the handler runs, so this is long
LONGEST_ATTEMPT_S = 8.0
MAX_DEADLINE_MS = KEEP_MS // 2  # well before receivers forget a silent sender


class Sending:
    """Sends the messages of one node that want no result."""

    def __init__(
        self,
        peer: Peer,
        caller: Caller,
        choosers: Choosers,
        directory: Directory,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self._peer = peer
        self._caller = caller
        self._choosers = choosers
        self._directory = directory
        self._now_ms = clock.now_ms
        self._rng = rng
        self._numbers: dict[PeerId, Numbers] = {}

    def notify(self, capability: str, message: bytes, wishes: Wishes) -> bool:
        """Send a notice to one provider; False where nobody offers the capability.

        Raises:
            CircuitOpen, PeerUnreachable, QueueFull, PayloadTooLarge: it was not sent.
        """
        course = Course()
        while True:
            providers = self._choosers.of(capability)
            chooser = providers.chooser if providers is not None else None
            if chooser is None or (wishes.to is not None and chooser.of(wishes.to) is None):
                if wishes.to is None:
                    return False
                self.notify_peer(wishes.to, message, wishes.priority)
                return True
            now_ms = self._now_ms()
            one = self._caller.next(capability, chooser, wishes, course, now_ms)
            try:
                self.notify_peer(PeerId(one.peer), message, wishes.priority)
            except (PeerUnreachable, QueueFull) as error:
                is_probe = chooser.begin(one, now_ms)
                chooser.end(one, is_probe, Outcome.FAILED, 0, now_ms)
                course.failure = error
                course.refused.append(one)
            else:
                return True

    def notify_peer(self, to: PeerId, message: bytes, priority: int) -> None:
        """Send a notice to one peer, whatever is known of it.

        Raises:
            PeerUnreachable, QueueFull, PayloadTooLarge: it was not sent.
        """
        self._peer.notify(to, NOTIFY, to_bytes([priority, message]), priority=priority)

    async def send(self, capability: str, message: bytes, deadline_ms: int, wishes: Wishes) -> bool:
        """Return True when a provider has accepted it; False where nobody offers the capability.

        Raises:
            CircuitOpen, RemoteError, PeerUnreachable, QueueFull: nobody accepted it.
            ConnectionLost, DeadlineExceeded: one may have accepted it.
        """
        self._check(capability, deadline_ms)
        course = Course()
        while True:
            providers = self._choosers.of(capability)
            chooser = providers.chooser if providers is not None else None
            if chooser is None or (wishes.to is not None and chooser.of(wishes.to) is None):
                if wishes.to is None:
                    return False
                await self.deliver(wishes.to, capability, message, deadline_ms, wishes.priority)
                return True
            one = self._caller.next(capability, chooser, wishes, course, self._now_ms())
            try:
                await self._deliver(chooser, one, capability, message, deadline_ms, wishes)
            except NEXT_MAY_DO as error:
                course.failure = error
                course.refused.append(one)
            else:
                return True

    async def deliver(
        self, to: PeerId, capability: str, message: bytes, deadline_ms: int, priority: int
    ) -> None:
        """Have one peer accept it, whether or not it says that it offers the capability."""
        self._check(capability, deadline_ms)
        providers = self._choosers.of(capability)
        one = providers.chooser.of(to) if providers is not None else None
        wishes = Wishes(to, priority=priority)
        if providers is not None and one is not None:
            chooser = providers.chooser
        else:
            chooser = Chooser(self._rng, self._now_ms())
            chooser.set_providers({to: 1}, "")
            one = chooser.providers[0]
        await self._deliver(chooser, one, capability, message, deadline_ms, wishes)

    async def _deliver(
        self,
        chooser: Chooser,
        one: Destination,
        capability: str,
        message: bytes,
        deadline_ms: int,
        wishes: Wishes,
    ) -> None:
        to = PeerId(one.peer)
        numbers = self._numbers.setdefault(to, Numbers())
        number = numbers.begin()
        start = self._peer.incarnation
        sent = Sent(start, number, numbers.floor, self._directory.start_of(to), message)
        try:
            await self._until_accepted(chooser, one, capability, sent, deadline_ms, wishes.priority)
        finally:
            numbers.settle(number)

    async def _until_accepted(
        self,
        chooser: Chooser,
        one: Destination,
        what: str,
        sent: Sent,
        deadline_ms: int,
        priority: int,
    ) -> None:
        attempt_s, unknown, repeats = FIRST_ATTEMPT_S, None, 0
        payload = to_bytes(sent)
        while True:
            now_ms = self._now_ms()
            left_s = (deadline_ms - now_ms) / 1000
            if left_s <= 0:
                raise unknown or nobody_was_asked(what)
            try:
                timeout_s = min(attempt_s, left_s) if sent.for_start else left_s
                answer = await self._caller.attempt(
                    chooser, one, SEND, payload, timeout_s, what, priority, now_ms
                )
            except (ConnectionLost, DeadlineExceeded) as error:
                unknown = error
                if not sent.for_start:
                    raise
            except P2PError:
                # An earlier copy may have been accepted, whatever became of this one.
                if unknown is None:
                    raise
            else:
                self._take(answer, one, what, unknown)
                return
            repeats += 1
            attempt_s = min(attempt_s * 2, LONGEST_ATTEMPT_S)
            await asyncio.sleep(backoff_ms(repeats, self._rng) / 1000)

    def _take(self, answer: bytes, one: Destination, what: str, unknown: P2PError | None) -> None:
        """Return where it was accepted; raise what the receiver says otherwise."""
        label = self._peer.label(PeerId(one.peer))
        verdict = read_verdict(answer, label, what)
        if verdict == ACCEPTED:
            return
        if isinstance(verdict, RemoteError):
            raise verdict
        if verdict == RESTARTED and unknown is None:
            raise PeerUnreachable(label, "it was started again, and its news are under way")
        raise unknown or ConnectionLost(label, what, f"the message is {verdict}")

    def _check(self, capability: str, deadline_ms: int) -> None:
        if deadline_ms - self._now_ms() > MAX_DEADLINE_MS:
            limit_s = MAX_DEADLINE_MS // 1000
            raise InvalidArguments(capability, f"a send has a deadline of at most {limit_s} s")

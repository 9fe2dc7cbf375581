"""A subscription: what has arrived and waits for its reader, within a bound.

Runs are offered whole and wait whole; a message becomes a `Publication` when the reader takes it.
When the buffer is full, of messages or of `BUFFER_BYTES`, the policy decides:

    drop_oldest   the oldest make room, and the next one's gap says so
    drop_newest   what comes is dropped, and the next one's gap says so
    block         the publishers are asked to wait (all of them, for all topics of this peer)
    error         the subscription ends with `SubscriberTooSlow`

What this module does not know: the wire, order, how publishers are asked to wait.

Invariants: `waiting` is what is buffered; taken, dropped and waiting add up to what was offered.
Bytes are counted a run at a time: one that is read in part counts whole.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, get_args

from keys import PeerId
from p2p.errors import MisuseError, P2PError
from p2p.pubsub.errors import SubscriberTooSlow

Policy = Literal["drop_oldest", "drop_newest", "block", "error"]
# What is under way when publishers are asked to wait still has to go somewhere.
SLACK_MESSAGES = 65_536
BUFFER_BYTES = 64 * 1024 * 1024
_MAX_GAPS = 4096


class Publication(NamedTuple):
    """One message on a topic.

    Attributes:
        gap: how many of this publisher's were lost on this topic just before this one, as far
            as can be known: what came before the first one heard is not counted.
    """

    topic: str
    sender: PeerId
    sequence: int
    gap: int
    payload: bytes


_as_publication = tuple.__new__


class _Waiting:
    """A run, or what is left of it."""

    __slots__ = ("at", "first", "gap", "payloads", "sender", "size_bytes", "topic")

    def __init__(
        self,
        topic: str,
        sender: PeerId,
        first: int,
        gap: int,
        payloads: Sequence[bytes],
        size_bytes: int,
    ) -> None:
        self.topic = topic
        self.sender = sender
        self.first = first
        self.gap = gap
        self.payloads = payloads
        self.size_bytes = size_bytes
        self.at = 0


class Subscription:
    """An iterator over a topic or a subtree, for one reader.

    Attributes:
        topic: what was subscribed to.
        waiting: how many messages are buffered.
        waiting_bytes: their bytes, nearly.
        offered: how many have come, whatever became of them.
        dropped: how many were lost here, because the reader was too slow.
    """

    def __init__(
        self,
        topic: str,
        buffer: int,
        policy: Policy,
        on_close: Callable[[Subscription], None],
        on_pressure: Callable[[Subscription, bool], None],
    ) -> None:
        if policy not in get_args(Policy):
            raise MisuseError(f"no policy {policy!r}; there are {', '.join(get_args(Policy))}")
        if buffer < 1:
            raise MisuseError(f"a buffer of {buffer} messages holds nothing; give it at least 1")
        self.topic = topic
        self.policy = policy
        self.buffer = buffer
        self.waiting = 0
        self.waiting_bytes = 0
        self.offered = 0
        self.dropped = 0
        self.is_closed = False
        self.is_pressed = False
        is_patient = policy == "block"
        self._limit = buffer + SLACK_MESSAGES if is_patient else buffer
        self._limit_bytes = 2 * BUFFER_BYTES if is_patient else BUFFER_BYTES
        self._on_close = on_close
        self._on_pressure = on_pressure
        self._runs: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._eased = asyncio.Event()
        self._failure: P2PError | None = None
        self._lost_before: dict[tuple[PeerId, str], int] = {}  # of the next that is taken
        self._lost_behind: dict[tuple[PeerId, str], int] = {}  # of the next that is offered

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Publication:
        if not self._runs:
            await self._wait()
            if not self._runs:
                raise StopAsyncIteration
        run = self._runs[0]
        at = run.at
        gap = 0 if at else run.gap + self._lost_before.pop((run.sender, run.topic), 0)
        payloads = run.payloads
        publication = _as_publication(
            Publication, (run.topic, run.sender, run.first + at, gap, payloads[at])
        )
        run.at = at = at + 1
        if at == len(payloads):
            self._runs.popleft()
            self.waiting_bytes -= run.size_bytes
        self.waiting -= 1
        if self.is_pressed:
            self._ease()
        return publication

    async def next_batch(self, limit: int) -> list[Publication]:
        """Wait for a message, and return it and those that wait behind it; none at the end.

        Raises:
            SubscriberTooSlow: after what was buffered, where the policy is "error".
        """
        if not self._runs:
            await self._wait()
        batch: list[Publication] = []
        runs = self._runs
        while runs and len(batch) < limit:
            self._take(runs[0], limit - len(batch), batch)
        self.waiting -= len(batch)
        if self.is_pressed:
            self._ease()
        return batch

    async def room(self) -> None:
        """Return once publishers need not wait for the reader, or at the end."""
        if self.is_pressed:
            self._eased.clear()
            await self._eased.wait()

    def offer(
        self, topic: str, sender: PeerId, first: int, gap: int, payloads: Sequence[bytes]
    ) -> None:
        """Take a run of messages that follow each other; `gap` of them are lost before it."""
        if self.is_closed:
            return
        count = len(payloads)
        size_bytes = sum(map(len, payloads))
        self.offered += count
        if self._lost_behind:
            gap += self._lost_behind.pop((sender, topic), 0)
        if self.policy != "drop_oldest":
            room = self._limit - self.waiting
            if self.waiting_bytes + size_bytes > self._limit_bytes:
                room = 0
            if count > room:
                self._refuse(topic, sender, count - room)
                payloads = payloads[:room]
                count, size_bytes = room, sum(map(len, payloads))
                if not count:
                    self._lost_behind[sender, topic] += gap
                    return
        self._runs.append(_Waiting(topic, sender, first, gap, payloads, size_bytes))
        self.waiting += count
        self.waiting_bytes += size_bytes
        if self.waiting > self.buffer or self.waiting_bytes > BUFFER_BYTES:
            self._overflow()
        if not self._arrived.is_set():
            self._arrived.set()

    def close(self) -> None:
        """End the iteration after what has arrived."""
        if self.is_closed:
            return
        self.is_closed = True
        self._arrived.set()
        if self.is_pressed:
            self._press(False)
        self._on_close(self)

    def fail(self, error: P2PError) -> None:
        """End it; the reader hears of the error behind what is buffered."""
        self._failure = error
        self.close()

    def check_invariants(self) -> None:
        assert self.waiting == sum(len(run.payloads) - run.at for run in self._runs)
        assert self.waiting <= self._limit
        assert self.waiting_bytes == sum(run.size_bytes for run in self._runs)
        assert self.waiting_bytes <= self._limit_bytes
        assert all(run.at < len(run.payloads) for run in self._runs)

    async def _wait(self) -> None:
        while not self._runs:
            if self._failure is not None:
                raise self._failure
            if self.is_closed:
                return
            self._arrived.clear()
            await self._arrived.wait()

    def _take(self, run: _Waiting, limit: int, batch: list[Publication]) -> None:
        """Move up to so many messages of the first run into the batch."""
        at, topic, sender, payloads = run.at, run.topic, run.sender, run.payloads
        sequence = run.first + at
        if not at:
            gap = run.gap
            if self._lost_before:
                gap += self._lost_before.pop((sender, topic), 0)
            if gap:
                batch.append(Publication(topic, sender, sequence, gap, payloads[0]))
                limit -= 1
                at += 1
                sequence += 1
        taken = payloads[at : at + limit]
        batch += [
            _as_publication(Publication, (topic, sender, number, 0, payload))
            for number, payload in enumerate(taken, sequence)
        ]
        run.at = at + len(taken)
        if run.at == len(payloads):
            self._runs.popleft()
            self.waiting_bytes -= run.size_bytes

    def _refuse(self, topic: str, sender: PeerId, count: int) -> None:
        """So many of the newest find no room."""
        self.dropped += count
        if self.policy == "error":
            self._failure = SubscriberTooSlow(self.topic, self.buffer, self.dropped)
            self.close()
        if len(self._lost_behind) >= _MAX_GAPS:
            self._lost_behind.clear()
        key = (sender, topic)
        self._lost_behind[key] = self._lost_behind.get(key, 0) + count

    def _overflow(self) -> None:
        if self.policy != "drop_oldest":
            if not self.is_pressed:
                self._press(True)
            return
        if self.waiting > self.buffer:
            self._drop_oldest(self.waiting - self.buffer)
        while self.waiting_bytes > BUFFER_BYTES:
            self._drop_oldest(len(self._runs[0].payloads) - self._runs[0].at)

    def _drop_oldest(self, count: int) -> None:
        self.dropped += count
        self.waiting -= count
        while count:
            run = self._runs[0]
            here = min(count, len(run.payloads) - run.at)
            gap = here + (run.gap if run.at == 0 else 0)
            key = (run.sender, run.topic)
            if len(self._lost_before) >= _MAX_GAPS:
                self._lost_before.clear()
            self._lost_before[key] = self._lost_before.get(key, 0) + gap
            count -= here
            if run.at + here == len(run.payloads):
                self._runs.popleft()
                self.waiting_bytes -= run.size_bytes
            else:  # what is left begins anew, so that its first message tells of the gap
                run.first += run.at + here
                run.payloads = run.payloads[run.at + here :]
                run.at = run.gap = 0
                self.waiting_bytes -= run.size_bytes
                run.size_bytes = sum(map(len, run.payloads))
                self.waiting_bytes += run.size_bytes

    def _ease(self) -> None:
        if self.waiting <= self.buffer // 2 and self.waiting_bytes <= BUFFER_BYTES // 2:
            self._press(False)

    def _press(self, on: bool) -> None:
        self.is_pressed = on
        if not on:
            self._eased.set()
        if self.policy == "block":
            self._on_pressure(self, on)

"""What a publisher remembers: the numbers of its topics, and their last messages.

Messages are kept as the runs that they were sent in, so that keeping costs per run and not per
message. Topics that nothing was published on for longest give way. One that comes back after
that begins anew in a later epoch, so that nobody takes its first message for an old one.

A pure core. Does not know: subscribers, the wire, time.

Invariants: a topic's runs follow each other without a hole and end with its head; a topic keeps
at most its bytes, and at most its messages and one run.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator
from itertools import islice

from keys import Principal

MAX_EPOCHS = 1 << 20  # that a start of this peer has; the next start's lie behind them


_TRACED = 32  # restricted messages of a topic of which it is remembered who may read them

Only = Callable[[Principal], bool]


class Restricted:
    """A message that only some may read."""

    __slots__ = ("only", "payload")

    def __init__(self, payload: bytes, only: Only) -> None:
        self.payload = payload
        self.only = only


def may_read(only: Only, who: Principal, counts: Counter[str]) -> bool:
    """Whether a restricted message is for this one; `only` asks whether it may read the topic."""
    try:
        return bool(only(who))
    except Exception:  # noqa: BLE001 - it is a program's, and its answer is needed long after
        counts["predicates_failed"] += 1
        return False


Item = bytes | Restricted


class Run:
    """Messages of one topic that follow each other."""

    __slots__ = ("first", "is_open", "items", "size_bytes", "topic", "trace")

    def __init__(self, topic: str, first: int, trace: bytes) -> None:
        self.topic = topic
        self.first = first
        self.trace = trace
        self.items: list[Item] = []
        self.size_bytes = 0
        self.is_open = True


class _Kept:
    """One topic."""

    __slots__ = (
        "bytes_limit",
        "count",
        "epoch",
        "head",
        "messages_limit",
        "restricted",
        "runs",
        "size_bytes",
    )

    def __init__(self, epoch: int, head: int, messages: int, bytes_: int) -> None:
        self.epoch = epoch
        self.head = head
        self.messages_limit = messages
        self.bytes_limit = bytes_
        self.runs: deque[Run] = deque()
        self.restricted: deque[tuple[int, Only]] | None = None
        self.count = 0
        self.size_bytes = 0


class Publisher:
    """
    Args:
        epoch: of this start; greater than that of any start before.
        topics: how many are remembered.
        messages: how many of one topic are kept.
        bytes_: and how many bytes of it.
        total_bytes: of all topics together.
    """

    def __init__(
        self,
        epoch: int,
        *,
        topics: int = 4096,
        messages: int = 128,
        bytes_: int = 256 * 1024,
        total_bytes: int = 64 * 1024 * 1024,
        counts: Counter[str] | None = None,
    ) -> None:
        self._first_epoch = epoch
        self._topics_limit = topics
        self._messages = messages
        self._bytes = bytes_
        self._total_limit = total_bytes
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._wishes: OrderedDict[str, tuple[int, int]] = OrderedDict()
        self._highest_forgotten = 0
        self._counts = Counter[str]() if counts is None else counts
        self.forgotten = 0
        self.total_bytes = 0

    def keep(self, topic: str, messages: int, bytes_: int) -> None:
        """Keep so much of this topic, from now on."""
        self._wishes[topic] = (messages, bytes_)
        self._wishes.move_to_end(topic)
        if len(self._wishes) > self._topics_limit:
            self._wishes.popitem(last=False)
        kept = self._kept.get(topic)
        if kept is not None:
            kept.messages_limit, kept.bytes_limit = messages, bytes_
            self._trim(kept)

    def open(self, topic: str, trace: bytes) -> Run:
        """Return a run to fill; a restricted message is the last of its run.

        Close it before another of its topic is opened, and before as many others are open as
        topics are remembered.
        """
        kept = self._kept.get(topic)
        if kept is None:
            kept = self._remember(topic)
        else:
            self._kept.move_to_end(topic)
        return Run(topic, kept.head + 1, trace)

    def close(self, run: Run) -> int:
        """Keep a run that was filled and return its epoch."""
        run.is_open = False
        kept = self._kept[run.topic]
        assert run.first == kept.head + 1, "two runs of a topic were open"
        last = run.items[-1] if run.items else None
        if isinstance(last, Restricted):
            if kept.restricted is None:
                kept.restricted = deque(maxlen=_TRACED)
            kept.restricted.append((kept.head + len(run.items), last.only))
        kept.head += len(run.items)
        kept.runs.append(run)
        kept.count += len(run.items)
        kept.size_bytes += run.size_bytes
        self.total_bytes += run.size_bytes
        self._trim(kept)
        if self.total_bytes > self._total_limit:
            self._trim_all()
        return kept.epoch

    def head(self, topic: str) -> tuple[int, int]:
        """Return the epoch and the number of the last message; 0 for none."""
        kept = self._kept.get(topic)
        return (kept.epoch, kept.head) if kept is not None else (0, 0)

    def restricted(self, topic: str, who: Principal, below: int | None = None) -> int:
        """Return the number of the last restricted message that is for this one.

        0 where there is none, or too many for others came since.
        """
        kept = self._kept.get(topic)
        if kept is None or kept.restricted is None:
            return 0
        for sequence, only in reversed(kept.restricted):
            if (below is None or sequence < below) and may_read(only, who, self._counts):
                return sequence
        return 0

    def read(self, topic: str, first: int, last: int) -> tuple[list[Item], int]:
        """Return what is kept of [first, last], and the number of the first of these."""
        kept = self._kept.get(topic)
        if kept is None:
            return [], first
        first = max(first, kept.head - kept.count + 1)
        found: list[Item] = []
        for run in kept.runs:
            if run.first > last:
                break
            if run.first + len(run.items) > first:
                found += run.items[max(0, first - run.first) : last - run.first + 1]
        return found, first

    def latest(self, limit: int) -> list[tuple[str, int]]:
        """The topics that were published on last, the latest first, each with its last number."""
        return [(topic, self._kept[topic].head) for topic in islice(reversed(self._kept), limit)]

    def below(self, subtree: str) -> Iterator[str]:
        """All remembered topics of a subtree, sorted."""
        return iter(sorted(topic for topic in self._kept if topic.startswith(subtree)))

    def check_invariants(self) -> None:
        assert len(self._kept) <= self._topics_limit
        assert self.total_bytes == sum(kept.size_bytes for kept in self._kept.values())
        assert self.total_bytes <= self._total_limit
        for kept in self._kept.values():
            assert kept.count == sum(len(run.items) for run in kept.runs)
            assert kept.size_bytes == sum(run.size_bytes for run in kept.runs)
            assert kept.size_bytes <= kept.bytes_limit
            expected = kept.head - kept.count + 1
            for run in kept.runs:
                assert run.first == expected
                expected += len(run.items)
            if kept.runs:
                assert kept.count - len(kept.runs[0].items) < kept.messages_limit

    def _remember(self, topic: str) -> _Kept:
        if len(self._kept) >= self._topics_limit:
            _, oldest = self._kept.popitem(last=False)
            self.total_bytes -= oldest.size_bytes
            self.forgotten += 1
            self._counts["topics_forgotten"] += 1
            self._highest_forgotten = max(self._highest_forgotten, oldest.head)
        messages, bytes_ = self._wishes.get(topic, (self._messages, self._bytes))
        epoch = self._first_epoch + min(self.forgotten, MAX_EPOCHS - 1)
        head = 0 if self.forgotten < MAX_EPOCHS else self._highest_forgotten
        kept = self._kept[topic] = _Kept(epoch, head, messages, bytes_)
        return kept

    def _trim(self, kept: _Kept) -> None:
        runs = kept.runs
        while runs and (
            kept.size_bytes > kept.bytes_limit
            or kept.count - len(runs[0].items) >= kept.messages_limit
        ):
            run = runs.popleft()
            kept.count -= len(run.items)
            kept.size_bytes -= run.size_bytes
            self.total_bytes -= run.size_bytes

    def _trim_all(self) -> None:
        """Those that nothing was published on for longest lose their messages first."""
        for kept in self._kept.values():
            while kept.runs and self.total_bytes > self._total_limit:
                run = kept.runs.popleft()
                kept.count -= len(run.items)
                kept.size_bytes -= run.size_bytes
                self.total_bytes -= run.size_bytes
            if self.total_bytes <= self._total_limit:
                return

"""The order of what arrives: one line for each publisher and topic.

A line delivers every message once and in order. Where some are missing it wants them repaired,
and holds what comes later until they are there or given up; then the next message carries how
many are lost. A later epoch of a publisher is a new beginning, and what came before the first
message that was heard is not missing.

A pure core. Does not know: subscriptions, how something is repaired, the wire, time.

Invariants: the numbers of what a line delivers grow within an epoch; delivered and lost add up
to all numbers since the first; what all lines hold together stays within the bounds.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence

from keys import PeerId

Items = Sequence[bytes | None]  # None for a message that was not meant for us
Delivered = tuple[int, int, list[bytes]]  # number of the first, how many are lost before it
_NOTHING: list[Delivered] = []
_MAX_ALONE = 1024


class Line:
    """The messages of one publisher on one topic.

    Attributes:
        epoch: of the publisher; 0 before anything is known.
        next: the number that is due; 0 before anything is heard.
        head: the last number that the publisher is known to have reached.
        asked: what is wanted from the publisher: the first and the last number.
        is_replaying: what was published before is under way and comes first.
        restricted: epoch and number of the last restricted message, which comes another way.
        alone: restricted messages that wait for the end of the replay.
    """

    __slots__ = (
        "alone",
        "asked",
        "epoch",
        "head",
        "held",
        "is_replaying",
        "lost",
        "next",
        "restricted",
        "topic",
    )

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.epoch = 0
        self.next = 0
        self.head = 0
        self.lost = 0
        self.restricted = (0, 0)
        self.alone: list[tuple[int, int, bytes]] = []
        self.asked: tuple[int, int] | None = None
        self.is_replaying = False
        self.held: list[tuple[int, Items]] = []

    @property
    def is_behind(self) -> bool:
        return 0 < self.next <= self.head


class Incoming:
    """All lines of one subscription.

    Args:
        repair: whether to ask for what is missing.
        held_messages: how many wait for a repair, over all lines.
        held_bytes: and how many bytes.
        lines: of how many publishers and topics the order is known.

    Attributes:
        wants: lines that have something to ask for; take them out to ask.
        replaying: publishers whose history is under way.
    """

    def __init__(
        self,
        *,
        repair: bool = True,
        held_messages: int = 8192,
        held_bytes: int = 4 * 1024 * 1024,
        lines: int = 16_384,
    ) -> None:
        self.repair = repair
        self._held_messages = held_messages
        self._held_bytes = held_bytes
        self._lines_limit = lines
        self._lines: OrderedDict[tuple[PeerId, str], Line] = OrderedDict()
        self.wants: list[tuple[PeerId, Line]] = []
        self.replaying: set[PeerId] = set()
        self.holding = 0
        self.holding_bytes = 0
        self.counts: Counter[str] = Counter()

    def line(self, sender: PeerId, topic: str) -> Line:
        """Return the line of this publisher and topic, a new one if need be."""
        key = (sender, topic)
        line = self._lines.get(key)
        if line is None:
            if len(self._lines) >= self._lines_limit:
                _, oldest = self._lines.popitem(last=False)
                self.counts["dropped_held"] += self._let_go(oldest)
            line = self._lines[key] = Line(topic)
            line.is_replaying = sender in self.replaying
        else:
            self._lines.move_to_end(key)
        return line

    def lines_of(self, sender: PeerId) -> list[Line]:
        return [line for (peer, _), line in self._lines.items() if peer == sender]

    def take(
        self, sender: PeerId, topic: str, epoch: int, first: int, items: Items
    ) -> list[Delivered]:
        """Take a run as it was published, and return what is to be delivered now."""
        line = self.line(sender, topic)
        if epoch != line.epoch:
            if epoch < line.epoch:
                self.counts["stale"] += len(items)
                return _NOTHING
            before = self._end(line) if line.epoch else None
            line.epoch, line.next, line.head, line.asked = epoch, 0, 0, None
            if before:
                return before + self._take(sender, line, first, items)
        return self._take(sender, line, first, items)

    def _take(self, sender: PeerId, line: Line, first: int, items: Items) -> list[Delivered]:
        if line.asked is not None or line.is_replaying:
            return self._hold(line, first, items)
        if first != line.next:
            if not line.next:
                line.next = line.head + 1 if 0 < line.head < first else first
            if first > line.next and self.repair:
                self._ask(sender, line, first - 1)
                return self._hold(line, first, items)
        return self._deliver(line, first, items)

    def take_restricted(
        self, sender: PeerId, topic: str, epoch: int, sequence: int, payload: bytes
    ) -> list[Delivered]:
        """Take a message that came alone, because not everybody may read it.

        They come in their own order. What is replayed has them too, so that they wait for it.
        """
        line = self.line(sender, topic)
        if (epoch, sequence) <= line.restricted:
            self.counts["duplicates"] += 1
            return _NOTHING
        if line.is_replaying:
            if len(line.alone) >= _MAX_ALONE:
                self.counts["dropped_held"] += 1
            else:
                line.alone.append((epoch, sequence, payload))
            return _NOTHING
        line.restricted = (epoch, sequence)
        return [(sequence, 0, [payload])]

    def heads(self, sender: PeerId, topic: str, epoch: int, head: int) -> Line | None:
        """Note how far a publisher has come; return the line if it has not come as far."""
        line = self.line(sender, topic)
        if not line.epoch:
            line.epoch = epoch
        if epoch != line.epoch or head <= line.head:
            return None
        line.head = head
        return line if line.is_behind else None

    def ask_rest(self, sender: PeerId, line: Line) -> None:
        """Want all up to the known head, if nothing else is under way."""
        if self.repair and line.is_behind and line.asked is None and not line.is_replaying:
            self._ask(sender, line, line.head)

    def repaired(self, line: Line, epoch: int, first: int, items: Items) -> list[Delivered]:
        """Take a part of what was asked for; the parts come in order, then `settled`."""
        if epoch != line.epoch or line.asked is None or not items:
            return _NOTHING
        self.counts["repaired"] += max(0, first + len(items) - max(first, line.next))
        return self._deliver(line, first, items)

    def replayed(self, line: Line, epoch: int, first: int, items: Items) -> list[Delivered]:
        """Take a part of what was published before; the parts come in order, then `settled`."""
        if epoch < line.epoch or not line.is_replaying or not items:
            return _NOTHING
        if epoch > line.epoch:
            self.counts["dropped_held"] += self._let_go(line)
            line.epoch, line.next, line.head = epoch, 0, 0
        line.next = line.next or first
        line.restricted = max(line.restricted, (epoch, first + len(items) - 1))
        return self._deliver(line, first, items)

    def settled(self, sender: PeerId, line: Line) -> list[Delivered]:
        """Nothing more comes of what was asked for: go on with what was held."""
        if line.asked is not None:
            self._pass_over(line, line.asked[1] + 1)
            line.asked = None
        line.is_replaying = False
        held, line.held = line.held, []
        self._unhold(held)
        found: list[Delivered] = []
        for first, items in held:
            found += self._take(sender, line, first, items)
        return found + self._end_alone(line)

    def forget(self, sender: PeerId) -> list[tuple[str, list[Delivered]]]:
        """A publisher is gone for good: deliver what was held for the sake of order."""
        self.replaying.discard(sender)
        found = []
        for line in self.lines_of(sender):
            found.append((line.topic, self._end(line)))
            del self._lines[sender, line.topic]
        return found

    def check_invariants(self) -> None:
        held = [items for line in self._lines.values() for _, items in line.held]
        assert self.holding == sum(map(len, held))
        assert self.holding_bytes == sum(map(_bytes_of, held))
        assert self.holding <= self._held_messages
        assert self.holding_bytes <= self._held_bytes
        assert len(self._lines) <= self._lines_limit
        for line in self._lines.values():
            assert not line.held or line.asked is not None or line.is_replaying
            assert line.asked is None or line.asked[0] <= line.asked[1]

    def _ask(self, sender: PeerId, line: Line, last: int) -> None:
        line.asked = (line.next, last)
        self.wants.append((sender, line))

    def _hold(self, line: Line, first: int, items: Items) -> list[Delivered]:
        self.holding += len(items)
        self.holding_bytes += _bytes_of(items)
        line.held.append((first, items))
        if self.holding <= self._held_messages and self.holding_bytes <= self._held_bytes:
            return _NOTHING
        self.counts["given_up"] += 1
        return self._end(line)

    def _end(self, line: Line) -> list[Delivered]:
        """Deliver what is held, whatever is missing before it."""
        line.asked = None
        line.is_replaying = False
        held, line.held = line.held, []
        self._unhold(held)
        found: list[Delivered] = []
        for first, items in held:
            line.next = line.next or first
            found += self._deliver(line, first, items)
        return found + self._end_alone(line)

    def _end_alone(self, line: Line) -> list[Delivered]:
        alone, line.alone = line.alone, []
        found: list[Delivered] = []
        for epoch, sequence, payload in alone:
            if (epoch, sequence) > line.restricted:
                line.restricted = (epoch, sequence)
                found.append((sequence, 0, [payload]))
        return found

    def _let_go(self, line: Line) -> int:
        held, line.held = line.held, []
        self._unhold(held)
        line.asked = None
        return sum(len(items) for _, items in held)

    def _unhold(self, held: Iterable[tuple[int, Items]]) -> None:
        for _, items in held:
            self.holding -= len(items)
            self.holding_bytes -= _bytes_of(items)

    def _pass_over(self, line: Line, upto: int) -> None:
        """What lies before this number is lost."""
        if upto > line.next:
            line.lost += upto - line.next
            self.counts["lost"] += upto - line.next
            line.next = upto

    def _deliver(self, line: Line, first: int, items: Items) -> list[Delivered]:
        known = line.next - first
        if known > 0:
            self.counts["duplicates"] += min(known, len(items))
            items = items[known:]
            first = line.next
            if not items:
                return _NOTHING
        elif known < 0:
            self._pass_over(line, first)
        line.next = first + len(items)
        if None in items:
            return _split(line, first, items)
        lost, line.lost = line.lost, 0
        return [(first, lost, items)]  # type: ignore[list-item]  # no None in it


def _split(line: Line, first: int, items: Items) -> list[Delivered]:
    """Leave out what was not meant for us."""
    found: list[Delivered] = []
    run: list[bytes] = []
    for number, item in enumerate(items, first):
        if item is None:
            run = []
            continue
        if not run:
            found.append((number, line.lost, run))
            line.lost = 0
        run.append(item)
    return found


def _bytes_of(items: Items) -> int:
    return sum(len(item) for item in items if item is not None)

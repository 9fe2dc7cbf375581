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
from collections.abc import Iterable

from keys import PeerId
from p2p.pubsub.chain import Link
from p2p.pubsub.line import Items, Line

Delivered = tuple[int, int, list[bytes]]  # number of the first, how many are lost before it
_NOTHING: list[Delivered] = []


class Incoming:
    """All lines of one subscription.

    Args:
        repair: whether to ask for what is missing.
        held_messages: how many wait for a repair, over all lines.
        held_bytes: and how many bytes.
        lines: of how many publishers and topics the order is known.

    Attributes:
        wants: lines that have something to ask for; take them out to ask.
        wants_restricted: those that ask for restricted messages.
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
        self.wants_restricted: list[tuple[PeerId, Line]] = []
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
                gone = self._let_go(oldest) + len(self._unhold_links(oldest))
                oldest.chain.asked = None
                self.counts["dropped_held"] += gone
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
                return self._begin(sender, line, first, items)
            if first > line.next and self.repair:
                self._ask(sender, line, first - 1)
                return self._hold(line, first, items)
        return self._deliver(line, first, items)

    def _begin(self, sender: PeerId, line: Line, first: int, items: Items) -> list[Delivered]:
        """What came before the first that is heard is not missing."""
        line.next = line.head + 1 if 0 < line.head < first else first
        found = self._end_chain(line) if 0 < line.chain.epoch < line.epoch else _NOTHING
        line.chain.begin(line.epoch, line.next - 1)
        return found + self._take(sender, line, first, items)

    def take_restricted(self, sender: PeerId, topic: str, link: Link) -> list[Delivered]:
        """Take a message that came alone, because not everybody may read it.

        What is replayed has them too, so that they wait for it.
        """
        line = self.line(sender, topic)
        if link[0] < line.epoch:
            self.counts["stale"] += 1
            return _NOTHING
        return self._take_link(sender, line, link)

    def _take_link(self, sender: PeerId, line: Line, link: Link) -> list[Delivered]:
        chain = line.chain
        if chain.knows(link):
            self.counts["duplicates"] += 1
            return _NOTHING
        if chain.asked is not None or line.is_replaying:
            return self._hold_link(line, link)
        chain.begin(link[0], link[2])
        if chain.misses(link) and self.repair:
            self._ask_restricted(sender, line, link[2])
            return self._hold_link(line, link)
        return self._deliver_link(line, link)

    def heads(
        self, sender: PeerId, topic: str, epoch: int, last: int, restricted: int = 0
    ) -> Line | None:
        """Note how far a publisher has come; return the line if it has not come as far."""
        line = self.line(sender, topic)
        if not line.epoch:
            line.epoch = epoch
        if epoch != line.epoch:
            return None
        line.head = max(line.head, last)
        chain = line.chain
        if not chain.epoch:
            chain.begin(epoch, restricted)
        if epoch == chain.epoch:
            chain.head = max(chain.head, restricted)
        return line if line.is_behind else None

    def ask_rest(self, sender: PeerId, line: Line) -> None:
        """Want all up to the known head, if nothing else is under way."""
        if not self.repair or line.is_replaying:
            return
        if line.misses_last and line.asked is None:
            self._ask(sender, line, line.head)
        if line.chain.is_behind and line.chain.asked is None:
            self._ask_restricted(sender, line, line.chain.head)

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
        line.chain.advance(epoch, first + len(items) - 1)
        return self._deliver(line, first, items)

    def settled(self, sender: PeerId, line: Line) -> list[Delivered]:
        """Nothing more comes of what was asked for: go on with what was held."""
        if line.asked is not None:
            self._pass_over(line, line.asked[1] + 1)
            line.asked = None
        was_replaying, line.is_replaying = line.is_replaying, False
        held, line.held = line.held, []
        self._unhold(held)
        found: list[Delivered] = []
        for first, items in held:
            found += self._take(sender, line, first, items)
        return found + self._retry_links(sender, line) if was_replaying else found

    def repaired_restricted(
        self, line: Line, epoch: int, first: int, items: Items
    ) -> list[Delivered]:
        """Take a part of the restricted messages that were asked for; then `settled_restricted`."""
        chain = line.chain
        if epoch != chain.epoch or chain.asked is None:
            return _NOTHING
        found: list[Delivered] = []
        for number, item in enumerate(items, first):
            if item is not None and number > chain.last:
                found.append((number, chain.deliver(number), [item]))
        self.counts["repaired"] += len(found)
        return found

    def settled_restricted(self, sender: PeerId, line: Line) -> list[Delivered]:
        """No more of these come either."""
        chain = line.chain
        if chain.asked is not None:
            self.counts["lost"] += chain.pass_over(chain.asked[1])
            chain.asked = None
        return self._retry_links(sender, line)

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
        alone = [link[3] for line in self._lines.values() for link in line.chain.held]
        assert self.holding == sum(map(len, held)) + len(alone)
        assert self.holding_bytes == sum(map(_bytes_of, held)) + sum(map(len, alone))
        assert self.holding <= self._held_messages
        assert self.holding_bytes <= self._held_bytes
        assert len(self._lines) <= self._lines_limit
        for line in self._lines.values():
            assert not line.held or line.asked is not None or line.is_replaying
            assert line.asked is None or line.asked[0] <= line.asked[1]
            asked = line.chain.asked
            assert not line.chain.held or asked is not None or line.is_replaying
            assert asked is None or asked[0] <= asked[1]

    def _ask(self, sender: PeerId, line: Line, last: int) -> None:
        line.asked = (line.next, last)
        self.wants.append((sender, line))

    def _ask_restricted(self, sender: PeerId, line: Line, last: int) -> None:
        line.chain.asked = (line.chain.last + 1, last)
        self.wants_restricted.append((sender, line))

    def _hold(self, line: Line, first: int, items: Items) -> list[Delivered]:
        last = line.held[-1] if line.held else None
        if last is not None and last[0] == first and len(last[1]) == len(items):
            return _NOTHING  # the same once more takes no room from others
        self.holding += len(items)
        self.holding_bytes += _bytes_of(items)
        line.held.append((first, items))
        return self._within_bounds(line)

    def _hold_link(self, line: Line, link: Link) -> list[Delivered]:
        self.holding += 1
        self.holding_bytes += len(link[3])
        line.chain.held.append(link)
        return self._within_bounds(line)

    def _within_bounds(self, line: Line) -> list[Delivered]:
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
        return found + self._end_chain(line)

    def _end_chain(self, line: Line) -> list[Delivered]:
        """Deliver the restricted messages that are held."""
        line.chain.asked = None
        found: list[Delivered] = []
        for link in self._unhold_links(line):
            if not line.chain.knows(link):
                line.chain.begin(link[0], link[2])
                found += self._deliver_link(line, link)
        return found

    def _retry_links(self, sender: PeerId, line: Line) -> list[Delivered]:
        found: list[Delivered] = []
        for link in self._unhold_links(line):
            found += self._take_link(sender, line, link)
        return found

    def _deliver_link(self, line: Line, link: Link) -> list[Delivered]:
        self.counts["lost"] += line.chain.pass_over(link[2])
        return [(link[1], line.chain.deliver(link[1]), [link[3]])]

    def _unhold_links(self, line: Line) -> list[Link]:
        held, line.chain.held = line.chain.held, []
        self.holding -= len(held)
        self.holding_bytes -= sum(len(link[3]) for link in held)
        return held

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

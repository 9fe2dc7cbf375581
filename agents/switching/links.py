"""What a switch does with frames of ethernet when its links are bad: loses, delays, doubles them.

Times are microseconds. A link is one direction between two hosts. On it a frame first waits for its
turn where the link is slow, and then takes its delay. Frames stay in order unless the script says
otherwise. When what is wrong with a link changes, what waits on it goes on at once; what waits on
one that is cut now is gone.

What this module does not know: where frames come from, who writes them, what is in them behind
the address they go to.

Invariants (`check_invariants`): no link holds more than `MAX_LINK_BYTES`, all together no more than
`MAX_BYTES`; what was held is counted once, as delivered or as dropped.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from agents.switching.trouble import LinkTrouble, Trouble

MAX_LINK_BYTES = 4 << 20
MAX_BYTES = 64 << 20
MIN_QUEUE_BYTES = 128 * 1024  # what waits for its turn on the slowest link
QUEUE_S = 0.5  # and on faster ones
STRAY_US = (5_000, 30_000)  # how much later a frame comes that others overtake
ADDRESS_BYTES = 6

Pair = tuple[str, str]


@dataclass(slots=True)
class _Link:
    trouble: LinkTrouble
    free_us: float = 0.0  # when what waits for its turn has had it
    last_us: int = 0  # when the last frame comes that keeps its place
    held_bytes: int = 0


@dataclass(slots=True, order=True)
class _Held:
    due_us: int
    number: int
    pair: Pair = field(compare=False)
    frame: bytes = field(compare=False)


class Links:
    """
    Args:
        rng: draws what is lost, doubled, late, and by how much.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._by_address: dict[bytes, str] = {}
        self._cuts: frozenset[Pair] = frozenset()
        self._links: dict[Pair, _Link] = {}
        self._held: list[_Held] = []
        self._held_bytes = 0
        self._numbers = 0
        self.counts: Counter[str] = Counter()

    def add(self, name: str, address: bytes) -> None:
        """A host, and the address of its end of the cable."""
        assert len(address) == ADDRESS_BYTES
        assert address not in self._by_address
        self._by_address[address] = name

    def apply(self, trouble: Trouble, now_us: int) -> None:
        """Be like that from now on."""
        wanted = {(a, b): t for a, b, t in trouble.links if t != LinkTrouble()}
        before = self._links
        same = {p for p, link in before.items() if wanted.get(p) == link.trouble}
        self._cuts = trouble.cuts
        self._links = {p: before[p] if p in same else _Link(t) for p, t in wanted.items()}
        for pair in same:
            self._links[pair].held_bytes = 0
        held, self._held, self._held_bytes = sorted(self._held), [], 0
        for one in held:
            if one.pair in self._cuts:
                self.counts["cut"] += 1
            else:
                self._hold(one.due_us if one.pair in same else now_us, one.pair, one.frame)

    # -- frames --------------------------------------------------------------------------------

    def arrived(self, source: str, frame: bytes, now_us: int) -> Sequence[str]:
        """Take a frame from a host, and return who gets it at once; the rest comes by `due`."""
        if len(frame) < 2 * ADDRESS_BYTES:
            self.counts["malformed"] += 1
            return ()
        target = self._by_address.get(frame[:ADDRESS_BYTES])
        if target is not None:
            return (target,) if self._passes((source, target), frame, now_us) else ()
        # To a group, to everybody, or to nobody known: a switch sends that to all.
        others = (name for name in self._by_address.values() if name != source)
        return [name for name in others if self._passes((source, name), frame, now_us)]

    def _passes(self, pair: Pair, frame: bytes, now_us: int) -> bool:
        """Whether it goes on at once."""
        if pair in self._cuts:
            self.counts["cut"] += 1
            return False
        link = self._links.get(pair)
        if link is None:
            self.counts["passed"] += 1
            return True
        trouble = link.trouble
        if trouble.loss and self._rng.random() < trouble.loss:
            self.counts["lost"] += 1
            return False
        if not self._delay(link, pair, frame, now_us):
            self.counts["no room"] += 1
            return False
        if trouble.duplicate and self._rng.random() < trouble.duplicate:
            self.counts["doubled"] += self._delay(link, pair, frame, now_us)
        return False

    def _delay(self, link: _Link, pair: Pair, frame: bytes, now_us: int) -> bool:
        """Hold it until its time, or say that there is no room."""
        trouble = link.trouble
        due_us: float = now_us
        if trouble.bytes_per_s is not None:
            begins_us = max(link.free_us, now_us)
            room_bytes = max(MIN_QUEUE_BYTES, trouble.bytes_per_s * QUEUE_S)
            if (begins_us - now_us) * trouble.bytes_per_s / 1e6 > room_bytes:
                return False
            due_us = begins_us + len(frame) * 1e6 / trouble.bytes_per_s
        link_bytes = link.held_bytes + len(frame)
        if link_bytes > MAX_LINK_BYTES or self._held_bytes + len(frame) > MAX_BYTES:
            return False
        link.free_us = due_us
        due_us += self._rng.uniform(*trouble.delay_ms) * 1000
        if trouble.reorder and self._rng.random() < trouble.reorder:
            self.counts["out of order"] += 1
            due_us += self._rng.uniform(*STRAY_US)
        else:
            due_us = link.last_us = max(int(due_us), link.last_us)
        self._hold(int(due_us), pair, frame)
        return True

    def _hold(self, due_us: int, pair: Pair, frame: bytes) -> None:
        self._numbers += 1
        heapq.heappush(self._held, _Held(due_us, self._numbers, pair, frame))
        self._held_bytes += len(frame)
        link = self._links.get(pair)
        if link is not None:
            link.held_bytes += len(frame)

    @property
    def deadline_us(self) -> int | None:
        """When `due` has something next."""
        return self._held[0].due_us if self._held else None

    def due(self, now_us: int) -> Iterable[tuple[str, bytes]]:
        """What has to be written by now, in order, and to whom."""
        while self._held and self._held[0].due_us <= now_us:
            one = heapq.heappop(self._held)
            self._held_bytes -= len(one.frame)
            link = self._links.get(one.pair)
            if link is not None:
                link.held_bytes -= len(one.frame)
            self.counts["passed"] += 1
            yield one.pair[1], one.frame

    def check_invariants(self) -> None:
        """Raises AssertionError where one does not hold."""
        assert self._held_bytes == sum(len(one.frame) for one in self._held) <= MAX_BYTES
        for pair, link in self._links.items():
            held_bytes = sum(len(one.frame) for one in self._held if one.pair == pair)
            assert link.held_bytes == held_bytes <= MAX_LINK_BYTES
        assert not any(one.pair in self._cuts for one in self._held)

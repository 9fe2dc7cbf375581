"""What is remembered of how peers did: durations and failures, as moving averages.

Failures fade with time, because a peer that gets no tasks for its failures could otherwise never
show that it has recovered. Bounded: the pairs not seen for longest are forgotten first.

What this module does not know: the ledger, what the figures are used for.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from agents.ledger import BAD_ENDS, EndedBy
from keys import PeerId

_NEWEST_WEIGHT = 0.2
_MAX_PAIRS = 10_000


@dataclass(frozen=True, slots=True)
class Observation:
    """One attempt that ended."""

    peer: PeerId
    agent: str
    skill: str
    ended: EndedBy
    duration_ms: int  # from the assignment, so it includes waiting at the worker


@dataclass(slots=True)
class _Record:
    duration_ms: float | None = None
    failure_rate: float = 0.0
    seen_ms: int = 0
    completed: int = 0
    failed: int = 0


class History:
    """Averages by (peer, skill), and agents that just gave something back."""

    def __init__(self, failure_half_life_ms: int) -> None:
        self._half_life_ms = failure_half_life_ms
        self._records: OrderedDict[tuple[PeerId, str], _Record] = OrderedDict()
        self._released_ms: dict[tuple[PeerId, str], int] = {}

    def observe(self, seen: Observation, now_ms: int) -> None:
        if seen.ended is EndedBy.RELEASED:
            self._released_ms.pop((seen.peer, seen.agent), None)
            self._released_ms[seen.peer, seen.agent] = now_ms
            if len(self._released_ms) > _MAX_PAIRS:
                del self._released_ms[next(iter(self._released_ms))]
            return
        if seen.ended is not EndedBy.COMPLETED and seen.ended not in BAD_ENDS:
            return
        pair = (seen.peer, seen.skill)
        record = self._records.setdefault(pair, _Record())
        self._records.move_to_end(pair)
        if len(self._records) > _MAX_PAIRS:
            self._records.popitem(last=False)
        rate = self._faded(record, now_ms)
        failed = 0.0 if seen.ended is EndedBy.COMPLETED else 1.0
        record.failure_rate = rate + _NEWEST_WEIGHT * (failed - rate)
        record.seen_ms = now_ms
        if seen.ended is not EndedBy.COMPLETED:
            record.failed += 1
        else:
            record.completed += 1
            before = seen.duration_ms if record.duration_ms is None else record.duration_ms
            record.duration_ms = before + _NEWEST_WEIGHT * (seen.duration_ms - before)

    def failure_rate(self, peer: PeerId, skill: str, now_ms: int) -> float:
        """0.0 to 1.0; 0.0 for who was never seen."""
        record = self._records.get((peer, skill))
        return 0.0 if record is None else self._faded(record, now_ms)

    def ended(self, peer: PeerId, skill: str) -> tuple[int, int]:
        """How many attempts were completed, and how many failed, while this was kept."""
        record = self._records.get((peer, skill))
        return (0, 0) if record is None else (record.completed, record.failed)

    def duration_ms(self, peer: PeerId, skill: str) -> float | None:
        record = self._records.get((peer, skill))
        return None if record is None else record.duration_ms

    def released_since(self, peer: PeerId, agent: str, since_ms: int) -> bool:
        """Whether the agent gave a task back after `since_ms`."""
        return self._released_ms.get((peer, agent), since_ms) > since_ms

    def _faded(self, record: _Record, now_ms: int) -> float:
        age_ms = max(0, now_ms - record.seen_ms)
        faded: float = record.failure_rate * 0.5 ** (age_ms / self._half_life_ms)
        return faded

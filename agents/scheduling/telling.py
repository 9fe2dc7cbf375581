"""Which assignees have yet to be told of their leases.

Work goes out at once when its lease is applied, and again until the peer acknowledges it or the
lease is over. Invariant: a lease is noted for its holder only.
What this module does not know: how a message travels, whether it arrived.
"""

from __future__ import annotations

from collections.abc import Iterable

from agents.ledger import LeaseRef, Ledger, Work
from agents.scheduling.leader_events import TellWork
from keys import PeerId

_NEVER = -(2**53)
_WORK_OVERHEAD_BYTES = 512


class Telling:
    """Notes by peer; `due` says what to send now."""

    def __init__(self, max_bytes: int, retell_ms: int) -> None:
        self._max_bytes = max_bytes
        self._retell_ms = retell_ms
        self._told_ms: dict[PeerId, dict[LeaseRef, int]] = {}
        self._fresh: dict[PeerId, list[LeaseRef]] = {}

    def clear(self) -> None:
        self._told_ms.clear()
        self._fresh.clear()

    def add(self, leases: Iterable[LeaseRef], ledger: Ledger) -> tuple[PeerId, ...]:
        """Note leases that were just granted; their holders."""
        touched: dict[PeerId, None] = {}
        for ref in leases:
            lease = ledger.lease(ref.task_id)
            if lease is not None and lease.token == ref.token:
                self._told_ms.setdefault(lease.peer, {})[ref] = _NEVER
                self._fresh.setdefault(lease.peer, []).append(ref)
                touched[lease.peer] = None
        return tuple(touched)

    def acknowledge(self, peer: PeerId, leases: Iterable[LeaseRef]) -> None:
        """The peer knows them, or they are over."""
        told = self._told_ms.get(peer)
        if told is not None:
            for ref in leases:
                told.pop(ref, None)
            if not told:
                del self._told_ms[peer]

    def tick(self, now_ms: int) -> None:
        """Let what was told long ago be told again."""
        for peer, told in self._told_ms.items():
            late = [
                ref for ref, at_ms in told.items() if _NEVER < at_ms <= now_ms - self._retell_ms
            ]
            if late:
                self._fresh.setdefault(peer, []).extend(late)

    def due(self, ledger: Ledger, now_ms: int, reading_ms: int) -> list[TellWork]:
        """What to send now, in messages of bounded size."""
        effects: list[TellWork] = []
        for peer, refs in self._fresh.items():
            told = self._told_ms.get(peer, {})
            by_incarnation: dict[int, list[Work]] = {}
            for ref in refs:
                if ref not in told:
                    continue
                work, lease = ledger.work(ref, reading_ms), ledger.lease(ref.task_id)
                if work is None or lease is None:
                    del told[ref]
                    continue
                told[ref] = now_ms
                by_incarnation.setdefault(lease.incarnation, []).append(work)
            if not told:
                self._told_ms.pop(peer, None)
            for incarnation, works in by_incarnation.items():
                for part in self._parts(works):
                    effects.append(TellWork(peer, incarnation, part))
        self._fresh.clear()
        return effects

    def check_invariants(self) -> None:
        assert all(self._told_ms.values())
        for peer, refs in self._fresh.items():
            assert refs, peer

    def _parts(self, works: list[Work]) -> list[tuple[Work, ...]]:
        parts: list[tuple[Work, ...]] = []
        part: list[Work] = []
        size = 0
        for work in works:
            more = len(work.payload) + len(work.proof or b"") + _WORK_OVERHEAD_BYTES
            if part and size + more > self._max_bytes:
                parts.append(tuple(part))
                part, size = [], 0
            part.append(work)
            size += more
        parts.append(tuple(part))
        return parts

"""Who waits for which task on this voter: woken by the entry that ends it.

What this module does not know: the network, who leads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from agents.ledger import FINAL_STATES, Applied, Ledger, Outcome, State, TaskId

RESTING = FINAL_STATES | {State.PARKED}
MAX_ANSWER_BYTES = 600_000
GATHER_S = 0.02  # results come in bursts; one answer carries what a burst brings


class Results:
    """Waiters by task."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._waiting: dict[TaskId, set[asyncio.Event]] = {}

    def on_outcome(self, outcome: Outcome) -> None:
        """Wake whoever waits for a task that this entry ended."""
        if not isinstance(outcome, Applied) or not self._waiting:
            return
        for verdict in outcome.verdicts:
            if verdict.changed and verdict.after in RESTING:
                for event in self._waiting.get(verdict.task_id, ()):
                    event.set()

    def wake(self) -> None:
        """Something else changed that the waiting should look at."""
        for events in self._waiting.values():
            for event in events:
                event.set()

    async def wait(self, ids: Iterable[TaskId], wait_s: float) -> list[list[Any]]:
        """Return `[id, view]` of those that rest, `[id, None]` of the unknown, as soon as one does.

        An empty list means that the time is over; a long one may lack some: ask again.
        """
        wanted = list(ids)
        found = self._resting(wanted)
        if found or wait_s <= 0:
            return found
        event = asyncio.Event()
        for task_id in wanted:
            self._waiting.setdefault(task_id, set()).add(event)
        try:
            async with asyncio.timeout(wait_s):
                await event.wait()
            await asyncio.sleep(GATHER_S)
        except TimeoutError:
            pass
        finally:
            for task_id in wanted:
                events = self._waiting[task_id]
                events.discard(event)
                if not events:
                    del self._waiting[task_id]
        return self._resting(wanted)

    def _resting(self, ids: Iterable[TaskId]) -> list[list[Any]]:
        found: list[list[Any]] = []
        size_bytes = 0
        for task_id in ids:
            state = self._ledger.state_of(task_id)
            if state is not None and state not in RESTING:
                continue
            view = self._ledger.get(task_id) if state is not None else None
            found.append([task_id, None if view is None else view.to_wire()])
            size_bytes += 1024 + (0 if view is None else view.result_bytes or 0)
            if size_bytes > MAX_ANSWER_BYTES:
                break
        return found

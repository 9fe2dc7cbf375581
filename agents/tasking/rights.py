"""Who may look at which task, and who may end it.

Everybody looks after its own tasks. Those of others take the right to inspect or control them,
where they are: in the namespace of their skill, and under the policies.

What this module does not know: roles and rules; see `keys.Guard`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from agents.ledger import Ledger, State, TaskId, TaskView
from agents.names import peer_meant
from keys import Action, Principal
from p2p import Peer

MAX_LOOKED_AT = 10_000  # tasks, for one who may not see them all


class TaskRights:
    """At the leader, whose ledger is the latest."""

    def __init__(self, peer: Peer, ledger: Ledger) -> None:
        self._peer = peer
        self._ledger = ledger

    def check(self, caller: Principal, action: Action, ids: Iterable[TaskId]) -> None:
        """
        Raises:
            PermissionDenied: one of these tasks is another's, and the caller lacks the right.
        """
        for task_id in ids:
            view = self._ledger.get(task_id)
            if view is not None and view.submitter != caller.peer_id:
                self._peer.check(caller, action, peer_meant(view.skill)[0])

    def shown(
        self, caller: Principal, states: Iterable[State] | None, job: Any, most: int
    ) -> list[TaskView]:
        """The latest tasks that are the caller's, or that it may inspect."""
        wanted = None if states is None else list(states)
        tasks = self._ledger.tasks(states=wanted, job=job, limit=most)
        shown = [task for task in tasks if self._is_shown(task, caller)]
        if len(shown) < len(tasks) == most:  # there may be older ones that it may see
            tasks = self._ledger.tasks(states=wanted, job=job, limit=MAX_LOOKED_AT)
            shown = [task for task in tasks if self._is_shown(task, caller)][:most]
        return shown

    def counts(self, caller: Principal, by_skill: Mapping[str, int]) -> dict[str, int]:
        """Those of the skills that the caller may know of."""
        may = self._peer.guard.may
        return {
            skill: count
            for skill, count in by_skill.items()
            if may(caller, Action.INSPECT, peer_meant(skill)[0])
        }

    def _is_shown(self, task: TaskView, caller: Principal) -> bool:
        skill = peer_meant(task.skill)[0]
        may = self._peer.guard.may
        return task.submitter == caller.peer_id or may(caller, Action.INSPECT, skill)

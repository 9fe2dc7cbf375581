"""What must hold whatever happens: judged while the network runs, and once it has come to rest.

    one leader per term         no two nodes ever say of themselves that they lead in the same term
    results counted once        who asks for a task's result is told the same, whenever, whomever
    locks never overlap         tokens grow, and no holder is granted a lock that another may use
    no acknowledged task lost   the ledger knows it and it has ended, or somebody still works on it
    linearizable store          there is an order of all reads and writes that explains the answers
    members agree               all living nodes see all living nodes, and the same leader
    no exception unseen         in virtual time: no callback of any node has failed

What this module does not know: how the network runs, how verdicts are shown.

Invariant: a check that was never evaluated has no verdict and is never shown as one that holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from agents.chaos.errors import CheckFailed
from agents.chaos.recording import Hold, Recording
from agents.chaos.store_model import StoreModel
from agents.chaos.timeline import What
from consensus.sim import Verdict, check

MAX_STATES = 100_000

LEADER = "one leader per term"
ONCE = "results counted once"
LOCKS = "locks never overlap"
TASKS = "no acknowledged task lost"
STORE = "linearizable store"
MEMBERS = "members agree"
UNSEEN = "no exception unseen"


class Result(Enum):
    """What came of a check."""

    HOLDS = "holds"
    FAILED = "FAILED"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One line of the verdict."""

    name: str
    result: Result
    seen: str
    at_ms: int

    def __str__(self) -> str:
        when = f" at {self.at_ms / 1000:.3f} s" if self.result is Result.FAILED else ""
        return f"{self.result.value:<9} {self.name}{when}: {self.seen}"

    def to_json(self) -> dict[str, Any]:
        return {
            "check": self.name,
            "result": self.result.value,
            "seen": self.seen,
            "at_ms": self.at_ms,
        }


class Checks:
    """The verdicts of one run. The first failure of each check counts."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._timeline = recording.timeline
        self._results: dict[str, CheckResult] = {}
        self._leaders: dict[int, str] = {}  # by term
        self._taken = 0
        recording.on_result = self._on_result
        recording.on_hold = self._on_hold

    @property
    def results(self) -> tuple[CheckResult, ...]:
        return tuple(self._results.values())

    @property
    def failures(self) -> tuple[CheckResult, ...]:
        return tuple(r for r in self.results if r.result is Result.FAILED)

    @property
    def has_two_leaders(self) -> bool:
        """Whether two nodes were seen to lead in one term."""
        return any(failure.name == LEADER for failure in self.failures)

    def note(self, name: str, result: Result, seen: str) -> None:
        """Keep a verdict, unless this check has failed before."""
        before = self._results.get(name)
        if before is not None and before.result is Result.FAILED:
            return
        self._results[name] = CheckResult(name, result, seen, self._timeline.now_ms)
        if before is None or before.result is not result:
            self._timeline.add(What.CHECK, "", f"{name}: {result.value}: {_first_line(seen)}")

    def demand(self, name: str, holds: bool, seen: str) -> None:
        """Keep a verdict, and stop the script where it failed.

        Raises:
            CheckFailed.
        """
        self.note(name, Result.HOLDS if holds else Result.FAILED, seen)
        if not holds:
            raise CheckFailed(name, self._timeline.now_ms, seen)

    # -- while it runs -------------------------------------------------------------------------

    def leads(self, node: str, term: int) -> None:
        """A node says of itself that it leads."""
        first = self._leaders.setdefault(term, node)
        if first != node:
            self.note(LEADER, Result.FAILED, f"{first} and {node} both led in term {term}")

    def _on_result(self, node: str, task_id: str, view: Mapping[str, Any]) -> None:
        task = self._recording.tasks[task_id]
        if task.result is not None and task.result[0] != view["result"]:
            seen = f"{task.alias}: {task.result[1]} and {node} were told different results"
            self.note(ONCE, Result.FAILED, seen)
        self._taken += 1

    def _on_hold(self, hold: Hold) -> None:
        """A lock was granted or renewed: whoever has a greater token must have got it later."""
        for other in self._recording.holds.get(hold.lock, ()):
            first, second = sorted((hold, other), key=lambda one: one.token)
            if first.token < second.token and first.until_ms > second.from_ms:
                seen = (
                    f"{hold.lock!r}: {second.node} was granted token {second.token} "
                    f"{first.until_ms - second.from_ms} ms before {first.node} had to let "
                    f"{first.token} go"
                )
                self.note(LOCKS, Result.FAILED, seen)

    # -- once it is at rest --------------------------------------------------------------------

    def judge_leaders(self) -> None:
        self.note(LEADER, Result.HOLDS, f"{len(self._leaders)} terms had a leader")

    def judge_results(self) -> None:
        done = sum(task.result is not None for task in self._recording.tasks.values())
        if done:
            seen = f"{done} tasks were done, their results were told {self._taken} times"
            self.note(ONCE, Result.HOLDS, seen)

    def judge_locks(self) -> None:
        holds = self._recording.holds
        if holds:
            count = sum(map(len, holds.values()))
            self.note(LOCKS, Result.HOLDS, f"{count} grants of {len(holds)} locks")

    def judge_store(self) -> None:
        """Search for an order that explains every answer."""
        history = [
            one
            for one in self._recording.store.history()
            if one.op.key not in self._recording.unjudged
        ]
        if not history:
            return
        judgement = check(history, StoreModel(), MAX_STATES)
        result = {
            Verdict.LINEARIZABLE: Result.HOLDS,
            Verdict.VIOLATION: Result.FAILED,
            Verdict.UNDECIDED: Result.UNDECIDED,
        }[judgement.verdict]
        seen = f"{len(history)} reads and writes"
        self.note(STORE, result, seen if result is Result.HOLDS else str(judgement))

    def judge_tasks(self, views: Mapping[str, tuple[str, Mapping[str, Any] | None]]) -> None:
        """
        Args:
            views: of every acknowledged task, who was asked last, and the answer.
        """
        lost = self.lost_tasks(views)
        if lost:
            self.note(TASKS, Result.FAILED, "; ".join(lost[:5]))
        elif self._recording.tasks:
            self.note(TASKS, Result.HOLDS, f"{len(self._recording.tasks)} tasks have ended")

    def lost_tasks(
        self, views: Mapping[str, tuple[str, Mapping[str, Any] | None]]
    ) -> tuple[str, ...]:
        """In words, those that nobody knows first, and then those that have not ended."""
        lost, open_ones = [], []
        for task_id, task in self._recording.tasks.items():
            if task_id not in views:
                continue  # acknowledged since they were asked for
            node, view = views[task_id]
            words = f"{task.alias} ({task.skill}), acknowledged at {task.node} at "
            words += f"{task.at_ms / 1000:.3f} s"
            if view is None:
                lost.append(f"{words}: {node} does not know it")
            elif view["finished_ms"] is None and view["state"] != "parked":
                open_ones.append(f"{words}: still {view['state']}")
        return (*lost, *open_ones)


def _first_line(text: str) -> str:
    return text.partition("\n")[0]

"""`net.expect`: what a script demands, beside what is always checked.

    await net.expect.members_agree(within=30)
    net.expect.that("nobody was charged twice", charges == 1, f"{charges} charges")

What this module does not know: how a verdict is shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agents.chaos.checks import MEMBERS, Checks, Result
from agents.chaos.errors import CheckFailed, NotSettled

if TYPE_CHECKING:
    from agents.chaos.net import ChaosNet

WITHIN_S = 60.0


class Expect:
    """Demands of one run. Each raises `CheckFailed` where it does not hold."""

    def __init__(self, net: ChaosNet, checks: Checks) -> None:
        self._net = net
        self._checks = checks
        self.tasks_may_wait = False  # at the end of the run: tasks that nobody can do

    def that(self, claim: str, holds: object, seen: str = "") -> None:
        """A claim of the script's own.

        Args:
            seen: what was seen, for whoever reads the verdict.
        """
        self._checks.demand(claim, bool(holds), seen or ("yes" if holds else "no"))

    async def members_agree(self, *, within: float = WITHIN_S) -> None:
        """All living nodes see all living nodes alive, and the same leader."""
        began_ms = self._net.now_ms
        try:
            await self._net.settle(within=within)
        except NotSettled as error:
            self._checks.demand(MEMBERS, False, f"within {within:g} s: {error.seen}")
        took_s = (self._net.now_ms - began_ms) / 1000
        alive = len(self._net.living)
        self._checks.note(MEMBERS, Result.HOLDS, f"{alive} nodes, after {took_s:.1f} s")

    async def no_lost_task(self, *, within: float = WITHIN_S) -> None:
        """Every task that was acknowledged so far has ended by then."""
        views = await self._net.task_views(within)
        self._checks.judge_tasks(views)
        self._raise_failures()

    def results_counted_once(self) -> None:
        """Whoever asked for a result was told the same."""
        self._checks.judge_results()
        self._raise_failures()

    def one_leader_per_term(self) -> None:
        """No two nodes said that they lead in the same term."""
        self._checks.judge_leaders()
        self._raise_failures()

    def locks_never_overlap(self) -> None:
        """No lock was in two hands."""
        self._checks.judge_locks()
        self._raise_failures()

    def linearizable(self) -> None:
        """Reads and writes of the store so far can be put into one order."""
        self._checks.judge_store()
        self._raise_failures()

    def _raise_failures(self) -> None:
        for failure in self._checks.failures:
            raise CheckFailed(failure.name, failure.at_ms, failure.seen)

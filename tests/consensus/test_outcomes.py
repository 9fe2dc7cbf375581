"""What those who wait are told: done, definitely not, or unknown (R31)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from runner_lab import Lab

from consensus import NotLeader, OutcomeUnknown
from consensus.outcomes import Committed, Outcomes
from consensus.raft import Accepted, ChangeConfig, Entry, EntryKind


def with_outcomes(scenario: Callable[[Outcomes], Awaitable[None]]) -> None:
    """Run this with what a lone leader keeps for those who wait."""

    async def main() -> None:
        lab = Lab(ids=("a",))
        await lab.start()
        await scenario((await lab.leader())._outcomes)
        await lab.stop()

    asyncio.run(main())


def accepted(outcomes: Outcomes, index: int, term: int) -> asyncio.Future[Committed]:
    """A wish that is in a leader's log there."""
    future = outcomes.change(("a",), ())
    (event,) = outcomes.take_events()
    assert isinstance(event, ChangeConfig)
    outcomes.on_result(Accepted(event.request, 1, index, term))
    return future


def test_the_same_index_and_term_is_done_another_term_is_definitely_not() -> None:
    async def scenario(outcomes: Outcomes) -> None:
        done = accepted(outcomes, 1005, 2)
        replaced = accepted(outcomes, 1006, 2)
        applied = [Entry(n, n - 1003, EntryKind.COMMAND, b"x") for n in (1005, 1006)]
        outcomes.on_applied(applied, ["five", "six"])
        assert done.result() == Committed(1005, 2, "five")
        with pytest.raises(NotLeader):
            replaced.result()

    with_outcomes(scenario)


def test_who_leads_again_says_unknown_of_the_term_before() -> None:
    async def scenario(outcomes: Outcomes) -> None:
        before = accepted(outcomes, 1005, 2)
        now = accepted(outcomes, 1006, 4)
        outcomes.on_lead_lost(4)
        with pytest.raises(OutcomeUnknown):
            before.result()
        assert not now.done()

    with_outcomes(scenario)

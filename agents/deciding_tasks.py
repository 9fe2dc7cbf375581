"""Votes on tasks, at the leader: who decides on a task, and putting its questions to the vote.

The electorate of a task is frozen when it is submitted, from the same wishes as that of any other
question. Its questions are made by the ledger; here they are opened in the log, and their ballots
are collected by whoever leads.

What this module does not know: when a task is asked about, what follows from the answer.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Protocol

from agents.deciding import Candidate, Wish, propose
from agents.deciding_leader import DecidingLeader
from agents.errors import QuestionRefused
from agents.ledger import TaskSpec, VotedSpec, make_terms
from agents.quorum import Quorum
from agents.tasking import VoteWish
from consensus import ProposalError
from consensus.ballots import Proposal
from keys import PeerId

log = logging.getLogger("conclave.agents.deciding")

_NO_ID = "0" * 32


class Collects(Protocol):
    """What collects ballots."""

    def begin(self, proposal: Proposal) -> None: ...


class TaskPolls:
    """The leader's part; every node has one, for when it leads."""

    def __init__(
        self,
        quorum: Quorum,
        leader: DecidingLeader,
        collectors: Collects,
        candidates: Callable[[], Mapping[PeerId, Candidate]],
    ) -> None:
        self._quorum = quorum
        self._leader = leader
        self._collectors = collectors
        self._candidates = candidates

    def freeze(self, spec: TaskSpec, wish: VoteWish) -> VotedSpec | None:
        """A task with who votes on it; None while the voters change.

        Raises:
            QuestionRefused: somebody whom it names cannot vote, or nobody can be asked like that.
        """
        replica = self._quorum.replica
        assert replica is not None
        status = replica.status
        if status.is_changing:
            return None
        proposal = propose(
            Wish(
                proposal_id=_NO_ID,
                question=f"a task of {spec.skill}",
                subject=b"",
                kind="",
                voters=wish.voters,
                weights={},
                guardians=wish.may_veto,
                threshold=wish.threshold,
                deadline_ms=wish.deadline_ms,
            ),
            network_id=self._quorum.decisions.network_id,
            epoch=status.membership_index,
            members=[PeerId(name) for name in status.membership.voters],
            candidates=self._candidates(),
            proposer=spec.submitter,
        )
        return VotedSpec(spec, make_terms(proposal, spec))

    async def open(self, question: Proposal) -> None:
        """Have the log open it, and collect its ballots; the register says what came of it."""
        try:
            await self._leader.open_question(question)
        except (ProposalError, QuestionRefused) as error:
            log.info("a question about a task is not open: %s", error)
            return
        self._collectors.begin(question)

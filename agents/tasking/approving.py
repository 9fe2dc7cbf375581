"""Work that was voted on, as a worker looks at it before it runs it.

The leader sends the certificate of the vote with the work. The worker verifies all of it by itself:
the signatures, that the text is about this task, this payload and this worker, and that those who
approved may decide *as this worker knows them*. The leader's word on who votes counts for nothing.

A handler may ask for more (`Demand`): a majority of the voters of the log as this worker knows
them, or the approval of certain members. Without that a leader that lies can name voters of its
choice among those who may decide, itself alone, say; or leave the vote out altogether.

An approval serves for one assignment, also where the worker was started again meanwhile (`used`).

What this module does not know: where a worker's view of others comes from, handlers.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Protocol

from agents.deciding import SCHEME
from agents.errors import ApprovalRefused, ApproverUnknown
from agents.hosting import Demand
from agents.ledger import Work, fault_of_approval
from agents.tasking.used import UsedApprovals
from consensus import ballots
from consensus.ballots import CertificateInvalid, Choice, Proposal, Status, Verified
from keys import NetworkId, PeerId


class Standing(Protocol):
    """What this node knows of others, by itself."""

    def may_decide(self, peer_id: PeerId) -> bool | None:
        """None of one that it has not met."""
        ...

    def is_majority(self, peer_ids: Collection[PeerId]) -> bool:
        """Whether these are a majority of the voters of the log."""
        ...

    def name_of(self, peer_id: PeerId) -> str | None: ...


class Approvals:
    """The approvals that one worker was shown."""

    def __init__(self, own: PeerId, network_id: NetworkId, standing: Standing, home: Path) -> None:
        self._own = own
        self._network_id = network_id
        self._standing = standing
        self._used = UsedApprovals(home)

    def read(self, work: Work, demand: Demand | None) -> Verified | None:
        """What was approved; None of work that nobody voted on and nobody has to.

        Raises:
            ApprovalRefused: it is no approval of this work.
        """
        if work.proof is None:
            if demand is not None:
                raise ApprovalRefused(work.skill, work.task_id, "nobody voted on it")
            return None
        try:
            found = ballots.verify(work.proof, SCHEME)
        except CertificateInvalid as error:
            raise ApprovalRefused(work.skill, work.task_id, str(error)) from error
        why = self._fault(found, work)
        if why is not None:
            raise ApprovalRefused(work.skill, work.task_id, why)
        return found

    def strangers(self, found: Verified) -> list[PeerId]:
        """Who approved and was never met here."""
        return [who for who in approvers(found) if self._standing.may_decide(who) is None]

    def check(self, found: Verified, work: Work, demand: Demand | None) -> None:
        """
        Raises:
            ApprovalRefused: those who approved are not those whose word counts here.
            ApproverUnknown: nobody knows, because some were never met here.
        """
        why = self._shortage(found, demand or Demand())
        if why is not None:
            strangers = self.strangers(found)
            if strangers:
                raise ApproverUnknown(work.skill, work.task_id, strangers)
            raise ApprovalRefused(work.skill, work.task_id, why)

    async def use(self, found: Verified, work: Work) -> None:
        """The last of all: from now on it serves for nothing but this assignment, durably.

        Raises:
            ApprovalRefused: it has served for another one.
            KeystoreError: that it serves cannot be written down.
        """
        why = await self._used.take(found.proposal.proposal_id, work.token)
        if why is not None:
            raise ApprovalRefused(work.skill, work.task_id, why)

    def _fault(self, found: Verified, work: Work) -> str | None:
        proposal = found.proposal
        if proposal.cluster_id != self._network_id:
            return "it is of another network"
        if found.outcome is not Status.APPROVED:
            return f"it says {found.outcome.value}"
        if any(each.weight != 1 for each in proposal.electors):
            return "on tasks every voter has one vote"
        return fault_of_approval(proposal, work, self._own)

    def _shortage(self, found: Verified, demand: Demand) -> str | None:
        """What is missing, as far as this worker knows those who approved."""
        standing = self._standing
        counted = [who for who in approvers(found) if standing.may_decide(who)]
        if not _is_enough(found.proposal, len(counted)):
            return f"only {len(counted)} of those who approved may decide here"
        if demand.of_voters and not standing.is_majority(counted):
            return "those who approved are no majority of the voters as they are known here"
        known = {*counted, *(standing.name_of(who) for who in counted)}
        missing = [name for name in demand.names if name not in known]
        return f"{', '.join(missing)} did not approve it" if missing else None


def approvers(found: Verified) -> list[PeerId]:
    """Who said yes, and nothing else."""
    return [PeerId(each.elector.peer_id) for each in found.signers if each.choice is Choice.APPROVE]


def _is_enough(proposal: Proposal, yes: int) -> bool:
    numerator, denominator = proposal.threshold
    return denominator * yes > numerator * len(proposal.electors)

"""From what somebody wishes to have decided to the proposal that the leader puts to a vote.

The electorate is frozen here: the members that vote in the log at this moment, or those peers that
the wish names, with the log index of the membership as their epoch (V2).

    wish    [id, question, subject, kind, [voter, ...] or nil, {voter: weight}, [guardian, ...],
             numerator, denominator, deadline in ms]

Voters and guardians are named by peer id or by name; guardians may veto.

What this module does not know: the log, who is alive, what became of the wish.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final, Self

from agents.errors import QuestionRefused
from consensus.ballots import Elector, Proposal, ProposalInvalid
from keys import PeerId

ID_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Candidate:
    """A peer whose key is known."""

    peer_id: PeerId
    public_key: bytes
    name: str
    may_vote: bool  # whether its certificate lets it decide; False for one that is not alive


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants to have decided."""

    proposal_id: str
    question: str
    subject: bytes
    kind: str
    voters: tuple[str, ...] | None
    weights: Mapping[str, int]
    guardians: tuple[str, ...]
    threshold: tuple[int, int]
    deadline_ms: int

    def to_wire(self) -> list[Any]:
        """As plain data."""
        voters = None if self.voters is None else list(self.voters)
        return [
            self.proposal_id,
            self.question,
            self.subject,
            self.kind,
            voters,
            dict(self.weights),
            list(self.guardians),
            *self.threshold,
            self.deadline_ms,
        ]

    @classmethod
    def from_wire(cls, value: list[Any]) -> Self | None:
        """From plain data of a peer; None if it is no wish."""
        if len(value) != 10:
            return None
        voters, weights, guardians = value[4:7]
        is_shaped = (
            all(isinstance(value[place], str) for place in (0, 1, 3))
            and isinstance(value[2], bytes)
            and (voters is None or _are_names(voters))
            and isinstance(weights, dict)
            and _are_names(list(weights))
            and all(type(weight) is int for weight in weights.values())
            and _are_names(guardians)
            and all(type(number) is int for number in value[7:])
        )
        if not is_shaped:
            return None
        return cls(
            proposal_id=value[0],
            question=value[1],
            subject=value[2],
            kind=value[3],
            voters=None if voters is None else tuple(voters),
            weights=weights,
            guardians=tuple(guardians),
            threshold=(value[7], value[8]),
            deadline_ms=value[9],
        )


def id_of_key(network_id: str, proposer: PeerId, key: str) -> str:
    """The id that a proposer's question has under a key of its own, whenever it is asked."""
    text = f"conclave/decision/{network_id}/{proposer}/{key}"
    return blake2b(text.encode(), digest_size=ID_BYTES).hexdigest()


def is_repeated(wish: Wish, proposal: Proposal, proposer: PeerId) -> bool:
    """Whether what stands under its id is what this wish is about."""
    return (proposal.question, proposal.subject, proposal.kind, proposal.proposer) == (
        wish.question,
        wish.subject,
        wish.kind,
        proposer,
    )


def propose(
    wish: Wish,
    *,
    network_id: str,
    epoch: int,
    members: Iterable[PeerId],
    candidates: Mapping[PeerId, Candidate],
    proposer: PeerId,
) -> Proposal:
    """Freeze the electorate.

    Raises:
        QuestionRefused: it cannot be put to a vote, or somebody whom it names cannot vote.
    """
    named = _Named(wish.question, candidates)
    if wish.voters is None:
        peers = [named.member(member) for member in members]
    else:
        peers = [named.voter(voter) for voter in wish.voters]
    weights = {named.elector(who, peers): weight for who, weight in wish.weights.items()}
    guardians = {named.elector(who, peers) for who in wish.guardians}
    electors = {
        peer.peer_id: Elector(
            peer_id=peer.peer_id,
            public_key=peer.public_key,
            weight=weights.get(peer.peer_id, 1),
            may_veto=peer.peer_id in guardians,
            name=peer.name,
        )
        for peer in peers
    }
    try:
        return Proposal.make(
            proposal_id=wish.proposal_id,
            cluster_id=network_id,
            epoch=epoch,
            electors=electors.values(),
            question=wish.question,
            proposer=proposer,
            deadline_ms=wish.deadline_ms,
            subject=wish.subject,
            kind=wish.kind,
            threshold=wish.threshold,
        )
    except ProposalInvalid as error:
        raise QuestionRefused(wish.question, f"{error.field}: {error.why}") from error


class _Named:
    """Finds peers by what people call them."""

    def __init__(self, question: str, candidates: Mapping[PeerId, Candidate]) -> None:
        self._question = question
        self._candidates = candidates

    def member(self, peer_id: PeerId) -> Candidate:
        """One that votes in the log, alive or not: who is absent has not said yes."""
        known = self._candidates.get(peer_id)
        if known is None:
            raise self._refused(peer_id, "votes in the log, and its key is not known to the leader")
        return known

    def voter(self, wanted: str) -> Candidate:
        found = self._find(wanted, list(self._candidates.values()))
        if not found.may_vote:
            raise self._refused(wanted, "may not decide, or is not alive")
        return found

    def elector(self, wanted: str, peers: list[Candidate]) -> PeerId:
        return self._find(wanted, peers).peer_id

    def _find(self, wanted: str, peers: list[Candidate]) -> Candidate:
        found = {peer.peer_id: peer for peer in peers if wanted in (peer.peer_id, peer.name)}
        if len(found) != 1:
            why = "is none of those who could vote" if not found else "means several peers"
            raise self._refused(wanted, why)
        return next(iter(found.values()))

    def _refused(self, who: str, why: str) -> QuestionRefused:
        return QuestionRefused(self._question, f"{who} {why}")


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)

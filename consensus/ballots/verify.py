"""Whether a certificate proves its outcome, and what two of them prove against their signers.

Everything is counted again here, from the bytes alone. None of it is the tally's code: an error in
one of the two shows as a difference between them (V5). Cheap checks come first: form, electorate
and statements are looked at before the first signature is.

Without the epoch's electorate a certificate proves only that the keys in it decided something.
Whoever relies on it must say whose decision it has to be.

Approving and rejecting take the same weight. So an APPROVED and a REJECTED certificate of one text
prove that more than `2 * threshold - 1` of the weight signed both: more than a third at the default
(V8). An APPROVED one holds a ballot of every elector with the right of veto, so together with a
VETOED one it proves that the elector that vetoed signed both. A rejection and a veto can both be
genuine: a veto that comes after the rejection is late for one collector and in time for another.
Both refuse, and the log's first stands.

What this module does not know: the log, the collector, who runs what.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from consensus.ballots.ballot import DOMAIN, Ballot, Choice, Evidence, contradict
from consensus.ballots.certificate import QuorumCertificate
from consensus.ballots.errors import CertificateFault, CertificateInvalid
from consensus.ballots.proposal import Elector, Proposal, electorate_digest
from consensus.ballots.scheme import Scheme, key_fault
from consensus.ballots.tally import Status


@dataclass(frozen=True, slots=True)
class SignedBy:
    """One elector's part; `choice` is None for one that said two things and counts for nothing."""

    elector: Elector
    choice: Choice | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Verified:
    """A certificate that holds."""

    proposal: Proposal
    outcome: Status
    signers: tuple[SignedBy, ...]
    approve_weight: int
    reject_weight: int
    total_weight: int
    electorate_known: bool  # False: nobody said whose decision it has to be
    abstain_weight: int = 0

    @property
    def evidence_against(self) -> tuple[Elector, ...]:
        return tuple(each.elector for each in self.signers if each.choice is None)


@dataclass(frozen=True, slots=True)
class Accusation:
    """Who signed two different things, according to two certificates that both hold."""

    proposal_id: str
    round: int
    outcomes: tuple[Status, Status]
    guilty: tuple[Elector, ...]
    evidence: tuple[Evidence, ...]  # one for each of the guilty
    guilty_weight: int  # in the first one's electorate, as is the total
    total_weight: int

    @property
    def more_than_a_third(self) -> bool:
        """More than the default threshold was made to bear.

        Always so if one of the two approves, the other approves another text or rejects, and they
        are of one electorate with the default threshold.
        """
        return 3 * self.guilty_weight > self.total_weight

    @property
    def guilty_vetoers(self) -> tuple[Elector, ...]:
        """Those with the right of veto; never empty if one approves and the other is a veto."""
        return tuple(elector for elector in self.guilty if elector.may_veto)


def verify(data: bytes, scheme: Scheme, electorate: Sequence[Elector] | None = None) -> Verified:
    """
    Args:
        electorate: the voters of the proposal's epoch, in any order.

    Raises:
        CertificateInvalid: it proves nothing; says why and, where it is one voter's, whose fault.
    """
    certificate = QuorumCertificate.from_bytes(data)
    proposal = certificate.proposal
    if electorate is not None and electorate_digest(electorate) != proposal.electorate_digest:
        raise CertificateInvalid(CertificateFault.OTHER_ELECTORATE)
    by_key = {elector.public_key: elector for elector in proposal.electors}
    said: dict[bytes, list[Ballot]] = {}
    for ballot in certificate.ballots:
        _check_statement(ballot, proposal, by_key)
        said.setdefault(ballot.voter, []).append(ballot)
    for voter, ballots in said.items():
        _check_voter(by_key[voter], ballots)
    for elector in proposal.electors:
        _check_elector(elector, scheme)
    verified = _recount(certificate, by_key, said, electorate is not None)
    for ballot in certificate.ballots:
        fault = scheme.fault(ballot.voter, DOMAIN, ballot.body, ballot.signature)
        if fault is not None:
            who = by_key[ballot.voter].peer_id
            raise CertificateInvalid(CertificateFault.SIGNATURE, who, fault.value)
    return verified


def conflict(
    one: bytes,
    other: bytes,
    scheme: Scheme,
    electorate: Sequence[Elector] | None = None,
) -> Accusation | None:
    """Who signed both certificates, saying different things in one round of one proposal (V8).

    None if they are about different rounds or proposals, or if nobody did.

    Raises:
        CertificateInvalid: one of the two proves nothing, so together they accuse nobody.
    """
    first, second = verify(one, scheme, electorate), verify(other, scheme, electorate)
    if _place(first.proposal) != _place(second.proposal):
        return None
    ballots = (
        QuorumCertificate.from_bytes(one).ballots + QuorumCertificate.from_bytes(other).ballots
    )
    evidence: dict[bytes, Evidence] = {}
    earlier: dict[bytes, Ballot] = {}
    for ballot in ballots:
        before = earlier.setdefault(ballot.voter, ballot)
        if ballot.voter not in evidence and contradict(before, ballot):
            evidence[ballot.voter] = Evidence.of(before, ballot)
    if not evidence:
        return None
    everyone = {e.public_key: e for e in (*second.proposal.electors, *first.proposal.electors)}
    guilty = tuple(everyone[voter] for voter in sorted(evidence))
    return Accusation(
        proposal_id=first.proposal.proposal_id,
        round=first.proposal.round,
        outcomes=(first.outcome, second.outcome),
        guilty=guilty,
        evidence=tuple(evidence[voter] for voter in sorted(evidence)),
        guilty_weight=sum(e.weight for e in first.proposal.electors if e.public_key in evidence),
        total_weight=first.total_weight,
    )


def _place(proposal: Proposal) -> tuple[str, str, int]:
    return proposal.cluster_id, proposal.proposal_id, proposal.round


def _check_statement(ballot: Ballot, proposal: Proposal, by_key: dict[bytes, Elector]) -> None:
    """Everything that a ballot signs, against the proposal, field by field."""
    elector = by_key.get(ballot.voter)
    if elector is None:
        raise CertificateInvalid(CertificateFault.FOREIGN_SIGNER, ballot.voter.hex())
    for name, found, expected in (
        ("cluster", ballot.cluster_id, proposal.cluster_id),
        ("epoch", ballot.epoch, proposal.epoch),
        ("round", ballot.round, proposal.round),
        ("proposal id", ballot.proposal_id, proposal.proposal_id),
        ("electorate", ballot.electorate_digest, proposal.electorate_digest),
        ("proposal", ballot.proposal_digest, proposal.digest),
    ):
        if found != expected:
            raise CertificateInvalid(
                CertificateFault.OTHER_STATEMENT, elector.peer_id, f"its {name} is another"
            )
    if ballot.choice is Choice.VETO and not elector.may_veto:
        raise CertificateInvalid(CertificateFault.NO_VETO_RIGHT, elector.peer_id)


def _check_voter(elector: Elector, ballots: list[Ballot]) -> None:
    if len(ballots) > 2:
        raise CertificateInvalid(CertificateFault.TOO_MANY_BALLOTS, elector.peer_id)
    if len(ballots) == 2 and ballots[0].body == ballots[1].body:
        raise CertificateInvalid(
            CertificateFault.NOT_SORTED, elector.peer_id, "one statement is there twice"
        )


def _check_elector(elector: Elector, scheme: Scheme) -> None:
    """Of the whole electorate: a key that accepts anything must not be anywhere in it."""
    if scheme.peer_id_of(elector.public_key) != elector.peer_id:
        raise CertificateInvalid(CertificateFault.NAMED_WRONGLY, elector.peer_id)
    fault = key_fault(elector.public_key)
    if fault is not None:
        raise CertificateInvalid(CertificateFault.WEAK_KEY, elector.peer_id, fault.value)


def _recount(
    certificate: QuorumCertificate,
    by_key: dict[bytes, Elector],
    said: dict[bytes, list[Ballot]],
    electorate_known: bool,
) -> Verified:
    proposal = certificate.proposal
    numerator, denominator = proposal.threshold
    total = sum(elector.weight for elector in proposal.electors)
    yes = no = abstained = 0
    vetoed = False
    vetoers = {elector.public_key for elector in proposal.electors if elector.may_veto}
    signers = []
    for voter, ballots in said.items():
        elector = by_key[voter]
        choice = ballots[0].choice if len(ballots) == 1 else None
        signers.append(SignedBy(elector, choice, ballots[0].reason if choice else ""))
        if choice is Choice.APPROVE:
            yes += elector.weight
        elif choice is Choice.REJECT:
            no += elector.weight
        elif choice is Choice.ABSTAIN:
            abstained += elector.weight
        elif choice is Choice.VETO:
            vetoed = True
        if choice is not None:
            vetoers.discard(voter)
    if vetoed:
        outcome = Status.VETOED
    elif denominator * yes > numerator * total and not vetoers:
        outcome = Status.APPROVED
    elif denominator * (no + abstained) > numerator * total:
        outcome = Status.REJECTED
    else:
        why = f"{yes} of {total} approve, {no + abstained} do not"
        if vetoers:
            why += f", {len(vetoers)} that may veto are not counted"
        raise CertificateInvalid(CertificateFault.NOT_DECIDED, why=why)
    if outcome is not certificate.outcome:
        why = f"it says {certificate.outcome}, its ballots say {outcome}"
        raise CertificateInvalid(CertificateFault.OTHER_OUTCOME, why=why)
    return Verified(proposal, outcome, tuple(signers), yes, no, total, electorate_known, abstained)

"""Believing a certificate from its bytes alone, given the electorate of its epoch (V5).

Its own count, shared with no tally: what a collector got wrong must not be believed for the same
reason. Cheap things first: size and form, then cluster, epoch, electorate and question, then order
and membership of the signers, then the sums, and signatures last, at most 128 of them.

What it proves: keys of this electorate with more than the threshold of its weight signed this (for
a veto: one key with that right did). That no certificate says the opposite follows only while at
most f = floor((n - 1) / 3) of n >= 4 equal voters lie; `DESIGN.md` has the exact words.

What this module does not know: which electorate is the right one of an epoch (the caller says, from
a source that it trusts), and whether another certificate contradicts this one (`accusation`).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from consensus.votes.ballot import DOMAIN, Ballot, Choice
from consensus.votes.certificate import Outcome, QuorumCertificate, Weights
from consensus.votes.electorate import TWO_THIRDS, Electorate, Threshold
from consensus.votes.errors import CertificateFault, CertificateInvalid
from consensus.votes.question import Proposal
from consensus.votes.signing import SignatureCheck, is_signed


@dataclass(frozen=True, slots=True)
class Verified:
    """A certificate that was verified. Only `verify` makes one."""

    certificate: QuorumCertificate
    weights: Weights

    @property
    def proposal(self) -> Proposal:
        return self.certificate.proposal

    @property
    def outcome(self) -> Outcome:
        return self.certificate.outcome

    @property
    def signers(self) -> tuple[str, ...]:
        """Peer ids of all whose ballots are in it, sorted."""
        return tuple(ballot.voter for ballot in self.certificate.ballots)


def verify(
    data: bytes,
    electorate: Electorate,
    check: SignatureCheck,
    *,
    question_digest: bytes | None = None,
    at_least: Threshold = TWO_THIRDS,
) -> Verified:
    """The certificate in these bytes, if it proves its outcome.

    `electorate` is the trusted one of the epoch. `question_digest` is that of the proposal which
    the caller expects, if it does. A question that asked for less than `at_least` is refused.

    Raises:
        CertificateInvalid: what is wrong (`fault`), of whom (`voter`), with the numbers.
    """
    certificate = QuorumCertificate.from_bytes(data)
    _check_question(certificate.proposal, electorate, question_digest, at_least)
    _check_signers(certificate.ballots, electorate)
    weights = _recount(certificate.ballots, electorate)
    _check_outcome(certificate, electorate, weights)
    for ballot in certificate.ballots:
        voter = electorate.find(ballot.voter)
        assert voter is not None
        if not is_signed(check, voter.public_key, DOMAIN, ballot.body, ballot.signature):
            raise CertificateInvalid(CertificateFault.SIGNATURE, ballot.voter)
    return Verified(certificate, weights)


def _check_question(
    proposal: Proposal,
    electorate: Electorate,
    question_digest: bytes | None,
    at_least: Threshold,
) -> None:
    claimed = proposal.electorate
    if claimed.cluster_id != electorate.cluster_id:
        raise CertificateInvalid(
            CertificateFault.CLUSTER,
            detail=f"{claimed.cluster_id!r} instead of {electorate.cluster_id!r}",
        )
    if claimed.epoch != electorate.epoch:
        raise CertificateInvalid(
            CertificateFault.EPOCH, detail=f"{claimed.epoch} instead of {electorate.epoch}"
        )
    if claimed.digest != electorate.digest:
        raise CertificateInvalid(
            CertificateFault.ELECTORATE,
            detail=f"{claimed.digest.hex()[:16]} instead of {electorate.digest.hex()[:16]}",
        )
    if not proposal.threshold.is_at_least(at_least):
        raise CertificateInvalid(
            CertificateFault.WEAK, detail=f"{proposal.threshold} instead of {at_least}"
        )
    if question_digest is not None and proposal.digest != question_digest:
        raise CertificateInvalid(
            CertificateFault.DIGEST,
            detail=f"{proposal.digest.hex()[:16]} instead of {question_digest.hex()[:16]}",
        )


def _check_signers(ballots: tuple[Ballot, ...], electorate: Electorate) -> None:
    for before, after in pairwise(ballots):
        if before.voter == after.voter:
            raise CertificateInvalid(CertificateFault.DUPLICATE, after.voter)
        if before.voter > after.voter:
            raise CertificateInvalid(
                CertificateFault.UNSORTED, after.voter, f"it stands behind {before.voter}"
            )
    for ballot in ballots:
        voter = electorate.find(ballot.voter)
        if voter is None:
            raise CertificateInvalid(CertificateFault.FOREIGN, ballot.voter)
        if ballot.choice is Choice.VETO and not voter.can_veto:
            raise CertificateInvalid(CertificateFault.VETO, ballot.voter)


def _recount(ballots: tuple[Ballot, ...], electorate: Electorate) -> Weights:
    """Voter by voter of the electorate, so that no weight can be taken twice."""
    said = {ballot.voter: ballot.choice for ballot in ballots}

    def weight_of(choice: Choice) -> int:
        return sum(v.weight for v in electorate.voters if said.get(v.peer_id) is choice)

    return Weights(
        approve=weight_of(Choice.APPROVE),
        reject=weight_of(Choice.REJECT),
        abstain=weight_of(Choice.ABSTAIN),
        veto=weight_of(Choice.VETO),
        total=sum(voter.weight for voter in electorate.voters),
    )


def _check_outcome(
    certificate: QuorumCertificate, electorate: Electorate, weights: Weights
) -> None:
    outcome = certificate.outcome
    vetoes = [ballot.voter for ballot in certificate.ballots if ballot.choice is Choice.VETO]
    if outcome is Outcome.VETOED:
        if not vetoes:
            raise CertificateInvalid(CertificateFault.OUTCOME, detail="nobody vetoed")
        return
    if vetoes:
        raise CertificateInvalid(
            CertificateFault.OUTCOME, vetoes[0], f"{outcome.name}, with a veto in it"
        )
    is_approval = outcome is Outcome.APPROVED
    weight = weights.approve if is_approval else weights.reject + weights.abstain
    num, den = certificate.proposal.threshold.numerator, certificate.proposal.threshold.denominator
    if den * weight <= num * weights.total:
        side = "approve" if is_approval else "reject or abstain"
        raise CertificateInvalid(
            CertificateFault.THRESHOLD,
            detail=f"{outcome.name}, but {weight} of {weights.total} {side}, and"
            f" {den} * {weight} is not more than {num} * {weights.total}",
        )
    if is_approval:
        signers = {ballot.voter for ballot in certificate.ballots}
        for voter in electorate.voters:
            if voter.can_veto and voter.peer_id not in signers:
                raise CertificateInvalid(CertificateFault.UNHEARD, voter.peer_id)

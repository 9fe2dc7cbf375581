"""Certificates as JSON: what was asked, what came out, who said what, with all signatures.

Everything that is signed is in it, so the bytes can be made from it again, and they are the same
bytes. What is there for the reader only (sums, digests) must be what follows from the rest.
One thing is neither signed nor checked: `name` of a voter, a label that whoever wrote the document
gave it, and that reading drops.

What this module does not know: whether a certificate is valid.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from consensus.votes import readable
from consensus.votes.ballot import Ballot, Choice
from consensus.votes.certificate import Outcome, QuorumCertificate
from consensus.votes.electorate import MAX_VOTERS, Electorate, Threshold, Voter
from consensus.votes.errors import (
    CertificateFault,
    CertificateInvalid,
    ElectorateInvalid,
    ProposalInvalid,
)
from consensus.votes.evidence import read_choice
from consensus.votes.question import PROPOSAL_ID_BYTES, Proposal
from consensus.votes.readable import Document
from consensus.votes.signing import KEY_BYTES, SIGNATURE_BYTES, id_bytes
from consensus.votes.wire import Malformed

FORMAT: Final = "conclave-quorum-certificate/1"


def certificate_to_json(
    certificate: QuorumCertificate, names: Mapping[str, str] | None = None
) -> str:
    """The certificate as a document; `names` are labels by peer id."""
    return readable.written(certificate_document(certificate, names or {}))


def certificate_from_json(text: str | bytes) -> QuorumCertificate:
    """Nothing of it is believed yet.

    Raises:
        CertificateInvalid: MALFORMED, this text is no certificate.
    """
    try:
        return read_certificate(readable.read(text))
    except Malformed as error:
        raise CertificateInvalid(CertificateFault.MALFORMED, detail=str(error)) from error


def certificate_document(certificate: QuorumCertificate, names: Mapping[str, str]) -> Document:
    """The certificate as fields, for a document of its own or within another one."""
    proposal, said = certificate.proposal, {b.voter: b for b in certificate.ballots}
    return {
        "format": FORMAT,
        "outcome": certificate.outcome.name.lower(),
        "question": proposal.question,
        "kind": proposal.kind,
        "subject": readable.shown(proposal.subject),
        "cluster": proposal.cluster_id,
        "epoch": proposal.epoch,
        "proposal_id": proposal.proposal_id.hex(),
        "round": proposal.round,
        "deadline_ms": proposal.deadline_ms,
        "proposer": proposal.proposer,
        "proposer_key": readable.shown(proposal.proposer_key),
        "threshold": {
            "more_than": proposal.threshold.numerator,
            "of": proposal.threshold.denominator,
            "needed_weight": proposal.quorum_weight,
        },
        "weights": {
            **{
                choice.name.lower(): sum(
                    voter.weight
                    for voter in proposal.electorate.voters
                    if voter.peer_id in said and said[voter.peer_id].choice is choice
                )
                for choice in Choice
            },
            "total": proposal.electorate.total_weight,
        },
        "electorate": [_voter_document(v, names) for v in proposal.electorate.voters],
        "electorate_digest": proposal.electorate.digest.hex(),
        "proposal_digest": proposal.digest.hex(),
        "ballots": [_ballot_document(ballot) for ballot in certificate.ballots],
    }


def read_certificate(document: Document) -> QuorumCertificate:
    """
    Raises:
        Malformed: not the fields of a certificate.
    """
    try:
        proposal = _read_proposal(document)
    except (ElectorateInvalid, ProposalInvalid) as error:
        raise Malformed(str(error)) from error
    ballots = tuple(
        _read_ballot(item, proposal) for item in readable.objects(document, "ballots", MAX_VOTERS)
    )
    read = QuorumCertificate(proposal, _read_outcome(document), ballots)
    try:
        certificate = QuorumCertificate.from_bytes(read.to_bytes())  # which knows the limits
    except CertificateInvalid as error:
        raise Malformed(error.detail) from error
    if not readable.same(_without_names(document), certificate_document(certificate, {})):
        raise Malformed("its fields do not fit each other, or there are others")
    return certificate


def _voter_document(voter: Voter, names: Mapping[str, str]) -> Document:
    label: Document = {"name": names[voter.peer_id]} if voter.peer_id in names else {}
    return {
        "peer_id": voter.peer_id,
        **label,
        "public_key": readable.shown(voter.public_key),
        "weight": voter.weight,
        "can_veto": voter.can_veto,
    }


def _ballot_document(ballot: Ballot) -> Document:
    return {
        "voter": ballot.voter,
        "choice": ballot.choice.name.lower(),
        "reason": ballot.reason,
        "signature": readable.shown(ballot.signature),
    }


def _without_names(document: Document) -> Document:
    voters = readable.objects(document, "electorate", MAX_VOTERS)
    for voter in voters:
        if "name" in voter:
            readable.text(voter, "name")
    unnamed = [{key: voter[key] for key in voter if key != "name"} for voter in voters]
    return {**document, "electorate": unnamed}


def _read_outcome(document: Document) -> Outcome:
    name = readable.text(document, "outcome")
    for outcome in Outcome:
        if outcome.name.lower() == name:
            return outcome
    raise Malformed(f"{name[:40]!r} is no outcome")


def _read_proposal(document: Document) -> Proposal:
    threshold = readable.inner(document, "threshold")
    voters = tuple(
        Voter(
            peer_id=readable.text(item, "peer_id"),
            public_key=readable.data(item, "public_key", KEY_BYTES),
            weight=readable.number(item, "weight"),
            can_veto=readable.flag(item, "can_veto"),
        )
        for item in readable.objects(document, "electorate", MAX_VOTERS)
    )
    return Proposal(
        proposal_id=readable.hexadecimal(document, "proposal_id", PROPOSAL_ID_BYTES),
        electorate=Electorate(
            readable.text(document, "cluster"), readable.number(document, "epoch"), voters
        ),
        kind=readable.text(document, "kind"),
        question=readable.text(document, "question"),
        subject=readable.data(document, "subject"),
        proposer_key=readable.data(document, "proposer_key", KEY_BYTES),
        deadline_ms=readable.number(document, "deadline_ms"),
        round=readable.number(document, "round"),
        threshold=Threshold(
            readable.number(threshold, "more_than"), readable.number(threshold, "of")
        ),
    )


def _read_ballot(document: Document, proposal: Proposal) -> Ballot:
    voter = readable.text(document, "voter")
    if id_bytes(voter) is None:
        raise Malformed("voter is not a peer id")
    return Ballot.unsigned(
        proposal,
        voter,
        read_choice(document),
        readable.text(document, "reason"),
        readable.data(document, "signature", SIGNATURE_BYTES),
    )

"""A certificate as text that people can read, and back to exactly the same bytes.

What every ballot repeats of the proposal is left out: it is put back when the text is read, and the
signatures then say whether that was right. Derived lines (digests, weights) are there for the
reader; when the text is read they must be what would be written, so a text that shows something
other than what was signed is refused.

What this module does not know: whether a certificate holds.
"""

from __future__ import annotations

import base64
import json
from typing import Any, Final

from consensus.ballots.ballot import Ballot, Choice, sealed, statement
from consensus.ballots.certificate import MAX_CERTIFICATE_BYTES, QuorumCertificate
from consensus.ballots.errors import (
    BallotsError,
    CertificateFault,
    CertificateInvalid,
)
from consensus.ballots.proposal import Elector, Proposal
from consensus.ballots.tally import Status

FORMAT: Final = "conclave-quorum-certificate/1"
MAX_JSON_BYTES: Final = 4 * MAX_CERTIFICATE_BYTES


def to_json(certificate: QuorumCertificate) -> str:
    """Indented text, the same for equal certificates."""
    return json.dumps(_document(certificate), indent=2, ensure_ascii=True) + "\n"


def from_json(text: str | bytes) -> QuorumCertificate:
    """
    Raises:
        CertificateInvalid: the text is not one, or shows something that its ballots do not sign.
    """
    if len(text) > MAX_JSON_BYTES:
        raise CertificateInvalid(CertificateFault.TOO_LARGE)
    try:
        document = json.loads(text, object_pairs_hook=_each_once)
        certificate = _certificate(document)
        # Its form, bounds and order are those of the bytes.
        certificate = QuorumCertificate.from_bytes(certificate.to_bytes())
    except CertificateInvalid:
        raise
    except (
        BallotsError,
        ValueError,  # also JSONDecodeError, UnicodeDecodeError and binascii.Error
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
        OverflowError,
        AssertionError,
    ) as error:
        why = f"not a certificate in JSON: {type(error).__name__}"
        raise CertificateInvalid(CertificateFault.MALFORMED, why=why) from error
    if not _same(_document(certificate), document):
        why = "the text shows something other than what was signed"
        raise CertificateInvalid(CertificateFault.MALFORMED, why=why)
    return certificate


def _document(certificate: QuorumCertificate) -> dict[str, Any]:
    proposal = certificate.proposal
    names = {each.public_key: each.peer_id for each in proposal.electors}
    return {
        "format": FORMAT,
        "outcome": certificate.outcome.value,
        "proposal": {
            "id": proposal.proposal_id,
            "cluster": proposal.cluster_id,
            "epoch": proposal.epoch,
            "round": proposal.round,
            "kind": proposal.kind,
            "question": proposal.question,
            "subject_base64": base64.b64encode(proposal.subject).decode(),
            "threshold": list(proposal.threshold),
            "deadline_ms": proposal.deadline_ms,
            "proposer": proposal.proposer,
            "digest": proposal.digest.hex(),
        },
        "electorate": {
            "digest": proposal.electorate_digest.hex(),
            "total_weight": proposal.total_weight,
            "electors": [
                {
                    "peer_id": each.peer_id,
                    "name": each.name,
                    "public_key": each.public_key.hex(),
                    "weight": each.weight,
                    "may_veto": each.may_veto,
                }
                for each in proposal.electors
            ],
        },
        "ballots": [
            {
                "voter": names.get(ballot.voter, ""),
                "public_key": ballot.voter.hex(),
                "choice": ballot.choice.name.lower(),
                "reason": ballot.reason,
                "signature": ballot.signature.hex(),
            }
            for ballot in certificate.ballots
        ],
    }


def _certificate(document: Any) -> QuorumCertificate:
    body = document["proposal"]
    electors = tuple(
        Elector(
            peer_id=each["peer_id"],
            public_key=bytes.fromhex(each["public_key"]),
            weight=each["weight"],
            may_veto=each["may_veto"] is True,
            name=each["name"],
        )
        for each in document["electorate"]["electors"]
    )
    numerator, denominator = body["threshold"]
    proposal = Proposal(
        proposal_id=body["id"],
        cluster_id=body["cluster"],
        epoch=body["epoch"],
        electors=electors,
        threshold=(numerator, denominator),
        question=body["question"],
        subject=base64.b64decode(body["subject_base64"], validate=True),
        kind=body["kind"],
        round=body["round"],
        deadline_ms=body["deadline_ms"],
        proposer=body["proposer"],
    )
    ballots = tuple(_ballot(proposal, each) for each in document["ballots"])
    return QuorumCertificate(proposal, Status(document["outcome"]), ballots)


def _ballot(proposal: Proposal, shown: Any) -> Ballot:
    choice = Choice[shown["choice"].upper()]
    body = statement(proposal, bytes.fromhex(shown["public_key"]), choice, shown["reason"])
    return Ballot.decode(sealed(body, bytes.fromhex(shown["signature"])))


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A reader sees the first of two equal keys, a program takes the last."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("one key is there twice")
    return found


def _same(one: object, other: object) -> bool:
    """As texts, since True equals 1 and 1 equals 1.0 as values."""
    try:
        return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    except (TypeError, RecursionError):  # keys of two types cannot come from JSON
        return False

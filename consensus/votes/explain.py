"""What a file of votes proves, in lines for people: certificates, accusations and evidence.

The file may be bytes or JSON. With a trusted electorate the answer is whether it proves what it
says. Without one its signatures are checked against the voters that it names itself, which proves
nothing of who they are, and the lines say so.

Text from the file (questions, reasons) is shown quoted and cut, with everything escaped that a
terminal would not simply print. Names in a JSON file are nobody's word and are not shown; `names`
of the caller are.

What this module does not know: files, where a trusted electorate comes from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from consensus.votes import readable
from consensus.votes.accusation import FORMAT as ACCUSATION_FORMAT
from consensus.votes.accusation import Accusation
from consensus.votes.ballot import Ballot
from consensus.votes.certificate import QuorumCertificate
from consensus.votes.documents import FORMAT as CERTIFICATE_FORMAT
from consensus.votes.documents import certificate_from_json
from consensus.votes.electorate import TWO_THIRDS, Electorate, Threshold
from consensus.votes.errors import CertificateInvalid, EvidenceInvalid
from consensus.votes.evidence import FORMAT as EVIDENCE_FORMAT
from consensus.votes.evidence import PROPOSER_FORMAT, Evidence, ProposerEvidence
from consensus.votes.question import Proposal
from consensus.votes.signing import SignatureCheck
from consensus.votes.verify import Verified, verify
from consensus.votes.wire import Malformed

MAX_SHOWN_CHARS: Final = 300
_MAGICS: Final = {
    b"CVC1": CERTIFICATE_FORMAT,
    b"CVA1": ACCUSATION_FORMAT,
    b"CVX1": EVIDENCE_FORMAT,
    b"CVY1": PROPOSER_FORMAT,
}


@dataclass(frozen=True, slots=True)
class Explanation:
    """`is_valid`: it proves what `lines` say. `is_trusted`: of the electorate that was given, or of
    nobody's electorate, as evidence against a proposer is."""

    is_valid: bool
    is_trusted: bool
    lines: tuple[str, ...]


def verify_file(
    data: bytes,
    check: SignatureCheck,
    electorate: Electorate | None = None,
    *,
    names: Mapping[str, str] | None = None,
    at_least: Threshold = TWO_THIRDS,
) -> Explanation:
    """What these bytes prove. It raises nothing, whatever they are."""
    is_json = data.lstrip()[:1] == b"{"
    known = names or {}
    try:
        kind = readable.read(data).get("format") if is_json else _MAGICS.get(data[:4])
        if kind == CERTIFICATE_FORMAT:
            return _certificate(data, is_json, check, electorate, known, at_least)
        if kind == ACCUSATION_FORMAT:
            return _accusation(data, is_json, check, electorate, known)
        if kind == EVIDENCE_FORMAT:
            return _evidence(data, is_json, check, electorate, known)
        if kind == PROPOSER_FORMAT:
            return _proposer_evidence(data, is_json, check, known)
    except (Malformed, CertificateInvalid, EvidenceInvalid) as error:
        return Explanation(
            False, electorate is not None, (f"NOT VALID: {quoted_line(str(error))}",)
        )
    line = "NOT VALID: neither a quorum certificate, nor an accusation, nor evidence"
    return Explanation(False, electorate is not None, (line,))


def _certificate(
    data: bytes,
    is_json: bool,
    check: SignatureCheck,
    electorate: Electorate | None,
    names: Mapping[str, str],
    at_least: Threshold,
) -> Explanation:
    raw = certificate_from_json(data).to_bytes() if is_json else data
    voters = electorate or QuorumCertificate.from_bytes(raw).proposal.electorate
    verified = verify(raw, voters, check, at_least=at_least)
    lines = [
        f"VALID: a quorum certificate of {len(verified.signers)} signed ballots",
        *_trust(voters, electorate),
        *_question(verified.proposal, names),
        f"Outcome:   {verified.outcome.name}, {verified.weights}",
        f"Needed:    {verified.proposal.quorum_weight} ({verified.proposal.threshold})",
        *_said(verified, names),
        f"Proves:    {_guarantee(verified)}",
    ]
    return Explanation(True, electorate is not None, tuple(lines))


def _accusation(
    data: bytes,
    is_json: bool,
    check: SignatureCheck,
    electorate: Electorate | None,
    names: Mapping[str, str],
) -> Explanation:
    accusation = Accusation.from_json(data) if is_json else Accusation.from_bytes(data)
    voters = electorate or accusation.first.proposal.electorate
    accusation.verify(voters, check)
    third = "more than a third" if accusation.is_more_than_a_third else "no more than a third"
    share = f"{accusation.weight} of {accusation.total_weight}, {third} of the weight"
    lines = [
        f"VALID: two certificates of one slot that contradict each other, signed both by {share}",
        *_trust(voters, electorate),
    ]
    for certificate in (accusation.first, accusation.second):
        lines += _question(certificate.proposal, names)
        lines.append(f"Outcome:   {certificate.outcome.name}")
    lines += [f"Cheated:   {_who(voter, names)}" for voter in accusation.culprits]
    if accusation.is_more_than_a_third:
        lines.append("Do:        stop deciding with these voters; no vote of theirs is safe")
    return Explanation(True, electorate is not None, tuple(lines))


def _evidence(
    data: bytes,
    is_json: bool,
    check: SignatureCheck,
    electorate: Electorate | None,
    names: Mapping[str, str],
) -> Explanation:
    evidence = Evidence.from_json(data) if is_json else Evidence.from_bytes(data)
    if electorate is None:
        line = "NOT CHECKED: evidence names no keys; give the electorate of its epoch"
        return Explanation(False, False, (line,))
    evidence.verify(electorate, check)
    lines = [
        f"VALID: two different ballots of one voter for proposal"
        f" {evidence.slot.proposal_id.hex()}, round {evidence.slot.round}",
        *_trust(electorate, electorate),
        f"Cheated:   {_who(evidence.voter, names)}",
        f"It said:   {_ballot(evidence.first)}",
        f"and said:  {_ballot(evidence.second)}",
    ]
    return Explanation(True, True, tuple(lines))


def _proposer_evidence(
    data: bytes, is_json: bool, check: SignatureCheck, names: Mapping[str, str]
) -> Explanation:
    evidence = ProposerEvidence.from_json(data) if is_json else ProposerEvidence.from_bytes(data)
    evidence.verify(check)
    header = evidence.first.header
    lines = (
        f"VALID: two questions under one proposal {header.proposal_id.hex()}, round {header.round}",
        f"Cluster:   {quoted(header.cluster_id)}",
        f"Cheated:   {_who(evidence.proposer, names)}",
        f"It asked:  {header.proposal_digest.hex()}",
        f"and asked: {evidence.second.header.proposal_digest.hex()}",
    )
    return Explanation(True, True, lines)


def _trust(voters: Electorate, trusted: Electorate | None) -> list[str]:
    said = f"{len(voters.voters)} voters of epoch {voters.epoch} in {quoted(voters.cluster_id)}"
    if trusted is not None:
        return [f"Voters:    {said}, as given"]
    return [
        f"Voters:    {said}, ONLY AS THE FILE ITSELF SAYS: anyone can make such a file",
        f"           compare their digest with a source you trust: {voters.digest.hex()}",
    ]


def _question(proposal: Proposal, names: Mapping[str, str]) -> list[str]:
    size = len(proposal.subject)
    return [
        f"Question:  {quoted(proposal.question)}",
        f"About:     {proposal.kind}, {size} bytes, proposal digest {proposal.digest.hex()}",
        f"Proposal:  {proposal.proposal_id.hex()}, round {proposal.round}",
        f"Proposer:  {_who(proposal.proposer, names)}",
    ]


def _said(verified: Verified, names: Mapping[str, str]) -> list[str]:
    ballots = {ballot.voter: ballot for ballot in verified.certificate.ballots}
    lines = []
    for voter in verified.proposal.electorate.voters:
        ballot = ballots.get(voter.peer_id)
        said = _ballot(ballot) if ballot is not None else "(no ballot)"
        right = ", may veto" if voter.can_veto else ""
        lines.append(f"  {_who(voter.peer_id, names)}, weight {voter.weight}{right}: {said}")
    return lines


def _ballot(ballot: Ballot) -> str:
    why = f", {quoted(ballot.reason)}" if ballot.reason else ""
    return f"{ballot.choice.name.lower()}{why}"


def _guarantee(verified: Verified) -> str:
    proposal = verified.proposal
    total = proposal.electorate.total_weight
    if verified.weights.veto:
        return "a voter with the right of veto signed one; an approval beside it would be its lie"
    shared = 2 * proposal.quorum_weight - total
    vetoers = " or one with the right of veto" if proposal.electorate.vetoers else ""
    return (
        "keys of that weight signed this; the opposite could be certified only if voters of at"
        f" least {shared} of {total}{vetoers} signed both"
    )


def _who(peer_id: str, names: Mapping[str, str]) -> str:
    return f"{peer_id} ({quoted_line(names[peer_id])})" if peer_id in names else peer_id


def quoted(text: str) -> str:
    """Text of a stranger in quotes, on one line."""
    inner = quoted_line(text[:MAX_SHOWN_CHARS]).replace('"', '\\"')
    more = len(text) - MAX_SHOWN_CHARS
    return f'"{inner}"' + (f" and {more} more characters" if more > 0 else "")


def quoted_line(text: str) -> str:
    """Text of a stranger with everything escaped that is not simply printed: control characters,
    ends of lines, marks of text direction."""
    return "".join(
        char if char.isprintable() and char != "\\" else char.encode("unicode_escape").decode()
        for char in text
    )

"""A certificate in words, for a person who has to decide whether to believe it.

The first line says VALID or INVALID and nothing else decides that. Text that came with the
certificate is quoted with everything unprintable escaped, so it cannot write lines of its own.

What this module does not know: where the bytes came from, how lines are shown.
"""

from __future__ import annotations

from collections.abc import Sequence

from consensus.ballots.certificate_json import from_json
from consensus.ballots.errors import CertificateInvalid
from consensus.ballots.proposal import Elector, byzantine_faults
from consensus.ballots.scheme import Scheme
from consensus.ballots.verify import SignedBy, Verified, verify

_MAX_QUOTED = 400


def explain(data: bytes, scheme: Scheme, electorate: Sequence[Elector] | None = None) -> list[str]:
    """Lines about a certificate in either form; the first begins with VALID or INVALID.

    Args:
        electorate: the voters of its epoch, if the caller knows them. Without them a valid
            certificate says only that the keys in it agree, and a line says so.
    """
    try:
        is_json = data.lstrip()[:1] == b"{"
        raw = from_json(data).to_bytes() if is_json else data
        verified = verify(raw, scheme, electorate)
    except CertificateInvalid as error:
        lines = [f"INVALID: {quoted(error.fault.value)}"]
        if error.who:
            lines.append(f"  at fault: {quoted(error.who)}")
        if error.why:
            lines.append(f"  because: {quoted(error.why)}")
        return lines
    return [*_head(verified), *_votes(verified), *_caveats(verified)]


def is_valid(lines: Sequence[str]) -> bool:
    """Whether `explain` said VALID: an exit code for a command."""
    return lines[0].startswith("VALID")


def quoted(text: str) -> str:
    """Text of others: printable, in one line and of a bounded length."""
    shown = "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode()
        for char in text[:_MAX_QUOTED]
    )
    return shown + (f"... ({len(text):,} characters)" if len(text) > _MAX_QUOTED else "")


def _head(verified: Verified) -> list[str]:
    proposal = verified.proposal
    numerator, denominator = proposal.threshold
    return [
        f"VALID: {verified.outcome}",
        f"  question: {quoted(proposal.question)}",
        f"  kind: {quoted(proposal.kind) or '-'}, subject: {len(proposal.subject):,} bytes",
        f"  proposal {proposal.proposal_id}, round {proposal.round},"
        f" made by {quoted(proposal.proposer)}",
        f"  cluster {quoted(proposal.cluster_id)}, voters of epoch {proposal.epoch}",
        f"  digest {proposal.digest.hex()}",
        f"  it takes more than {numerator}/{denominator} of {verified.total_weight}:"
        f" {proposal.quorum_weight}; {verified.approve_weight} approve,"
        f" {verified.reject_weight} reject, {verified.abstain_weight} abstain",
    ]


def _votes(verified: Verified) -> list[str]:
    signers = {each.elector: each for each in verified.signers}
    lines = [f"  {len(signers)} of {len(verified.proposal.electors)} voters signed:"]
    for elector in verified.proposal.electors:
        signer = signers.get(elector)
        if signer is not None:
            lines.append(f"    {_said(signer)}")
    absent = [_name(each) for each in verified.proposal.electors if each not in signers]
    if absent:
        lines.append(f"  not in it: {', '.join(absent)}")
    return lines


def _said(signer: SignedBy) -> str:
    choice = signer.choice.name.lower() if signer.choice else "TWO BALLOTS, counts for nothing"
    reason = f': "{quoted(signer.reason)}"' if signer.reason else ""
    veto = ", may veto" if signer.elector.may_veto else ""
    return f"{_name(signer.elector)} (weight {signer.elector.weight}{veto}) {choice}{reason}"


def _name(elector: Elector) -> str:
    name = f" {quoted(elector.name)}" if elector.name else ""
    return f"{quoted(elector.peer_id)}{name}"


def _caveats(verified: Verified) -> list[str]:
    lines = []
    if not verified.electorate_known:
        lines.append(
            "  NOT CHECKED: whether these are the voters of that epoch; it proves only what the"
            " keys in it decided"
        )
    faults = byzantine_faults(len(verified.proposal.electors))
    if not faults:
        lines.append("  fewer than four voters: one that lies is enough to mislead")
    for elector in verified.evidence_against:
        lines.append(f"  EVIDENCE: {_name(elector)} signed two different ballots")
    return lines

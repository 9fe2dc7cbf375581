"""What nodes say to each other about decisions: methods, and how their payloads look.

Requests to the leader are answered `[tag, value]` as those about tasks; all may be repeated.

    decide.open     to the leader    a wish, see `opening`    -> [why not or nil, view or nil]
    decide.record   to the leader    [what, bytes]            -> [register's reply, view or nil]
    decide.wait     to the leader    [id, wait_ms]            -> view or nil
    decide.list     to the leader    [limit]                  -> [view, ...], the latest first
    decide.ask      to an elector    the proposal             -> [ballot or nil, why not or nil]
    decide.ballot   to who asked     [id, ballot], a notice

What is recorded is a certificate ("closed"), ballots after which nothing can be approved any more
("blocked"), or two ballots that contradict each other ("evidence"). A view is a map of plain data;
in a list it is without the proposal's and the certificate's bytes.

What this module does not know: who leads, who votes.
"""

from __future__ import annotations

from typing import Any, Final

from agents.deciding.signing import SCHEME
from consensus import ballots
from consensus.ballots import (
    CertificateInvalid,
    Choice,
    Decision,
    Elector,
    Register,
    Status,
)

OPEN: Final = "decide.open"
RECORD: Final = "decide.record"
WAIT: Final = "decide.wait"
LIST: Final = "decide.list"
ASK: Final = "decide.ask"
BALLOT: Final = "decide.ballot"

CLOSED: Final = "closed"
BLOCKED: Final = "blocked"
EVIDENCE: Final = "evidence"

MAX_LISTED_SUBJECT: Final = 256


def view_of(register: Register, proposal_id: str, *, is_full: bool = True) -> dict[str, Any] | None:
    """One decision as plain data, or None if the register holds none of that id."""
    decision = register.get(proposal_id)
    if decision is None:
        return None
    proposal = decision.proposal
    view: dict[str, Any] = {
        "id": proposal.proposal_id,
        "question": proposal.question,
        "kind": proposal.kind,
        "status": decision.status.value,
        "proposer": proposal.proposer,
        "epoch": proposal.epoch,
        "round": proposal.round,
        "threshold": list(proposal.threshold),
        "needed": proposal.quorum_weight,
        "total": proposal.total_weight,
        "opened_index": decision.opened_index,
        "closed_index": decision.closed_index,
        "left_ms": max(0, decision.due_ms - register.time_ms),
        "voters": [
            {"peer": e.peer_id, "name": e.name, "weight": e.weight, "may_veto": e.may_veto}
            for e in proposal.electors
        ],
        "accused": [
            SCHEME.peer_id_of(found.voter) for found in register.evidence(proposal.proposal_id)
        ],
    }
    if not is_full:
        return view | {"subject": proposal.subject[:MAX_LISTED_SUBJECT]}
    return view | {
        "subject": proposal.subject,
        "proposal": proposal.raw,
        "certificate": decision.certificate,
        "evidence": [found.encode() for found in register.evidence(proposal.proposal_id)],
        "votes": votes_in(decision),
        "why": ballots.in_words(decision) if decision.status in _NOT_APPROVED else "",
    }


_NOT_APPROVED: Final = (Status.REJECTED, Status.VETOED, Status.EXPIRED, Status.BLOCKED)


def votes_in(decision: Decision) -> list[dict[str, Any]]:
    """Who said what, as its certificate proves, or as the log saw when it was blocked; nothing of
    one that is open or expired."""
    if decision.certificate is None:
        return [_vote(*each) for each in ballots.said_in(decision)]
    try:
        verified = ballots.verify(decision.certificate, SCHEME, decision.proposal.electors)
    except CertificateInvalid:  # cannot be: every replica has verified it
        return []
    return [_vote(each.elector, each.choice, each.reason) for each in verified.signers]


def _vote(elector: Elector, choice: Choice | None, reason: str) -> dict[str, Any]:
    return {
        "peer": elector.peer_id,
        "name": elector.name,
        "weight": elector.weight,
        "choice": choice.name.lower() if choice is not None else "two ballots",
        "reason": reason,
    }


def is_open(view: dict[str, Any]) -> bool:
    """Whether it can still be voted on."""
    return bool(view["status"] == Status.OPEN.value)


def pair(said: Any) -> tuple[Any, Any]:
    """The two parts of an answer; of anything else nothing."""
    if isinstance(said, (list, tuple)) and len(said) == 2:
        return said[0], said[1]
    return None, None

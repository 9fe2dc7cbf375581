"""How a decision of the register ended, in words: the same ones on every replica.

What this module does not know: signatures. The register has verified what it holds.
"""

from __future__ import annotations

from typing import Final

from consensus.ballots.ballot import Ballot, Choice
from consensus.ballots.blocking import Blocking
from consensus.ballots.certificate import QuorumCertificate
from consensus.ballots.proposal import Elector
from consensus.ballots.register_snapshot import Decision
from consensus.ballots.tally import Status

MAX_SHOWN_REASON: Final = 120

_WORDS: Final = {
    Choice.APPROVE: "approved",
    Choice.REJECT: "rejected",
    Choice.ABSTAIN: "abstained",
    Choice.VETO: "vetoed",
}


def said_in(decision: Decision) -> tuple[tuple[Elector, Choice | None, str], ...]:
    """Who said what on a decision that the register has closed; two different ballots are None.

    The register has verified them; nothing is verified here.
    """
    if decision.certificate is not None:
        ballots = QuorumCertificate.from_bytes(decision.certificate).ballots
    elif decision.blocking is not None:
        ballots = Blocking.from_bytes(decision.blocking).ballots
    else:
        return ()
    by_voter: dict[bytes, list[Ballot]] = {}
    for ballot in ballots:
        by_voter.setdefault(ballot.voter, []).append(ballot)
    found: list[tuple[Elector, Choice | None, str]] = []
    for elector in decision.proposal.electors:
        match by_voter.get(elector.public_key, []):
            case [one]:
                found.append((elector, one.choice, one.reason))
            case [_, *_]:
                found.append((elector, None, ""))
    return tuple(found)


def in_words(decision: Decision) -> str:
    """How a decision ended, for people: the same on every replica."""
    on = decision.proposal
    said = [_phrase(*each) for each in said_in(decision)]
    if decision.status is Status.EXPIRED:
        return f"its time ran out before {on.quorum_weight} of {on.total_weight} had approved it"
    if decision.status is Status.BLOCKED:
        needed = f"{on.quorum_weight} of {on.total_weight} would have to approve"
        return f"it cannot be approved any more: {needed}; {', '.join(said)}"
    return f"{decision.status.value}: {', '.join(said)}" if said else decision.status.value


def _phrase(elector: Elector, choice: Choice | None, reason: str) -> str:
    who = elector.name or elector.peer_id[:8]
    word = _WORDS[choice] if choice is not None else "signed two different ballots"
    shown = reason if len(reason) <= MAX_SHOWN_REASON else reason[:MAX_SHOWN_REASON] + "..."
    return f"{who} {word} ({shown})" if shown else f"{who} {word}"

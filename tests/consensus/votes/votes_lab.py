"""What the tests of votes share: voters with fixed keys, a question, ballots, certificates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

from consensus.votes.ballot import Ballot, CheckedBallot, Choice
from consensus.votes.certificate import Outcome, QuorumCertificate
from consensus.votes.electorate import TWO_THIRDS, Electorate, Threshold, Voter
from consensus.votes.question import Proposal, SignedProposal
from keys import Identity, verify_signature

CLUSTER = "lab"
PROPOSAL_ID = bytes(range(16))
check = verify_signature


@cache
def identity(number: int) -> Identity:
    """The same key in every run."""
    return Identity.from_secret(number.to_bytes(32, "big"))


PROPOSER = identity(1000)


@cache
def people(count: int) -> tuple[Identity, ...]:
    """Identities in the order of an electorate."""
    return tuple(sorted((identity(n) for n in range(1, count + 1)), key=lambda one: one.peer_id))


def electorate(
    count: int = 4,
    *,
    weights: Sequence[int] | None = None,
    vetoers: Sequence[int] = (),
    epoch: int = 1,
    cluster: str = CLUSTER,
) -> Electorate:
    return Electorate.of(
        cluster,
        epoch,
        [
            Voter.of(one.public_key, weights[n] if weights else 1, can_veto=n in vetoers)
            for n, one in enumerate(people(count))
        ],
    )


def proposal(
    voters: Electorate | int = 4,
    *,
    question: str = "Shall we?",
    subject: bytes = b"subject",
    threshold: Threshold = TWO_THIRDS,
    proposal_id: bytes = PROPOSAL_ID,
    round_number: int = 0,
    deadline_ms: int = 30_000,
    proposer: Identity = PROPOSER,
) -> Proposal:
    return Proposal(
        proposal_id=proposal_id,
        electorate=electorate(voters) if isinstance(voters, int) else voters,
        kind="test",
        question=question,
        subject=subject,
        proposer_key=proposer.public_key,
        deadline_ms=deadline_ms,
        round=round_number,
        threshold=threshold,
    )


def signed(asked: Proposal, proposer: Identity = PROPOSER) -> SignedProposal:
    return SignedProposal.sign(proposer, asked)


def cast(
    asked: Proposal, number: int, choice: Choice = Choice.APPROVE, reason: str = ""
) -> CheckedBallot:
    """The ballot of the voter with this place in the electorate."""
    ballot = Ballot.cast(people(len(asked.electorate.voters))[number], asked, choice, reason)
    return CheckedBallot(ballot)


def certificate(
    asked: Proposal, choices: Sequence[Choice | None], *, claim: Outcome | None = None
) -> QuorumCertificate:
    """Of the ballots of the first voters; None says nothing. Valid only if the ballots say so."""
    outcome = claim or {
        Choice.APPROVE: Outcome.APPROVED,
        Choice.VETO: Outcome.VETOED,
    }.get(next(choice for choice in choices if choice), Outcome.REJECTED)
    ballots = [cast(asked, n, choice) for n, choice in enumerate(choices) if choice]
    return QuorumCertificate.of(asked, outcome, ballots)


def mutations(data: bytes, bits: Sequence[int] = (1, 0x80, 0xFF)) -> Iterator[bytes]:
    """Every byte changed in some ways, every shorter piece, and one byte more."""
    for at in range(len(data)):
        for bit in bits:
            yield data[:at] + bytes((data[at] ^ bit,)) + data[at + 1 :]
        yield data[:at]
    yield data + b"\0"

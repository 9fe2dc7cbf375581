"""A ledger and a register on one log, with voters that have real keys."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from ledger_lab import ANNA, Lab, spec, task_id

from agents.deciding import SCHEME
from agents.ledger import (
    VOTE,
    Disapproval,
    Ledger,
    TaskSpec,
    Verdict,
    VotedSpec,
    encode_disapproved,
    encode_submitted_for_vote,
    make_terms,
)
from consensus.ballots import (
    Ballot,
    Blocking,
    Choice,
    Elector,
    Proposal,
    QuorumCertificate,
    Tally,
    blocked_command,
    closed_command,
    expired_command,
    opened_command,
)
from consensus.ballots.register import Register
from consensus.ballots.register_commands import Reply, ReplyCode
from keys import Identity, NetworkId, PeerId

NETWORK = NetworkId("network-of-the-lab")
YES, NO, VETO = Choice.APPROVE, Choice.REJECT, Choice.VETO
DEADLINE_MS = 5_000


def identity(number: int) -> Identity:
    return Identity.from_secret(hashlib.sha256(b"voter %d" % number).digest())


def elector(number: int, *, may_veto: bool = False) -> Elector:
    who = identity(number)
    return Elector(who.peer_id, who.public_key, 1, may_veto, f"voter {number}")


def terms(
    on: TaskSpec,
    voters: Sequence[int] = (0, 1, 2),
    vetoers: Sequence[int] = (),
    threshold: tuple[int, int] = (1, 2),
) -> bytes:
    made = Proposal.make(
        proposal_id="0" * 32,
        cluster_id=NETWORK,
        epoch=0,
        electors=[elector(number, may_veto=number in vetoers) for number in voters],
        question="-",
        proposer=on.submitter,
        deadline_ms=DEADLINE_MS,
        threshold=threshold,
    )
    return make_terms(made, on)


def certificate(on: Proposal, *choices: Choice, signers: Sequence[int] = range(9)) -> bytes:
    made = QuorumCertificate.of(counted(on, *choices, signers=signers))
    assert made is not None
    return made.to_bytes()


def counted(on: Proposal, *choices: Choice, signers: Sequence[int] = range(9)) -> Tally:
    tally = Tally(on)
    for number, choice in zip(signers, choices, strict=False):
        tally.add(Ballot.sign(identity(number), on, choice).check(on, SCHEME))
    return tally


class VotedLab(Lab):
    """Both machines get the entries of one log, as `Replicated` hands them out."""

    def __init__(self) -> None:
        super().__init__()
        self.register = Register(NETWORK, SCHEME)
        self.ledger = Ledger(self.register)

    def submit_voted(self, number: int, voting: bytes | None = None, **changes: object) -> Verdict:
        on = spec(number, policy=VOTE, **changes)
        item = VotedSpec(on, terms(on) if voting is None else voting)
        return self.one(encode_submitted_for_vote(self.now_ms, [item]))

    def question(self, number: int, peer: PeerId = ANNA) -> Proposal:
        found = self.ledger.question(task_id(number), peer)
        assert found is not None
        return found

    def register_applies(self, command: bytes) -> Reply:
        self.index += 1
        self.now_ms = self.ledger.advance(self.now_ms)
        return self.register.apply(self.index, self.now_ms, command)

    def open(self, on: Proposal) -> None:
        assert self.register_applies(opened_command(on)).code is ReplyCode.DONE

    def close(self, on: Proposal, *choices: Choice) -> None:
        self.open(on)
        said = certificate(on, *choices)
        assert self.register_applies(closed_command(said)).code is ReplyCode.DONE

    def block(self, on: Proposal, *choices: Choice) -> None:
        self.open(on)
        made = Blocking.of(counted(on, *choices))
        assert made is not None
        assert self.register_applies(blocked_command(made.to_bytes())).code is ReplyCode.DONE

    def expire_vote(self, on: Proposal) -> None:
        self.open(on)
        self.now_ms += DEADLINE_MS
        assert self.register_applies(expired_command(on.proposal_id, 0)).code is ReplyCode.DONE

    def disapprove(self, number: int, peer: PeerId = ANNA) -> Verdict:
        item = Disapproval(task_id(number), peer)
        return self.one(encode_disapproved(self.now_ms, [item]))

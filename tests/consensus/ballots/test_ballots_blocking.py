"""Blocking: what can no longer be approved ends early, and nothing is proved by it."""

from __future__ import annotations

from itertools import product

import pytest
from ballots_lab import CLUSTER, SCHEME, identity, proposal

from consensus.ballots import register_commands as commands
from consensus.ballots.ballot import Ballot, Choice
from consensus.ballots.blocking import Blocking
from consensus.ballots.certificate import QuorumCertificate
from consensus.ballots.endings import in_words, said_in
from consensus.ballots.errors import BallotInvalid, BallotsError, CertificateInvalid, Malformed
from consensus.ballots.proposal import Proposal
from consensus.ballots.register import Register
from consensus.ballots.register_commands import ReplyCode
from consensus.ballots.tally import Status, Tally
from consensus.ballots.verify import verify

YES, NO, ABSTAIN, VETO = Choice.APPROVE, Choice.REJECT, Choice.ABSTAIN, Choice.VETO
ON = proposal(4, deadline_ms=1_000)


def counted(on: Proposal, *choices: Choice | None) -> Tally:
    tally = Tally(on)
    for voter, choice in enumerate(choices):
        if choice is not None:
            tally.add(Ballot.sign(identity(voter), on, choice).check(on, SCHEME))
    return tally


def blocking(on: Proposal, *choices: Choice | None) -> bytes:
    found = Blocking.of(counted(on, *choices))
    assert found is not None
    return found.to_bytes()


def claimed(on: Proposal, *ballots: Ballot) -> bytes:
    """What a liar may put together."""
    ordered = tuple(sorted(ballots, key=lambda each: (each.voter, each.raw)))
    return Blocking(on.proposal_id, on.round, ordered).to_bytes()


def with_open(on: Proposal = ON) -> Register:
    machine = Register(CLUSTER, SCHEME)
    assert machine.apply(10, 10, commands.opened(on)).code is ReplyCode.DONE
    return machine


def code(machine: Register, command: bytes) -> ReplyCode:
    reply = machine.apply(100, 20, command)
    machine.check_invariants()
    return reply.code


def test_it_exists_exactly_where_nothing_is_decided_and_nothing_can_be_approved() -> None:
    met = set()
    for choices in product((YES, NO, ABSTAIN, None), repeat=4):
        tally = counted(ON, *choices)
        found = Blocking.of(tally)
        is_blocked = tally.status is Status.OPEN and not tally.can_pass
        assert (found is not None) == is_blocked, choices
        met.add(is_blocked)
        if found is None:
            continue
        assert Blocking.from_bytes(found.to_bytes()) == found
        found.check(ON, SCHEME)
        # Whatever the silent say later, it is not approved.
        for later in product((YES, NO), repeat=choices.count(None)):
            rest = iter(later)
            whole = counted(ON, *(next(rest) if each is None else each for each in choices))
            assert whole.status is not Status.APPROVED
    assert met == {True, False}


def test_a_register_ends_it_at_once_and_says_who_blocks() -> None:
    machine = with_open()
    assert code(machine, commands.blocked(blocking(ON, NO, None, ABSTAIN))) is ReplyCode.DONE
    assert code(machine, commands.blocked(blocking(ON, NO, None, ABSTAIN))) is ReplyCode.REPEATED
    found = machine.get(ON.proposal_id)
    assert found is not None
    assert (found.status, found.certificate) == (Status.BLOCKED, None)
    words = in_words(found)
    assert "cannot be approved any more: 3 of 4 would have to approve" in words
    assert "elector 0 rejected" in words
    assert "elector 2 abstained" in words
    assert [choice for _, choice, _ in said_in(found)].count(NO) == 1
    with pytest.raises(CertificateInvalid):
        verify(found.blocking or b"", SCHEME)  # it is no proof outside of the log
    assert code(machine, commands.expired(ON.proposal_id, 0)) is ReplyCode.CLOSED


def test_what_a_liar_may_write_does_not_end_it() -> None:
    other = proposal(4, deadline_ms=1_000, question="Another?")
    third = proposal(4, deadline_ms=1_000, number=2)
    no0, no1 = (Ballot.sign(identity(i), ON, NO) for i in (0, 1))
    yes1 = Ballot.sign(identity(1), ON, YES)
    forged = bytearray(no1.raw)
    forged[-1] ^= 1
    wrong = (
        claimed(ON),
        claimed(ON, no0),
        claimed(ON, no0, yes1),
        claimed(ON, *(Ballot.sign(identity(i), ON, YES) for i in range(4))),
        claimed(ON, *(Ballot.sign(identity(i), ON, NO) for i in range(4))),  # this is a rejection
        claimed(ON, no0, Ballot.sign(identity(1), other, NO)),
        claimed(ON, no0, Ballot.sign(identity(1), third, NO)),
        claimed(ON, no0, Ballot.decode(bytes(forged))),
        b"nonsense",
        blocking(ON, NO, NO) + b"\0",
    )
    machine = with_open()
    for each in wrong:
        assert code(machine, commands.blocked(each)) is ReplyCode.BLOCKING_INVALID
        with pytest.raises(BallotsError):
            Blocking.from_bytes(each).check(ON, SCHEME)
    stranger = proposal(5)
    foreign = Ballot.sign(identity(4), stranger, NO)
    with pytest.raises(BallotInvalid):
        Blocking.from_bytes(claimed(ON, no0, foreign)).check(ON, SCHEME)
    assert code(machine, commands.blocked(blocking(third, NO, NO))) is ReplyCode.UNKNOWN
    later = proposal(4, deadline_ms=1_000, round=1)
    assert code(machine, commands.blocked(blocking(later, NO, NO))) is ReplyCode.OTHER_ROUND
    assert machine.open()


def test_every_changed_byte_is_noticed() -> None:
    whole = blocking(ON, NO, NO, YES)
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1
        with pytest.raises((Malformed, BallotInvalid)):
            Blocking.from_bytes(bytes(changed)).check(ON, SCHEME)


def test_who_voted_twice_can_block_with_both_ballots() -> None:
    guarded = proposal(4, vetoers=[0])
    one, other = (Ballot.sign(identity(0), guarded, choice) for choice in (YES, NO))
    machine = with_open(guarded)
    assert code(machine, commands.blocked(claimed(guarded, one))) is ReplyCode.BLOCKING_INVALID
    assert code(machine, commands.blocked(claimed(guarded, one, other))) is ReplyCode.DONE
    found = machine.get(guarded.proposal_id)
    assert found is not None
    assert "elector 0 signed two different ballots" in in_words(found)


def test_what_the_log_has_first_stands_and_who_is_in_both_is_accused() -> None:
    tally = counted(ON, YES, YES, YES, YES)
    approved = QuorumCertificate.of(tally)
    assert approved is not None
    first = with_open()
    assert code(first, commands.closed(approved.to_bytes())) is ReplyCode.DONE
    assert code(first, commands.blocked(blocking(ON, NO, NO))) is ReplyCode.CLOSED
    second = with_open()
    assert code(second, commands.blocked(blocking(ON, NO, NO))) is ReplyCode.DONE
    reply = second.apply(101, 20, commands.closed(approved.to_bytes()))
    assert reply.code is ReplyCode.CONFLICT
    assert set(reply.accused) == {identity(0).peer_id, identity(1).peer_id}
    assert len(second.evidence(ON.proposal_id)) == 2
    found = second.get(ON.proposal_id)
    assert found is not None
    assert found.status is Status.BLOCKED
    honest = with_open()  # a rejection that agrees with what blocked it accuses nobody
    assert code(honest, commands.blocked(blocking(ON, NO, NO))) is ReplyCode.DONE
    rejected = QuorumCertificate.of(counted(ON, NO, NO, NO))
    assert rejected is not None
    assert code(honest, commands.closed(rejected.to_bytes())) is ReplyCode.CLOSED
    assert honest.evidence(ON.proposal_id) == ()


def test_a_snapshot_keeps_what_blocked_it() -> None:
    machine = with_open()
    assert code(machine, commands.blocked(blocking(ON, NO, ABSTAIN))) is ReplyCode.DONE
    copy = Register(CLUSTER, SCHEME)
    copy.restore(machine.snapshot())
    copy.check_invariants()
    assert copy.get(ON.proposal_id) == machine.get(ON.proposal_id)
    assert list(copy.snapshot()) == list(machine.snapshot())

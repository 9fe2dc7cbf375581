"""The register: total, deterministic, the same after any snapshot, and it believes nobody."""

from __future__ import annotations

import random
from contextlib import suppress
from functools import cache

import pytest
from ballots_lab import CLUSTER, SCHEME, identity, proposal
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.ballots import register_commands as commands
from consensus.ballots.ballot import Ballot, Choice, Evidence, sealed
from consensus.ballots.blocking import Blocking
from consensus.ballots.certificate import QuorumCertificate
from consensus.ballots.proposal import Proposal
from consensus.ballots.register import Register
from consensus.ballots.register_commands import Reply, ReplyCode
from consensus.ballots.tally import Status, Tally
from consensus.errors import SnapshotInvalid

YES, NO = Choice.APPROVE, Choice.REJECT
ON = proposal(4, deadline_ms=1_000)


def register(**limits: int) -> Register:
    return Register(CLUSTER, SCHEME, **limits)


@cache
def certificate(on: Proposal = ON, choice: Choice = YES, first: int = 0) -> bytes:
    tally = Tally(on)
    voters = list(range(len(on.electors)))
    for voter in voters[first:] + voters[:first]:
        tally.add(Ballot.sign(identity(voter), on, choice).check(on, SCHEME))
    made = QuorumCertificate.of(tally)
    assert made is not None
    return made.to_bytes()


@cache
def blocking(on: Proposal = ON, *choices: Choice) -> bytes:
    tally = Tally(on)
    for voter, choice in enumerate(choices or (NO, NO)):
        tally.add(Ballot.sign(identity(voter), on, choice).check(on, SCHEME))
    return Blocking(on.proposal_id, on.round, tally.ballots).to_bytes()


@cache
def evidence(voter: int = 1, on: Proposal = ON) -> Evidence:
    one, other = (Ballot.sign(identity(voter), on, choice) for choice in (YES, NO))
    return Evidence.of(one, other)


def code(machine: Register, command: bytes, time_ms: int = 0, index: int = 100) -> ReplyCode:
    reply = machine.apply(index, time_ms, command)
    machine.check_invariants()
    return reply.code


def with_open(*proposals: Proposal, time_ms: int = 10) -> Register:
    machine = register()
    for each in proposals or (ON,):
        assert code(machine, commands.opened(each), time_ms) is ReplyCode.DONE
    return machine


def state(machine: Register) -> list[bytes]:
    return list(machine.snapshot())


def test_a_decision_is_opened_closed_and_read() -> None:
    machine = with_open()
    decision = machine.get(ON.proposal_id)
    assert decision is not None
    assert (decision.proposal, decision.status) == (ON, Status.OPEN)
    assert (decision.opened_index, decision.opened_ms, decision.due_ms) == (100, 10, 1_010)
    assert machine.open() == machine.list(9) == (decision,)
    assert code(machine, commands.closed(certificate()), 20, 101) is ReplyCode.DONE
    closed = machine.get(ON.proposal_id)
    assert closed is not None
    assert (closed.status, closed.closed_index, closed.closed_ms) == (Status.APPROVED, 101, 20)
    assert closed.certificate == certificate()
    assert machine.open() == machine.due(10**9, 9) == ()
    assert machine.list(9) == (closed,)


def test_commands_that_come_again_change_nothing() -> None:
    machine = with_open()
    before = state(machine)
    assert code(machine, commands.opened(ON)) is ReplyCode.REPEATED
    assert state(machine) == before
    assert code(machine, commands.closed(certificate())) is ReplyCode.DONE
    before = state(machine)
    assert code(machine, commands.closed(certificate())) is ReplyCode.REPEATED
    assert code(machine, commands.opened(ON)) is ReplyCode.REPEATED
    assert state(machine) == before


@pytest.mark.parametrize(
    ("opening", "answer"),
    [
        (proposal(4, cluster="other"), ReplyCode.OTHER_CLUSTER),
        (proposal(4, epoch=101), ReplyCode.FUTURE_EPOCH),
        (proposal(4, question="Another text?"), ReplyCode.KNOWN_ID),
        (proposal(4, round=1), ReplyCode.KNOWN_ID),
    ],
)
def test_what_cannot_be_opened(opening: Proposal, answer: ReplyCode) -> None:
    assert code(with_open(), commands.opened(opening)) is answer


def test_v5_every_replica_verifies_before_it_closes() -> None:
    machine = with_open()
    forged = bytearray(certificate())
    forged[-1] ^= 1
    other = proposal(4, question="Another text?")
    for data, answer in [
        (bytes(forged), ReplyCode.CERTIFICATE_INVALID),
        (b"nonsense", ReplyCode.CERTIFICATE_INVALID),
        (certificate(other), ReplyCode.OTHER_TEXT),
        (certificate(proposal(5)), ReplyCode.CERTIFICATE_INVALID),
        (certificate(proposal(4, number=2)), ReplyCode.UNKNOWN),
        (certificate(proposal(4, round=1)), ReplyCode.OTHER_ROUND),
    ]:
        assert code(machine, commands.closed(data)) is answer
        assert machine.open()
    assert code(machine, commands.closed(certificate())) is ReplyCode.DONE


def test_v7_expiry_is_checked_against_ledger_time() -> None:
    machine = with_open(time_ms=10)
    expire = commands.expired(ON.proposal_id, 0)
    assert code(machine, commands.expired("f" * 32, 0)) is ReplyCode.UNKNOWN
    assert code(machine, commands.expired(ON.proposal_id, 1)) is ReplyCode.OTHER_ROUND
    assert code(machine, expire, 1_009) is ReplyCode.NOT_DUE
    assert machine.due(1_009, 9) == ()
    assert [each.proposal for each in machine.due(1_010, 9)] == [ON]
    assert code(machine, expire, 1_010) is ReplyCode.DONE
    assert code(machine, expire, 1_010) is ReplyCode.REPEATED
    closed = machine.get(ON.proposal_id)
    assert closed is not None
    assert (closed.status, closed.certificate) == (Status.EXPIRED, None)


def test_v7_what_the_log_has_first_stands() -> None:
    late = with_open()
    assert code(late, commands.closed(certificate()), 99_999) is ReplyCode.DONE
    assert code(late, commands.expired(ON.proposal_id, 0), 99_999) is ReplyCode.CLOSED
    expired = with_open()
    assert code(expired, commands.expired(ON.proposal_id, 0), 99_999) is ReplyCode.DONE
    assert code(expired, commands.closed(certificate()), 99_999) is ReplyCode.CLOSED


def test_v7_ledger_time_never_goes_back() -> None:
    machine = with_open(time_ms=5_000)
    assert code(machine, commands.expired(ON.proposal_id, 0), 0) is ReplyCode.NOT_DUE
    assert machine.time_ms == 5_000
    assert code(machine, b"", -5) is ReplyCode.MALFORMED
    assert code(machine, b"", 6_000) is ReplyCode.MALFORMED
    assert code(machine, commands.expired(ON.proposal_id, 0), 0) is ReplyCode.DONE


def test_a_round_that_expired_may_be_followed_by_a_later_one_only() -> None:
    machine = with_open()
    code(machine, commands.expired(ON.proposal_id, 0), 5_000)
    assert code(machine, commands.opened(proposal(4, question="Other?"))) is ReplyCode.KNOWN_ID
    assert code(machine, commands.opened(proposal(4, round=2))) is ReplyCode.DONE
    decision = machine.get(ON.proposal_id)
    assert decision is not None
    assert (decision.proposal.round, decision.status) == (2, Status.OPEN)
    assert code(machine, commands.closed(certificate())) is ReplyCode.OTHER_ROUND
    again = certificate(proposal(4, round=2))
    assert code(machine, commands.closed(again)) is ReplyCode.DONE
    assert code(machine, commands.opened(proposal(4, round=3))) is ReplyCode.KNOWN_ID


def test_v8_a_second_certificate_that_differs_names_and_keeps_who_signed_both() -> None:
    machine = with_open()
    code(machine, commands.closed(certificate()))
    reply = machine.apply(101, 0, commands.closed(certificate(choice=NO, first=2)))
    both = sorted(identity(voter).public_key for voter in (0, 2))
    accused = tuple(SCHEME.peer_id_of(key) for key in both)
    assert reply == Reply(ReplyCode.CONFLICT, ON.proposal_id, accused=accused)
    assert [each.voter for each in machine.evidence(ON.proposal_id)] == both
    closed = machine.get(ON.proposal_id)
    assert closed is not None
    assert closed.status is Status.APPROVED
    same = certificate(first=1)  # other voters, the same outcome: nobody lied
    assert same != certificate()
    assert code(machine, commands.closed(same)) is ReplyCode.CLOSED


def test_v4_evidence_is_verified_and_kept_once_a_voter_and_proposal() -> None:
    machine = with_open()
    good = commands.evidence(evidence())
    assert code(machine, good) is ReplyCode.DONE
    assert code(machine, good) is ReplyCode.REPEATED
    another = Ballot.sign(identity(1), ON, YES, "another reason")
    again = Evidence.of(evidence().first, another)
    assert code(machine, commands.evidence(again)) is ReplyCode.REPEATED
    assert machine.evidence(ON.proposal_id) == (evidence(),)
    body = Ballot.sign(identity(2), ON, NO).body
    forged = Ballot.decode(sealed(body, identity(3).sign("ballot", body)))
    lie = Evidence.of(Ballot.sign(identity(2), ON, YES), forged)
    assert code(machine, commands.evidence(lie)) is ReplyCode.EVIDENCE_INVALID
    unknown = evidence(1, proposal(4, number=2))
    assert code(machine, commands.evidence(unknown)) is ReplyCode.UNKNOWN
    stranger = evidence(4, proposal(5))
    assert code(machine, commands.evidence(stranger)) is ReplyCode.FOREIGN_VOTER


def test_the_oldest_closed_are_forgotten_and_nothing_else() -> None:
    every = [proposal(4, number=number) for number in range(4)]
    machine = with_open(*every)
    for each in (every[2], every[0], every[1]):
        code(machine, commands.evidence(evidence(1, each)))
        assert code(machine, commands.closed(certificate(each))) is ReplyCode.DONE
    order = tuple(every[number].proposal_id for number in (2, 0, 1))
    assert machine.oldest_closed(9) == order
    for wrong in ((), order[1:], order[:1] * 2, (order[1], order[0]), (every[3].proposal_id,)):
        assert code(machine, commands.forgotten(wrong)) is ReplyCode.NOT_OLDEST
    assert code(machine, commands.forgotten(order[:2])) is ReplyCode.DONE
    assert machine.get(order[0]) is None
    assert machine.evidence(order[0]) == ()
    assert machine.evidence(order[2])
    assert code(machine, commands.forgotten(order[:2])) is ReplyCode.NOT_OLDEST


def test_a_full_register_opens_nothing_and_still_closes() -> None:
    machine = register(max_decisions=2)
    first, second, third = (proposal(4, number=number) for number in range(3))
    assert code(machine, commands.opened(first)) is ReplyCode.DONE
    assert code(machine, commands.opened(second)) is ReplyCode.DONE
    assert code(machine, commands.opened(third)) is ReplyCode.FULL
    assert code(machine, commands.closed(certificate(first))) is ReplyCode.DONE
    assert code(machine, commands.opened(third)) is ReplyCode.FULL
    assert code(machine, commands.forgotten([first.proposal_id])) is ReplyCode.DONE
    assert code(machine, commands.opened(third)) is ReplyCode.DONE
    tight = register(max_bytes=20_000)
    assert code(tight, commands.opened(first)) is ReplyCode.DONE
    assert code(tight, commands.opened(second)) is ReplyCode.FULL
    assert code(tight, commands.closed(certificate(first))) is ReplyCode.DONE
    assert code(tight, commands.opened(second)) is ReplyCode.DONE


def test_a_later_round_needs_no_room_of_its_own() -> None:
    machine = register(max_decisions=1, max_bytes=20_000)
    assert code(machine, commands.opened(ON)) is ReplyCode.DONE
    assert code(machine, commands.expired(ON.proposal_id, 0), 9_999) is ReplyCode.DONE
    assert code(machine, commands.opened(proposal(4, round=1))) is ReplyCode.DONE


def test_lists_are_in_order_and_as_long_as_asked() -> None:
    machine = register()
    every = [proposal(4, number=n, deadline_ms=100 * (5 - n)) for n in range(5)]
    for index, each in enumerate(every):
        machine.apply(100 + index, 0, commands.opened(each))
    assert [each.proposal for each in machine.open()] == every
    assert [each.proposal for each in machine.list(2)] == [every[4], every[3]]
    assert [each.proposal for each in machine.due(300, 2)] == [every[4], every[3]]
    assert [each.proposal for each in machine.due(300, 9)] == [every[4], every[3], every[2]]


# -- any commands, snapshots anywhere ------------------------------------------------------------


@cache
def vocabulary() -> tuple[bytes, ...]:
    """Commands that meet each other: three ids, two texts, two rounds, all outcomes."""
    found: list[bytes] = [b"", b"nonsense", commands.closed(b"nonsense")]
    for number in range(3):
        for question in ("Yes?", "No?"):
            for round in range(2):
                on = proposal(
                    4, number=number, question=question, round=round, deadline_ms=50 + number
                )
                found += [
                    commands.opened(on),
                    commands.closed(certificate(on)),
                    commands.closed(certificate(on, NO, 2)),
                    commands.expired(on.proposal_id, round),
                    commands.blocked(blocking(on)),
                    commands.blocked(blocking(on, NO, YES)),
                    commands.evidence(evidence(number, on)),
                    commands.forgotten([on.proposal_id]),
                ]
    return tuple(found)


_RUNS = st.lists(st.tuples(st.integers(0, len(vocabulary()) - 1), st.integers(0, 40)), max_size=60)


@settings(max_examples=80, deadline=None)
@given(_RUNS, st.integers(0, 60))
def test_a_snapshot_at_any_point_changes_nothing(run: list[tuple[int, int]], cut: int) -> None:
    never, restored = register(max_decisions=2), register(max_decisions=2)
    time_ms = 0
    for number, (which, passed_ms) in enumerate(run):
        if number == cut:
            chunks = state(restored)
            restored = register(max_decisions=2)
            restored.restore(chunks)
            assert state(restored) == chunks
        time_ms += passed_ms
        command = vocabulary()[which]
        reply = never.apply(100 + number, time_ms, command)
        assert restored.apply(100 + number, time_ms, command) == reply
        never.check_invariants()
    assert state(never) == state(restored)
    assert never.list(9) == restored.list(9)
    assert never.due(time_ms, 9) == restored.due(time_ms, 9)
    for each in never.list(9):
        key = each.proposal.proposal_id
        assert never.evidence(key) == restored.evidence(key)


def test_the_random_runs_meet_every_answer_that_they_can() -> None:
    """The vocabulary is rich enough for the test above to mean something."""
    met = set()
    for seed in range(40):
        draw, time_ms = random.Random(seed), 0
        machine, restored = register(max_decisions=2), register(max_decisions=2)
        for _ in range(100):
            time_ms += draw.randrange(20)
            command = draw.choice(vocabulary())
            reply = machine.apply(100, time_ms, command)
            if draw.random() < 0.2:
                restored.restore(state(restored))
            assert restored.apply(100, time_ms, command) == reply, f"seed {seed}"
            met.add(reply.code)
        assert state(machine) == state(restored), f"seed {seed}"
    wanted = set(ReplyCode) - {
        ReplyCode.OTHER_CLUSTER,
        ReplyCode.FUTURE_EPOCH,
        ReplyCode.EVIDENCE_INVALID,
        ReplyCode.FOREIGN_VOTER,
    }
    assert wanted <= met, wanted - met


def rich() -> Register:
    machine = with_open(*(proposal(4, number=number) for number in range(3)))
    code(machine, commands.closed(certificate(proposal(4, number=1))), 20)
    code(machine, commands.evidence(evidence(1, proposal(4, number=2))))
    code(machine, commands.evidence(evidence(2, proposal(4, number=2))))
    code(machine, commands.expired(f"{0:032x}", 0), 99_999)
    return machine


def test_a_snapshot_that_was_changed_is_refused_or_is_one_in_its_own_right() -> None:
    chunks = state(rich())
    for number, chunk in enumerate(chunks):
        for at in range(0, len(chunk), 3):
            changed = bytearray(chunk)
            changed[at] ^= 1
            parts = [*chunks[:number], bytes(changed), *chunks[number + 1 :]]
            machine = rich()
            try:
                machine.restore(parts)
            except SnapshotInvalid:
                assert state(machine) == chunks
            else:
                assert state(machine) == parts
                machine.check_invariants()


def test_a_snapshot_with_chunks_missing_moved_or_added_is_refused() -> None:
    chunks = state(rich())
    machine = rich()
    for number in range(len(chunks)):
        missing = chunks[:number] + chunks[number + 1 :]
        twice = [*chunks[: number + 1], *chunks[number:]]
        for parts in (missing, twice):
            with pytest.raises(SnapshotInvalid):
                machine.restore(parts)
    swapped = [*chunks[:-2], chunks[-1], chunks[-2]]
    for parts in ([], swapped, [*chunks, b""]):
        with pytest.raises(SnapshotInvalid):
            machine.restore(parts)
    with pytest.raises(SnapshotInvalid):
        Register("other", SCHEME).restore(chunks)
    with pytest.raises(SnapshotInvalid):
        register(max_decisions=2).restore(chunks)
    assert state(machine) == chunks


def test_numbers_beyond_all_bounds_do_no_harm() -> None:
    machine = with_open()
    code(machine, commands.opened(proposal(4, number=2, deadline_ms=2**53 - 1)), 2**70, 2**70)
    code(machine, commands.closed(certificate()), -(2**70), -(2**70))
    chunks = state(machine)
    machine.restore(chunks)
    assert state(machine) == chunks


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.integers(0, len(vocabulary()) - 1), st.integers(0, 400))
def test_bytes_from_anywhere_change_nothing_that_they_should_not(
    data: bytes, which: int, keep: int
) -> None:
    machine = with_open()
    for command in (data, b"CNBR\x01" + data, vocabulary()[which][:keep] + data):
        reply = machine.apply(100, 20, command)
        assert isinstance(reply, Reply)
        machine.check_invariants()
        assert machine.get(ON.proposal_id) is not None
    with suppress(SnapshotInvalid):
        machine.restore([data])

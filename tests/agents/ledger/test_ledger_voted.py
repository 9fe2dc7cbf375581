"""Tasks with the policy `vote`: every replica refuses an assignment that nobody approved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import msgpack
import pytest
from ledger_lab import ANNA, BEN, CARA, spec, task_id
from voted_lab import NO, VETO, YES, VotedLab, certificate, elector, identity, terms

from agents.deciding import SCHEME
from agents.ledger import (
    VOTE,
    Ledger,
    LedgerSnapshotInvalid,
    Refusal,
    State,
    TaskView,
    VotedSpec,
    VotedTask,
    encode_submitted,
    encode_submitted_for_vote,
    is_task_question,
)
from consensus.ballots import Proposal, closed_command, forgotten_command, opened_command
from consensus.ballots.register import Register
from consensus.ballots.register_commands import ReplyCode


def test_a_task_is_assigned_once_a_quorum_approved_exactly_that() -> None:
    lab = VotedLab()
    assert lab.submit_voted(1).after is State.PENDING
    assert lab.assign(1).refusal is Refusal.NOT_APPROVED
    lab.open(question := lab.question(1))
    assert lab.assign(1).refusal is Refusal.NOT_APPROVED
    said = certificate(question, YES, YES)
    assert lab.register_applies(closed_command(said)).code is ReplyCode.DONE
    given = lab.assign(1)
    assert (given.refusal, given.after) == (None, State.ASSIGNED)
    assert lab.complete(1, given.token).after is State.DONE
    assert lab.view(1).vote is not None
    assert set(lab.ledger.approved_by(task_id(1))) == {identity(0).peer_id, identity(1).peer_id}


def test_the_subject_says_what_is_judged() -> None:
    lab = VotedLab()
    lab.submit_voted(1, key="k", payload=b"page 7")
    question = lab.question(1, BEN)
    assert is_task_question(question.proposal_id)
    assert "ocr" in question.question
    read = VotedTask.read(question.subject)
    assert read is not None
    assert (read.skill, read.key, read.worker, read.payload) == ("ocr", "k", BEN, b"page 7")
    lab.submit_voted(2, payload=bytes(20_000))
    large = VotedTask.read(lab.question(2).subject)
    assert large is not None
    assert large.payload is None
    assert large.digest != read.digest
    for strange in (b"", b"\xc1", b"\x90", question.subject[:-1], msgpack.packb([1] * 11)):
        assert VotedTask.read(strange) is None


def _for_another_worker(lab: VotedLab, on: Proposal) -> None:
    lab.close(lab.question(1, BEN), YES, YES, YES)


def _other_payload(lab: VotedLab, on: Proposal) -> None:
    other = VotedLab()
    other.submit_voted(1, payload=b"something else")
    lab.close(other.question(1), YES, YES, YES)


def _other_text_under_its_id(lab: VotedLab, on: Proposal) -> None:
    lab.close(replace(on, subject=b"anything"), YES, YES, YES)


def _other_voters(lab: VotedLab, on: Proposal) -> None:
    lab.close(replace(on, electors=tuple(sorted([elector(0), elector(1)]))), YES, YES)


def _lower_threshold(lab: VotedLab, on: Proposal) -> None:
    other = replace(on, electors=tuple(sorted([elector(0)])))
    lab.close(other, YES)


def _without_the_veto(lab: VotedLab, on: Proposal) -> None:
    plain = tuple(sorted(replace(each, may_veto=False) for each in on.electors))
    lab.close(replace(on, electors=plain), YES, YES)


def _still_open(lab: VotedLab, on: Proposal) -> None:
    lab.open(on)


def _below_the_threshold(lab: VotedLab, on: Proposal) -> None:
    lab.open(on)
    weak = replace(on, electors=tuple(sorted([elector(0)])))
    reply = lab.register_applies(closed_command(certificate(weak, YES)))
    assert reply.code is ReplyCode.CERTIFICATE_INVALID


def _forged_signature(lab: VotedLab, on: Proposal) -> None:
    lab.open(on)
    said = bytearray(certificate(on, YES, YES, YES))
    said[-1] ^= 1
    reply = lab.register_applies(closed_command(bytes(said)))
    assert reply.code is ReplyCode.CERTIFICATE_INVALID


def _vetoed(lab: VotedLab, on: Proposal) -> None:
    lab.close(on, YES, YES, VETO)


def _rejected(lab: VotedLab, on: Proposal) -> None:
    lab.close(on, NO, NO, NO)


def _blocked(lab: VotedLab, on: Proposal) -> None:
    lab.block(on, NO, NO)


def _expired(lab: VotedLab, on: Proposal) -> None:
    lab.expire_vote(on)


def _forgotten(lab: VotedLab, on: Proposal) -> None:
    lab.close(on, YES, YES, YES)
    forgotten = lab.register_applies(forgotten_command([on.proposal_id]))
    assert forgotten.code is ReplyCode.DONE


FORGERIES: list[Callable[[VotedLab, Proposal], None]] = [
    _for_another_worker,
    _other_payload,
    _other_text_under_its_id,
    _other_voters,
    _lower_threshold,
    _without_the_veto,
    _still_open,
    _below_the_threshold,
    _forged_signature,
    _vetoed,
    _rejected,
    _blocked,
    _expired,
    _forgotten,
]


@pytest.mark.parametrize("forge", FORGERIES)
def test_every_replica_refuses_what_was_not_approved(
    forge: Callable[[VotedLab, Proposal], None],
) -> None:
    replicas = [VotedLab(), VotedLab()]
    for lab in replicas:
        on = spec(1, policy=VOTE)
        threshold = (2, 3) if forge is _blocked else (1, 2)
        lab.submit_voted(1, terms(on, vetoers=(2,), threshold=threshold))
        forge(lab, lab.question(1))
        assert lab.assign(1).refusal is Refusal.NOT_APPROVED
        assert lab.state(1) is State.PENDING
    assert [*replicas[0].ledger.snapshot()] == [*replicas[1].ledger.snapshot()]


def test_an_approval_serves_for_one_assignment() -> None:
    lab = VotedLab()
    lab.submit_voted(1)
    first = lab.question(1)
    lab.close(first, YES, YES)
    token = lab.assign(1).token
    lab.release(1, token)
    assert lab.assign(1).refusal is Refusal.NOT_APPROVED  # under another token it is another matter
    second = lab.question(1)
    assert second.proposal_id != first.proposal_id
    lab.close(second, YES, YES)
    assert lab.assign(1).refusal is None


def test_two_workers_may_be_approved_and_one_gets_it() -> None:
    lab = VotedLab()
    lab.submit_voted(1)
    lab.close(lab.question(1, ANNA), YES, YES)
    lab.close(lab.question(1, BEN), YES, YES)
    assert lab.assign(1, BEN).refusal is None
    assert lab.assign(1, ANNA).refusal is Refusal.ILLEGAL_MOVE


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (_vetoed, "voter 2 vetoed"),
        (_rejected, "rejected"),
        (_blocked, "cannot be approved any more"),
        (_expired, "its time ran out before 3 of 3 had approved it"),
    ],
)
def test_a_vote_that_ends_without_approval_parks_the_task_with_its_reason(
    end: Callable[[VotedLab, Proposal], None], words: str
) -> None:
    lab = VotedLab()
    on = spec(1, policy=VOTE)
    lab.submit_voted(1, terms(on, vetoers=(2,), threshold=(2, 3)))
    question = lab.question(1)
    assert lab.disapprove(1).refusal is Refusal.NOT_DISAPPROVED
    end(lab, question)
    assert lab.disapprove(1, BEN).refusal is Refusal.NOT_DISAPPROVED
    parked = lab.disapprove(1)
    assert (parked.refusal, parked.after) == (None, State.PARKED)
    error = lab.view(1).error
    assert error is not None
    assert error.type == "NotApproved"
    assert words in error.message
    assert question.proposal_id in error.message
    assert lab.disapprove(1).refusal is Refusal.ILLEGAL_MOVE
    assert lab.retry(1).after is State.PENDING
    again = lab.question(1)
    assert again.proposal_id != question.proposal_id  # ballots are final, so it is asked anew
    lab.close(again, YES, YES, YES)
    assert lab.assign(1).refusal is None


@pytest.mark.parametrize("state", [s for s in State if s is not State.PENDING])
def test_only_a_task_that_waits_can_be_disapproved(state: State) -> None:
    lab = VotedLab()
    lab.submit_voted(1, max_attempts=1)
    if state is State.CANCELLED:
        lab.cancel(1)
    else:
        lab.close(lab.question(1), YES, YES)
        token = lab.assign(1).token
    if state is State.DONE:
        lab.complete(1, token)
    elif state in (State.FAILED, State.PARKED):
        lab.fail(1, token, retryable=state is State.PARKED)
    assert lab.state(1) is state
    before = lab.view(1)
    assert lab.disapprove(1).refusal is Refusal.ILLEGAL_MOVE
    assert lab.view(1) == before


def test_an_approved_task_cannot_be_parked_by_its_vote() -> None:
    lab = VotedLab()
    lab.submit_voted(1)
    lab.open(lab.question(1))
    assert lab.disapprove(1).refusal is Refusal.NOT_DISAPPROVED
    said = certificate(lab.question(1), YES, YES)
    assert lab.register_applies(closed_command(said)).code is ReplyCode.DONE
    assert lab.disapprove(1).refusal is Refusal.NOT_DISAPPROVED
    lab.submit(spec(2))
    assert lab.disapprove(2).refusal is Refusal.NOT_DISAPPROVED
    assert lab.disapprove(3).refusal is Refusal.UNKNOWN_TASK


def test_terms_are_looked_at_in_full() -> None:
    on = spec(1, policy=VOTE)
    good = terms(on)
    read = Proposal.decode(good)
    stranger = spec(1, policy=VOTE, submitter=ANNA)
    for wrong in (
        b"",
        good[:-1],
        good + b"\0",
        terms(stranger),
        replace(read, subject=b"x").raw,
        replace(read, kind="deploy").raw,
        replace(read, round=1).raw,
        replace(read, proposal_id="1" * 32).raw,
        replace(read, question="Really?").raw,
        replace(read, deadline_ms=2**50).raw,
    ):
        assert VotedLab().submit_voted(1, wrong).refusal is Refusal.BAD_TERMS, wrong
    lab = VotedLab()
    plain = VotedSpec(spec(1), good)
    verdict = lab.one(encode_submitted_for_vote(0, [plain]))
    assert verdict.refusal is Refusal.UNKNOWN_POLICY
    (verdict,) = lab.submit(on)  # what an older program would have refused is refused still
    assert verdict.refusal is Refusal.UNKNOWN_POLICY
    for garbage in (None, 7, [], [on], [on, "terms"], [[], good], [on, good, 1]):
        verdict = lab.one(encode_submitted_for_vote(0, [garbage]))  # type: ignore[list-item]
        assert verdict.refusal is Refusal.MALFORMED
    assert lab.submit_voted(1).refusal is None
    assert lab.submit_voted(1).refusal is Refusal.DUPLICATE


def test_a_ledger_without_a_register_assigns_nothing_that_is_voted_on() -> None:
    lab = VotedLab()
    lab.ledger = Ledger()
    lab.submit_voted(1)
    lab.close(lab.question(1), YES, YES, YES)
    assert lab.assign(1).refusal is Refusal.NOT_APPROVED
    assert lab.disapprove(1).refusal is Refusal.NOT_DISAPPROVED


def test_the_same_question_is_made_again_after_it_was_forgotten() -> None:
    lab = VotedLab()
    lab.submit_voted(1)
    question = lab.question(1)
    _forgotten(lab, question)
    assert lab.register_applies(opened_command(lab.question(1))).code is ReplyCode.DONE
    said = certificate(question, YES, YES)  # the ballots that the voters' boxes still hold
    assert lab.register_applies(closed_command(said)).code is ReplyCode.DONE
    assert lab.assign(1).refusal is None


def some_of_each() -> VotedLab:
    lab = VotedLab()
    lab.submit(spec(1, job="night"))
    for number in range(2, 6):
        lab.submit_voted(number, job="night", priority=number % 2)
    lab.close(lab.question(2), YES, YES)
    lab.assign(2)
    lab.close(lab.question(3), NO, NO)
    lab.disapprove(3)
    lab.cancel(5)
    return lab


def test_a_snapshot_carries_votes_and_the_restored_ledger_goes_on() -> None:
    lab = some_of_each()
    chunks = list(lab.ledger.snapshot())
    copy = VotedLab()
    copy.register, copy.index, copy.now_ms = lab.register, lab.index, lab.now_ms
    copy.ledger = Ledger(lab.register)
    copy.ledger.restore(chunks)
    copy.ledger.check_invariants()
    assert list(copy.ledger.snapshot()) == chunks
    assert [copy.view(n) for n in range(1, 6)] == [lab.view(n) for n in range(1, 6)]
    assert copy.ledger.counts_to_vote() == {"ocr": 1}
    assert copy.ledger.pending_counts() == {"ocr": 1}
    assert copy.assign(4).refusal is Refusal.NOT_APPROVED
    lab.close(lab.question(4), YES, YES)
    copy.index = lab.index
    assert copy.assign(4).refusal is None


def test_a_ledger_without_votes_writes_what_older_nodes_read() -> None:
    lab = VotedLab()
    lab.submit(spec(1))
    lab.submit_voted(2)
    assert msgpack.Unpacker(iter_of(lab)).unpack()[:2] == ["conclave ledger", 2]
    lab.cancel(2)
    lab.forget(2)
    assert msgpack.Unpacker(iter_of(lab)).unpack()[:2] == ["conclave ledger", 1]
    older = Ledger()
    older.apply(lab.index, encode_submitted(lab.now_ms, [spec(1)]))
    other = Ledger()
    other.restore(lab.ledger.snapshot())
    assert other.get(task_id(1)) == lab.view(1)


class iter_of:
    def __init__(self, lab: VotedLab) -> None:
        self._data = b"".join(lab.ledger.snapshot())

    def read(self, size: int) -> bytes:
        found, self._data = self._data[:size], self._data[size:]
        return found


def test_damage_to_a_snapshot_with_votes_is_refused() -> None:
    lab = some_of_each()
    data = b"".join(lab.ledger.snapshot())
    for place in range(0, len(data), 7):
        changed = bytearray(data)
        changed[place] ^= 1
        copy = Ledger(Register("other", SCHEME))
        with pytest.raises(LedgerSnapshotInvalid):
            copy.restore([bytes(changed)])
        assert len(copy) == 0


def test_views_travel() -> None:
    lab = some_of_each()
    for number in range(1, 6):
        view = lab.view(number)
        wire = view.to_wire()
        assert ("vote" in wire) == (number != 1)
        assert TaskView.from_wire(msgpack.unpackb(msgpack.packb(wire))) == view
    vote = lab.view(3).vote
    assert vote is not None
    assert (vote["needed"], vote["total"], vote["refused"]) == (2, 3, 1)
    assert lab.view(3).submitter == CARA

"""V4 on the voter's side: one ballot a slot, stored before it is sent, the same for ever."""

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from votes_lab import (
    CLUSTER,
    PROPOSER,
    check,
    electorate,
    identity,
    people,
    proposal,
    signed,
)

from consensus.votes.ballot import Ballot, Choice, check_ballot
from consensus.votes.electorate import Electorate, Threshold
from consensus.votes.errors import BallotImpossible, ProposalFault
from consensus.votes.question import Proposal, SignedProposal
from consensus.votes.voter import (
    MAX_ASKERS,
    CastRecord,
    Deliberate,
    Effect,
    ProposerEvidenceFound,
    RefuseProposal,
    SendBallot,
    Store,
    VotingCore,
)
from consensus.votes.wire import Malformed

YES, NO = Choice.APPROVE, Choice.REJECT
ASKED = proposal()
DATA = signed(ASKED).to_bytes()


def voter(
    recovered: Iterable[CastRecord] = (), *, voters: Electorate | None = None, max_waiting: int = 64
) -> VotingCore:
    core = VotingCore(people(4)[0], check, CLUSTER, recovered, max_waiting=max_waiting)
    core.know(voters or electorate(4))
    return core


def stored(effects: list[Effect]) -> CastRecord:
    (record,) = [effect.record for effect in effects if isinstance(effect, Store)]
    return record


def refusal(effects: list[Effect]) -> ProposalFault:
    (refused,) = effects
    assert isinstance(refused, RefuseProposal)
    return refused.fault


def test_v4_a_ballot_is_stored_before_it_is_sent() -> None:
    core = voter()
    assert core.on_proposal(DATA, "anna") == [Deliberate(ASKED)]
    store, send = core.on_choice(ASKED.slot, YES, "why not")
    assert isinstance(store, Store)
    assert isinstance(send, SendBallot)
    assert send.to == "anna"
    ballot = Ballot.from_bytes(send.data)
    assert ballot == store.record.ballot
    assert check_ballot(ballot, ASKED, check).choice is YES


def test_v4_who_asks_again_gets_the_same_ballot_and_it_is_stored_first_again() -> None:
    core = voter()
    core.on_proposal(DATA, "anna")
    first = core.on_choice(ASKED.slot, YES)
    assert core.on_proposal(DATA, "anna") == first
    (store, send) = core.on_proposal(DATA, "ben")
    assert isinstance(store, Store)
    assert send == SendBallot("ben", first[1].data)  # type: ignore[union-attr]


def test_v4_a_choice_is_final() -> None:
    core = voter()
    core.on_proposal(DATA, "anna")
    core.on_choice(ASKED.slot, YES)
    with pytest.raises(BallotImpossible, match="no question waits"):
        core.on_choice(ASKED.slot, NO)


def test_v4_a_restart_answers_with_the_same_ballot() -> None:
    core = voter()
    core.on_proposal(DATA, "anna")
    before = core.on_choice(ASKED.slot, NO, "because")
    restarted = voter([CastRecord.from_bytes(stored(before).to_bytes())])
    assert restarted.on_proposal(DATA, "anna") == before


def test_v4_a_restart_before_the_store_may_choose_anew() -> None:
    core = voter()
    core.on_proposal(DATA, "anna")
    core.on_choice(ASKED.slot, NO)
    restarted = voter()
    assert restarted.on_proposal(DATA, "anna") == [Deliberate(ASKED)]


@pytest.mark.parametrize("when", ["waiting", "cast", "restarted"])
def test_v4_another_question_in_the_slot_is_refused_and_proves_that_its_proposer_lied(
    when: str,
) -> None:
    core = voter()
    core.on_proposal(DATA, "anna")
    if when != "waiting":
        effects = core.on_choice(ASKED.slot, YES)
        if when == "restarted":
            core = voter([stored(effects)])
    other = signed(proposal(question="Another?")).to_bytes()
    found, refused = core.on_proposal(other, "anna")
    assert isinstance(found, ProposerEvidenceFound)
    found.evidence.verify(check)
    assert found.evidence.proposer == PROPOSER.peer_id
    assert refusal([refused]) is ProposalFault.OTHER_QUESTION


def test_v4_a_slot_that_another_proposer_took_is_refused_and_proves_nothing() -> None:
    core = voter()
    core.on_proposal(DATA, "anna")
    other = identity(500)
    stolen = signed(proposal(question="Another?", proposer=other), other)
    assert refusal(core.on_proposal(stolen.to_bytes(), "ben")) is ProposalFault.OTHER_QUESTION
    forged = SignedProposal(proposal(question="Another?"), signed(ASKED).signature)
    assert refusal(core.on_proposal(forged.to_bytes(), "ben")) is ProposalFault.SIGNATURE


def test_v4_another_round_is_another_ballot() -> None:
    core = voter()
    core.on_proposal(DATA, "anna")
    core.on_choice(ASKED.slot, YES)
    later = proposal(round_number=1)
    assert core.on_proposal(signed(later).to_bytes(), "anna") == [Deliberate(later)]
    assert stored(core.on_choice(later.slot, NO)).ballot.round == 1


@pytest.mark.parametrize(
    ("asked", "fault"),
    [
        (proposal(electorate(4, cluster="other")), ProposalFault.CLUSTER),
        (proposal(electorate(4, epoch=2)), ProposalFault.EPOCH),
        (proposal(electorate(5)), ProposalFault.ELECTORATE),
        (proposal(threshold=Threshold(1, 2)), ProposalFault.THRESHOLD),
    ],
)
def test_a_question_that_is_not_for_this_voter_is_refused(
    asked: Proposal, fault: ProposalFault
) -> None:
    assert refusal(voter().on_proposal(signed(asked).to_bytes(), "anna")) is fault


def test_a_question_that_its_proposer_did_not_sign_is_refused() -> None:
    forged = SignedProposal(proposal(question="Another?"), signed(ASKED).signature)
    assert refusal(voter().on_proposal(forged.to_bytes(), "anna")) is ProposalFault.SIGNATURE
    assert refusal(voter().on_proposal(b"junk", "anna")) is ProposalFault.MALFORMED


def test_who_has_no_vote_is_not_made_to_choose() -> None:
    core = VotingCore(identity(99), check, CLUSTER)
    core.know(electorate(4))
    assert refusal(core.on_proposal(DATA, "anna")) is ProposalFault.NO_VOICE


def test_the_number_of_questions_that_wait_is_bounded() -> None:
    core = voter(max_waiting=2)
    asked = [proposal(proposal_id=bytes((n,)) * 16) for n in range(3)]
    for each in asked[:2]:
        core.on_proposal(signed(each).to_bytes(), "anna")
    assert refusal(core.on_proposal(signed(asked[2]).to_bytes(), "anna")) is ProposalFault.BUSY
    core.withdraw(asked[0].slot)
    assert core.waiting == (asked[1],)
    assert core.on_proposal(signed(asked[2]).to_bytes(), "anna") == [Deliberate(asked[2])]


def test_everyone_who_asked_while_it_waited_is_answered_up_to_a_bound() -> None:
    core = voter()
    for n in range(20):
        core.on_proposal(DATA, f"peer {n % 15}")
    sends = [e.to for e in core.on_choice(ASKED.slot, YES) if isinstance(e, SendBallot)]
    assert sends == [f"peer {n}" for n in range(MAX_ASKERS)]


def test_a_choice_that_cannot_be_cast_leaves_the_question_waiting() -> None:
    core = voter()
    core.on_proposal(DATA, "anna")
    for choice, reason in ((Choice.VETO, ""), (YES, "x" * 1025)):
        with pytest.raises(BallotImpossible):
            core.on_choice(ASKED.slot, choice, reason)
    assert core.waiting == (ASKED,)
    core.on_choice(ASKED.slot, YES)


def test_an_epoch_that_is_over_takes_no_new_votes_and_repeats_old_ones() -> None:
    core = voter()
    late = proposal(proposal_id=bytes(16))
    core.on_proposal(DATA, "anna")
    effects = core.on_choice(ASKED.slot, YES)
    core.on_proposal(signed(late).to_bytes(), "anna")
    core.forget_before(2)
    assert core.waiting == ()
    assert core.on_proposal(DATA, "anna") == effects
    assert refusal(core.on_proposal(signed(late).to_bytes(), "anna")) is ProposalFault.EPOCH


def test_a_record_whose_ballot_and_question_differ_is_none() -> None:
    core = voter()
    core.on_proposal(DATA, "anna")
    record = stored(core.on_choice(ASKED.slot, YES))
    other = signed(proposal(question="Another?")).signed_header
    with pytest.raises(Malformed, match="belong together"):
        CastRecord.from_bytes(CastRecord(record.ballot, other).to_bytes())


@settings(deadline=None)
@given(st.binary(max_size=300), st.sampled_from([b"", b"CVQ1", b"CVQ1\0\0\0\x20CVP1", b"CVR1"]))
def test_random_bytes_are_no_question_and_no_record(data: bytes, magic: bytes) -> None:
    assert refusal(voter().on_proposal(magic + data, "anna")) is ProposalFault.MALFORMED
    with pytest.raises(Malformed):
        CastRecord.from_bytes(magic + data)

"""One ballot a proposal and round, stored before it is sent, the same after a restart (V4)."""

from __future__ import annotations

from typing import Any

import pytest
from ballots_lab import CLUSTER, SCHEME, identity, proposal
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from consensus.ballots.ballot import Ballot, Choice
from consensus.ballots.box import MemoryBox
from consensus.ballots.proposal import Proposal
from consensus.ballots.voter import (
    MAX_PENDING,
    MAX_PENDING_EACH,
    AskChoice,
    ChoiceMade,
    Effect,
    EpochBegan,
    ForgetBallots,
    ForgetRequested,
    ProposalClosed,
    ProposalOpened,
    ProposalReceived,
    Refusal,
    Refused,
    SendBallot,
    StoreBallot,
    TwoTextsFound,
    Voter,
)

PROPOSER = identity(0).peer_id
ME = identity(1)
ON = proposal(4)
OTHER = proposal(4, question="Another text?")


def voter(ballots: tuple[bytes, ...] = (), floor: int = 0) -> Voter:
    made = Voter(ME, CLUSTER, ballots, floor)
    made.step(EpochBegan(7, ON.electors))
    return made


def received(on: Proposal = ON, sender: str = PROPOSER) -> ProposalReceived:
    return ProposalReceived(sender, on.raw)


def made(choice: Choice = Choice.APPROVE, on: Proposal = ON, reason: str = "") -> ChoiceMade:
    return ChoiceMade(on.proposal_id, on.round, choice, reason)


def test_v4_a_ballot_is_stored_before_it_is_sent() -> None:
    me = voter()
    assert me.step(received()) == [AskChoice(ON)]
    assert me.step(received()) == []
    first, second = me.step(made())
    assert isinstance(first, StoreBallot)
    assert isinstance(second, SendBallot)
    assert second.to == PROPOSER
    assert first.ballot == second.ballot
    second.ballot.check(ON, SCHEME)
    assert me.pending() == ()


def test_v4_a_question_asked_again_gets_the_same_bytes_and_after_a_restart_too() -> None:
    me = voter()
    me.step(received())
    first = me.step(made())
    again = me.step(received())
    assert again == first
    stored = first[0]
    assert isinstance(stored, StoreBallot)
    restarted = Voter(ME, CLUSTER, (stored.ballot.raw,))
    assert restarted.step(received()) == first
    assert restarted.step(made()) == []
    assert restarted.step(made(Choice.REJECT)) == [Refused(None, Refusal.VOTED_ALREADY)]


def test_v4_another_text_under_one_id_and_round_is_refused_and_reported() -> None:
    for choose in (False, True):
        me = voter()
        me.step(received())
        if choose:
            me.step(made())
        found, refused = me.step(received(OTHER))
        assert found == TwoTextsFound(
            ON.proposal_id, 0, ON.digest, None if choose else PROPOSER, OTHER.digest, PROPOSER
        )
        assert refused == Refused(PROPOSER, Refusal.TWO_TEXTS)


def test_v4_another_round_gets_another_ballot() -> None:
    me = voter()
    me.step(received())
    me.step(made())
    second = proposal(4, round=1)
    assert me.step(received(second)) == [AskChoice(second)]
    assert len(me.step(made(Choice.REJECT, second))) == 2


def test_the_text_that_the_log_opened_takes_the_place_of_one_that_a_peer_brought() -> None:
    me = voter()
    me.step(received(OTHER))
    found, asked = me.step(ProposalOpened(ON.raw))
    assert isinstance(found, TwoTextsFound)
    assert asked == AskChoice(ON)
    assert me.pending() == (ON,)
    assert me.step(received(OTHER))[-1] == Refused(PROPOSER, Refusal.TWO_TEXTS)


def test_what_the_log_opened_anybody_may_ask_for() -> None:
    other = identity(2).peer_id
    me = voter()
    assert me.step(received(sender=other)) == [Refused(other, Refusal.NOT_ITS_PROPOSER)]
    me.step(received())
    assert me.step(received(sender=other)) == [Refused(other, Refusal.NOT_ITS_PROPOSER)]
    assert me.step(ProposalOpened(ON.raw)) == []
    assert me.step(received(sender=other)) == []
    sent = [each.to for each in me.step(made()) if isinstance(each, SendBallot)]
    assert sent == [PROPOSER, other]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"nonsense", Refusal.MALFORMED),
        (proposal(4, cluster="other").raw, Refusal.OTHER_CLUSTER),
        (proposal(4, epoch=8).raw, Refusal.UNKNOWN_EPOCH),
        (proposal(5).raw, Refusal.OTHER_ELECTORATE),
        (proposal(weights=[1, 2, 1, 1]).raw, Refusal.OTHER_ELECTORATE),
    ],
)
def test_v2_a_proposal_for_other_voters_than_the_epochs_is_refused(
    data: bytes, why: Refusal
) -> None:
    assert voter().step(ProposalReceived(PROPOSER, data)) == [Refused(PROPOSER, why)]


def test_who_is_no_elector_is_not_asked() -> None:
    one = proposal(1)
    me = voter()
    me.step(EpochBegan(7, one.electors))
    assert me.step(received(one)) == [Refused(PROPOSER, Refusal.NOT_AN_ELECTOR)]


def test_choices_that_cannot_be_made() -> None:
    me = voter()
    assert me.step(made()) == [Refused(None, Refusal.UNKNOWN_PROPOSAL)]
    me.step(received())
    assert me.step(made(Choice.VETO)) == [Refused(None, Refusal.NO_VETO_RIGHT)]
    assert me.step(made(reason="x" * 1025)) == [Refused(None, Refusal.REASON_TOO_LONG)]
    assert me.step(made(reason="\ud800")) == [Refused(None, Refusal.REASON_TOO_LONG)]
    assert len(me.step(made())) == 2


def test_v4_nothing_is_signed_for_an_epoch_whose_ballots_are_gone() -> None:
    me = voter()
    me.step(received())
    me.step(made())
    assert me.step(ForgetRequested(8)) == [ForgetBallots(8)]
    assert me.step(ForgetRequested(8)) == []
    assert me.step(received()) == [Refused(PROPOSER, Refusal.FORGOTTEN_EPOCH)]
    assert voter(floor=8).step(received()) == [Refused(PROPOSER, Refusal.FORGOTTEN_EPOCH)]


def test_no_peer_fills_the_list_and_the_log_goes_first() -> None:
    me = voter()
    for number in range(MAX_PENDING_EACH + 5):
        me.step(received(proposal(4, number=number)))
    assert len(me.pending()) == MAX_PENDING_EACH
    for number in range(100, 100 + MAX_PENDING):
        assert me.step(ProposalOpened(proposal(4, number=number).raw))
    assert len(me.pending()) == MAX_PENDING
    assert me.step(received(proposal(4, number=99))) == [Refused(PROPOSER, Refusal.TOO_MANY)]
    me.step(ProposalClosed(f"{100:032x}"))
    assert me.step(received(proposal(4, number=99)))[0] == AskChoice(proposal(4, number=99))


class RestartingVoter(RuleBasedStateMachine):
    """Kills between any two effects; what ever was sent must not contradict itself."""

    def __init__(self) -> None:
        super().__init__()
        self.box = MemoryBox(CLUSTER, ME.public_key)
        self.sent: dict[tuple[str, int], set[bytes]] = {}
        self.restart()

    @rule()
    def restart(self) -> None:
        self.voter = voter(self.box.ballots(), self.box.floor())

    @rule(
        number=st.integers(0, 2), text=st.sampled_from("ab"), round=st.integers(0, 1),
        from_log=st.booleans(), survives=st.integers(0, 4),
    )  # fmt: skip
    def ask(self, number: int, text: str, round: int, from_log: bool, survives: int) -> None:
        on = proposal(4, number=number, question=text, round=round)
        event: Any = ProposalOpened(on.raw) if from_log else received(on)
        self.run_until(self.voter.step(event), survives)

    @rule(
        number=st.integers(0, 2), round=st.integers(0, 1), choice=st.sampled_from(Choice),
        survives=st.integers(0, 4),
    )  # fmt: skip
    def choose(self, number: int, round: int, choice: Choice, survives: int) -> None:
        on = proposal(4, number=number, round=round)
        self.run_until(self.voter.step(made(choice, on)), survives)

    def run_until(self, effects: list[Effect], survives: int) -> None:
        for number, effect in enumerate(effects):
            if number >= survives:
                self.restart()
                return
            if isinstance(effect, StoreBallot):
                self.box.store(effect.ballot)
            elif isinstance(effect, SendBallot):
                place = (effect.ballot.proposal_id, effect.ballot.round)
                self.sent.setdefault(place, set()).add(effect.ballot.raw)
                assert self.box.find(*place) == effect.ballot

    @invariant()
    def never_two(self) -> None:
        for ballots in self.sent.values():
            assert len(ballots) == 1
            for raw in ballots:
                assert Ballot.decode(raw).voter == ME.public_key


TestRestartingVoter = RestartingVoter.TestCase
TestRestartingVoter.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)

"""What the leader asks the voters about tasks, and what it makes of the answers."""

from __future__ import annotations

import random

import pytest
from scheduling_lab import ANNA, BEN, CARA, LeaderLab, agent, scheduler, spec, task_id, worker
from voted_lab import (
    DEADLINE_MS,
    NETWORK,
    NO,
    SCHEME,
    YES,
    certificate,
    terms,
)

from agents.ledger import VOTE, Ledger, State, VotedSpec
from agents.scheduling import (
    CancelReceived,
    DecisionMoved,
    Deposed,
    Elected,
    LeaderCore,
    LeaderEffect,
    LeaderSettings,
    LeaderTick,
    OpenQuestion,
    PeerDied,
    QuestionOpened,
    SubmissionReceived,
    TellWork,
    VotedSubmissionReceived,
    WorkersChanged,
)
from consensus.ballots import Choice, Proposal, closed_command, expired_command, opened_command
from consensus.ballots.register import Register


class VotingLab(LeaderLab):
    """A leader whose register answers as its test says."""

    def __init__(self) -> None:
        super().__init__()
        self.register = Register(NETWORK, SCHEME)
        self.ledger = Ledger(self.register)
        self.core = LeaderCore(LeaderSettings(), self.ledger, self.scheduler)

    def submit(self, *numbers: int, voters: tuple[int, ...] = (0, 1, 2)) -> list[LeaderEffect]:
        specs = [spec(number, policy=VOTE) for number in numbers]
        items = tuple(VotedSpec(each, terms(each, voters)) for each in specs)
        return self.step(VotedSubmissionReceived(1, items))

    def tick(self) -> list[LeaderEffect]:
        self.now_ms += 100
        return self.step(LeaderTick())

    def record(self, command: bytes) -> None:
        self.index += 1
        self.register.apply(self.index, self.now_ms, command)

    def opened(self, question: Proposal) -> list[LeaderEffect]:
        self.record(opened_command(question))
        return self.step(DecisionMoved(), QuestionOpened(question.proposal_id))

    def closed(
        self, question: Proposal, *choices: Choice, signers: tuple[int, ...] = (0, 1, 2)
    ) -> list[LeaderEffect]:
        self.record(closed_command(certificate(question, *choices, signers=signers)))
        return self.step(DecisionMoved())

    def state(self, number: int) -> State | None:
        return self.ledger.state_of(task_id(number))


def asked(effects: list[LeaderEffect]) -> list[Proposal]:
    return [effect.question for effect in effects if isinstance(effect, OpenQuestion)]


def told(effects: list[LeaderEffect]) -> list[str]:
    return [effect.peer for effect in effects if isinstance(effect, TellWork)]


def test_it_asks_waits_assigns_and_tells() -> None:
    lab = VotingLab()
    lab.lead(worker(ANNA))
    (question,) = asked(lab.submit(1))
    assert asked(lab.tick()) == []  # it is being opened
    assert lab.opened(question) == []
    assert lab.core.votes.asked(task_id(1)) == (question.proposal_id, ANNA)
    assert (asked(lab.tick()), lab.state(1)) == ([], State.PENDING)
    assert told(lab.closed(question, YES, YES)) == [ANNA]
    assert lab.state(1) is State.ASSIGNED
    lab.tick()
    assert lab.core.votes.asked(task_id(1)) is None


def test_what_could_not_be_opened_is_asked_again_after_a_pause() -> None:
    lab = VotingLab()
    lab.lead(worker(ANNA))
    (question,) = asked(lab.submit(1))
    lab.step(QuestionOpened(question.proposal_id))
    for _ in range(9):
        assert asked(lab.tick()) == []
    assert asked(lab.tick()) == [question]


def test_a_vote_that_ends_otherwise_parks_it_once() -> None:
    lab = VotingLab()
    lab.lead(worker(ANNA))
    (question,) = asked(lab.submit(1))
    lab.opened(question)
    lab.decide = False
    lab.closed(question, NO, NO)
    assert len(lab.proposed) == 1
    lab.tick()
    lab.tick()
    assert len(lab.proposed) == 1
    assert lab.settle() == []
    assert lab.state(1) is State.PARKED
    assert asked(lab.tick()) == []


def test_an_expired_vote_parks_it() -> None:
    lab = VotingLab()
    lab.lead(worker(ANNA))
    (question,) = asked(lab.submit(1))
    lab.opened(question)
    lab.now_ms += DEADLINE_MS
    lab.record(expired_command(question.proposal_id, 0))
    lab.step(DecisionMoved())
    assert lab.state(1) is State.PARKED


def test_a_worker_that_dies_is_replaced_and_its_approval_is_of_no_use() -> None:
    lab = VotingLab()
    lab.lead(worker(ANNA), worker(BEN))
    (first,) = asked(lab.submit(1))
    lab.opened(first)
    asked_about = lab.core.votes.asked(task_id(1))
    assert asked_about is not None
    victim, other = (ANNA, BEN) if asked_about[1] == ANNA else (BEN, ANNA)
    (second,) = asked(lab.step(PeerDied(victim, 1), WorkersChanged((worker(other),))))
    assert second.proposal_id != first.proposal_id
    assert told(lab.closed(first, YES, YES)) == []
    assert lab.state(1) is State.PENDING
    lab.opened(second)
    assert told(lab.closed(second, YES, YES)) == [other]


def test_a_worker_that_came_back_gets_what_it_was_approved_for() -> None:
    lab = VotingLab()
    lab.lead(worker(ANNA))
    (question,) = asked(lab.submit(1))
    lab.opened(question)
    lab.step(WorkersChanged((worker(ANNA, incarnation=2),)))
    (effect,) = [e for e in lab.closed(question, YES, YES) if isinstance(e, TellWork)]
    assert (effect.peer, effect.incarnation) == (ANNA, 2)


def test_a_worker_without_its_agent_is_waited_for_and_then_given_up() -> None:
    lab = VotingLab()
    bare = worker(ANNA, agent(skills=("sum",)))
    lab.lead(worker(ANNA))
    (question,) = asked(lab.submit(1))
    lab.opened(question)
    lab.step(WorkersChanged((bare,)))
    assert told(lab.closed(question, YES, YES)) == []
    for _ in range(20):
        assert asked(lab.tick()) == []
    lab.step(WorkersChanged((bare, worker(BEN))))
    found = [each for _ in range(40) for each in asked(lab.tick())]
    assert len(found) == 1
    about = lab.core.votes.asked(task_id(1))
    assert about == (found[0].proposal_id, BEN)


@pytest.mark.parametrize("approved", [False, True])
def test_the_next_leader_goes_on_with_what_was_asked(approved: bool) -> None:
    lab = VotingLab()
    lab.lead(*(worker(peer) for peer in (ANNA, BEN, CARA)))
    (question,) = asked(lab.submit(1))
    lab.opened(question)
    about = lab.core.votes.asked(task_id(1))
    assert about is not None
    lab.step(Deposed())
    assert lab.core.votes.asked(task_id(1)) is None
    if approved:
        lab.record(closed_command(certificate(question, YES, YES)))
    for seed in range(5):  # whomever it would have chosen by itself
        lab.core = LeaderCore(LeaderSettings(), lab.ledger, scheduler(seed))
        lab.decide = False
        effects = lab.lead(*(worker(peer) for peer in (ANNA, BEN, CARA)))
        assert asked(effects) == []
        assert lab.core.votes.asked(task_id(1)) == about
    if approved:
        assert told(lab.settle()) == [about[1]]


def test_at_most_32_are_asked_about_and_others_are_not_held_up() -> None:
    lab = VotingLab()
    lab.lead(worker(ANNA, agent(capacity=100)), worker(BEN, agent(capacity=100)))
    questions = asked(lab.submit(*range(1, 101)))
    assert len(questions) == 32
    for question in questions:
        lab.opened(question)
    effects = lab.step(SubmissionReceived(2, (spec(200),)))
    assert len(told(effects)) == 1
    assert lab.state(200) is State.ASSIGNED
    more = asked(lab.closed(questions[0], YES, YES))
    assert len(more) <= 1
    assert len(more + asked(lab.tick())) == 1


def test_voters_who_do_not_answer_hold_up_only_what_they_vote_on() -> None:
    lab = VotingLab()
    lab.lead(worker(ANNA, agent(capacity=500)))
    silent = asked(lab.submit(*range(1, 101), voters=(0, 1)))
    assert len(silent) == 32
    for question in silent:
        lab.opened(question)
    # One of the silent ones votes on these, too; on those somebody else alone.
    assert not asked(lab.submit(*range(101, 111), voters=(1, 2)))
    others = asked(lab.submit(*range(111, 121), voters=(2,)))
    assert len(others) == 10
    lab.opened(others[0])
    lab.closed(others[0], Choice.APPROVE, signers=(2,))
    assert lab.state(111) is State.ASSIGNED
    lab.core.votes.check_invariants()
    lab.closed(silent[0], YES, YES)
    assert len(asked(lab.tick())) <= 1, "for the one that is over"


def test_all_questions_together_are_bounded_too() -> None:
    lab = VotingLab()
    lab.lead(worker(ANNA, agent(capacity=2_000)))
    for voter in range(12):
        lab.submit(*range(100 * voter + 1, 100 * voter + 41), voters=(voter,))
        lab.core.votes.check_invariants()
    for _ in range(10):
        lab.tick()
    held = [number for number in range(1, 1_200) if lab.core.votes.asked(task_id(number))]
    assert len(held) == 256


def test_the_voters_are_asked_about_a_worker_that_is_there() -> None:
    lab = VotingLab()
    lab.lead(worker(ANNA), worker(BEN))
    (first,) = asked(lab.submit(1))
    lab.opened(first)
    was = lab.core.votes.asked(task_id(1))
    assert was is not None
    one, other = (ANNA, BEN) if was[1] == ANNA else (BEN, ANNA)
    suspected = worker(one, alive=False)
    (second,) = asked(lab.step(WorkersChanged((suspected, worker(other)))))
    assert second.proposal_id != first.proposal_id
    assert lab.core.votes.asked(task_id(1)) == (second.proposal_id, other)


def test_a_cancelled_task_is_asked_about_no_more() -> None:
    lab = VotingLab()
    lab.lead(worker(ANNA))
    (question,) = asked(lab.submit(1))
    lab.opened(question)
    lab.step(Deposed(), Elected())
    lab.tick()
    lab.step(CancelReceived(9, (task_id(1),)))
    lab.tick()
    assert lab.core.votes.asked(task_id(1)) is None
    assert told(lab.closed(question, YES, YES)) == []
    assert lab.state(1) is State.CANCELLED


@pytest.mark.parametrize("seed", range(8))
def test_in_random_lives_nothing_runs_unapproved_and_nothing_is_lost(seed: int) -> None:
    """Leaders change, workers die, votes end in any way; in the end everything has ended."""
    print(f"seed {seed}")
    draw = random.Random(seed)
    lab = VotingLab()
    peers = {ANNA: 1, BEN: 1, CARA: 1}
    alive = set(peers)

    def views() -> tuple[object, ...]:
        return tuple(worker(peer, incarnation=peers[peer]) for peer in sorted(alive))

    approved: set[str] = set()
    lab.lead(*views())  # type: ignore[arg-type]
    pending = asked(lab.submit(*range(1, 16)))
    waiting: list[Proposal] = []
    for _ in range(300):
        effects: list[LeaderEffect] = []
        match draw.randrange(7):
            case 0 if len(alive) > 1:
                victim = draw.choice(sorted(alive))
                alive.discard(victim)
                effects += lab.step(
                    PeerDied(victim, peers[victim]),
                    WorkersChanged(views()),  # type: ignore[arg-type]
                )
            case 1:
                for peer in set(peers) - alive:
                    peers[peer] += 1
                alive = set(peers)
                effects += lab.step(WorkersChanged(views()))  # type: ignore[arg-type]
            case 2:
                effects += lab.step(Deposed())
                effects += lab.step(Elected())
            case 3 if pending:
                question = pending.pop(draw.randrange(len(pending)))
                waiting.append(question)
                effects += lab.opened(question)
            case 4 | 5 if waiting:
                question = waiting.pop(draw.randrange(len(waiting)))
                choices = draw.choice([(YES, YES), (YES, YES), (NO, NO)])
                if choices[0] is YES:
                    approved.add(question.proposal_id)
                effects += lab.closed(question, *choices)
            case _:
                effects += lab.tick()
        pending += [each for each in asked(effects) if each not in pending]
        for number in range(1, 16):
            view = lab.ledger.get(task_id(number))
            assert view is not None
            if view.state is State.ASSIGNED:
                assert view.vote is not None
                assert view.vote["decision"] in approved
    for _ in range(400):
        effects = lab.tick()
        for question in [*asked(effects), *pending, *waiting]:
            effects += lab.opened(question)
            effects += lab.closed(question, YES, YES)
        pending, waiting = asked(effects), []
    assert lab.ledger.counts()[State.PENDING] == 0

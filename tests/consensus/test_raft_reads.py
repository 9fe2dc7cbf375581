"""Reads without the log: rounds that prove who leads, and how old a state can be (R15)."""

import random

import pytest
from transcript_lab import Lab

from consensus.raft import (
    ChangeConfig,
    Heartbeat,
    HeartbeatReply,
    Propose,
    ReadRequest,
    RefusalReason,
    Refused,
    StorageFailed,
    StorageFault,
)
from consensus.raft.reads import Freshness, ReadRounds


def leading(**limits: int) -> Lab:
    lab = Lab("1", "2", "3", **limits)
    lab.elect("1")
    return lab


def answered(lab: Lab, name: str = "1") -> list[tuple[int, int]]:
    return [(ready.request, ready.index) for ready in lab[name].reads]


# -- rounds ----------------------------------------------------------------------------------------


def test_a_follower_refuses_and_says_who_leads() -> None:
    lab = leading()
    lab.step("2", ReadRequest(7))
    assert lab["2"].results == [Refused(7, 1, RefusalReason.NOT_LEADER, "1")]


def test_a_thousand_reads_of_one_moment_cost_one_round() -> None:
    lab = leading()
    before = len(lab.said(Heartbeat))
    core = lab["1"].core
    for request in range(1000):
        core.step(ReadRequest(request), now_ms=lab.now_ms)
    lab.step("1", ReadRequest(1000))
    lab.stabilize()
    assert answered(lab) == [(request, 1) for request in range(1001)]
    assert len(lab.said(Heartbeat)) - before == 2


def test_a_round_is_no_proof_for_what_was_asked_after_it_began() -> None:
    lab = leading()
    lab.step("1", ReadRequest(1))
    lab.step("1", Propose(2, [b"x"]))
    lab.step("1", ReadRequest(3))
    lab.stabilize()
    assert answered(lab) == [(1, 1), (3, 1)] or answered(lab) == [(1, 1), (3, 2)]
    numbers = [m.read for m in lab.said(Heartbeat) if isinstance(m, Heartbeat) and m.read]
    assert sorted(set(numbers)) == [1, 2], "the second question had a round of its own"


def test_who_answers_twice_counts_once() -> None:
    lab = Lab("1", "2", "3", "4", "5")
    lab.elect("1")
    lab.step("1", ReadRequest(7))
    for _ in range(3):
        lab.deliver(HeartbeatReply("2", "1", 1, 1))
    assert answered(lab) == []
    lab.deliver(HeartbeatReply("3", "1", 1, 1))
    assert answered(lab) == [(7, 1)]


def test_answers_to_rounds_that_were_never_asked_prove_nothing() -> None:
    lab = leading()
    lab.deliver(HeartbeatReply("2", "1", 1, 99))
    lab.step("1", ReadRequest(7))
    assert answered(lab) == []
    lab.stabilize()
    assert answered(lab) == [(7, 1)]


def test_answers_of_an_earlier_lead_prove_nothing_in_the_next() -> None:
    lab = leading()
    lab.cut = {("2", "1"), ("3", "1")}
    lab.step("1", ReadRequest(1))
    lab.stabilize()
    lab.step("1", StorageFailed(StorageFault.NO_SPACE))  # it steps down...
    assert lab["1"].results[-1] == Refused(1, 1, RefusalReason.NOT_CONFIRMED, None)
    lab.cut.clear()
    lab.step("1", Propose(2, []))
    lab["1"].core._state.storage_full = False
    lab.elect("1")  # ... and leads again
    lab.step("1", ReadRequest(2))
    lab.deliver(HeartbeatReply("2", "1", 1, 1))
    lab.deliver(HeartbeatReply("2", "1", lab["1"].core.term, 1))
    assert answered(lab) == []
    lab.stabilize()
    assert [request for request, _ in answered(lab)] == [2]


def test_learners_are_not_asked_and_do_not_count() -> None:
    lab = leading()
    lab.add("4")
    lab.step("1", ChangeConfig(1, ("1", "2", "3"), ("4",)))
    lab.run(300)
    lab.isolate("2")
    lab.cut |= {("3", "1"), ("1", "3")}
    lab.step("1", ReadRequest(7))
    assert "4" not in {m.to for m in lab.flying if isinstance(m, Heartbeat)}
    lab.run(300)
    assert answered(lab) == []


def test_rounds_take_what_has_come_meanwhile() -> None:
    rounds = ReadRounds()
    rounds.ask(1)
    assert rounds.is_due
    assert rounds.begin(5) == 1
    rounds.ask(2)
    rounds.ask(3)
    assert not rounds.is_due, "one is under way"
    assert rounds.confirm() == ([1], 5)
    assert rounds.begin(6) == 2
    rounds.ask(4)
    assert rounds.give_up() == [2, 3, 4]
    assert not rounds.is_waiting
    assert rounds.number == 2, "numbers are never reused"


# -- how old a state can be ------------------------------------------------------------------------


def test_a_state_is_as_fresh_as_the_answer_that_a_heartbeat_echoes() -> None:
    freshness = Freshness()
    freshness.said(100)
    freshness.heard(5, 100, 3)
    assert freshness.fresh_ms is None, "5 is not applied yet"
    freshness.said(200)
    freshness.heard(6, 200, 4)
    freshness.applied(5)
    assert freshness.fresh_ms == 100
    freshness.heard(6, 200, 6)
    assert freshness.fresh_ms == 200


def test_echoes_of_what_was_not_said_make_nobody_fresh() -> None:
    freshness = Freshness()
    freshness.heard(0, 0, 0)
    freshness.heard(0, 70, 0)
    freshness.said(0)
    freshness.heard(0, 0, 0)
    assert freshness.fresh_ms is None, "0 stands for no answer yet"


@pytest.mark.parametrize("seed", range(20))
def test_a_fresh_state_has_what_was_decided_two_timeouts_before(seed: int) -> None:
    """Partitions and disks that stand still, with timers that fire in time."""
    rng = random.Random(seed)
    lab = Lab("1", "2", "3")
    decided: dict[int, int] = {}
    for _ in range(400):
        match rng.randrange(12):
            case 0:
                lab.cut.clear()
                lab.isolate(rng.choice("123"))
            case 1:
                lab.cut.clear()
            case 2:
                lab.held_disks = set(rng.sample("123", rng.randrange(3)))
            case _:
                lab.step(rng.choice("123"), Propose(1, [b"x"]))
        for name in "123":
            if name not in lab.held_disks or rng.random() < 0.1:
                lab.store(name)
        lab.run(50)
        for member in lab.members.values():
            for index in range(1, member.status.commit + 1):
                decided.setdefault(index, lab.now_ms)
            fresh_ms = member.status.fresh_ms
            if fresh_ms is not None:
                due = [i for i, at_ms in decided.items() if at_ms <= fresh_ms - 1600]
                assert member.status.applied >= max(due, default=0), f"seed {seed}"


# -- what a smaller or a new leader may say --------------------------------------------------------


def test_a_round_ends_when_those_who_did_not_answer_have_left() -> None:
    lab = Lab("1", "2")
    lab.elect("1")
    lab.step("1", ReadRequest(7))
    lab.flying.clear()  # the round is lost
    lab.step("1", ChangeConfig(1, ("1",)))
    lab.stabilize()
    assert lab["1"].status.voters == ("1",)
    lab.run(300)
    assert [ready.request for ready in lab["1"].reads] == [7]


def test_a_leader_that_has_committed_nothing_makes_nobody_fresh() -> None:
    lab = Lab("1", "2", "3")
    lab.elect("1")
    lab.run(400)
    lab.held_disks.update("123")  # disks stand still, votes of the next term are stored by hand
    lab.isolate("1")
    lab.now_ms += 2000
    lab.campaign("2")
    lab.stabilize()
    for name in "232":
        lab.store(name)
        lab.stabilize()
    before = lab["3"].status.fresh_ms
    assert lab["2"].status.leader == "2"
    assert lab["2"].status.commit == 1
    lab.run(700)
    assert len(lab.said(HeartbeatReply, "3")) > 4
    assert lab["3"].status.fresh_ms == before

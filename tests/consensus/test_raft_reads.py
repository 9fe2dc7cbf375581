"""Reads without the log: rounds that prove who leads, and how old a state can be (R15)."""

from transcript_lab import Lab

from consensus.raft import ChangeConfig, HeartbeatReply, ReadRequest


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

"""Who votes: memberships as values, and changing them (R22, R32)."""

from transcript_lab import Lab

from consensus.raft import ChangeConfig, Propose


def test_a_new_learner_of_an_idle_cluster_is_caught_up() -> None:
    lab = Lab("1", "2", "3")
    lab.elect("1")
    lab.add("4")
    lab.step("1", ChangeConfig(1, ("1", "2", "3"), ("4",)))
    lab.run(500)
    assert lab["1"].status.match["4"] == lab["1"].status.last_index


def test_who_votes_now_is_known_after_a_restart_of_everybody_who_stays() -> None:
    lab = Lab("1", "2", "3")
    lab.elect("1")
    for name in "45":
        lab.add(name)
    lab.step("1", ChangeConfig(1, ("1", "2", "3"), ("4", "5")))
    lab.run(1000)
    lab.step("1", ChangeConfig(2, ("1", "4", "5")))
    lab.run(1000)
    lab.step("1", Propose(3, [b"x"]))
    lab.run(100)
    for name in "23":  # they are not needed any more, so somebody turns them off
        lab[name].is_down = True
    for name in "145":
        lab.restart(name)
    lab.run(5000)
    assert [n for n in "145" if lab[n].status.leader == n]


def test_entries_that_fewer_voters_agree_on_are_committed_when_the_others_have_left() -> None:
    lab = Lab("1", "2")
    lab.elect("1")
    lab.step("1", ChangeConfig(1, ("1",)))
    lab.step("1", Propose(2, [b"x"]))
    lab.stabilize()
    assert lab["1"].status.voters == ("1",)
    assert lab["1"].status.commit == lab["1"].status.last_index


def test_a_change_whose_joint_membership_would_be_too_large_is_refused() -> None:
    voters = tuple(f"v{number:02}" for number in range(30))
    learners = tuple(f"w{number:02}" for number in range(35))
    lab = Lab(*voters)
    lab.elect("v00")
    lab.step("v00", ChangeConfig(1, voters[:-1], learners))
    assert "refused: such a membership is not possible" in lab.lines[-1]

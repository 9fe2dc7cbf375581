"""The labs of MIT's course 6.5840, part C: crashes and restarts. Each test bears the name of its
lab; figure 8 and the churn are in `test_labs_churn`."""

from labs_cluster import ELECTION_MS, Lab


def test_persist_1() -> None:
    """All voters crash and return, then the leader, then one after the other."""
    lab = Lab(3)
    kept = [lab.agree(3)]
    lab.crash(*lab.names)
    lab.restart(*lab.names)
    kept.append(lab.agree(3))

    leader = lab.leader()
    lab.crash(leader)
    lab.restart(leader)
    kept.append(lab.agree(3))

    leader = lab.leader()
    lab.crash(leader)
    kept.append(lab.agree(2))
    lab.restart(leader)
    lab.expect_everywhere(kept)

    follower = lab.after(lab.leader())
    lab.crash(follower)
    kept.append(lab.agree(2))
    lab.restart(follower)
    kept.append(lab.agree(3))
    lab.expect_everywhere(kept)


def test_persist_2() -> None:
    """Majorities that have only one voter in common decide in turn."""
    lab = Lab(5)
    kept = []
    for _ in range(5):
        kept.append(lab.agree(5))
        leader = lab.leader()
        one, two, three, four = (lab.after(leader, steps) for steps in (1, 2, 3, 4))
        lab.crash(one, two)
        kept.append(lab.agree(3))
        lab.crash(leader, three, four)
        lab.restart(one, two)
        lab.run(ELECTION_MS)
        lab.expect_no_leader()
        lab.restart(three)
        kept.append(lab.agree(3))
        lab.restart(four, leader)
    kept.append(lab.agree(5))
    lab.expect_everywhere(kept)


def test_persist_3() -> None:
    """A leader and a follower crash while the third is cut off; then the leader returns and finds
    only the third, which lacks what they decided."""
    lab = Lab(3)
    kept = [lab.agree(3)]
    leader = lab.leader()
    follower, third = lab.after(leader, 1), lab.after(leader, 2)
    lab.disconnect(third)
    kept.append(lab.agree(2))
    lab.crash(leader, follower)
    lab.connect(third)
    lab.restart(leader)
    kept.append(lab.agree(2))
    assert lab.leader() == leader, "only it had all that was decided"
    lab.restart(follower)
    kept.append(lab.agree(3))
    lab.expect_everywhere(kept)

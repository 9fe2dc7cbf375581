"""The labs of MIT's course 6.5840, part A: elections. Each test bears the name of its lab."""

from labs_cluster import ELECTION_MS, Lab


def test_initial_election() -> None:
    """Three voters elect one leader, and keep it while nothing fails."""
    lab = Lab(3)
    leader = lab.leader()
    term = lab.term()
    assert term >= 1
    lab.run(10 * ELECTION_MS)
    assert lab.leader() == leader
    assert lab.term() == term


def test_re_election() -> None:
    """A lost leader is replaced and disturbs nobody when it is back; without a quorum nobody
    leads."""
    lab = Lab(3)
    first = lab.leader()
    lab.disconnect(first)
    second = lab.leader()
    term = lab.term()
    lab.run(2 * ELECTION_MS)
    lab.connect(first)
    lab.run(2 * ELECTION_MS)
    assert (lab.leader(), lab.term()) == (second, term)

    third = lab.after(second)
    lab.disconnect(second, third)
    lab.run(2 * ELECTION_MS)
    lab.expect_no_leader()
    assert not any(lab.leads(name) for name in lab.names)

    lab.connect(third)
    leader = lab.leader()
    lab.connect(second)
    lab.run(2 * ELECTION_MS)
    assert lab.leader() == leader


def test_many_elections() -> None:
    """Of seven voters three are cut off, again and again: the other four always have a leader."""
    for seed in range(3):
        lab = Lab(7, seed)
        lab.leader()
        for _ in range(10):
            lost = lab.rng.sample(lab.names, 3)
            lab.disconnect(*lost)
            assert lab.leader() not in lost
            lab.connect(*lost)
        lab.leader()

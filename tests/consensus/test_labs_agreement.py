"""The labs of MIT's course 6.5840, part B: agreement. Each test bears the name of its lab."""

import pytest
from labs_cluster import ELECTION_MS, Lab

from consensus.sim.histories import UNKNOWN

APPENDS = "AppendEntries"
RPC_BYTES_SLACK = 4_000  # headers of entries and messages, heartbeats, elections


def test_basic_agree() -> None:
    """Commands are committed one after the other, and not before they are proposed."""
    lab = Lab(3)
    leader = lab.leader()
    lab.wait("its first entry", lambda: lab.voter(leader).applied == 1)
    for index in (2, 3, 4):
        assert all(lab.voter(name).applied < index for name in lab.names)
        assert lab.index(lab.agree(3)) == index


def test_rpc_bytes() -> None:
    """Each command crosses the network once for each follower."""
    for voters in (3, 5):
        lab = Lab(voters)
        lab.leader()
        lab.agree(voters)
        begun = lab.said_bytes
        payload = 0
        for _ in range(10):
            lab.agree(voters, size=5_000)
            payload += 5_000
        assert lab.said_bytes - begun <= 1.1 * payload * (voters - 1) + RPC_BYTES_SLACK


def test_follower_failure() -> None:
    """One follower less changes nothing; none left, and nothing is committed."""
    lab = Lab(3)
    lab.agree(3)
    leader = lab.leader()
    first, second = lab.others(leader)
    lab.disconnect(first)
    lab.agree(2)
    lab.run(ELECTION_MS)
    lab.agree(2)
    assert lab.leads(leader)

    lab.disconnect(second)
    request = lab.propose(leader)
    lab.run(2 * ELECTION_MS)
    assert lab.index(request) is None
    assert lab.outcome(request) is UNKNOWN


def test_leader_failure() -> None:
    """The others go on under a new leader; one voter alone commits nothing."""
    lab = Lab(3)
    lab.agree(3)
    first = lab.leader()
    lab.disconnect(first)
    lab.agree(2)
    lab.run(ELECTION_MS)
    lab.agree(2)

    lab.disconnect(lab.leader())
    requests = [lab.propose(name) for name in lab.names]
    lab.run(2 * ELECTION_MS)
    assert all(lab.index(request) is None for request in requests)


def test_fail_agree() -> None:
    """A follower that was away takes part in what is proposed after its return, and has all."""
    lab = Lab(3)
    lab.agree(3)
    follower = lab.after(lab.leader())
    lab.disconnect(follower)
    missed = [lab.agree(2), lab.agree(2)]
    lab.run(ELECTION_MS)
    missed += [lab.agree(2), lab.agree(2)]

    lab.connect(follower)
    lab.agree(3)
    lab.run(ELECTION_MS)
    lab.agree(3)
    lab.expect_everywhere(missed)


def test_fail_no_agree() -> None:
    """Three of five are away: what the leader takes is not committed. They come back, and it may
    or may not be, but all agree."""
    lab = Lab(5)
    lab.agree(5)
    leader = lab.leader()
    lost = [lab.after(leader, steps) for steps in (1, 2, 3)]
    lab.disconnect(*lost)
    request = lab.propose(leader)
    lab.run(2 * ELECTION_MS)
    assert lab.index(request) is None

    lab.connect(*lost)
    again = lab.propose(lab.leader())
    lab.wait("a command of the new leader", lambda: lab.is_done(again))
    # It stays behind the empty first entry of a leader, and perhaps behind the one that was open.
    assert lab.index(again) in range(3, 6)
    lab.agree(5)


def test_concurrent_starts() -> None:
    """Commands that are proposed at once in one term are all committed, each once, in order."""
    lab = Lab(3)
    leader = lab.leader()
    term = lab.term()
    requests = [lab.propose(leader) for _ in range(5)]
    lab.expect_everywhere(requests)
    assert lab.term() == term
    indexes = [lab.index(request) for request in requests]
    assert indexes == list(range(indexes[0] or 0, (indexes[0] or 0) + 5))


def test_rejoin() -> None:
    """A leader that was cut off, with entries that nobody has, comes back and drops them."""
    lab = Lab(3)
    lab.agree(3)
    first = lab.leader()
    lab.disconnect(first)
    stray = [lab.propose(first) for _ in range(3)]
    kept = [lab.agree(2)]

    second = lab.leader()
    lab.disconnect(second)
    lab.connect(first)
    kept.append(lab.agree(2))

    lab.connect(second)
    kept.append(lab.agree(3))
    lab.expect_everywhere(kept)
    assert all(lab.index(request) is None for request in stray)
    assert not any(lab.is_done(request) for request in stray)


@pytest.mark.parametrize("seed", range(5))
def test_backup(seed: int) -> None:
    """Twice fifty entries that contradict each other are undone in a few messages."""
    lab = Lab(5, seed)
    lab.agree(5)

    first = lab.leader()
    lab.disconnect(*[lab.after(first, steps) for steps in (2, 3, 4)])
    stray = stray_entries(lab, first, lab.after(first))
    lab.connect_only(*[lab.after(first, steps) for steps in (2, 3, 4)])
    kept = propose_many(lab, lab.leader(), 50)

    second = lab.leader()
    other, follower = (name for name in lab.present if name != second)
    lab.disconnect(other)
    stray += stray_entries(lab, second, follower)
    begun = lab.said(APPENDS)
    lab.connect_only(first, lab.after(first), other)
    kept += propose_many(lab, lab.leader(), 50)

    lab.connect(*lab.names)
    lab.agree(5)
    lab.expect_everywhere(kept)
    assert all(lab.index(request) is None for request in stray)
    # Each of four that differ costs a probe and what it lacks from where the logs part; the fifty
    # and the last command are one message for each; some are lost while links are down.
    print(f"{lab.said(APPENDS) - begun} appends")
    assert lab.said(APPENDS) - begun <= 24


def stray_entries(lab: Lab, leader: str, follower: str) -> list[int]:
    """Fifty that the leader and one follower have, and that are not committed."""
    before = lab.voter(follower).status().last_index
    requests = [lab.propose(leader) for _ in range(50)]
    lab.run(ELECTION_MS // 4)
    assert lab.voter(follower).status().last_index >= before + 50
    return requests


def propose_many(lab: Lab, leader: str, count: int) -> list[int]:
    """The leader of those who are present commits them all."""
    requests = [lab.propose(leader) for _ in range(count)]
    lab.wait("all committed", lambda: all(lab.is_done(request) for request in requests))
    return requests


def test_count() -> None:
    """An election, ten commands, and idle time cost few messages (answers are not counted)."""
    lab = Lab(3)
    leader = lab.leader()
    lab.wait("its first entry", lambda: lab.holders_of_index(1) == 3)
    assert 1 <= lab.said() <= 30

    begun = lab.said()
    requests = []
    for _ in range(10):
        requests.append(lab.propose(leader))
        lab.run(1)
    lab.expect_everywhere(requests)
    print(f"{lab.said() - begun} messages for ten commands")
    assert lab.said() - begun <= (10 + 1 + 3) * 3

    begun = lab.said()
    lab.run(1_000)
    print(f"{lab.said() - begun} messages in an idle second")
    assert lab.said() - begun <= 2 * (1_000 // 150 + 1)

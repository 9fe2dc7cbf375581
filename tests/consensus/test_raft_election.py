"""Who leads: pre-votes, votes, stickiness and the quorum check."""

from raft_cluster import Cluster, recovered

from consensus.raft import (
    AppendEntries,
    DropReason,
    HaltReason,
    Heartbeat,
    HeartbeatReply,
    PreVote,
    PreVoteReply,
    Received,
    RequestVote,
    RequestVoteReply,
    Role,
    StorageFailed,
    StorageFault,
    Tick,
    TimeoutNow,
    Unreachable,
)


def test_three_voters_elect_one_leader_and_know_it() -> None:
    cluster = Cluster()
    cluster.pass_time(3000)
    (leader,) = cluster.leaders()
    assert {node.core.status().leader for node in cluster.nodes.values()} == {leader}
    assert all(node.core.status().quorum_ok for node in cluster.nodes.values())
    assert cluster.commits() == [1, 1, 1], "the leader's first entry is committed (R4)"


def test_a_lone_voter_leads_when_its_own_vote_is_durable() -> None:
    cluster = Cluster(1, slow="a")
    cluster.pass_time(100)
    assert cluster["a"].core.status().role is Role.CANDIDATE
    cluster.write("a")
    assert cluster.leaders() == ["a"]
    assert cluster.commits() == [0], "its first entry is not durable yet (R33)"
    cluster.write("a")
    assert cluster.commits() == [1]


def test_a_node_that_sees_nobody_never_raises_its_term() -> None:
    cluster = Cluster()
    cluster.isolate("a")
    cluster.pass_time(20_000)
    assert cluster["a"].core.status().term == 0
    assert cluster["a"].core.status().role is Role.PRECANDIDATE
    assert not cluster["a"].core.status().quorum_ok


def test_a_vote_is_asked_for_only_when_the_own_one_is_durable() -> None:
    cluster = Cluster()
    cluster.slow = {"a"}
    cluster.pass_time(10)
    cluster.now_ms = 3000
    cluster.step("a", Tick())
    cluster.settle()
    assert cluster["a"].core.status().role is Role.CANDIDATE
    assert not cluster.said(RequestVote)
    cluster.write("a")
    assert len(cluster.said(RequestVote)) == 2


def test_a_vote_is_said_only_when_durable_and_said_again_to_the_same() -> None:
    cluster = Cluster()
    cluster.slow = {"b"}
    cluster.deliver(RequestVote("a", "b", 1, 0, 0))
    assert not cluster.said(RequestVoteReply)
    cluster.write("b")
    assert cluster.said(RequestVoteReply) == [RequestVoteReply("b", "a", 1, True)]
    cluster.deliver(RequestVote("a", "b", 1, 0, 0))
    cluster.deliver(RequestVote("c", "b", 1, 5, 1))
    assert cluster.said(RequestVoteReply)[1:] == [
        RequestVoteReply("b", "a", 1, True),
        RequestVoteReply("b", "c", 1, False),
    ]


def test_a_vote_survives_a_restart() -> None:
    cluster = Cluster()
    cluster.deliver(RequestVote("a", "b", 1, 0, 0))
    cluster.restart("b")
    cluster.deliver(RequestVote("c", "b", 1, 5, 1))
    assert cluster.said(RequestVoteReply)[-1] == RequestVoteReply("b", "c", 1, False)


def test_logs_are_compared_by_term_first_then_by_length() -> None:
    cluster = Cluster(disks={"b": recovered(1, 2)})
    cases = {(9, 1): False, (1, 2): False, (2, 2): True, (1, 3): True}
    for number, ((last_index, last_term), granted) in enumerate(cases.items(), 10):
        cluster.deliver(RequestVote("a", "b", number, last_index, last_term))
        assert cluster.said(RequestVoteReply)[-1] == RequestVoteReply("b", "a", number, granted)


def test_a_second_answer_of_one_voter_does_not_count_twice() -> None:
    cluster = Cluster(5)
    cluster.cut = {(one, other) for one in "abcde" for other in "abcde"}
    cluster.now_ms = 3000
    cluster.step("a", Tick())
    for voter in "bc":
        cluster.deliver(PreVoteReply(voter, "a", 1, True))
    for _ in range(3):
        cluster.deliver(RequestVoteReply("b", "a", 1, True))
    assert cluster["a"].core.status().role is Role.CANDIDATE
    cluster.deliver(RequestVoteReply("c", "a", 1, True))
    assert cluster["a"].core.status().role is Role.LEADER


def test_late_pre_votes_are_no_votes() -> None:
    cluster = Cluster()
    cluster.cut = {(one, other) for one in "abc" for other in "abc"}
    cluster.now_ms = 3000
    cluster.step("a", Tick())
    cluster.deliver(PreVoteReply("b", "a", 1, True))
    assert cluster["a"].core.status().role is Role.CANDIDATE
    cluster.deliver(PreVoteReply("c", "a", 1, True))
    assert cluster["a"].core.status().role is Role.CANDIDATE
    assert cluster["a"].core.dropped[DropReason.UNEXPECTED] == 1


def test_a_pre_vote_changes_nothing_on_any_disk() -> None:
    cluster = Cluster()
    effects = cluster.deliver(PreVote("a", "b", 7, 9, 6))
    assert effects.store is None
    assert effects.send == (PreVoteReply("b", "a", 7, True),)
    assert cluster["b"].core.status().term == 0


def test_a_pre_vote_from_the_past_is_refused_with_the_own_term() -> None:
    cluster = Cluster(disks={"b": recovered(term=5)})
    cluster.deliver(PreVote("a", "b", 2, 9, 1))
    assert cluster.said(PreVoteReply) == [PreVoteReply("b", "a", 5, False)]
    cluster.settle()
    assert cluster["a"].core.status().term == 5, "so that it can catch up (R12)"


def test_who_hears_a_leader_ignores_other_candidates() -> None:
    cluster = Cluster()
    cluster.elect("a")
    cluster.deliver(PreVote("c", "b", 2, 9, 9))
    cluster.deliver(RequestVote("c", "b", 2, 9, 9))
    assert cluster["b"].core.dropped[DropReason.LEADER_HEARD] == 2
    assert cluster["b"].core.status().term == 1
    cluster.deliver(RequestVote("c", "b", 2, 9, 9, transfer=True))
    assert cluster["b"].core.status().term == 2, "the leader itself asked for this one (R14)"


def test_a_leader_that_hears_no_quorum_steps_down_and_falls_silent() -> None:
    cluster = Cluster()
    cluster.elect("a")
    cluster.cut = {("b", "a"), ("c", "a")}
    cluster.pass_time(1700)
    assert cluster["a"].core.status().role is not Role.LEADER
    before = len(cluster.said(Heartbeat, "a"))
    cluster.pass_time(5000)
    assert len(cluster.said(Heartbeat, "a")) == before
    assert len(cluster.leaders()) == 1, "the two others lead on (R13)"


def test_a_node_stuck_in_a_later_term_frees_itself() -> None:
    cluster = Cluster(disks={"c": recovered(term=9)})
    cluster.isolate("c")
    cluster.elect("a")
    assert cluster["a"].core.status().term == 1
    cluster.cut = {("c", "b"), ("b", "c")}
    cluster.pass_time(6000)
    (leader,) = cluster.leaders()
    assert cluster[leader].core.status().term >= 9
    assert cluster["c"].core.status().quorum_ok


def test_a_lost_connection_to_the_leader_brings_a_new_one_within_the_shortest_timeout() -> None:
    cluster = Cluster()
    cluster.elect("a")
    cluster.pass_time(1000)
    cluster.isolate("a")
    for follower in "bc":
        cluster.step(follower, Unreachable("a"))
    cluster.pass_time(300)
    assert [n for n in cluster.leaders() if n != "a"], "the hint saves the silence of a timeout"


def test_a_false_hint_disturbs_nobody() -> None:
    cluster = Cluster()
    cluster.elect("a")
    cluster.pass_time(500)
    cluster.step("b", Unreachable("a"))
    cluster.pass_time(2000)
    assert cluster.leaders() == ["a"]
    assert cluster["a"].core.status().term == 1


def test_strangers_cannot_raise_the_term() -> None:
    cluster = Cluster()
    cluster.deliver(RequestVote("mallory", "b", 99, 9, 9))
    cluster.deliver(Heartbeat("b", "b", 99, 0))
    assert cluster["b"].core.status().term == 0
    assert cluster["b"].core.dropped[DropReason.UNKNOWN_SENDER] == 2


def test_a_message_for_somebody_else_is_dropped() -> None:
    cluster = Cluster()
    cluster.step("b", Tick())
    cluster.step("b", Received(Heartbeat("a", "c", 4, 0)))
    assert cluster["b"].core.dropped[DropReason.WRONG_RECIPIENT] == 1


def test_a_leader_of_the_past_learns_the_present_term() -> None:
    cluster = Cluster(disks={"b": recovered(term=5)})
    cluster.deliver(AppendEntries("a", "b", 2, 0, 0, 0))
    cluster.deliver(Heartbeat("a", "b", 2, 0))
    cluster.deliver(TimeoutNow("a", "b", 2))
    assert cluster.said(HeartbeatReply) == [HeartbeatReply("b", "a", 5)] * 3


def test_a_second_leader_of_the_own_term_stops_the_node() -> None:
    cluster = Cluster()
    cluster.elect("a")
    effects = cluster.deliver(Heartbeat("c", "a", 1, 0))
    assert effects.halt is HaltReason.SECOND_LEADER
    assert cluster["a"].core.deadline_ms is None


def test_a_full_disk_steps_down_and_leads_again_when_there_is_space() -> None:
    cluster = Cluster(1)
    cluster.pass_time(50)
    cluster.slow = {"a"}
    cluster.propose("a", b"x")
    cluster.step("a", StorageFailed(StorageFault.NO_SPACE))
    assert cluster["a"].core.status().storage_full
    cluster.pass_time(3000)
    assert not cluster.leaders()
    cluster.slow = set()
    cluster.write("a")
    cluster.pass_time(3000)
    assert cluster.leaders() == ["a"]
    assert cluster.applied("a") == [b"x"]


def test_a_broken_disk_stops_the_node() -> None:
    cluster = Cluster()
    effects = cluster.step("a", StorageFailed(StorageFault.IO_ERROR))
    assert effects.halt is HaltReason.IO_ERROR
    assert cluster.deliver(Heartbeat("b", "a", 3, 0)).send == ()

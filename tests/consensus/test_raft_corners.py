"""Corners of the rules that need one order of events out of many: mutants have asked for them."""

from raft_cluster import Cluster, entries, recovered
from transcript_lab import Lab

from consensus.raft import (
    AppendEntries,
    ChangeConfig,
    HaltReason,
    InstallSnapshot,
    Membership,
    PreVote,
    PreVoteReply,
    Propose,
    ReadRequest,
    RequestVote,
    RequestVoteReply,
    Role,
    SnapshotMeta,
    StorageFailed,
    StorageFault,
    Stored,
    Tick,
)
from consensus.raft.reads import Freshness


def fire(cluster: Cluster, name: str) -> None:
    """Let this node's timer run out; nothing is delivered."""
    cluster.now_ms = max(cluster.now_ms, cluster[name].core.deadline_ms or 0)
    cluster.step(name, Tick())


def role(cluster: Cluster, name: str) -> Role:
    return cluster[name].core.status().role


# -- votes -----------------------------------------------------------------------------------------


def test_an_earlier_batch_does_not_prove_the_own_vote() -> None:
    cluster = Cluster(1, slow="a")
    cluster.pass_time(100)
    cluster.write("a")
    cluster.write("a")
    first = cluster["a"].stored + 1
    cluster.step("a", Propose(1, [b"x"]))
    cluster.step("a", Propose(2, [b"y"]))
    cluster.step("a", StorageFailed(StorageFault.NO_SPACE))
    cluster.step("a", Stored(first))
    fire(cluster, "a")
    assert role(cluster, "a") is Role.CANDIDATE
    cluster.step("a", Stored(first + 1))
    assert role(cluster, "a") is Role.CANDIDATE, "its vote is in the batch behind this one (R1)"
    cluster.step("a", Stored(first + 2))
    assert role(cluster, "a") is Role.LEADER


def test_a_candidate_of_an_earlier_term_is_told_the_present_one() -> None:
    cluster = Cluster(disks={"b": recovered(1, term=5)})
    cluster.deliver(RequestVote("a", "b", 3, 9, 2))
    (answer,) = cluster.said(RequestVoteReply, "b")
    assert answer == RequestVoteReply("b", "a", 5, False), "silence would keep it in the past (R9)"


def test_pre_votes_of_the_round_before_count_no_more() -> None:
    cluster = Cluster(5)
    fire(cluster, "a")
    cluster.deliver(PreVoteReply("b", "a", 1, True))
    fire(cluster, "a")
    assert len(cluster.said(PreVote, "a")) == 8, "a second round"
    cluster.deliver(PreVoteReply("c", "a", 1, True))
    assert role(cluster, "a") is Role.PRECANDIDATE, "b was asked again and may hear a leader (R12)"
    cluster.deliver(PreVoteReply("d", "a", 1, True))
    assert role(cluster, "a") is Role.CANDIDATE


def test_votes_of_a_lost_campaign_are_no_pre_votes() -> None:
    cluster = Cluster(5)
    fire(cluster, "a")
    for name in "bc":
        cluster.deliver(PreVoteReply(name, "a", 1, True))
    cluster.deliver(RequestVoteReply("b", "a", 1, True))
    fire(cluster, "a")
    cluster.deliver(PreVoteReply("c", "a", 2, True))
    assert role(cluster, "a") is Role.PRECANDIDATE


# -- the log ---------------------------------------------------------------------------------------


def test_a_leader_with_another_history_of_what_is_committed_stops_the_node() -> None:
    cluster = Cluster()
    cluster.elect("a")
    cluster.propose("a", b"x")
    cluster.pass_time(200)
    commit = cluster["b"].core.status().commit
    assert commit == 2
    cluster.deliver(AppendEntries("c", "b", 7, commit, 6, commit, entries(7, first=commit + 1)))
    assert cluster["b"].core.status().halted is HaltReason.COMMITTED_CONFLICT


# -- reads -----------------------------------------------------------------------------------------


def test_the_new_majority_of_a_joint_membership_alone_confirms_no_read() -> None:
    lab = Lab("1", "2", "3")
    lab.elect("1")
    lab.add("4")
    lab.add("5")
    lab.step("1", ChangeConfig(1, ("1", "2", "3"), ("4", "5")))
    lab.run(500)
    lab.step("1", ChangeConfig(2, ("1", "4", "5"), ()))
    while not lab["1"].status.membership.is_joint:
        lab.deliver(lab.flying[0])
    lab.cut |= {("2", "1"), ("3", "1")}
    lab.step("1", ReadRequest(7))
    lab.stabilize()
    assert lab["1"].reads == [], "2 and 3 may have elected another leader (R15, R22)"
    lab.cut.clear()
    lab.run(500)
    assert [ready.request for ready in lab["1"].reads] == [7]


def test_a_state_is_as_old_as_the_answer_that_is_echoed_not_as_the_latest() -> None:
    freshness = Freshness()
    freshness.said(10)
    freshness.said(20)
    freshness.heard(known_commit=1, echo_ms=10, applied=1)
    assert freshness.fresh_ms == 10, "the answer of 20 ms is still on its way (R16)"


# -- snapshots -------------------------------------------------------------------------------------


def test_a_snapshot_that_comes_too_late_changes_nothing() -> None:
    lab = Lab("1", "2", "3", keep_entries=0)
    lab.elect("1")
    lab.step("1", Propose(1, [b"x"] * 5))
    lab.run(200)
    lab.snapshot("3", 5)
    before = lab["3"].status
    old = SnapshotMeta(2, 1, Membership(("1", "2", "3")), 0)
    lab.deliver(InstallSnapshot("1", "3", 1, old))
    assert lab["3"].status == before, "2 is before the base, so nothing there compares any more"


def test_a_snapshot_brings_the_members_that_its_log_would_have() -> None:
    lab = Lab("1", "2", "3", keep_entries=0)
    lab.elect("1")
    lab.isolate("3")
    lab.add("4")
    lab.step("1", ChangeConfig(1, ("1", "2", "3"), ("4",)))
    lab.run(200)
    lab.snapshot("1", lab["1"].status.applied)
    lab.deliver(lab.land_snapshot("1", "3"))
    assert lab["3"].status.membership.learners == ("4",)
    assert lab["3"].status.membership_index == lab["1"].status.membership_index


def test_entries_that_contradict_a_snapshot_go_with_those_before_it() -> None:
    lab = Lab("1", "2", "3", keep_entries=0)
    lab.elect("3")
    lab.isolate("3")
    lab.step("3", Propose(1, [b"lost"] * 8))
    lab.elect("1")
    lab.step("1", Propose(1, [b"x"] * 5))
    lab.run(200)
    lab.snapshot("1", 5)
    lab.deliver(lab.land_snapshot("1", "3"))
    assert (lab["3"].status.last_index, lab["3"].status.commit) == (5, 5)


# -- members ---------------------------------------------------------------------------------------


def test_what_those_who_stay_have_agreed_to_is_committed_when_the_others_leave() -> None:
    lab = Lab("1", "2", "3")
    lab.elect("1")
    lab.step("1", ChangeConfig(1, ("1",), ()))
    while not lab["1"].status.membership.is_joint:
        lab.deliver(lab.flying[0])
    for message in lab.on_link(("1", "2")):
        lab.deliver(message)
    lab.step("1", Propose(1, [b"x"]))
    lab.cut |= {("1", "2"), ("1", "3")}
    lab.stabilize()
    assert lab["1"].status.membership.voters == ("1",)
    assert lab["1"].status.commit == lab["1"].status.last_index == 4, "nobody will say it again"

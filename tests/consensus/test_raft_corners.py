"""Corners of the rules that need one order of events out of many: mutants have asked for them."""

from raft_cluster import Cluster, entries, recovered
from transcript_lab import Lab

from consensus.raft import (
    Accepted,
    AppendEntries,
    AppendEntriesReply,
    ChangeConfig,
    HaltReason,
    InstallSnapshot,
    Membership,
    PreVote,
    PreVoteReply,
    Propose,
    ReadRequest,
    RefusalReason,
    Refused,
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


def test_a_refusal_that_comes_twice_is_answered_once() -> None:
    behind = recovered(*[1] * 10, *[2] * 300)
    cluster = Cluster(disks={"a": recovered(*[1] * 10, *[3] * 300), "b": behind})
    cluster.isolate("c")
    cluster.dropped = lambda message: isinstance(message, AppendEntriesReply)
    cluster.elect("a")
    (refusal,) = cluster.said(AppendEntriesReply, "b")
    cluster.deliver(refusal)
    probes = len(cluster.said(AppendEntries, "a"))
    cluster.deliver(refusal)
    assert len(cluster.said(AppendEntries, "a")) == probes, "it is of an earlier probe (R28)"


def test_a_window_is_bounded_in_bytes_too() -> None:
    cluster = Cluster(max_append_bytes=1, max_inflight_bytes=20)
    cluster.elect("a")
    cluster.isolate("b")
    cluster.propose("a", *[b"12345678"] * 9)
    appends = [m for m in cluster.said(AppendEntries, "a") if m.to == "b" and m.entries]
    assert len(appends) == 1 + 3, "the first entry of a leader, then three of 8 bytes"


def test_a_new_leader_counts_what_it_has_found_uncommitted() -> None:
    found = recovered(1, 1, 1)
    cluster = Cluster(disks=dict.fromkeys("abc", found), max_uncommitted_bytes=10)
    cluster.dropped = lambda message: isinstance(message, AppendEntriesReply)
    cluster.elect("a")
    cluster.propose("a", b"too much")
    assert cluster["a"].results == [Refused(1, 1, RefusalReason.FULL, "a")]
    cluster.dropped = lambda message: False
    cluster.pass_time(500)
    cluster.propose("a", b"enough", first_request=2)
    assert isinstance(cluster["a"].results[-1], Accepted)


def test_what_is_committed_is_handed_out_in_pages() -> None:
    cluster = Cluster(1, slow="a", max_apply_entries=2)
    cluster.pass_time(100)
    cluster.write("a")
    cluster.write("a")
    cluster.step("a", Propose(1, [b"1", b"2", b"3"]))
    effects = cluster.step("a", Stored(cluster["a"].stored + 1))
    assert [entry.data for entry in effects.apply] == [b"1", b"2"]
    assert cluster.applied("a") == [b"1", b"2", b"3"]


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


def test_a_log_that_ends_with_a_snapshot_is_compared_by_its_term() -> None:
    lab = Lab("1", "2", "3", keep_entries=0)
    lab.elect("2")
    lab.elect("1")
    lab.run(200)
    lab.snapshot("3", 2)
    assert lab["3"].log == []
    lab.now_ms += 2000
    lab.deliver(RequestVote("2", "3", 9, 7, 1))
    assert lab.said(RequestVoteReply, "3")[-1] == RequestVoteReply("3", "2", 9, False, 2, 2)
    lab.deliver(RequestVote("2", "3", 10, 2, 2))
    assert lab.said(RequestVoteReply, "3")[-1] == RequestVoteReply("3", "2", 10, True, 2, 2)


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


def test_what_the_disk_confirms_late_proves_nothing_behind_a_snapshot() -> None:
    lab = Lab("1", "2", "3", keep_entries=0)
    lab.elect("3")
    lab.isolate("3")
    lab.held_disks.add("3")
    lab.step("3", Propose(1, [b"lost"] * 8))
    lab.elect("1")
    lab.step("1", Propose(1, [b"x"] * 9))
    lab.run(200)
    lab.snapshot("1", 5)
    lab.cut.clear()
    lab.deliver(lab.land_snapshot("1", "3"))
    lab.deliver(AppendEntries("1", "3", 2, 5, 2, 5, tuple(lab["1"].log)))
    assert lab["3"].status.last_index == 11
    lab.store("3", 1)
    assert lab["3"].status.stored == 5, "the batch held what the snapshot has replaced (R26)"


# -- members ---------------------------------------------------------------------------------------


def test_what_those_who_stay_have_agreed_to_counts_when_the_others_leave() -> None:
    lab = Lab("1", "2", "3")
    lab.elect("1")
    lab.step("1", ChangeConfig(1, ("1",), ()))
    while not lab["1"].status.membership.is_joint:
        lab.deliver(lab.flying[0])
    for message in lab.on_link(("1", "2")):
        lab.deliver(message)
    lab.step("1", Propose(1, [b"x"]))
    lab.step("1", ReadRequest(7))
    lab.cut |= {("1", "2"), ("1", "3")}
    lab.stabilize()
    assert lab["1"].status.membership.voters == ("1",)
    assert lab["1"].status.commit == lab["1"].status.last_index == 4, "nobody will say it again"
    assert [ready.request for ready in lab["1"].reads] == [7]

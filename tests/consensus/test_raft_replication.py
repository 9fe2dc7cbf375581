"""Entries on their way, what becomes committed, and what stops a node."""

import random

from raft_cluster import Cluster, entries, recovered

from consensus.raft import (
    AppendEntries,
    AppendEntriesReply,
    Config,
    DropReason,
    HaltReason,
    HardState,
    Heartbeat,
    Propose,
    Raft,
    Recovered,
    Role,
    StorageFailed,
    StorageFault,
    Stored,
    Tick,
    Unreachable,
)


def test_a_command_is_applied_everywhere_in_order() -> None:
    cluster = Cluster()
    cluster.elect("a")
    cluster.propose("a", b"one", b"two")
    cluster.propose("a", b"three", first_request=3)
    cluster.pass_time(20)
    assert [cluster.applied(name) for name in "abc"] == [[b"one", b"two", b"three"]] * 3


def test_idle_followers_learn_of_a_commit_within_the_notice() -> None:
    cluster = Cluster(commit_notice_ms=10)
    cluster.elect("a")
    cluster.pass_time(50)
    heartbeats = len(cluster.said(Heartbeat))
    cluster.propose("a", b"x")
    assert cluster.commits() == [2, 1, 1]
    cluster.pass_time(10)
    assert cluster.commits() == [2, 2, 2]
    assert len(cluster.said(Heartbeat)) - heartbeats <= 4


def test_nothing_is_confirmed_before_it_is_durable() -> None:
    cluster = Cluster()
    cluster.elect("a")
    cluster.slow = {"b", "c"}
    before = len(cluster.said(AppendEntriesReply))
    cluster.propose("a", b"x")
    assert len(cluster.said(AppendEntriesReply)) == before
    assert cluster["a"].core.status().commit == 1
    cluster.write("b")
    cluster.settle()
    assert cluster["a"].core.status().commit == 2


def test_the_leader_counts_itself_only_when_its_own_disk_has_it() -> None:
    cluster = Cluster()
    cluster.elect("a")
    cluster.isolate("c")
    cluster.slow = {"a"}
    cluster.propose("a", b"x")
    assert cluster["a"].core.status().match == {"a": 1, "b": 2, "c": 1}
    assert cluster["a"].core.status().commit == 1
    cluster.write("a")
    assert cluster["a"].core.status().commit == 2


def test_a_majority_of_followers_commits_before_the_leaders_own_disk() -> None:
    cluster = Cluster()
    cluster.elect("a")
    cluster.slow = {"a"}
    cluster.propose("a", b"x")
    assert cluster["a"].core.status().commit == 2
    assert cluster.applied("a") == [], "it applies only what it has itself"
    cluster.write("a")
    assert cluster.applied("a") == [b"x"]


def test_an_entry_of_an_earlier_term_is_not_committed_by_counting() -> None:
    """Figure 8 of the paper: a majority has the old entry, yet c could still replace it."""
    cluster = Cluster(
        disks={"a": recovered(1, 2), "b": recovered(1), "c": recovered(1, 3)}, max_append_bytes=1
    )
    cluster.isolate("c")
    cluster["a"].hard = HardState(3, None)
    cluster.restart("a")
    b_log = cluster["b"].log
    cluster.dropped = lambda m: isinstance(m, AppendEntries) and bool(m.entries) and len(b_log) == 2
    cluster.elect("a")
    cluster.pass_time(200)
    status = cluster["a"].core.status()
    assert (status.term, status.match["b"]) == (4, 2), "a majority has the entry of term 2"
    assert status.commit == 0
    cluster.dropped = lambda m: False
    cluster.pass_time(400)
    assert cluster["a"].core.status().commit == 3, "the first entry of term 4 commits them all"


def test_a_follower_that_diverged_is_made_equal() -> None:
    cluster = Cluster(disks={"a": recovered(1, 1, 4, 4), "c": recovered(1, 1, 2, 2, 3, 3)})
    cluster.elect("a")
    cluster.propose("a", b"x")
    cluster.pass_time(400)
    assert [e.term for e in cluster["c"].log] == [1, 1, 4, 4, 5, 5]
    assert cluster["b"].log == cluster["c"].log == cluster["a"].log


def test_backing_up_skips_whole_terms() -> None:
    long_ago = recovered(*[1] * 10, *[2] * 300)
    cluster = Cluster(disks={"a": recovered(*[1] * 10, *[3] * 300), "b": long_ago})
    cluster.isolate("c")
    cluster.elect("a")
    refusals = [m for m in cluster.said(AppendEntriesReply, "b") if not m.accepted]
    assert len(refusals) <= 2, "not one for each of 300 entries (R28)"
    assert cluster["b"].log == cluster["a"].log


def test_old_short_and_repeated_appends_cut_nothing() -> None:
    cluster = Cluster(disks={"b": recovered(1, 1, 1, 1)})
    whole = entries(1, 1, 1, 1)
    for count in (4, 2, 0):
        cluster.deliver(AppendEntries("a", "b", 1, 0, 0, 0, whole[:count]))
        assert len(cluster["b"].log) == 4
        assert cluster.said(AppendEntriesReply)[-1].index == count


def test_a_commit_index_reaches_no_further_than_what_was_verified() -> None:
    cluster = Cluster(disks={"b": recovered(1, 1, 1, 2)})
    cluster.deliver(AppendEntries("a", "b", 3, 2, 1, 4, ()))
    assert cluster["b"].core.status().commit == 2


def test_a_heartbeat_carries_no_more_than_the_follower_confirmed() -> None:
    cluster = Cluster()
    cluster.isolate("c")
    cluster.elect("a")
    cluster.propose("a", b"x")
    cluster.pass_time(200)
    to_c = [m for m in cluster.said(Heartbeat, "a") if m.to == "c"]
    assert to_c
    assert all(m.commit == 0 for m in to_c)


def test_a_conflict_below_the_commit_index_stops_the_node() -> None:
    disk = Recovered(HardState(2, None), 2, entries(1, 1))
    cluster = Cluster(disks={"b": disk})
    effects = cluster.deliver(AppendEntries("a", "b", 2, 0, 0, 0, entries(2)))
    assert effects.halt is HaltReason.COMMITTED_CONFLICT


def test_a_disk_that_lost_confirmed_entries_stops_the_node() -> None:
    cluster = Cluster()
    cluster.elect("a")
    cluster.propose("a", b"x")
    cluster["b"].log.pop()
    cluster.restart("b")
    cluster.pass_time(200)
    assert cluster["b"].core.status().halted is HaltReason.LOST_ENTRIES


def test_a_stored_commit_index_beyond_the_log_is_only_a_hint() -> None:
    cluster = Cluster(disks={"a": Recovered(HardState(1, None), 9, entries(1, 1))})
    assert cluster["a"].core.status().commit == 2
    assert cluster["a"].core.status().applied == 2


def test_malformed_entries_are_dropped() -> None:
    cluster = Cluster()
    good = AppendEntries("a", "b", 2, 0, 0, 0, entries(1, 2))
    for bad in (
        AppendEntries("a", "b", 2, 1, 1, 0, good.entries),  # does not follow prev_index
        AppendEntries("a", "b", 2, 0, 0, 0, entries(2, 1)),  # terms fall
        AppendEntries("a", "b", 2, 0, 0, 0, entries(3)),  # from the future
        AppendEntries("a", "b", 2, 0, 0, 0, (good.entries[0], good.entries[0])),
        AppendEntries("a", "b", 2, 0, 9, 0, ()),
    ):
        cluster.deliver(bad)
    assert cluster["b"].core.dropped[DropReason.BAD_ENTRIES] == 5
    assert cluster["b"].core.status().last_index == 0


def test_an_answer_beyond_the_log_or_of_another_term_counts_for_nothing() -> None:
    cluster = Cluster()
    cluster.elect("a")
    cluster.propose("a", b"x")
    cluster.isolate("b")
    cluster.isolate("c")
    cluster.propose("a", b"y", first_request=2)
    cluster.deliver(AppendEntriesReply("b", "a", 1, True, 99))
    cluster.deliver(AppendEntriesReply("b", "a", 0, True, 3))
    assert cluster["a"].core.status().commit == 2
    dropped = cluster["a"].core.dropped
    assert (dropped[DropReason.BAD_INDEX], dropped[DropReason.STALE_TERM]) == (1, 1)


def test_a_late_confirmation_of_the_disk_proves_nothing_about_replaced_entries() -> None:
    """R26: the batch was for entries that were cut and written anew in the meantime."""
    cluster = Cluster(slow="b")
    cluster.deliver(AppendEntries("a", "b", 1, 0, 0, 0, entries(1, 1, 1)))
    first = cluster["b"].unwritten[0].batch
    cluster.deliver(AppendEntries("c", "b", 2, 1, 1, 3, entries(2, 2, first=2)))
    cluster["b"].core.step(Stored(first), now_ms=0)
    assert cluster["b"].core.status().stored == 1
    assert len(cluster["b"].core.take().apply) <= 1


def test_a_window_is_bounded_and_a_lost_one_is_sent_again() -> None:
    cluster = Cluster(max_inflight=3, max_append_bytes=1)
    cluster.elect("a")
    cluster.pass_time(50)
    cluster.isolate("b")
    before = len(cluster.said(AppendEntries, "a"))
    cluster.propose("a", *[b"%d" % n for n in range(20)])
    to_b = [m for m in cluster.said(AppendEntries, "a")[before:] if m.to == "b"]
    assert len(to_b) == 3
    cluster.cut.clear()
    cluster.pass_time(600)
    assert len(cluster.applied("b")) == 20


def test_an_unreachable_follower_is_probed_from_where_it_surely_is() -> None:
    cluster = Cluster()
    cluster.elect("a")
    cluster.pass_time(50)
    cluster.isolate("b")
    cluster.propose("a", b"x")
    effects = cluster.step("a", Unreachable("b"))
    (probe,) = [m for m in effects.send if m.to == "b"]
    assert isinstance(probe, AppendEntries)
    assert (probe.prev_index, len(probe.entries)) == (1, 1)
    assert not [m for m in cluster.step("a", Unreachable("b")).send if m.to == "b"]


def test_many_proposals_of_one_turn_travel_in_one_message() -> None:
    cluster = Cluster()
    cluster.elect("a")
    cluster.pass_time(50)
    core = cluster["a"].core
    for request in range(10):
        core.step(Propose(request, [b"x"]), now_ms=cluster.now_ms)
    effects = core.take()
    assert [len(m.entries) for m in effects.send if isinstance(m, AppendEntries)] == [10, 10]
    assert effects.store is not None
    assert len(effects.store.entries) == 10


def test_entries_are_applied_in_pages() -> None:
    cluster = Cluster(1, max_apply_entries=3)
    cluster.pass_time(50)
    cluster.slow = {"a"}
    cluster.propose("a", *[b"%d" % n for n in range(8)])
    cluster.slow = set()
    cluster.write("a")
    assert len(cluster.applied("a")) == 8


def test_a_follower_with_a_full_disk_confirms_nothing_and_catches_up_later() -> None:
    cluster = Cluster()
    cluster.elect("a")
    cluster.slow = {"b"}
    cluster.propose("a", b"one")
    cluster.step("b", StorageFailed(StorageFault.NO_SPACE))
    cluster.propose("a", b"two", first_request=2)
    assert cluster["b"].core.dropped[DropReason.STORAGE_FULL] == 1
    assert cluster["b"].core.status().role is Role.FOLLOWER
    cluster.slow = set()
    cluster.write("b")
    cluster.pass_time(600)
    assert cluster.applied("b") == [b"one", b"two"]


def test_the_same_events_give_the_same_effects() -> None:
    def history() -> list[object]:
        cluster = Cluster(5)
        cluster.pass_time(3000)
        cluster.propose(cluster.leaders()[0], b"x", b"y")
        cluster.isolate(cluster.leaders()[0])
        cluster.pass_time(4000)
        return list(cluster.sent)

    assert history() == history()


def test_the_first_deadline_is_now() -> None:
    core = Raft(Config("a", "test", ("a", "b", "c")), Recovered(), random.Random(0))
    assert core.deadline_ms == 0
    core.step(Tick(), now_ms=5000)
    assert core.deadline_ms is not None
    assert 5800 <= core.deadline_ms < 6600

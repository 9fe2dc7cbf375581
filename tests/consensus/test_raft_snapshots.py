"""Snapshots: the log is cut behind them, and who lacks entries gets one instead (R20, R21)."""

from transcript_lab import Disk, Lab

from consensus.raft import (
    AppendEntriesReply,
    Entry,
    EntryKind,
    HardState,
    Membership,
    Propose,
    SnapshotMeta,
    SnapshotSent,
    Unreachable,
)


def propose(lab: Lab, name: str, count: int) -> None:
    """That many commands, and everybody who is there hears of them."""
    for _ in range(count):
        lab.step(name, Propose(1, [b"x"]))
        lab.stabilize()


def lagging(upto: int = 5, **limits: int) -> Lab:
    """1 leads; 3 has missed entries that the leader has no more."""
    lab = Lab("1", "2", "3", **{"keep_entries": 0, **limits})
    lab.elect("1")
    lab.isolate("3")
    propose(lab, "1", 5)
    lab.step("1", Unreachable("3"))
    lab.snapshot("1", upto)
    lab.stabilize()
    lab.cut.clear()
    return lab


def test_who_lacks_entries_gets_a_snapshot_and_then_the_log() -> None:
    lab = lagging()
    lab.run(200)
    assert lab["1"].needs == ["3"]
    lab.send_snapshot("1", "3")
    lab.run(200)
    assert lab["3"].status.last_index == lab["1"].status.last_index == 6
    assert lab["3"].status.commit == 6
    assert lab["3"].status.base_index == 5


def test_a_snapshot_that_failed_is_tried_again_after_a_sign_of_life() -> None:
    lab = lagging()
    lab.run(200)
    lab.step("1", SnapshotSent("3", False))
    assert lab["1"].needs == ["3"], "not at once"
    lab.run(200)
    assert lab["1"].needs == ["3", "3"]


def test_nobody_sends_a_snapshot_to_who_is_not_there() -> None:
    lab = lagging()
    lab.isolate("3")
    lab.run(3000)
    propose(lab, "1", 1)
    assert lab["1"].needs == []


def test_a_full_window_to_a_slow_follower_may_fall_behind_the_log() -> None:
    lab = Lab("1", "2", "3", keep_entries=0, max_inflight=1)
    lab.elect("1")
    lab.held_disks.add("3")
    propose(lab, "1", 5)
    lab.snapshot("1", 5)
    lab.run(300)
    lab.store("3")
    lab.stabilize()
    assert lab["1"].needs == ["3"]


def test_a_repeated_refusal_does_not_start_a_second_sending() -> None:
    lab = lagging()
    lab.run(200)
    lab.deliver(AppendEntriesReply("3", "1", 1, False, 5, 1, 1))
    assert lab["1"].needs == ["3"]


def test_a_lost_confirmation_of_a_snapshot_is_found_out_by_asking_again() -> None:
    lab = lagging(upto=6)  # the very end: no entry follows that would be sent
    lab.run(200)
    install = lab.land_snapshot("1", "3")
    lab.deliver(install)
    lab.flying.clear()
    lab.step("1", SnapshotSent("3", True))
    lab.run(400)
    assert lab["1"].status.match["3"] == 6


def test_a_membership_in_a_log_that_a_snapshot_replaces_never_comes_into_force() -> None:
    three, other = Membership(("1", "2", "3")), Membership(("3",))
    change = Entry(2, 1, EntryKind.MEMBERSHIP, other.encode())
    disk = Disk(HardState(2, None), 1, [Entry(1, 1, EntryKind.NOOP, b""), change])
    disk.snapshot = SnapshotMeta(4, 2, three, 0)  # durable, but the log was not yet replaced
    lab = Lab("1", "2", "3")
    lab.restart("3", disk)
    assert lab["3"].status.membership == three
    assert lab["3"].status.last_index == 4

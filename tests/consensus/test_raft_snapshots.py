"""Snapshots: the log is cut behind them, and who lacks entries gets one instead (R20, R21)."""

from hypothesis import given
from hypothesis import strategies as st
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
from consensus.raft.log import Log


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


@given(st.lists(st.tuples(st.sampled_from("atcrs"), st.integers(0, 12)), max_size=40))
def test_a_log_behind_a_base_is_a_list_whose_beginning_is_forgotten(
    steps: list[tuple[str, int]],
) -> None:
    log = Log()
    whole: list[int] = [0]  # the terms from index 0 on
    base, stored = 0, 0
    for action, number in steps:
        last = len(whole) - 1
        if action == "a":
            terms = [max(whole) + number % 2] * (number % 4)
            log.append([Entry(last + 1 + n, t, EntryKind.NOOP, b"") for n, t in enumerate(terms)])
            whole += terms
        elif action == "t" and base < number <= last:
            log.truncate(number)
            del whole[number:]
            stored = min(stored, number - 1)
        elif action == "s" and stored <= number <= last:
            log.stored = stored = number
        elif action == "c" and base <= number <= stored:
            log.compact(number)
            base = number
        elif action == "r" and number >= last:
            log.reset(number, max(whole) + 1)
            whole += [max(whole) + 1] * (number - last)
            whole[number] = max(whole[number], log.base_term)
            base = stored = number
            whole[number] = log.base_term
        log.check_invariants()
        last = len(whole) - 1
        assert (log.base_index, log.last_index, log.stored) == (base, last, stored)
        assert log.last_term == whole[-1]
        for index in range(15):
            known = whole[index] if base <= index <= last else None
            assert log.term(index) == known
        terms = [entry.term for entry in log.slice(base + 1, last)]
        assert terms == whole[base + 1 :]


@given(st.lists(st.integers(1, 4), max_size=8), st.integers(0, 8), st.integers(0, 9), st.data())
def test_logs_meet_where_the_hints_say_and_not_before_the_base(
    terms: list[int], base: int, index: int, data: st.DataObject
) -> None:
    terms.sort()
    base = min(base, len(terms))
    entries = [Entry(n, term, EntryKind.NOOP, b"") for n, term in enumerate(terms, 1)]
    log = Log(entries)
    log.compact(base)
    index = max(base, index)
    term = data.draw(st.integers(1, 4))
    found, found_term = log.agreeing(index, term)
    assert base <= found <= min(index, len(terms))
    assert found_term == log.term(found)
    assert found == base or found_term <= term
    assert all(terms[n - 1] > term for n in range(found + 1, min(index, len(terms)) + 1))

"""The watchers of a simulated cluster notice what they are there for."""

from dataclasses import replace

import pytest

from consensus.kv.model import Refusal, Reply, SessionRef
from consensus.kv.sessions import Session, SessionTable
from consensus.raft import (
    Entry,
    EntryKind,
    HardState,
    Membership,
    ReadReady,
    Recovered,
    SnapshotMeta,
    StoreBatch,
    changes,
    replication,
)
from consensus.raft.state import NodeState
from consensus.sim import InvariantBroken, Simulation, run_seed
from consensus.sim.clock import Clock
from consensus.sim.image import EMPTY_HASH, Image, chained, standing
from consensus.sim.memberships import follows, overlap
from consensus.sim.real_log import RealLog
from consensus.sim.timeline import Timeline

FOUNDERS = Membership(("a", "b", "c"))


def broken_in(seeds: range, **weather: object) -> set[int]:
    """The invariants that the first broken one of these seeds breaks."""
    for seed in seeds:
        drawn = replace(Simulation(seed).weather, **weather)  # type: ignore[arg-type]
        try:
            run_seed(seed, drawn)
        except InvariantBroken as error:
            return {error.number}
    return set()


def test_a_read_without_a_round_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def at_once(state: NodeState) -> None:
        if state.has_committed_own:
            state.reads.begin(state.commit)
            requests, index = state.reads.confirm()
            state.outbox.reads.extend(ReadReady(request, index) for request in requests)

    monkeypatch.setattr(replication, "begin_reads", at_once)
    assert broken_in(range(60), nemesis_kinds=("usurp",), voters=5) == {9}


def test_a_session_that_forgets_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgets(
        self: SessionTable, ref: SessionRef, ops: int, index: int, time_ms: int
    ) -> Session | Reply:
        session = self.get(ref.client, ref.number)
        if session is None:
            return Reply(index, Refusal.SESSION_GONE)
        self.use(session, index, time_ms)
        session.replies.clear()
        session.remembered = 0
        return session

    monkeypatch.setattr(SessionTable, "admit", forgets)
    assert broken_in(range(150), store_percent=90, loss_percent=10) <= {9, 10} != set()


def test_a_joint_membership_that_nobody_leaves_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "_leave_joint", lambda state: None)
    assert broken_in(range(60)) == {15}


def test_a_storage_that_forgets_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = RealLog.recover

    def forgets(self: RealLog) -> Recovered:
        found = whole(self)
        return replace(found, entries=tuple(found.entries)[:-1])

    monkeypatch.setattr(RealLog, "recover", forgets)
    assert broken_in(range(20), has_real_storage=True) == {7}


def test_memberships_that_decide_apart_are_told_from_those_that_follow() -> None:
    grown = Membership(("a", "b", "c", "d", "e"))
    joint = Membership(grown.voters, FOUNDERS.voters)
    assert follows(FOUNDERS, joint)
    assert overlap(FOUNDERS, joint)
    assert follows(joint, grown)
    assert overlap(joint, grown)
    assert not follows(FOUNDERS, grown)
    assert not overlap(FOUNDERS, grown)
    assert overlap(FOUNDERS, Membership(("a", "b", "c", "d")))  # one at a time would do
    assert not follows(joint, FOUNDERS)


def test_a_picture_keeps_the_hash_of_what_was_compacted() -> None:
    log = [Entry(n, 1, EntryKind.COMMAND, b"%d" % n) for n in range(1, 6)]
    whole, cut = Image(), Image()
    whole.write(StoreBatch(1, None, None, tuple(log), 0))
    cut.write(StoreBatch(1, HardState(1, "a"), None, tuple(log[:4]), 2, compact_to=3))
    cut.write(StoreBatch(2, None, None, (log[4],), 4))
    assert (cut.base_index, cut.last, cut.commit) == (3, (1, 5), 2)
    assert cut.hash_at(2) is None
    assert [cut.hash_at(n) for n in (3, 4, 5)] == [whole.hash_at(n) for n in (3, 4, 5)]
    cut.write(StoreBatch(3, None, 5, (), 4))
    assert cut.last_index == 4


def test_a_snapshot_that_the_log_does_not_meet_takes_its_place_at_a_restart() -> None:
    image, meta = Image(), SnapshotMeta(7, 2, FOUNDERS, 0)
    entry = Entry(1, 1, EntryKind.COMMAND, b"")
    image.write(StoreBatch(1, None, None, (entry,), 0))
    alone = standing(image, None, FOUNDERS)
    assert alone.last == (1, 1)
    assert alone.has(1, chained(EMPTY_HASH, entry))
    assert not alone.has(1, EMPTY_HASH)
    replaced = standing(image, meta, FOUNDERS)
    assert replaced.last == (2, 7)
    assert replaced.has(7, EMPTY_HASH)
    assert not replaced.has(8, EMPTY_HASH)


def test_a_clock_drifts_jumps_and_stands_but_never_goes_back() -> None:
    timeline = Timeline()
    clock = Clock(timeline, Simulation(1)._generator("clock"), 10_000)
    clock.restart()
    seen = [clock.now_ms]
    for what in (None, clock.freeze, clock.step, clock.freeze, None):
        if what is not None:
            what(500)
        due = clock.now_ms + 300
        delay_ms = clock.delay_to(due)
        assert clock.at(timeline.now_ms + delay_ms) >= due
        assert delay_ms == 0 or clock.at(timeline.now_ms + delay_ms - 1) < due
        timeline.run_next(timeline.now_ms + 200)
        seen.append(clock.now_ms)
    assert seen == sorted(seen)

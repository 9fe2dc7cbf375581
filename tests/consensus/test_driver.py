"""The driver alone: what it does with effects, one turn after the other, in which order."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence

from consensus import MemoryStorage
from consensus.driver import Driver, Ports
from consensus.raft import (
    AppendEntries,
    AppendEntriesReply,
    Config,
    Entry,
    EntryKind,
    Heartbeat,
    InstallSnapshot,
    Message,
    PreVote,
    Propose,
    Received,
    SnapshotMeta,
    StoreBatch,
)


class Journal:
    """Remembers every command."""

    def __init__(self) -> None:
        self.commands: list[bytes] = []

    def apply(self, entries: Sequence[Entry]) -> list[object]:
        self.commands += [e.data for e in entries if e.kind is EntryKind.COMMAND]
        return [entry.index for entry in entries]

    def snapshot(self) -> Iterator[bytes]:
        yield from self.commands

    def restore(self, chunks: Iterable[bytes]) -> None:
        self.commands = list(chunks)


class Desk(Ports):
    """Takes everything and keeps what tests ask for. A write ends when the test says so."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.writes: list[Sequence[StoreBatch]] = []
        self.saved: list[tuple[SnapshotMeta, Sequence[bytes]]] = []

    def send(self, message: Message) -> None:
        self.sent.append(message)

    def write(self, batches: Sequence[StoreBatch]) -> None:
        self.writes.append(batches)

    def save_snapshot(self, meta: SnapshotMeta, chunks: Sequence[bytes]) -> None:
        self.saved.append((meta, chunks))


class Node:
    """A follower b among a, b and c, led by a in term 1."""

    def __init__(
        self, snapshot_entries: int = 100_000, voters: tuple[str, ...] = ("a", "b", "c")
    ) -> None:
        self.desk = Desk()
        self.machine = Journal()
        self.storage = MemoryStorage("lab")
        self.driver = Driver(
            Config("b", "lab", voters, keep_entries=0),
            self.storage.recover(),
            self.machine,
            self.storage.snapshots,
            self.desk,
            random.Random(1),
            snapshot_entries=snapshot_entries,
            snapshot_bytes=1 << 30,
        )

    def turn(self, *messages: Message, now_ms: int = 0) -> None:
        for message in messages:
            self.driver.post(Received(message))
        for _ in self.driver.turn(now_ms):
            pass

    def append(self, first: int, *data: bytes, commit: int = 0) -> None:
        prev_term = 1 if first > 1 else 0
        new = tuple(Entry(n, 1, EntryKind.COMMAND, d) for n, d in enumerate(data, first))
        self.turn(AppendEntries("a", "b", 1, first - 1, prev_term, commit, new))

    def written(self) -> None:
        self.driver.written()
        self.turn()

    def confirmed(self) -> list[int]:
        return [m.index for m in self.desk.sent if isinstance(m, AppendEntriesReply)]


def test_a_confirmation_waits_for_its_own_batch_also_behind_an_earlier_one() -> None:
    node = Node()
    node.append(1, b"x")
    node.append(2, b"y")
    node.append(3, b"z")
    assert len(node.desk.writes) == 1, "one write at a time"
    assert node.confirmed() == []
    node.written()
    assert node.confirmed() == [1], "the second write has what came meanwhile"
    assert [len(batches) for batches in node.desk.writes] == [1, 2]
    node.written()
    assert node.confirmed() == [1, 2, 3]


def test_a_heartbeat_in_the_inbox_is_heard_before_an_overdue_timer_fires() -> None:
    node = Node()
    node.turn(Heartbeat("a", "b", 1, 0))
    node.written()
    node.turn(Heartbeat("a", "b", 1, 0), now_ms=60_000)
    assert not [m for m in node.desk.sent if isinstance(m, PreVote)], "it had stood still (R30)"
    node.turn(now_ms=120_000)
    assert [m.to for m in node.desk.sent if isinstance(m, PreVote)] == ["a", "c"]


def test_a_follower_lets_its_disk_begin_before_it_applies_but_only_once() -> None:
    node = Node()
    node.append(1, b"1")
    assert node.driver.holds_back, "the first write has just begun"
    node.append(2, b"2", commit=1)
    assert not node.driver.holds_back, "that turn began none"
    node.driver.written()
    node.driver.written()
    node.append(3, b"3", commit=2)
    assert node.driver.has_work
    assert node.driver.holds_back
    node.driver.written()
    node.append(4, b"4", commit=3)  # in one turn with the end of the write before
    assert not node.driver.holds_back, "else a follower that writes all the time applies nothing"
    node.turn()
    assert not node.driver.holds_back


def test_a_leader_applies_at_once_for_somebody_waits_there() -> None:
    node = Node(voters=("b",))
    node.turn()
    while node.driver.is_writing:
        node.written()
    assert node.driver.core.is_leader
    for _ in node.driver.turn(0, [Propose(1, [b"x"])]):
        pass
    assert node.driver.is_writing
    assert not node.driver.holds_back


def test_entries_that_wait_to_be_applied_give_way_to_a_snapshot_that_holds_them() -> None:
    node = Node()
    node.append(1, b"1", b"2", b"3", commit=3)
    node.written()
    assert node.driver.has_work
    leader = Node()
    leader.append(1, *(b"%d" % n for n in range(1, 11)), commit=10)
    leader.written()
    leader.driver.work(10)
    meta = leader.driver.begin_snapshot()
    assert meta is not None
    leader.driver.work(1)
    while not leader.desk.saved:
        leader.driver.work(1)
    node.storage.snapshots.write(*leader.desk.saved[0])
    node.turn(InstallSnapshot("a", "b", 1, meta))
    while node.driver.has_work:
        node.driver.work(10)
    assert node.machine.commands == leader.machine.commands, "each is applied once (R19)"


def test_the_log_is_cut_only_when_the_snapshot_is_durable() -> None:
    node = Node(snapshot_entries=2)
    node.append(1, b"x", b"y", commit=2)
    node.written()
    while not node.desk.saved:
        node.driver.work(10)
    node.turn()
    assert node.driver.core.status().base_index == 0, "its file may still be lost (R20)"
    node.driver.snapshot_saved(node.desk.saved[0][0])
    node.turn()
    assert node.driver.core.status().base_index == 2


def test_a_snapshot_under_way_is_given_up_when_another_state_is_installed() -> None:
    node = Node(snapshot_entries=2)
    node.append(1, b"1", b"2", commit=2)
    node.written()
    node.driver.work(10)
    assert node.driver.has_work, "a snapshot is being made"
    leader = Node(snapshot_entries=10)
    leader.append(1, *(b"%d" % n for n in range(1, 11)), commit=10)
    leader.written()
    while not leader.desk.saved:
        leader.driver.work(10)
    meta, chunks = leader.desk.saved[0]
    node.storage.snapshots.write(meta, chunks)
    node.turn(InstallSnapshot("a", "b", 1, meta))
    while node.driver.has_work:
        node.driver.work(10)
    assert node.desk.saved == [], "its chunks would be of two states (R20)"

"""A machine and its place in the log: when snapshots are due, what they hold, who differs."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Sequence

import pytest

from consensus.errors import MachineFailed, SnapshotCorrupted, SnapshotInvalid, StateDiverged
from consensus.machine import Replica
from consensus.raft import Config, Entry, EntryKind, Membership, Recovered


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


def replica_of(machine: Journal, *, entries: int = 5, size: int = 1000) -> Replica:
    config = Config("a", "cluster", ("a", "b", "c"))
    return Replica(machine, config, Recovered(), snapshot_entries=entries, max_bytes=size)


def command(index: int, data: bytes = b"x") -> Entry:
    return Entry(index, 1, EntryKind.COMMAND, data)


def feed(replica: Replica, entries: Sequence[Entry]) -> list[int]:
    """Apply one by one as the driver does; the indexes behind which a snapshot was due."""
    due = []
    for entry in entries:
        counts = replica.counts(entry)
        replica.apply([entry])
        if counts:
            assert replica.snapshot_due
            list(replica.snapshot())
            due.append(entry.index)
    return due


def cut_anywhere(chunks: Iterable[bytes], rng: random.Random) -> Iterator[bytes]:
    body = b"".join(chunks)
    at = 0
    while at < len(body):
        size = rng.randrange(1, 9)
        yield body[at : at + size]
        at += size


def test_snapshots_are_due_by_entries_and_by_bytes_whatever_the_replica_has_lived_through() -> None:
    rng = random.Random(7)
    log = [command(i, b"y" * rng.choice((1, 1, 300))) for i in range(1, 200)]
    straight = replica_of(Journal())
    points = feed(straight, log)
    assert len(points) > 30
    for start in (1, 4, 5, 37, 120):
        machine = Journal()
        begun = replica_of(machine)
        feed(begun, log[:start])
        meta = begun.meta()
        assert meta is not None
        restored = replica_of(Journal())
        restored.restore(meta, cut_anywhere(begun.snapshot(), rng))
        assert feed(restored, log[start:]) == [index for index in points if index > start]


def test_a_snapshot_comes_back_equal_however_it_was_cut() -> None:
    machine = Journal()
    replica = replica_of(machine)
    membership = Membership(("a", "b"), ("a", "b", "c"), ("d",))
    change = Entry(3, 2, EntryKind.MEMBERSHIP, membership.encode())
    feed(replica, [command(1, b""), command(2, b"two"), change])
    meta = replica.meta()
    assert meta is not None
    assert (meta.index, meta.term, meta.membership, meta.membership_index) == (3, 2, membership, 3)
    other = Journal()
    restored = replica_of(other)
    restored.restore(meta, cut_anywhere(replica.snapshot(), random.Random(1)))
    assert other.commands == [b"", b"two"]
    assert restored.applied == 3
    assert list(restored.snapshot()) == list(replica.snapshot())


@pytest.mark.parametrize(
    "body", [b"", b"\0\0\0\1x", b"\xff\xff\xff\xff", b"\0\0\0\x11" + b"\7" * 17]
)
def test_bytes_that_are_no_snapshot_are_refused(body: bytes) -> None:
    machine = Journal()
    replica = replica_of(machine)
    feed(replica, [command(1)])
    meta = replica.meta()
    assert meta is not None
    with pytest.raises(SnapshotInvalid):
        replica.restore(meta, [body])
    assert machine.commands == [b"x"]


def test_damage_behind_what_a_machine_reads_is_noticed() -> None:
    class Hasty(Journal):
        def restore(self, chunks: Iterable[bytes]) -> None:
            next(iter(chunks))

    def damaged() -> Iterator[bytes]:
        yield from replica.snapshot()
        raise SnapshotCorrupted("memory", "its checksum does not fit")

    replica = replica_of(Journal())
    feed(replica, [command(1, b"one"), command(2, b"two")])
    meta = replica.meta()
    assert meta is not None
    with pytest.raises(SnapshotCorrupted):
        replica_of(Hasty()).restore(meta, damaged())


def test_a_body_that_ends_early_is_refused() -> None:
    source = replica_of(Journal())
    feed(source, [command(i, b"abc") for i in range(1, 4)])
    meta = source.meta()
    assert meta is not None
    body = b"".join(source.snapshot())
    with pytest.raises(SnapshotInvalid, match="ends within"):
        replica_of(Journal()).restore(meta, [body[:-1]])


def test_a_replica_whose_state_differs_stops() -> None:
    replica = replica_of(Journal())
    feed(replica, [command(i) for i in range(1, 6)])
    digest = replica.digests[5]
    same = Entry(6, 1, EntryKind.STATE_HASH, Replica.hash_entry(5, digest))
    feed(replica, [same])
    unknown = Entry(7, 1, EntryKind.STATE_HASH, Replica.hash_entry(3, "0" * 32))
    garbage = Entry(8, 1, EntryKind.STATE_HASH, b"\xff")
    feed(replica, [unknown, garbage])
    other = Entry(9, 1, EntryKind.STATE_HASH, json.dumps([5, "0" * 32]).encode())
    with pytest.raises(StateDiverged, match="entry 5"):
        replica.apply([other])


def test_equal_logs_give_equal_digests() -> None:
    log = [command(i, b"%d" % i) for i in range(1, 21)]
    one, other = replica_of(Journal()), replica_of(Journal())
    feed(one, log)
    feed(other, log)
    assert one.digests == other.digests
    assert sorted(one.digests) == [5, 10, 15, 20]


def test_a_machine_that_raises_or_answers_nonsense_stops_the_replica() -> None:
    class Broken(Journal):
        def apply(self, entries: Sequence[Entry]) -> list[object]:
            if entries[0].data == b"raise":
                raise ValueError("no")
            return []

    replica = replica_of(Broken())
    with pytest.raises(MachineFailed, match="ValueError"):
        replica.apply([command(1, b"raise")])
    with pytest.raises(MachineFailed, match="number of results"):
        replica.apply([command(1)])
    assert replica.applied == 0

"""Snapshots: the same ledger comes back, equal ledgers give equal bytes, damage is refused."""

from __future__ import annotations

import hashlib
import random
from functools import cache
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_lab import ANNA, BEN, Lab, spec, task_id
from ledger_model import random_log

from agents.ledger import (
    Applied,
    Assignment,
    Completion,
    LeaseRef,
    Ledger,
    LedgerChanged,
    LedgerSnapshotInvalid,
    PeerEnd,
    SnapshotFault,
    SnapshotReader,
    State,
    Token,
    encode_assigned,
    encode_completed,
    encode_leases_ended,
    encode_submitted,
)

SEEDS = st.integers(0, 2**32)


def taken(ledger: Ledger) -> bytes:
    return b"".join(ledger.snapshot())


def restored(data: bytes) -> Ledger:
    ledger = Ledger()
    ledger.restore([data])
    ledger.check_invariants()
    return ledger


def refusal(data: bytes) -> LedgerSnapshotInvalid:
    with pytest.raises(LedgerSnapshotInvalid) as caught:
        Ledger().restore([data])
    return caught.value


def played(seed: int, length: int) -> Ledger:
    ledger = Ledger()
    for index, command in random_log(seed, length):
        ledger.apply(index, command)
    return ledger


@cache
def small() -> bytes:
    """A snapshot with a task in every state, jobs, keys, history, an error and a result."""
    lab = Lab()
    lab.start(1, job="night")
    lab.complete(2, lab.start(2, key="k"))
    lab.fail(3, lab.start(3, max_attempts=1))
    lab.fail(4, lab.start(4), retryable=False)
    lab.submit(spec(5, priority=-3, job="day"))
    lab.cancel(5)
    lab.release(6, lab.start(6, BEN), BEN)
    assert set(lab.ledger.counts().values()) == {1}
    return taken(lab.ledger)


def sealed(*records: Any) -> bytes:
    """Records with a right checksum, as a writer with other rules might make them."""
    body = b"".join(msgpack.packb(record) for record in records)
    return body + msgpack.packb(hashlib.blake2b(body, digest_size=32).digest())


def records_of(data: bytes) -> list[Any]:
    unpacker = msgpack.Unpacker(raw=False)
    unpacker.feed(data)
    return list(unpacker)[:-1]


@given(SEEDS, st.integers(0, 200), st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_restored_ledger_goes_on_exactly_as_the_one_it_was_taken_from(
    seed: int, cut: int, reads: bool
) -> None:
    log = list(random_log(seed, 250))
    first = Ledger()
    for index, command in log[:cut]:
        first.apply(index, command)
        if reads:
            first.expiring(first.time_ms + 500, 3)  # reading in between changes nothing
    data = taken(first)
    second = restored(data)
    assert taken(second) == data
    for index, command in log[cut:]:
        assert second.apply(index, command) == first.apply(index, command)
    second.check_invariants()
    assert taken(second) == taken(first)
    assert second.tasks(limit=1000) == first.tasks(limit=1000)
    assert second.pending(1000) == first.pending(1000)
    assert second.jobs() == first.jobs()
    assert second.holders() == first.holders()
    assert [second.leases_of(p) for p in second.holders()] == [
        first.leases_of(p) for p in first.holders()
    ]
    assert second.finished_before(2**50, 1000) == first.finished_before(2**50, 1000)
    assert set(second.expiring(2**50, 1000)) == set(first.expiring(2**50, 1000))


@given(SEEDS, SEEDS)
@settings(max_examples=20, deadline=None)
def test_restoring_replaces_whatever_was_there(seed: int, other: int) -> None:
    source, target = played(seed, 120), played(other, 80)
    data = taken(source)
    target.restore([data])
    target.check_invariants()
    assert taken(target) == data
    assert (target.index, target.time_ms) == (source.index, source.time_ms)


@given(SEEDS, st.data())
@settings(max_examples=20, deadline=None)
def test_a_snapshot_may_be_cut_anywhere(seed: int, draw: st.DataObject) -> None:
    data = taken(played(seed, 60))
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(data)), max_size=20)))
    pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    ledger = Ledger()
    ledger.restore(pieces)
    assert taken(ledger) == data


def test_an_empty_ledger_comes_back_empty() -> None:
    ledger = restored(taken(Ledger()))
    assert (len(ledger), ledger.index, ledger.time_ms) == (0, 0, 0)


def test_leases_end_in_the_order_of_their_grants_after_a_restore() -> None:
    ledger = Ledger()
    ledger.apply(1, encode_submitted(1000, [spec(number) for number in range(1, 6)]))
    order = [4, 1, 5, 2]
    grants = [Assignment(task_id(number), ANNA, "reader", 1) for number in order]
    ledger.apply(2, encode_assigned(1000, grants))
    outcome = restored(taken(ledger)).apply(
        3, encode_leases_ended(1000, [PeerEnd(ANNA, 1, "peer died")])
    )
    assert isinstance(outcome, Applied)
    assert [verdict.task_id for verdict in outcome.verdicts] == [task_id(n) for n in order]


def test_a_lease_keeps_its_renewed_deadline_and_its_token() -> None:
    lab = Lab()
    token = lab.start(1)
    lab.now_ms += 4000
    lab.renew([LeaseRef(task_id(1), token)])
    ledger = restored(taken(lab.ledger))
    assert ledger.get(task_id(1)) == lab.view(1)
    assert ledger.expiring(lab.now_ms + 9999, 10) == []
    assert ledger.expiring(lab.now_ms + 10_000, 10) == [LeaseRef(task_id(1), token)]


def test_jobs_come_back_in_the_order_in_which_they_appeared() -> None:
    assert restored(small()).jobs() == ("night", "day")


def test_a_key_is_known_after_a_restore_and_a_sequence_never_comes_twice() -> None:
    ledger = restored(small())
    assert ledger.find("ocr", "k") == task_id(2)
    outcome = ledger.apply(ledger.index + 1, encode_submitted(0, [spec(9)]))
    assert isinstance(outcome, Applied)
    assert ledger.tasks(limit=1)[0].task_id == task_id(9)
    assert len({record[2] for record in records_of(taken(ledger)) if record[0] == 2}) == 7


def test_every_truncation_is_refused() -> None:
    for length in range(len(small())):
        refusal(small()[:length])


def test_every_flipped_byte_is_refused_and_leaves_the_ledger_as_it_was() -> None:
    ledger = played(7, 60)
    before = taken(ledger)
    rng = random.Random(1)
    for place in range(len(small())):
        for mask in (0x01, 0x80, 0xFF, rng.randint(1, 255)):
            damaged = bytearray(small())
            damaged[place] ^= mask
            with pytest.raises(LedgerSnapshotInvalid):
                ledger.restore([bytes(damaged)])
    assert taken(ledger) == before


@given(st.binary(max_size=300))
def test_what_is_no_snapshot_at_all_is_refused(data: bytes) -> None:
    refusal(data)
    refusal(small()[: len(data)] + data)
    refusal(small() + (data or b"\0"))


def test_a_refusal_says_what_is_wrong() -> None:
    header, *rest = records_of(small())
    assert refusal(b"").fault is SnapshotFault.TRUNCATED
    assert refusal(small()[:-1]).fault is SnapshotFault.TRUNCATED
    assert refusal(small() + small()).fault is SnapshotFault.TRAILING
    assert refusal(small()[:-1] + b"\0").fault is SnapshotFault.CHECKSUM
    assert refusal(sealed(["other"], *rest)).fault is SnapshotFault.FOREIGN
    assert refusal(sealed([header[0], 3, *header[2:]], *rest)).fault is SnapshotFault.VERSION
    assert refusal(sealed([header[0], 2, *header[2:]], *rest)).fault is SnapshotFault.INCONSISTENT
    assert refusal(sealed(header, *rest[:-1])).fault is SnapshotFault.TRUNCATED
    assert refusal(sealed(header, *rest, [5])).fault is SnapshotFault.TRAILING
    assert refusal(sealed(header, [9], [5])).fault is SnapshotFault.MALFORMED
    assert refusal(sealed(header, [2], [5])).fault is SnapshotFault.MALFORMED
    assert refusal(b"\xdd\xff\xff\xff\xff" + bytes(100)).fault is SnapshotFault.MALFORMED
    assert "fetch another" in str(refusal(b""))


def test_records_that_contradict_each_other_are_refused_in_spite_of_a_right_checksum() -> None:
    header, jobs, *rest = records_of(small())
    tasks = [record for record in rest if record[0] == 2]
    leases, finished, end = rest[len(tasks) :]
    assert restored(sealed(header, jobs, *tasks, leases, finished, end))
    for wrong in (
        (header, jobs, *tasks, leases, end),
        (header, jobs, *tasks, finished, end),
        (header, jobs, *tasks, [3, 0, 0], finished, end),
        (header, jobs, *tasks, [3, 1], finished, end),
        (header, jobs, *tasks, leases, [4, 1, 3], end),
        (header, jobs, *tasks, leases, [*finished, 99], end),
        (header, *tasks, leases, finished, end),
        (header, [*jobs, "none of this"], *tasks, leases, finished, end),
        (header, jobs, *reversed(tasks), leases, finished, end),
        (header, jobs, *tasks, tasks[0], leases, finished, end),
        ([*header[:2], 3, *header[3:]], jobs, *tasks, leases, finished, end),
        ([*header[:4], 3], jobs, *tasks, leases, finished, end),
    ):
        assert refusal(sealed(*wrong)).fault is SnapshotFault.INCONSISTENT


def test_every_field_of_a_task_is_looked_at() -> None:
    records = records_of(small())
    for place, record in enumerate(records):
        if record[0] == 2:
            for field in range(1, len(record)):
                wrong = [*record[:field], {}, *record[field + 1 :]]
                refusal(sealed(*records[:place], wrong, *records[place + 1 :]))
                refusal(sealed(*records[:place], record[:field], *records[place + 1 :]))


def test_applying_between_two_chunks_is_told() -> None:
    ledger = Ledger()
    ledger.apply(1, encode_submitted(0, [spec(n, payload=bytes(9000)) for n in range(100)]))
    chunks = ledger.snapshot()
    assert len(next(chunks)) == 65_536
    ledger.apply(2, encode_submitted(0, []))
    with pytest.raises(LedgerChanged):
        next(chunks)


def test_twenty_thousand_tasks_make_the_round_trip() -> None:
    ledger = Ledger()
    numbers = range(1, 20_001)
    ledger.apply(
        1, encode_submitted(5, [spec(n, priority=n % 7, key=f"k{n}", job="all") for n in numbers])
    )
    grants = [Assignment(task_id(n), ANNA if n % 2 else BEN, "x", 1) for n in numbers if n % 3]
    ledger.apply(2, encode_assigned(6, grants))
    done = [
        Completion(grant.task_id, Token(2), grant.peer, b"r" * 20)
        for grant in reversed(grants)
        if int(grant.task_id, 16) % 5 == 0
    ]
    ledger.apply(3, encode_completed(7, done))
    chunks = list(ledger.snapshot())
    assert {len(chunk) for chunk in chunks[:-1]} == {65_536}
    reader = SnapshotReader()
    for chunk in chunks:
        reader.feed(chunk)
    copy = Ledger()
    copy.adopt(reader)
    copy.check_invariants()
    assert list(copy.snapshot()) == chunks
    assert copy.counts() == ledger.counts()
    assert copy.counts()[State.DONE] == len(done)

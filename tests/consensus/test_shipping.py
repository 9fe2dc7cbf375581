"""Snapshots on their way: through losses, repeats, new leaders, and a disk that refuses."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from consensus.errors import StorageFull
from consensus.raft import Membership
from consensus.raft.types import SnapshotMeta
from consensus.shipping import GIVE_UP_MS, PART_BYTES, REPEAT_MS, WINDOW, Fate, Receiver, Sender
from consensus.snapshot_wire import PartStatus, SnapshotPart, SnapshotPartReply
from consensus.storage.base import SnapshotFile


def meta_at(index: int) -> SnapshotMeta:
    return SnapshotMeta(index, 3, Membership(("a", "b")), 0)


class Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self.is_closed = False
        self.digest = b""

    @property
    def size(self) -> int:
        return len(self._data)

    def read(self, offset: int, size: int) -> bytes:
        assert not self.is_closed
        return self._data[offset : offset + size]

    def chunks(self) -> Iterator[bytes]:
        yield self._data

    def close(self) -> None:
        self.is_closed = True


class Writer:
    def __init__(self, meta: SnapshotMeta, *, is_full: bool = False) -> None:
        self.meta = meta
        self.data = bytearray()
        self.is_aborted = False
        self.is_full = is_full

    def append(self, offset: int, data: bytes) -> None:
        assert offset == len(self.data)
        if self.is_full:
            raise StorageFull("there")
        self.data += data

    def commit(self) -> SnapshotFile:
        return SnapshotFile(self.meta, len(self.data), b"")

    def abort(self) -> None:
        self.is_aborted = True


class Pair:
    """A sender `a` and a receiver `b`, with what is between them."""

    def __init__(self) -> None:
        self.parts: list[SnapshotPart] = []
        self.replies: list[SnapshotPartReply] = []
        self.writers: list[Writer] = []
        self.finishing: list[Writer] = []
        self.is_full = False
        self.sender = Sender("a", self.parts.append)
        self.receiver = Receiver("b", self.replies.append, self._open, self._finish)

    def _open(self, meta: SnapshotMeta, size: int) -> Writer:
        self.writers.append(Writer(meta, is_full=self.is_full))
        return self.writers[-1]

    def _finish(self, writer: object) -> None:
        assert isinstance(writer, Writer)
        self.finishing.append(writer)


@pytest.mark.parametrize("seed", range(30))
def test_a_snapshot_arrives_whole_through_losses_repeats_and_disorder(seed: int) -> None:
    rng = random.Random(seed)
    pair, now_ms = Pair(), 0
    data = rng.randbytes(PART_BYTES * rng.randrange(0, 30) + rng.randrange(1, PART_BYTES))
    reader = Reader(data)
    pair.sender.begin("b", 4, meta_at(9), reader, now_ms)
    fate = Fate.GOES_ON
    for _ in range(2_000):
        now_ms += rng.randrange(1, 2 * REPEAT_MS)
        assert not pair.sender.tick(now_ms)
        parts, pair.parts[:] = list(pair.parts), []
        assert len({part.offset for part in parts}) <= WINDOW
        rng.shuffle(parts)
        for part in parts:
            for _ in range(rng.choice((0, 1, 1, 2))):
                pair.receiver.on_part(part, 4)
        while pair.finishing:
            pair.finishing.pop()
            assert pair.receiver.finished(ok=True) is not None
        replies, pair.replies[:] = list(pair.replies), []
        for reply in replies:
            if rng.random() < 0.8 and fate is Fate.GOES_ON:
                fate = pair.sender.on_reply("b", reply, now_ms)
        # Whoever hears nothing for long enough gives up; here somebody always answers.
        if not replies and "b" in pair.sender.peers:
            again = SnapshotPartReply("b", "a", 1, 0, PartStatus.GO_ON)
            pair.sender.on_reply("b", again, now_ms)
        if fate is Fate.ARRIVED:
            break
    assert fate is Fate.ARRIVED
    assert len(pair.writers) == 1
    assert bytes(pair.writers[0].data) == data
    assert reader.is_closed


def test_a_silent_follower_is_given_up_and_the_file_closed() -> None:
    pair, reader = Pair(), Reader(b"x" * 10)
    pair.sender.begin("b", 1, meta_at(1), reader, 0)
    assert pair.sender.tick(GIVE_UP_MS - 1) == {}
    assert pair.sender.tick(GIVE_UP_MS) == {"b": Fate.GIVEN_UP}
    assert reader.is_closed
    assert pair.sender.tick(2 * GIVE_UP_MS) == {}


class CutReader(Reader):
    """A file that somebody cuts while it is open."""

    left = 0

    def read(self, offset: int, size: int) -> bytes:
        return super().read(offset, size)[: max(0, self.left - offset)]


def test_a_file_that_is_cut_while_it_is_sent_ends_the_transfer() -> None:
    size = 3 * WINDOW * PART_BYTES
    pair, gone = Pair(), CutReader(b"x" * size)
    assert pair.sender.begin("b", 1, meta_at(1), gone, 0) is Fate.FAILED
    assert gone.is_closed
    answered, repeated = CutReader(b"x" * size), CutReader(b"x" * size)
    answered.left = repeated.left = size
    assert pair.sender.begin("b", 1, meta_at(1), answered, 0) is Fate.GOES_ON
    answered.left = 0
    reply = SnapshotPartReply("b", "a", 2, PART_BYTES, PartStatus.GO_ON)
    assert pair.sender.on_reply("b", reply, 1) is Fate.FAILED
    assert pair.sender.begin("b", 1, meta_at(1), repeated, 0) is Fate.GOES_ON
    repeated.left = 0
    assert pair.sender.tick(REPEAT_MS) == {"b": Fate.FAILED}
    assert pair.sender.peers == ()


def test_parts_of_a_term_that_is_over_are_refused() -> None:
    pair = Pair()
    pair.sender.begin("b", 1, meta_at(1), Reader(b"x" * 10), 0)
    pair.receiver.on_part(pair.parts[0], 2)
    assert pair.replies[0].status is PartStatus.REFUSED
    assert not pair.writers
    assert pair.sender.on_reply("b", pair.replies[0], 0) is Fate.FAILED


def test_a_new_transfer_replaces_the_old_one_whose_file_is_dropped() -> None:
    pair = Pair()
    pair.sender.begin("b", 1, meta_at(1), Reader(b"x" * (3 * PART_BYTES)), 0)
    pair.receiver.on_part(pair.parts[0], 1)
    pair.parts.clear()
    pair.sender.begin("b", 1, meta_at(2), Reader(b"y"), 0)
    pair.receiver.on_part(pair.parts[0], 1)
    assert pair.writers[0].is_aborted
    assert pair.finishing == [pair.writers[1]]


def test_the_number_of_a_transfer_begins_anew_with_a_process_and_means_another_one() -> None:
    pair = Pair()
    pair.sender.begin("b", 1, meta_at(1), Reader(b"x"), 0)
    pair.receiver.on_part(pair.parts[0], 1)
    assert pair.receiver.finished(ok=True) is not None
    again = Pair()  # the sender was started again
    again.sender.begin("b", 1, meta_at(2), Reader(b"yy"), 0)
    assert again.parts[0].transfer == pair.parts[0].transfer
    pair.receiver.on_part(again.parts[0], 1)
    assert bytes(pair.writers[1].data) == b"yy"


def test_what_was_done_is_said_again_to_a_sender_that_did_not_hear_it() -> None:
    pair = Pair()
    pair.sender.begin("b", 1, meta_at(1), Reader(b"x"), 0)
    pair.receiver.on_part(pair.parts[0], 1)
    pair.receiver.finished(ok=True)
    pair.receiver.on_part(pair.parts[0], 1)
    assert [reply.status for reply in pair.replies] == [PartStatus.DONE, PartStatus.DONE]
    assert len(pair.writers) == 1


def test_a_file_that_does_not_check_out_is_refused() -> None:
    pair = Pair()
    pair.sender.begin("b", 1, meta_at(1), Reader(b"x"), 0)
    pair.receiver.on_part(pair.parts[0], 1)
    assert pair.receiver.finished(ok=False) is None
    assert pair.sender.on_reply("b", pair.replies[-1], 1) is Fate.FAILED


def test_a_full_disk_ends_the_transfer_at_the_receiver_only() -> None:
    pair = Pair()
    pair.is_full = True
    pair.sender.begin("b", 1, meta_at(1), Reader(b"x"), 0)
    with pytest.raises(StorageFull):
        pair.receiver.on_part(pair.parts[0], 1)
    assert pair.writers[0].is_aborted
    pair.is_full = False
    pair.sender.tick(REPEAT_MS)
    pair.receiver.on_part(pair.parts[-1], 1)
    assert bytes(pair.writers[1].data) == b"x"


def test_answers_of_strangers_and_of_other_transfers_mean_nothing() -> None:
    pair = Pair()
    pair.sender.begin("b", 1, meta_at(1), Reader(b"x"), 0)
    done = SnapshotPartReply("c", "a", 1, 1, PartStatus.DONE)
    assert pair.sender.on_reply("c", done, 0) is Fate.GOES_ON
    old = SnapshotPartReply("b", "a", 99, 1, PartStatus.DONE)
    assert pair.sender.on_reply("b", old, 0) is Fate.GOES_ON
    assert pair.sender.peers == ("b",)


def test_a_receiver_that_restarts_in_the_middle_gets_everything_again() -> None:
    pair, now_ms = Pair(), 0
    data = bytes(range(256)) * (4 * PART_BYTES // 256)
    pair.sender.begin("b", 4, meta_at(9), Reader(data), now_ms)
    for part in pair.parts[:2]:
        pair.receiver.on_part(part, 4)
    for reply in pair.replies:
        pair.sender.on_reply("b", reply, now_ms)
    pair.parts.clear()
    pair.replies.clear()
    pair.receiver = Receiver("b", pair.replies.append, pair._open, pair._finish)
    for _ in range(6):
        now_ms += REPEAT_MS
        pair.sender.tick(now_ms)
        while pair.parts:
            pair.receiver.on_part(pair.parts.pop(0), 4)
            while pair.replies:
                pair.sender.on_reply("b", pair.replies.pop(0), now_ms)
    assert [bytes(writer.data) for writer in pair.finishing] == [data]

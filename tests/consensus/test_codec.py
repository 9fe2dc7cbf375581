"""Messages as bytes: every kind comes back equal, everything else is refused by name."""

import dataclasses
import zlib
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.codec import decode_message, decode_meta, encode_message, encode_meta
from consensus.errors import MessageFault, MessageRefused
from consensus.raft import (
    AppendEntries,
    AppendEntriesReply,
    Entry,
    EntryKind,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    Membership,
    Message,
    PreVote,
    PreVoteReply,
    RequestVote,
    RequestVoteReply,
    SnapshotMeta,
    TimeoutNow,
)
from consensus.snapshot_wire import (
    MAX_PART_BYTES,
    PartStatus,
    SnapshotFrame,
    SnapshotPart,
    SnapshotPartReply,
    decode_snapshot_frame,
    encode_snapshot_frame,
    is_snapshot_frame,
)

number = st.integers(0, 2**62)
name = st.text(min_size=1, max_size=60)


@st.composite
def memberships(draw: st.DrawFn) -> Membership:
    """Plain ones and joint ones, with learners."""
    names = draw(st.lists(name, min_size=1, max_size=6, unique=True))
    cut = draw(st.integers(1, len(names)))
    plain = Membership(tuple(sorted(names[:cut])), (), tuple(sorted(names[cut:])))
    voters = draw(st.lists(name, min_size=1, max_size=4, unique=True))
    if set(voters) == set(plain.voters) or draw(st.booleans()):
        return plain
    staying = set(plain.voters) | set(plain.learners)
    return plain.towards(voters, draw(st.sets(st.sampled_from(sorted(staying)))) - set(voters))


@st.composite
def metas(draw: st.DrawFn) -> SnapshotMeta:
    index = draw(number)
    membership = draw(st.just(Membership()) | memberships())
    return SnapshotMeta(index, draw(number), membership, draw(st.integers(0, index)))


plain_kinds = st.sampled_from([kind for kind in EntryKind if kind is not EntryKind.MEMBERSHIP])
entry = st.one_of(
    st.builds(Entry, number, number, plain_kinds, st.binary(max_size=50)),
    st.builds(
        Entry, number, number, st.just(EntryKind.MEMBERSHIP), memberships().map(Membership.encode)
    ),
)
message = st.one_of(
    st.builds(PreVote, name, name, number, number, number, number),
    st.builds(PreVoteReply, name, name, number, st.booleans(), number, number),
    st.builds(RequestVote, name, name, number, number, number, st.booleans(), number),
    st.builds(RequestVoteReply, name, name, number, st.booleans(), number, number),
    st.builds(
        AppendEntries,
        name,
        name,
        number,
        number,
        number,
        number,
        st.lists(entry, max_size=4).map(tuple),
        number,
    ),
    st.builds(AppendEntriesReply, name, name, number, st.booleans(), number, number, number),
    st.builds(Heartbeat, name, name, number, number, number, number, number, number),
    st.builds(HeartbeatReply, name, name, number, number, number),
    st.builds(TimeoutNow, name, name, number),
    st.builds(InstallSnapshot, name, name, number, metas(), number),
)
small = st.integers(0, 2**20)
frame = st.one_of(
    st.builds(
        lambda s, to, term, transfer, meta, offset, data: SnapshotPart(
            s, to, term, transfer, meta, offset + len(data), offset, data
        ),
        name,
        name,
        number,
        st.integers(0, 2**64 - 1),
        metas(),
        small,
        st.binary(max_size=200),
    ),
    st.builds(
        SnapshotPartReply,
        name,
        name,
        st.integers(0, 2**64 - 1),
        number,
        st.sampled_from(PartStatus),
    ),
)

VOTE = RequestVote("a", "b", 7, 3, 2, True, 1)
META = SnapshotMeta(9, 2, Membership(("a", "b", "c")), 4)
MUTE = b'[1,["\\ud800"],[],[],[]]'  # JSON, but no name that could ever be written
PART = SnapshotPart("a", "b", 3, 77, META, 1000, 200, b"bulk")


def decode(data: bytes, *, cluster: str = "test", sender: str = "a", to: str = "b") -> Message:
    return decode_message(cluster, data, sender=sender, recipient=to)


def resealed(body: bytes) -> bytes:
    """The bytes with a checksum that fits."""
    return body + zlib.crc32(body).to_bytes(4, "big")


def fault_of(data: bytes, **expected: str) -> MessageFault:
    with pytest.raises(MessageRefused) as caught:
        decode(data, **expected)
    return caught.value.fault


@given(message)
def test_every_message_comes_back_equal(sent: Message) -> None:
    data = encode_message("test", sent)
    assert decode(data, sender=sent.sender, to=sent.to) == sent


@pytest.mark.parametrize("kind", get_args(Message))
def test_no_field_of_a_message_is_left_behind(kind: type) -> None:
    """Fields with a default, too: an example that leaves them out would miss them."""
    values = {"str": "x", "bool": True, "tuple[Entry, ...]": (), "SnapshotMeta": META}
    fields = {f.name: values.get(str(f.type), n) for n, f in enumerate(dataclasses.fields(kind), 1)}
    sent = kind(**(fields | {"sender": "a", "to": "b"}))
    assert decode(encode_message("test", sent)) == sent


@given(st.binary(max_size=200))
def test_garbage_is_refused_and_never_raises_anything_else(data: bytes) -> None:
    for body in (data, resealed(data), resealed(encode_message("test", VOTE)[:30] + data)):
        with pytest.raises(MessageRefused):
            decode(body)


@given(message, st.data())
def test_a_changed_bit_is_noticed(sent: Message, data: st.DataObject) -> None:
    whole = bytearray(encode_message("test", sent))
    position = data.draw(st.integers(0, len(whole) * 8 - 1))
    whole[position // 8] ^= 1 << position % 8
    with pytest.raises(MessageRefused):
        decode(bytes(whole), sender=sent.sender, to=sent.to)


@given(message, st.integers(1, 40))
def test_a_shortened_message_is_refused_even_with_a_fitting_checksum(
    sent: Message, cut: int
) -> None:
    body = encode_message("test", sent)[:-4]
    with pytest.raises(MessageRefused):
        decode(resealed(body[: max(0, len(body) - cut)]), sender=sent.sender, to=sent.to)


def test_each_fault_has_its_name() -> None:
    data = encode_message("test", VOTE)
    body = data[:-4]
    assert fault_of(b"") is MessageFault.TRUNCATED
    assert fault_of(data[:-1] + b"\0") is MessageFault.CHECKSUM
    assert fault_of(resealed(b"\x01" + body[1:])) is MessageFault.VERSION
    assert fault_of(resealed(body[:1] + b"\x63" + body[2:])) is MessageFault.KIND
    assert fault_of(data, cluster="other") is MessageFault.CLUSTER
    assert fault_of(data, sender="c") is MessageFault.SENDER
    assert fault_of(data, to="c") is MessageFault.RECIPIENT
    assert fault_of(resealed(body + b"\0")) is MessageFault.TRAILING
    assert fault_of(resealed(body[:-3])) is MessageFault.TRUNCATED


def test_a_count_of_entries_that_cannot_fit_is_refused_before_they_are_read() -> None:
    body = encode_message("test", AppendEntries("a", "b", 1, 0, 0, 0))[:-4]
    assert fault_of(resealed(body[:-4] + b"\xff\xff\xff\xff")) is MessageFault.ENTRIES


def test_a_number_that_no_storage_holds_is_refused() -> None:
    assert fault_of(encode_message("test", Heartbeat("a", "b", 2**63, 0))) is MessageFault.RANGE
    assert fault_of(encode_message("test", Heartbeat("a", "b", 1, 2**63))) is MessageFault.RANGE
    entry = Entry(2**63, 1, EntryKind.NOOP, b"")
    append = AppendEntries("a", "b", 1, 0, 0, 0, (entry,))
    assert fault_of(encode_message("test", append)) is MessageFault.RANGE


def test_an_entry_of_an_unknown_kind_is_refused() -> None:
    body = bytearray(
        encode_message(
            "test",
            AppendEntries("a", "b", 1, 0, 0, 0, (Entry(1, 1, EntryKind.COMMAND, b"x"),)),
        )[:-4]
    )
    body[-6] = 9
    assert fault_of(resealed(bytes(body))) is MessageFault.ENTRIES


def test_a_membership_that_is_none_is_refused_before_the_core_sees_it() -> None:
    for data in (b"", b"[1]", Membership(("a", "a")).encode(), b"[" * 5000, MUTE):
        entry = Entry(1, 1, EntryKind.MEMBERSHIP, data)
        sent = encode_message("test", AppendEntries("a", "b", 1, 0, 0, 0, (entry,)))
        assert fault_of(sent) is MessageFault.ENTRIES


def test_a_snapshot_whose_membership_is_none_or_lies_behind_it_is_refused() -> None:
    twice = SnapshotMeta(9, 2, Membership(("a", "a")), 4)
    assert fault_of(encode_message("test", InstallSnapshot("a", "b", 3, twice))) is (
        MessageFault.ENTRIES
    )
    late = SnapshotMeta(9, 2, META.membership, 10)
    assert fault_of(encode_message("test", InstallSnapshot("a", "b", 3, late))) is (
        MessageFault.RANGE
    )


@given(metas(), st.integers(1, 60))
def test_a_meta_comes_back_equal_and_a_part_of_one_is_refused(meta: SnapshotMeta, cut: int) -> None:
    data = encode_meta(meta)
    assert decode_meta(b"xyz" + data, 3) == (meta, 3 + len(data))
    with pytest.raises(MessageRefused):
        decode_meta(data[: max(0, len(data) - cut)])


# -- the parts of a snapshot -----------------------------------------------------------------------


def decode_frame(data: bytes, *, sender: str = "a", to: str = "b") -> SnapshotFrame:
    return decode_snapshot_frame("test", data, sender=sender, recipient=to)


def frame_fault_of(data: bytes, **expected: str) -> MessageFault:
    with pytest.raises(MessageRefused) as caught:
        decode_frame(data, **expected)
    return caught.value.fault


@given(frame)
def test_every_part_and_answer_comes_back_equal(sent: SnapshotFrame) -> None:
    data = encode_snapshot_frame("test", sent)
    assert is_snapshot_frame(data)
    assert decode_frame(data, sender=sent.sender, to=sent.to) == sent


@given(st.binary(max_size=200))
def test_garbage_is_no_part_and_never_raises_anything_else(data: bytes) -> None:
    whole = encode_snapshot_frame("test", PART)
    for body in (data, resealed(data), *(resealed(whole[:n] + data) for n in (24, 40, 70))):
        with pytest.raises(MessageRefused):
            decode_frame(body)


@given(frame, st.data())
def test_a_changed_bit_of_a_part_is_noticed(sent: SnapshotFrame, data: st.DataObject) -> None:
    whole = bytearray(encode_snapshot_frame("test", sent))
    position = data.draw(st.integers(0, len(whole) * 8 - 1))
    whole[position // 8] ^= 1 << position % 8
    with pytest.raises(MessageRefused):
        decode_frame(bytes(whole), sender=sent.sender, to=sent.to)


@given(frame, st.integers(1, 40))
def test_a_shortened_part_is_refused_even_with_a_fitting_checksum(
    sent: SnapshotFrame, cut: int
) -> None:
    body = encode_snapshot_frame("test", sent)[:-4]
    with pytest.raises(MessageRefused):
        decode_frame(resealed(body[: max(0, len(body) - cut)]), sender=sent.sender, to=sent.to)


def test_each_fault_of_a_part_has_its_name() -> None:
    body = encode_snapshot_frame("test", PART)[:-4]
    beyond = SnapshotPart("a", "b", 3, 77, META, 1000, 998, b"bulk")
    assert frame_fault_of(encode_snapshot_frame("test", beyond)) is MessageFault.RANGE
    assert frame_fault_of(resealed(body + b"\0")) is MessageFault.TRAILING
    assert frame_fault_of(resealed(body), sender="c") is MessageFault.SENDER
    assert frame_fault_of(resealed(body), to="c") is MessageFault.RECIPIENT
    assert frame_fault_of(encode_message("test", VOTE)) is MessageFault.KIND
    answer = encode_snapshot_frame("test", SnapshotPartReply("a", "b", 77, 204, PartStatus.GO_ON))
    assert frame_fault_of(resealed(answer[:-5] + b"\x09")) is MessageFault.RANGE
    assert fault_of(answer) is MessageFault.KIND


def test_a_part_larger_than_the_limit_is_not_made() -> None:
    data = bytes(MAX_PART_BYTES + 1)
    with pytest.raises(AssertionError, match="too large"):
        encode_snapshot_frame("test", SnapshotPart("a", "b", 3, 1, META, len(data), 0, data))


VECTORS = {
    "vote": (
        VOTE,
        "020344a8995dd50b6657a037a7839304535b0001610001620000000000000007000000000000"
        "000300000000000000020100000000000000014b7c0536",
    ),
    "install": (
        InstallSnapshot("a", "b", 3, META, 4),
        "020a44a8995dd50b6657a037a7839304535b0001610001620000000000000003000000000000"
        "00040000000000000009000000000000000200000000000000040000001a5b312c5b2261222c"
        "2262222c2263225d2c5b5d2c5b5d2c5b5d5daf82171e",
    ),
    "part": (
        PART,
        "024044a8995dd50b6657a037a7839304535b0001610001620000000000000003000000000000"
        "004d00000000000003e800000000000000c80000000400000000000000090000000000000002"
        "00000000000000040000001a5b312c5b2261222c2262222c2263225d2c5b5d2c5b5d2c5b5d5d"
        "62756c6b5be6a6c7",
    ),
}


@pytest.mark.parametrize("which", VECTORS)
def test_the_bytes_of_a_message_never_change(which: str) -> None:
    sent, expected = VECTORS[which]
    encode = encode_snapshot_frame if isinstance(sent, SnapshotPart) else encode_message
    assert encode("test", sent).hex() == expected

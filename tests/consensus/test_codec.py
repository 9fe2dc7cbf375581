"""Messages as bytes: every kind comes back equal, everything else is refused by name."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.codec import decode_message, encode_message
from consensus.errors import MessageFault, MessageRefused
from consensus.raft import (
    AppendEntries,
    AppendEntriesReply,
    Entry,
    EntryKind,
    Heartbeat,
    HeartbeatReply,
    Message,
    PreVote,
    PreVoteReply,
    RequestVote,
    RequestVoteReply,
    TimeoutNow,
)

number = st.integers(0, 2**62)
name = st.text(min_size=1, max_size=60)
entry = st.builds(Entry, number, number, st.sampled_from(EntryKind), st.binary(max_size=50))
message = st.one_of(
    st.builds(PreVote, name, name, number, number, number),
    st.builds(PreVoteReply, name, name, number, st.booleans()),
    st.builds(RequestVote, name, name, number, number, number, st.booleans()),
    st.builds(RequestVoteReply, name, name, number, st.booleans()),
    st.builds(
        AppendEntries,
        name,
        name,
        number,
        number,
        number,
        number,
        st.lists(entry, max_size=4).map(tuple),
    ),
    st.builds(AppendEntriesReply, name, name, number, st.booleans(), number, number, number),
    st.builds(Heartbeat, name, name, number, number),
    st.builds(HeartbeatReply, name, name, number),
    st.builds(TimeoutNow, name, name, number),
)

VOTE = RequestVote("a", "b", 7, 3, 2, True)


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
    assert fault_of(resealed(b"\x02" + body[1:])) is MessageFault.VERSION
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


def test_the_bytes_of_a_message_never_change() -> None:
    assert encode_message("test", VOTE).hex() == (
        "010344a8995dd50b6657a037a7839304535b0001610001620000000000000007"
        "0000000000000003000000000000000201115d082c"
    )

"""The bytes of what members say: vectors, round trips, and what is no message."""

from __future__ import annotations

import pytest
from swim_lab import an_id

from p2p.membership.swim import Message, Say, Statement, decode_message, encode_message
from p2p.membership.swim.messages import (
    Ack,
    Beat,
    Body,
    Compare,
    Have,
    Helping,
    News,
    Ping,
    PingFor,
    Want,
)
from p2p.membership.swim.statements import STATEMENT_BYTES, peer_of, raw_of
from p2p.wire import encode_payload

SUBJECT, SIGNER = an_id(0), an_id(1)
ALIVE = Statement(Say.ALIVE, SUBJECT, 2**63 - 1, SUBJECT, bytes(32), bytes(64))
ACCUSED = Statement(Say.ACCUSED, SUBJECT, 2**63 - 1, SIGNER, b"", bytes(64))
LEFT = Statement(Say.LEFT, SUBJECT, 7, SUBJECT, b"mark", bytes(64))
BODIES: list[Body] = [
    Beat(1, 2**64 - 1, b"status"),
    Beat(1, 2**64 - 1, b"", b"summary"),
    Ping(1),
    Ack(1),
    PingFor(1, bytes(32)),
    Helping(1),
    News(),
    Compare(tuple(range(64))),
    Have((0, 63), ((b"12345678", 2**64 - 1),)),
    Want((b"12345678",)),
]


@pytest.mark.parametrize("body", BODIES, ids=lambda body: type(body).__name__)
def test_a_message_arrives_as_it_was_sent(body: Body) -> None:
    message = Message(body, (ALIVE, ACCUSED, LEFT))
    assert decode_message(encode_message(message)) == message


def test_the_bytes_are_these() -> None:
    assert encode_message(Message(Ping(7))).hex() == "940101910790"
    data = encode_message(Message(News(), (LEFT,)))
    wanted = "9401059091" + "9503c420" + raw_of(SUBJECT).hex() + "07c440" + "00" * 64
    assert data.hex() == wanted + "c404" + b"mark".hex()


def test_the_largest_statement_takes_what_the_budget_counts() -> None:
    empty = len(encode_message(Message(News())))
    for statement in (ALIVE, ACCUSED):
        taken = len(encode_message(Message(News(), (statement,)))) - empty
        assert taken <= STATEMENT_BYTES


def test_readers_ignore_fields_that_came_later() -> None:
    later = encode_payload([1, 1, [7, "new"], [], "new"])
    assert decode_message(later) == Message(Ping(7))


def test_a_beat_of_an_earlier_version_says_no_summary_and_a_bad_one_is_garbage() -> None:
    assert decode_message(encode_payload([1, 0, [1, 2, b"status"], []])) == Message(
        Beat(1, 2, b"status")
    )
    for summary in ("text", 8, bytes(65)):
        assert decode_message(encode_payload([1, 0, [1, 2, b"", summary], []])) is None


_SAID = [1, bytes(32), 4, bytes(64), b""]


@pytest.mark.parametrize(
    "value",
    [
        7,
        [2, 1, [7], []],
        [1, 99, [7], []],
        [1, -1, [7], []],
        [1, True, [7], []],
        [1, 1, [], []],
        [1, 1, [-1], []],
        [1, 1, [2**64 - 1.0], []],
        [1, 1, 7, []],
        [1, 1, [7], [_SAID] * 129],
        [1, 1, [7], [[4, *_SAID[1:]]]],
        [1, 1, [7], [[1, bytes(31), 4, bytes(64), b""]]],
        [1, 1, [7], [[1, bytes(32), 2**63, bytes(64), b""]]],
        [1, 1, [7], [[1, bytes(32), -1, bytes(64), b""]]],
        [1, 1, [7], [[1, bytes(32), 4, bytes(63), b""]]],
        [1, 1, [7], [[1, bytes(32), 4, bytes(64), bytes(33)]]],
        [1, 1, [7], [[2, bytes(32), 4, bytes(64), b"short"]]],
        [1, 1, [7], [[2, bytes(32), 4, bytes(64), bytes(32)]]],
        [1, 0, [1, 2, bytes(705)], []],
        [1, 3, [1, bytes(31)], []],
        [1, 6, [[1] * 63], []],
        [1, 7, [[64], []], []],
        [1, 7, [[1], [[b"1234567", 1]]], []],
        [1, 7, [[1], [[b"12345678"]]], []],
        [1, 8, [[b"1234567"]], []],
        [1, 8, [["12345678"]], []],
    ],
)
def test_what_is_no_message_is_none(value: object) -> None:
    assert decode_message(encode_payload(value)) is None


def test_a_peer_id_is_its_32_bytes_and_back() -> None:
    assert peer_of(raw_of(SUBJECT)) == SUBJECT
    assert peer_of(bytes(31)) is None

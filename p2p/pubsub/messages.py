"""What publishers and subscribers say to each other, as bytes and back.

A pure core. What this module does not know: who says it, what a message holds, sockets. Whatever
does not fit the grammar in `p2p/PROTOCOL.md` is None, for the shell to count.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgpack  # type: ignore[import-untyped]  # msgpack ships no types
from msgspec.msgpack import Encoder

from p2p.pubsub.line import Items
from p2p.pubsub.names import MAX_TOPIC_BYTES, is_topic
from p2p.wire import PayloadError, decode_payload, encode_payload

MAX_RUN = 64  # messages of one run
MAX_ITEMS_OF_A_PAGE = 16_384
MAX_PAGE_BYTES = 900_000
MAX_HEADS = 1024
MAX_COUNTER = 2**63 - 1

_pack_run = Encoder().encode  # half the time of msgpack's, and the same bytes
_unpack = msgpack.unpackb


class Ask(NamedTuple):
    """What a subscriber wants of a publisher's history.

    Attributes:
        name: a topic, or a subtree.
        first, last: numbers, where `newest` is 0.
        newest: so many of the last messages of each topic.
        after: of a subtree, only topics that come after this one.
        restricted: of [first, last] the restricted messages alone, or all others.
    """

    name: str
    first: int
    last: int
    newest: int
    after: str
    restricted: bool = False


class Head(NamedTuple):
    """How far a publisher has come.

    Attributes:
        last: the number of the last message.
        restricted: that of the last restricted one that is for whom this is told; 0 for none.
    """

    topic: str
    epoch: int
    last: int
    restricted: int = 0


class Entry(NamedTuple):
    """A part of one topic's history; `items` are shorter than what was asked for where a page
    ends, and begin later where the history does."""

    head: Head
    first: int
    items: Items


class Page(NamedTuple):
    """`next_after` goes into the next `Ask` of a subtree, and is empty at its end."""

    entries: list[Entry]
    next_after: str


class Alone(NamedTuple):
    """A restricted message; `previous` is the number of the one before it that is for the same
    reader, or 0."""

    topic: str
    epoch: int
    sequence: int
    previous: int
    payload: bytes


def encode_run(items: Items) -> bytes:
    return _pack_run(items)


def decode_run(payload: bytes) -> list[bytes | None] | None:
    """Return the messages of a publication; quick, because everything passes here."""
    try:
        items = _unpack(payload, max_array_len=MAX_RUN, max_map_len=0, max_ext_len=0, max_str_len=0)
    except (ValueError, TypeError, msgpack.UnpackException):
        return None
    if type(items) is not list or not items or not _KINDS.issuperset(map(type, items)):
        return None
    return items


_KINDS = frozenset((bytes, type(None)))


def encode_ask(ask: Ask) -> bytes:
    return encode_payload(list(ask))


def decode_ask(payload: bytes) -> Ask | None:
    match _decoded(payload):
        case [
            str() as name,
            int() as first,
            int() as last,
            int() as newest,
            str() as after,
            bool() as restricted,
        ] if (
            0 < len(name) <= MAX_TOPIC_BYTES
            and len(after) <= MAX_TOPIC_BYTES
            and 0 <= first <= MAX_COUNTER
            and 0 <= last <= MAX_COUNTER
            and 0 <= newest <= MAX_COUNTER
        ):
            return Ask(name, first, last, newest, after, restricted)
    return None


def encode_page(page: Page) -> bytes:
    entries = [[*entry.head, entry.first, entry.items] for entry in page.entries]
    return encode_payload([entries, page.next_after])


def decode_page(payload: bytes) -> Page | None:
    match _decoded(payload):
        case [list() as found, str() as next_after] if len(next_after) <= MAX_TOPIC_BYTES:
            entries = [_entry(one) for one in found]
            if None not in entries:
                return Page([one for one in entries if one is not None], next_after)
    return None


def encode_heads(heads: Iterable[Head]) -> bytes:
    return encode_payload([list(head) for head in heads])


def decode_heads(payload: bytes) -> list[Head] | None:
    found = _decoded(payload)
    if not isinstance(found, list) or len(found) > MAX_HEADS:
        return None
    heads = [_head(one) for one in found]
    return None if None in heads else [one for one in heads if one is not None]


def encode_alone(alone: Alone) -> bytes:
    return encode_payload(list(alone))


def decode_alone(data: bytes) -> Alone | None:
    match _decoded(data):
        case [topic, epoch, sequence, previous, bytes() as payload]:
            head = _head([topic, epoch, sequence, previous])
            if head is not None and head.restricted < head.last:
                return Alone(*head, payload)
    return None


def _decoded(payload: bytes) -> object:
    try:
        return decode_payload(payload)
    except PayloadError:
        return None


def _head(one: object) -> Head | None:
    match one:
        case [str() as topic, int() as epoch, int() as last, int() as restricted] if (
            is_topic(topic)
            and 0 < epoch <= MAX_COUNTER
            and 0 <= last <= MAX_COUNTER
            and 0 <= restricted <= last
        ):
            return Head(topic, epoch, last, restricted)
    return None


def _entry(one: object) -> Entry | None:
    match one:
        case [topic, epoch, last, restricted, int() as first, list() as items]:
            head = _head([topic, epoch, last, restricted])
            if head and 0 < first <= MAX_COUNTER and _are_items(items):
                return Entry(head, first, items)
    return None


def _are_items(items: Sequence[object]) -> bool:
    return len(items) <= MAX_ITEMS_OF_A_PAGE and _KINDS.issuperset(map(type, items))

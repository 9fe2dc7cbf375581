"""The bytes of what members pass on of others' tables.

    adverts.news      [[id, page], ...]: tables that have changed, each as far as it fits
    adverts.tables    [[id, incarnation, version], ...] -> [[id, page], ...]: what is newer
    adverts.compare   [64 numbers] -> [[id, incarnation, version, hash], ...]: where parts differ

What this module does not know: whether any of it is true.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from keys import PeerId, decode_id, encode_id
from p2p.adverts.headings import BUCKETS, Heading
from p2p.adverts.messages import (
    HASH_BYTES,
    MAX_INTEGER,
    Page,
    decode_page,
)
from p2p.wire import PayloadError, decode_payload, encode_payload

NEWS = "adverts.news"
TABLES = "adverts.tables"
COMPARE = "adverts.compare"
MAX_NEWS = 64
MAX_WANTED = 64
MAX_LISTED = 1_024
ID_BYTES = 32
_U64 = 2**64

Told = tuple[PeerId, Page]
Wanted = tuple[PeerId, int, int]  # whose, and where we stand


def pages_message(pages: Iterable[tuple[PeerId, bytes]]) -> bytes:
    return encode_payload([[decode_id(owner), page] for owner, page in pages])


def pages_from_wire(payload: bytes) -> tuple[Told, ...] | None:
    """Read pages, or None. Never raises."""
    rows = _rows(payload, MAX_NEWS, 2)
    if rows is None or not all(type(each[1]) is bytes for each in rows):
        return None
    found: list[Told] = []
    for each in rows:
        page = decode_page(each[1])
        if page is None:
            return None
        found.append((_peer_of(each[0]), page))
    return tuple(found)


def wanted_message(wanted: Iterable[Wanted]) -> bytes:
    return encode_payload([[decode_id(owner), *standing] for owner, *standing in wanted])


def wanted_from_wire(payload: bytes) -> tuple[Wanted, ...] | None:
    """Read what is wanted, or None. Never raises."""
    rows = _rows(payload, MAX_WANTED, 3)
    if rows is None or not all(_are_numbers(each[1:3]) for each in rows):
        return None
    return tuple((_peer_of(each[0]), each[1], each[2]) for each in rows)


def buckets_message(buckets: Sequence[int]) -> bytes:
    return encode_payload(list(buckets))


def buckets_from_wire(payload: bytes) -> tuple[int, ...] | None:
    """Read the digests of the parts, or None. Never raises."""
    try:
        fields = decode_payload(payload)
    except PayloadError:
        return None
    if not isinstance(fields, list) or len(fields) != BUCKETS:
        return None
    if not all(type(each) is int and 0 <= each < _U64 for each in fields):
        return None
    return tuple(fields)


def listing_message(listed: Iterable[tuple[PeerId, Heading]]) -> bytes:
    return encode_payload([[decode_id(owner), *heading] for owner, heading in listed])


def listing_from_wire(payload: bytes) -> tuple[tuple[PeerId, Heading], ...] | None:
    """Read where tables stand, or None. Never raises."""
    rows = _rows(payload, MAX_LISTED, 4)
    if rows is None or not all(_are_numbers(each[1:3]) for each in rows):
        return None
    if not all(type(each[3]) is bytes and len(each[3]) == HASH_BYTES for each in rows):
        return None
    return tuple((_peer_of(each[0]), Heading(*each[1:4])) for each in rows)


def _rows(payload: bytes, most: int, least_fields: int) -> list[list[Any]] | None:
    """Rows that begin with an id."""
    try:
        rows = decode_payload(payload)
    except PayloadError:
        return None
    if not isinstance(rows, list) or len(rows) > most:
        return None
    for each in rows:
        if not isinstance(each, list) or len(each) < least_fields:
            return None
        if type(each[0]) is not bytes or len(each[0]) != ID_BYTES:
            return None
    return rows


def _peer_of(raw: bytes) -> PeerId:
    return PeerId(encode_id(raw))


def _are_numbers(fields: Sequence[object]) -> bool:
    return all(type(n) is int and 0 <= n <= MAX_INTEGER for n in fields)

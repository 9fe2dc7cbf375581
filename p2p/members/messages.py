"""How members ask one another for papers, and what they answer.

    members.papers   [id, ...] -> [[chain, record], ...], those that are known, in any order

What this module does not know: whether papers are any good.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from keys import PeerId, decode_id, encode_id
from p2p.wire import PayloadError, decode_payload, encode_payload

PAPERS = "members.papers"
PART = "members.part"
ID_BYTES = 32
MAX_WANTED = 32
MAX_CHAIN_BYTES = 6_000
MAX_RECORD_BYTES = 2_048

Pair = tuple[bytes, bytes]  # chain, record


def wanted_message(peers: Iterable[PeerId]) -> bytes:
    return encode_payload([decode_id(peer_id) for peer_id in peers])


def wanted_from_wire(payload: bytes) -> tuple[PeerId, ...] | None:
    """Whose papers are asked for, or None. Never raises."""
    fields = _rows(payload)
    if fields is None or not all(type(each) is bytes and len(each) == ID_BYTES for each in fields):
        return None
    return tuple(PeerId(encode_id(each)) for each in fields)


def papers_message(pairs: Sequence[Pair]) -> bytes:
    return encode_payload([list(pair) for pair in pairs])


def papers_from_wire(payload: bytes) -> tuple[Pair, ...] | None:
    """Chains and records, or None. Never raises."""
    fields = _rows(payload)
    if fields is None:
        return None
    pairs: list[Pair] = []
    for each in fields:
        if not (isinstance(each, list) and len(each) >= 2):
            return None
        chain, record = each[:2]
        if type(chain) is not bytes or len(chain) > MAX_CHAIN_BYTES:
            return None
        if type(record) is not bytes or len(record) > MAX_RECORD_BYTES:
            return None
        pairs.append((chain, record))
    return tuple(pairs)


def _rows(payload: bytes) -> list[Any] | None:
    try:
        fields = decode_payload(payload)
    except PayloadError:
        return None
    return fields if isinstance(fields, list) and len(fields) <= MAX_WANTED else None

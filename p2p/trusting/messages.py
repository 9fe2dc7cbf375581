"""What peers say to each other about revocations, to and from payloads.

    trust.head  [head, long head, asks, answers]   what we have in force; asks: say yours
    trust.want  [[key id, sequence, digest], ...]  what we have, one by one: send what is later
    trust.list  bytes                              one list with the chain of its signer

Readers ignore further fields. Nothing here raises on what a peer sent: it is None.

What this module does not know: when what is said.
"""

from __future__ import annotations

from collections.abc import Iterable

from keys import MAX_PACKED_BYTES, Have
from p2p.wire import PayloadError, decode_payload, encode_payload

HEAD = "trust.head"
WANT = "trust.want"
LIST = "trust.list"
NAMES = frozenset({HEAD, WANT, LIST})

HEAD_BYTES = 16
MAX_HAVE = 256
_ID_BYTES = 32


def head_message(head: bytes, digest: bytes, *, asks: int, answers: int) -> bytes:
    return encode_payload([head, digest, asks, answers])


def head_from_wire(payload: bytes) -> tuple[bytes, bytes, int, int] | None:
    match _fields(payload):
        case [bytes() as head, bytes() as digest, int() as asks, int() as answers, *_]:
            if len(head) == len(digest) == HEAD_BYTES and asks >= 0 and answers >= 0:
                return head, digest, asks, answers
    return None


def want_message(have: Iterable[Have]) -> bytes:
    return encode_payload([[each.key_id, each.sequence, each.digest] for each in have])


def want_from_wire(payload: bytes) -> tuple[Have, ...] | None:
    fields = _fields(payload)
    if not isinstance(fields, list) or len(fields) > MAX_HAVE:
        return None
    found = [_have(item) for item in fields]
    return tuple(each for each in found if each is not None) if None not in found else None


def list_message(packed: bytes) -> bytes:
    return encode_payload(packed)


def list_from_wire(payload: bytes) -> bytes | None:
    packed = _fields(payload)
    return packed if isinstance(packed, bytes) and len(packed) <= MAX_PACKED_BYTES else None


def _have(item: object) -> Have | None:
    match item:
        case [bytes() as key_id, int() as sequence, bytes() as digest, *_]:
            is_good = len(key_id) == len(digest) == _ID_BYTES and type(sequence) is int
            return Have(key_id, sequence, digest) if is_good and sequence > 0 else None
    return None


def _fields(payload: bytes) -> object:
    try:
        return decode_payload(payload)
    except PayloadError:
        return None

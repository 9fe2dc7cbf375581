"""What streams say to each other, as envelopes of the bulk lane.

The id of an envelope is the stream's number, doubled, plus one when the side that opened it
speaks; its target is the verb, its sequence a number of chunks.

    open            [method, payload, credit]; budget: of the whole stream, 0 for none
    accept          credit; sequence: 0
    refuse, abort   a fault
    (empty)         one chunk; sequence: its number, from 0
    end             nothing; sequence: the number after the last chunk
    credit          the total cost granted; sequence: the chunk that is expected next
    resume          the same, and an answer is wanted
    resumed         the answer

What this module does not know: transports, streams.
"""

from __future__ import annotations

from p2p.streams.core import Verb
from p2p.wire import Kind, PayloadError, Priority, decode_payload, encode_payload

STREAM = int(Kind.STREAM)
NORMAL, HIGH = int(Priority.NORMAL), int(Priority.HIGH)
BODY_FROM_BYTES = 8 * 1024  # from this size on a chunk travels beside its envelope
MAX_CREDIT = 2**62

# What may overtake chunks: it speaks of the other direction.
URGENT = frozenset({Verb.CREDIT, Verb.RESUME, Verb.RESUMED})


def open_payload(method: str, payload: bytes, credit: int) -> bytes:
    """Return what asks for a stream."""
    return encode_payload([method, payload, credit])


def read_open(data: bytes) -> tuple[str, bytes, int] | None:
    """Return method, payload and credit, or None for garbage."""
    try:
        fields = decode_payload(data)
    except PayloadError:
        return None
    if not (isinstance(fields, list) and len(fields) >= 3):
        return None
    method, payload, credit = fields[:3]
    if type(method) is not str or type(payload) is not bytes or not _is_credit(credit):
        return None
    return method, payload, credit


def read_credit(data: bytes) -> int | None:
    """Return a credit, or None for garbage."""
    try:
        credit = decode_payload(data)
    except PayloadError:
        return None
    return credit if _is_credit(credit) else None


def _is_credit(value: object) -> bool:
    return type(value) is int and 0 <= value <= MAX_CREDIT

"""What streams say to each other, as payloads of envelopes on the bulk lane, and back.

The grammar is in `p2p/PROTOCOL.md`, "Streams". Payloads but those of chunks and faults are arrays;
a later version may write more behind what we know. Garbage is None.

What this module does not know: transports, streams, which chunks travel together.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from p2p.streams.verbs import Say, Verb
from p2p.wire import MAX_ENVELOPE_BYTES, PayloadError, decode_payload, encode_payload

MAX_OPEN_BYTES = MAX_ENVELOPE_BYTES - 1024  # of a payload; the method's name goes with it
MAX_NUMBER = 2**62
MAX_JOINED = 256  # chunks in one payload
LENGTH_BYTES = 4  # before each of them


def open_payload(method: str, payload: bytes, credit: int) -> bytes:
    """Return what asks for a stream."""
    return encode_payload([method, payload, credit])


def read_open(data: bytes) -> tuple[str, bytes, int] | None:
    """Return method, payload and credit."""
    fields = _fields(data, 3)
    if fields is None:
        return None
    method, payload, credit = fields[:3]
    if type(method) is str and type(payload) is bytes and _is_number(credit):
        return method, payload, credit
    return None


def say_payload(say: Say) -> bytes:
    """Return what says where we are; `expected` goes into the envelope's sequence."""
    if say.verb is Verb.RESUME:
        return encode_payload([say.credit, say.epoch, say.sent, say.is_missing])
    if say.verb is Verb.RESUMED:
        return encode_payload([say.credit, say.epoch, say.sent])
    return encode_payload([say.credit])


def read_say(verb: Verb, sequence: int, data: bytes) -> Say | None:
    """Return where the other side is; for accept, credit, resume and resumed."""
    length = 4 if verb is Verb.RESUME else 3 if verb is Verb.RESUMED else 1
    fields = _fields(data, length)
    if fields is None or not all(map(_is_number, fields[: min(length, 3)])):
        return None
    if length == 1:
        return Say(verb, sequence, fields[0])
    is_missing = fields[3] if length == 4 else False
    if type(is_missing) is not bool:
        return None
    credit, epoch, sent = fields[:3]
    return Say(verb, sequence, credit, epoch, sent, is_missing)


def join_chunks(chunks: Iterable[bytes | memoryview]) -> bytes:
    """Return one payload of several chunks, each behind its length."""
    parts: list[bytes | memoryview] = []
    for chunk in chunks:
        parts.append(len(chunk).to_bytes(LENGTH_BYTES, "big"))
        parts.append(chunk)
    return b"".join(parts)


def split_chunks(data: bytes) -> list[bytes] | None:
    """Return the chunks of such a payload, at least one."""
    chunks: list[bytes] = []
    at, size_bytes = 0, len(data)
    while at < size_bytes:
        begin = at + LENGTH_BYTES
        at = begin + int.from_bytes(data[at:begin], "big")
        if begin > size_bytes or at > size_bytes or len(chunks) == MAX_JOINED:
            return None
        chunks.append(data[begin:at])
    return chunks or None


def _fields(data: bytes, at_least: int) -> list[Any] | None:
    try:
        fields = decode_payload(data)
    except PayloadError:
        return None
    return fields if isinstance(fields, list) and len(fields) >= at_least else None


def _is_number(value: object) -> bool:
    return type(value) is int and 0 <= value <= MAX_NUMBER

"""One envelope, and a frame of them: bytes in, structs out.

A frame is one msgpack array: an envelope, or an array of envelopes; the grammar and test vectors
are in `p2p/PROTOCOL.md`. A frame of envelopes that we know whole is decoded and checked in one
call; any other is gone through one envelope at a time. Neither raises anything but `BadFrame`, and
what is allocated is bounded by the size of the frame.

What this module does not know: who sent the frame, what a target means, what is in a payload.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Annotated, Any

import msgpack  # type: ignore[import-untyped]  # msgpack ships no types
from msgspec import DecodeError, Meta, Struct
from msgspec.msgpack import Decoder, Encoder

WIRE_VERSION = 1
MAX_ENVELOPE_BYTES = 1_000_000
MAX_ENVELOPES_IN_A_FRAME = 4096
MAX_TARGET_CHARS = 255
MAX_TRACE_BYTES = 64
MAX_COUNTER = 2**63 - 1
SIZE, MAX_FIELDS = 9, 64

Counter = Annotated[int, Meta(ge=0, le=MAX_COUNTER)]


class Kind(IntEnum):
    """What an envelope asks of the one who gets it."""

    REQUEST = 1
    REPLY = 2
    FAULT = 3
    CANCEL = 4
    NOTIFY = 5
    PUBLICATION = 6
    STREAM = 7


class Priority(IntEnum):
    """Decides what is shed first under load."""

    LOW = 0
    NORMAL = 1
    HIGH = 2


class FrameFault(StrEnum):
    """Why a frame, or one envelope of it, was dropped."""

    TOO_LARGE = "too_large"
    TOO_MANY = "too_many"
    NOT_MSGPACK = "not_msgpack"
    NOT_AN_ENVELOPE = "not_an_envelope"
    UNKNOWN_VERSION = "unknown_version"
    UNKNOWN_KIND = "unknown_kind"


class BadFrame(ValueError):
    """The bytes are not what `p2p/PROTOCOL.md` says; `fault` is counted, the content not logged."""

    def __init__(self, fault: FrameFault) -> None:
        super().__init__(f"bad frame: {fault}")
        self.fault = fault


class Envelope(Struct, array_like=True, tag=WIRE_VERSION, gc=False):
    """One message. The version goes in front of it.

    Attributes:
        kind: a `Kind`.
        id: names a request among those of its sender; replies, faults and cancels repeat it.
        sequence: the number of a message on its topic, or of a chunk in its stream.
        target: method, topic, or verb of a stream; empty in replies.
        budget_ms: what is left of the caller's deadline, or 0 for none. A duration and not a
            point in time, because clocks of two machines differ.
        priority: a `Priority`.
        trace: 25 bytes of W3C trace context, or empty.
        payload: opaque.
    """

    kind: Annotated[int, Meta(ge=1, le=int(max(Kind)))]
    id: Counter
    sequence: Counter
    target: Annotated[str, Meta(max_length=MAX_TARGET_CHARS)]
    budget_ms: Counter
    priority: int
    trace: Annotated[bytes, Meta(max_length=MAX_TRACE_BYTES)]
    payload: bytes


_encode = Encoder().encode
_decode_one = Decoder(Envelope).decode
_decode_many = Decoder(list[Envelope]).decode
_MANY = b"\xdd"  # an array with a length of 32 bits; one envelope never needs it
_JOIN_BYTES = 5


def encode_envelope(envelope: Envelope) -> bytes:
    """Return the envelope's bytes, which are a frame too."""
    return _encode(envelope)


def decode_frame(frame: bytes | memoryview) -> tuple[list[Envelope], list[FrameFault]]:
    """Return the envelopes that we understand, and a fault for each that we do not.

    An envelope of another version or of an unknown kind is skipped, so that a newer peer can
    talk to us; whatever breaks the grammar spoils the frame.

    Raises:
        BadFrame: the bytes are no envelope and no array of envelopes.
    """
    many = frame[:1] == _MANY
    if many and int.from_bytes(frame[1:_JOIN_BYTES], "big") > MAX_ENVELOPES_IN_A_FRAME:
        raise BadFrame(FrameFault.TOO_MANY)
    try:
        return (_decode_many(frame) if many else [_decode_one(frame)]), []
    except (DecodeError, UnicodeDecodeError, RecursionError):
        return _one_by_one(frame)


def _one_by_one(frame: bytes | memoryview) -> tuple[list[Envelope], list[FrameFault]]:
    """Go through a frame that holds something else than envelopes of ours."""
    try:
        items = msgpack.unpackb(
            frame,
            raw=False,
            use_list=False,
            strict_map_key=True,
            max_str_len=MAX_TARGET_CHARS * 4,
            max_bin_len=MAX_ENVELOPE_BYTES,
            max_array_len=MAX_ENVELOPES_IN_A_FRAME,
            max_map_len=0,
            max_ext_len=0,
        )
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException):
        raise BadFrame(FrameFault.NOT_MSGPACK) from None
    envelopes: list[Envelope] = []
    faults: list[FrameFault] = []
    for item in items if frame[:1] == _MANY else (items,):
        fault = _fault_of(item)
        if fault is None:
            envelopes.append(Envelope(*item[1:SIZE]))
        elif fault is FrameFault.NOT_AN_ENVELOPE:
            raise BadFrame(fault)
        else:
            faults.append(fault)
    return envelopes, faults


def _fault_of(item: Any) -> FrameFault | None:
    if type(item) is not tuple or not 0 < len(item) <= MAX_FIELDS or type(item[0]) is not int:
        return FrameFault.NOT_AN_ENVELOPE
    if item[0] != WIRE_VERSION:
        return FrameFault.UNKNOWN_VERSION
    if len(item) < SIZE:
        return FrameFault.NOT_AN_ENVELOPE
    _, kind, ident, sequence, target, budget_ms, priority, trace, payload = item[:SIZE]
    if not (
        type(kind) is int
        and type(ident) is int
        and type(sequence) is int
        and type(target) is str
        and type(budget_ms) is int
        and type(priority) is int
        and type(trace) is bytes
        and type(payload) is bytes
        and 0 <= ident <= MAX_COUNTER
        and 0 <= sequence <= MAX_COUNTER
        and 0 <= budget_ms <= MAX_COUNTER
        and len(target) <= MAX_TARGET_CHARS
        and len(trace) <= MAX_TRACE_BYTES
    ):
        return FrameFault.NOT_AN_ENVELOPE
    return None if 1 <= kind <= max(Kind) else FrameFault.UNKNOWN_KIND

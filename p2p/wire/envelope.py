"""One envelope, and a frame of them: bytes in, tuples out.

A frame is a run of msgpack arrays, one an envelope, written one behind the other; the grammar
and test vectors are in `p2p/PROTOCOL.md`. Decoding bounds size, count and lengths before it
allocates, and never raises anything but `BadFrame`.

What this module does not know: who sent the frame, what a target means, what is in a payload.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Any, NamedTuple

import msgpack  # type: ignore[import-untyped]  # msgpack ships no types

WIRE_VERSION = 1
MAX_ENVELOPE_BYTES = 1_000_000
MAX_ENVELOPES_IN_A_FRAME = 4096
MIN_ENVELOPE_BYTES = 2  # an array of one number, which is of another version
MAX_TARGET_CHARS = 255
MAX_TRACE_BYTES = 64
MAX_COUNTER = 2**63 - 1
SIZE = 9


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


class Envelope(NamedTuple):
    """One message.

    Attributes:
        kind: a `Kind`.
        id: names a request among those of its sender; replies, faults and cancels repeat it.
        sequence: grows by one for each envelope to the same peer (or on the same topic).
        target: method, or topic; empty in replies.
        budget_ms: what is left of the caller's deadline, or 0 for none. A duration and not a
            point in time, because clocks of two machines differ.
        priority: a `Priority`.
        trace: 25 bytes of W3C trace context, or empty.
        payload: opaque.
    """

    kind: int
    id: int
    sequence: int
    target: str
    budget_ms: int
    priority: int
    trace: bytes
    payload: bytes


Fields = tuple[int, int, int, str, int, int, bytes, bytes]

_pack = msgpack.Packer(use_bin_type=True, autoreset=True).pack
_as_envelope = tuple.__new__
_LAST_KIND = max(Kind)


def encode_envelope(envelope: Fields) -> bytes:
    """Return the bytes of an `Envelope`, or of a plain tuple of the same fields, which is quicker
    to make. Several may be joined to a frame."""
    packed: bytes = _pack((WIRE_VERSION, *envelope))
    return packed


def decode_frame(frame: bytes) -> tuple[list[Envelope], list[FrameFault]]:
    """Return the envelopes that we understand, and a fault for each that we do not.

    An envelope of another version or of an unknown kind is skipped, so that a newer peer can
    talk to us; whatever breaks the grammar spoils the frame.

    Raises:
        BadFrame: the bytes are not a run of envelopes.
    """
    unpacker = msgpack.Unpacker(
        raw=False,
        use_list=False,
        strict_map_key=True,
        max_buffer_size=len(frame) or 1,
        max_str_len=MAX_TARGET_CHARS * 4,
        max_bin_len=MAX_ENVELOPE_BYTES,
        max_array_len=64,
        max_map_len=0,
        max_ext_len=0,
    )
    envelopes: list[Envelope] = []
    faults: list[FrameFault] = []
    tell = unpacker.tell
    may_be_many = len(frame) > MAX_ENVELOPES_IN_A_FRAME * MIN_ENVELOPE_BYTES
    try:
        unpacker.feed(frame)
        read = 0
        for item in unpacker:
            read = tell()
            if may_be_many and len(envelopes) + len(faults) >= MAX_ENVELOPES_IN_A_FRAME:
                raise BadFrame(FrameFault.TOO_MANY)
            if type(item) is tuple and len(item) == SIZE:
                version, kind, ident, sequence, target, budget_ms, priority, trace, payload = item
                if (
                    version == WIRE_VERSION
                    and type(version) is type(kind) is type(ident) is type(sequence) is int
                    and type(budget_ms) is type(priority) is int
                    and type(target) is str
                    and type(trace) is type(payload) is bytes
                    and 0 <= ident | sequence | budget_ms <= MAX_COUNTER
                    and 1 <= kind <= _LAST_KIND
                    and len(target) <= MAX_TARGET_CHARS
                    and len(trace) <= MAX_TRACE_BYTES
                ):
                    envelopes.append(_as_envelope(Envelope, item[1:]))
                    continue
            fault = _fault_of(item)
            if fault is None:
                envelopes.append(_as_envelope(Envelope, item[1:SIZE]))
            elif fault is FrameFault.NOT_AN_ENVELOPE:
                raise BadFrame(fault)
            else:
                faults.append(fault)
    except BadFrame:
        raise
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException):
        raise BadFrame(FrameFault.NOT_MSGPACK) from None
    if read != len(frame):
        raise BadFrame(FrameFault.NOT_MSGPACK)
    return envelopes, faults


def _fault_of(item: Any) -> FrameFault | None:
    if type(item) is not tuple or not item or type(item[0]) is not int:
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
    return None if 1 <= kind <= _LAST_KIND else FrameFault.UNKNOWN_KIND

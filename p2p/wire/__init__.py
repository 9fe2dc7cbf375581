"""Envelopes: how one message looks on the wire."""

from p2p.wire.envelope import (
    MAX_ENVELOPE_BYTES,
    WIRE_VERSION,
    BadFrame,
    Envelope,
    FrameFault,
    Kind,
    Priority,
    decode_frame,
    encode_envelope,
)
from p2p.wire.faults import decode_fault, encode_fault
from p2p.wire.payload import PayloadError, decode_payload, encode_payload
from p2p.wire.trace import (
    Spans,
    TraceContext,
    current_trace,
    running_trace,
    use_trace,
)

__all__ = [
    "MAX_ENVELOPE_BYTES",
    "WIRE_VERSION",
    "BadFrame",
    "Envelope",
    "FrameFault",
    "Kind",
    "PayloadError",
    "Priority",
    "Spans",
    "TraceContext",
    "current_trace",
    "decode_fault",
    "decode_frame",
    "decode_payload",
    "encode_envelope",
    "encode_fault",
    "encode_payload",
    "running_trace",
    "use_trace",
]

"""W3C trace context: one id from the caller to the last worker.

The current context rides in a `ContextVar`, so a handler that calls on passes it along without
a word. 25 bytes on the wire (trace id 16, span id 8, flags 1), the 55 characters of the
`traceparent` header at doors and in logs. Source: W3C Trace Context, section 3.2.

On the way from message to message it stays bytes; a `TraceContext` is made when somebody looks.

What this module does not know: exporters, sampling, clocks.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

SIZE_BYTES = 25
_SAMPLED = b"\x01"
_DRAWN = 32  # spans at once


@dataclass(frozen=True, slots=True)
class TraceContext:
    trace_id: bytes  # 16, not all zero
    span_id: bytes  # 8, not all zero
    flags: int

    @classmethod
    def begin(cls, rng: random.Random) -> TraceContext:
        """Start a new trace."""
        data = begin_trace(rng)
        return cls(data[:16], data[16:24], data[24])

    def to_bytes(self) -> bytes:
        return self.trace_id + self.span_id + bytes((self.flags,))

    @classmethod
    def from_bytes(cls, data: bytes) -> TraceContext | None:
        """Return the context, or None where there is none or it is not well formed."""
        if len(data) != SIZE_BYTES or not any(data[:16]) or not any(data[16:24]):
            return None
        return cls(data[:16], data[16:24], data[24])

    def header(self) -> str:
        """Return it as a `traceparent` header."""
        return f"00-{self.trace_id.hex()}-{self.span_id.hex()}-{self.flags:02x}"


# What is current, as on the wire: 25 bytes, or none for no trace.
running_trace: ContextVar[bytes] = ContextVar("conclave_trace", default=b"")


class Spans:
    """New spans as they travel, from randomness that is drawn for many at a time.

    Args:
        rng: where it is drawn from.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._drawn = b""
        self._used = 0

    def next(self, trace: bytes) -> bytes:
        """Return the same trace under a new span, or a new trace where there is none."""
        used = self._used
        drawn = self._drawn[used : used + 24]
        if len(drawn) < 24:
            self._drawn = self._rng.randbytes(24 * _DRAWN)
            used, drawn = 0, self._drawn[:24]
        self._used = used + 24
        if len(trace) != SIZE_BYTES:
            return drawn + _SAMPLED
        return trace[:16] + drawn[16:] + trace[24:]


def begin_trace(rng: random.Random) -> bytes:
    """Return a new trace as it travels."""
    return rng.randbytes(15) + b"\1" + rng.randbytes(7) + b"\1" + _SAMPLED


def current_trace() -> TraceContext | None:
    """Return the trace of the running handler or call, if any."""
    return TraceContext.from_bytes(running_trace.get())


@contextmanager
def use_trace(context: TraceContext | None) -> Iterator[None]:
    """Make this the current trace inside the block."""
    token = running_trace.set(context.to_bytes() if context is not None else b"")
    try:
        yield
    finally:
        running_trace.reset(token)

"""W3C trace context: one id from the caller to the last worker.

The current context rides in a `ContextVar`, so a handler that calls on passes it along without
a word. 25 bytes on the wire (trace id 16, span id 8, flags 1), the 55 characters of the
`traceparent` header at doors and in logs. Source: W3C Trace Context, section 3.2.

What this module does not know: exporters, sampling, clocks.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

SIZE_BYTES = 25


@dataclass(frozen=True, slots=True)
class TraceContext:
    trace_id: bytes  # 16, not all zero
    span_id: bytes  # 8, not all zero
    flags: int

    @classmethod
    def begin(cls, rng: random.Random) -> TraceContext:
        """Start a new trace."""
        return cls(rng.randbytes(15) + b"\x01", rng.randbytes(7) + b"\x01", 1)

    def child(self, rng: random.Random) -> TraceContext:
        """Return the same trace under a new span."""
        return TraceContext(self.trace_id, rng.randbytes(7) + b"\x01", self.flags)

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


_current: ContextVar[TraceContext | None] = ContextVar("conclave_trace", default=None)


def current_trace() -> TraceContext | None:
    """Return the trace of the running handler or call, if any."""
    return _current.get()


@contextmanager
def use_trace(context: TraceContext | None) -> Iterator[None]:
    """Make this the current trace inside the block."""
    token = _current.set(context)
    try:
        yield
    finally:
        _current.reset(token)

"""Frames on the byte stream of an introduction: a four-byte big-endian length, then the body.

The length is judged as soon as its four bytes are there, so nothing that is too large is ever
waited for or stored. The first four characters of HTTP, TLS, SSH and ZMTP all read as a length
far over the limit, which is how those clients are turned away at once.

What this module does not know: what a body means, sockets, time.

Invariant: at most `HEADER_BYTES + MAX_FRAME_BYTES` bytes of one frame, and `MAX_TOTAL_BYTES` of
one conversation, are ever held; more of it where somebody waits for a list (`allow`).
"""

from __future__ import annotations

from p2p.admission.refusals import Objection, RefusalCode
from p2p.errors import PayloadTooLarge

HEADER_BYTES = 4
MAX_FRAME_BYTES = 8 * 1024
# No side of any conversation sends more than three frames.
MAX_TOTAL_BYTES = 3 * (HEADER_BYTES + MAX_FRAME_BYTES)


def frame_of(body: bytes) -> bytes:
    """The body with its length in front.

    Raises:
        PayloadTooLarge: our own papers do not fit; a certificate with dozens of long namespaces.
    """
    assert body, "every message has a kind"
    if len(body) > MAX_FRAME_BYTES:
        raise PayloadTooLarge(len(body), MAX_FRAME_BYTES, "introduction")
    return len(body).to_bytes(HEADER_BYTES, "big") + body


class FrameReader:
    """Cuts a byte stream into bodies, however the stream was split on its way."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._total_bytes = 0
        self._limit_bytes = MAX_TOTAL_BYTES

    def allow(self, frames: int) -> None:
        """So many frames more are waited for."""
        self._limit_bytes += frames * (HEADER_BYTES + MAX_FRAME_BYTES)

    def feed(self, data: bytes) -> None:
        """Take what arrived.

        Raises:
            Objection: the conversation is over its limit.
        """
        self._total_bytes += len(data)
        if self._total_bytes > self._limit_bytes:
            raise Objection(
                RefusalCode.TOO_LARGE, f"more than {self._limit_bytes} bytes in one conversation"
            )
        self._buffer += data

    def next_body(self) -> bytes | None:
        """The next whole body, or None when more bytes are needed.

        Raises:
            Objection: the length says zero, or more than the limit.
        """
        if len(self._buffer) < HEADER_BYTES:
            return None
        length = int.from_bytes(self._buffer[:HEADER_BYTES], "big")
        if length == 0:
            raise Objection(RefusalCode.MALFORMED, "an empty frame")
        if length > MAX_FRAME_BYTES:
            raise Objection(
                RefusalCode.TOO_LARGE,
                f"a frame of {length} bytes is over the limit of {MAX_FRAME_BYTES}",
            )
        end = HEADER_BYTES + length
        if len(self._buffer) < end:
            return None
        body = bytes(self._buffer[HEADER_BYTES:end])
        del self._buffer[:end]
        return body

    @property
    def held_bytes(self) -> int:
        return len(self._buffer)

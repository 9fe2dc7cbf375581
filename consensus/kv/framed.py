"""A snapshot's records on their way: msgpack values in chunks, and a digest behind them.

    [record] ...                                    cut into chunks anywhere
    32 bytes of BLAKE2b over everything before      as one msgpack bin, always 34 bytes long

Invariants: equal records give equal chunks; memory for what is read grows only with bytes that
arrived, whatever lengths they claim; nobody is given what was built before the digest was right.
What this module does not know: what a record means, files, the network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from enum import Enum, auto
from hashlib import blake2b
from hmac import compare_digest
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeVar

import msgpack  # type: ignore[import-untyped]  # msgpack ships no types

CHUNK_BYTES: Final = 64 * 1024
_DIGEST_BYTES: Final = 32
_TRAILER_BYTES: Final = 2 + _DIGEST_BYTES

State_co = TypeVar("State_co", covariant=True)


class FrameFault(Enum):
    """Why bytes are no frame of records."""

    TRUNCATED = auto()
    CHECKSUM = auto()
    UNREADABLE = auto()  # no msgpack
    TOO_LARGE = auto()  # a record is


class FrameLimits(NamedTuple):
    """How large what one record holds may be."""

    record_bytes: int
    text_bytes: int
    value_bytes: int
    items: int


class Builder(Protocol[State_co]):
    """Makes a state of records, each judged when it comes and the whole at the end. What it
    refuses it raises as an error of its own."""

    def take(self, record: Any) -> None: ...

    def check_ended(self) -> None: ...

    def finish(self) -> State_co: ...


def chunks_of(records: Iterable[bytes], check: Callable[[], None]) -> Iterator[bytes]:
    """Chunks of CHUNK_BYTES, the last one shorter, each made when it is asked for.

    Args:
        check: raises after a chunk if what the records are made of has changed.
    """
    digest = blake2b(digest_size=_DIGEST_BYTES)
    waiting = bytearray()
    for record in records:
        digest.update(record)
        waiting += record
        while len(waiting) >= CHUNK_BYTES:
            yield bytes(waiting[:CHUNK_BYTES])
            del waiting[:CHUNK_BYTES]
            check()
    waiting += _trailer(digest.digest())
    for start in range(0, len(waiting), CHUNK_BYTES):
        yield bytes(waiting[start : start + CHUNK_BYTES])


def digest_of(records: Iterable[bytes]) -> bytes:
    """The digest behind these records."""
    digest = blake2b(digest_size=_DIGEST_BYTES)
    for record in records:
        digest.update(record)
    return digest.digest()


class FrameReader(Generic[State_co]):
    """Takes chunks of any size, so that a caller may breathe between them.

    Args:
        refused: the error for a fault of the frame.
    """

    def __init__(
        self,
        builder: Builder[State_co],
        limits: FrameLimits,
        refused: Callable[[FrameFault], Exception],
    ) -> None:
        self._builder = builder
        self._refused = refused
        self._digest = blake2b(digest_size=_DIGEST_BYTES)
        self._tail = b""  # the latest bytes: the trailer, if nothing follows
        self._unpacker = msgpack.Unpacker(
            raw=False,
            use_list=True,
            max_buffer_size=limits.record_bytes + CHUNK_BYTES,
            max_str_len=limits.text_bytes,
            max_bin_len=limits.value_bytes,
            max_array_len=limits.items,
            max_map_len=0,
            max_ext_len=0,
        )

    def feed(self, chunk: bytes) -> None:
        """Take what comes next. Raises what `refused` or the builder says of damage that shows
        already; the reader is of no more use then."""
        for start in range(0, len(chunk), CHUNK_BYTES):
            self._feed(bytes(chunk[start : start + CHUNK_BYTES]))

    def finish(self) -> State_co:
        """Return the state. Raises as `feed`."""
        if len(self._tail) < _TRAILER_BYTES:
            raise self._refused(FrameFault.TRUNCATED)
        self._builder.check_ended()
        if not compare_digest(self._tail, _trailer(self._digest.digest())):
            raise self._refused(FrameFault.CHECKSUM)
        return self._builder.finish()

    def _feed(self, piece: bytes) -> None:
        data = self._tail + piece
        body, self._tail = data[:-_TRAILER_BYTES], data[-_TRAILER_BYTES:]
        self._digest.update(body)
        try:
            self._unpacker.feed(body)
            for record in self._unpacker:
                self._builder.take(record)
        except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException):
            raise self._refused(FrameFault.UNREADABLE) from None
        except msgpack.BufferFull:
            raise self._refused(FrameFault.TOO_LARGE) from None


def _trailer(digest: bytes) -> bytes:
    packed: bytes = msgpack.packb(digest, use_bin_type=True)
    assert len(packed) == _TRAILER_BYTES
    return packed

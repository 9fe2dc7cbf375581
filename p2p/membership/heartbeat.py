"""The heartbeat: what a peer says of itself, now and then, to whoever has a link to it.

Data and its plain form; the caller turns that into bytes. Does not know who sent it: the
transport attributes each frame to the key of its connection, so a heartbeat names nobody.

Plain form: a sequence of `incarnation, sequence, adverts, 0, wall_ms, body, heads`. Later versions
may append fields; readers ignore what they do not know. The last one may be missing. The zero
stands where the load of a node was, which agents tell in their own entries: readers before us want
a number from 0 to 255 there, and we look at nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

MAX_BODY_BYTES = 512
MAX_HEADS_BYTES = 64
MAX_ADVERTS_BYTES = 64
MAX_INTEGER = 2**63 - 1

_UNREAD = 0
_Fields = tuple[int, int, bytes, int, int, bytes, bytes]


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """One sign of life.

    Raises:
        ValueError: a field is out of its range; `from_wire` returns None instead.
    """

    incarnation: int  # of this start of the process; grows with every start
    sequence: int  # grows with every heartbeat of this incarnation
    adverts: bytes = b""  # opaque: the digest of what the peer offers
    wall_ms: int = 0  # the sender's clock, Unix time
    body: bytes = b""  # opaque, for the layers above
    heads: bytes = b""  # opaque: which revocation lists the sender has in force

    def __post_init__(self) -> None:
        integers = (self.incarnation, self.sequence, self.wall_ms)
        if not all(0 <= number <= MAX_INTEGER for number in integers):
            raise ValueError("a number of a heartbeat is negative or over 63 bits")
        if len(self.body) > MAX_BODY_BYTES:
            raise ValueError(f"a heartbeat's body is at most {MAX_BODY_BYTES} bytes")
        if len(self.adverts) > MAX_ADVERTS_BYTES:
            raise ValueError(f"a heartbeat's adverts are at most {MAX_ADVERTS_BYTES} bytes")
        if len(self.heads) > MAX_HEADS_BYTES:
            raise ValueError(f"a heartbeat's heads are at most {MAX_HEADS_BYTES} bytes")

    def to_wire(self) -> _Fields:
        return (
            self.incarnation,
            self.sequence,
            self.adverts,
            _UNREAD,
            self.wall_ms,
            self.body,
            self.heads,
        )

    @classmethod
    def from_wire(cls, fields: object) -> Heartbeat | None:
        """Read what a peer sent, or None when it is not a heartbeat. Never raises."""
        if not isinstance(fields, list | tuple) or len(fields) < 6:
            return None
        incarnation, sequence, adverts, _, wall_ms, body = fields[:6]
        integers = (incarnation, sequence, wall_ms)
        heads = fields[6] if len(fields) > 6 else b""
        if not all(type(number) is int for number in integers):
            return None
        if not all(type(field) is bytes for field in (adverts, body, heads)):
            return None
        try:
            return cls(incarnation, sequence, adverts, wall_ms, body, heads)
        except ValueError:
            return None

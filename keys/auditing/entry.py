"""The audit log's format: entries in a chain of hashes, and checkpoints that sign its head.

    frame      = length of what follows (4 bytes, big-endian), entry or checkpoint
    entry      = canonical map; field 3 is the digest of the entry before
    checkpoint = [body, signature], domain `audit-checkpoint`: a sequence number and its digest

An entry that is changed, removed, inserted or moved breaks the chain at its place; whoever makes a
new chain behind it lacks the key for the checkpoints. What the chain cannot show is that its end
is missing: for that, other peers keep the latest checkpoint (`agents.auditing_heads`).

What this module does not know: files, clocks, what happened. It holds no secrets: `clean` takes
tickets out of whatever text it is given, and control characters with them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, NamedTuple

from keys.canonical import Fields, NotCanonical, decode, encode, pair
from keys.errors import InvalidValue
from keys.identity import (
    FINGERPRINT_BYTES,
    SIGNATURE_BYTES,
    Identity,
    PeerId,
    decode_id,
    encode_id,
    fingerprint,
    peer_id_of,
    verify_signature,
)

VERSION: Final = 1
DOMAIN: Final = "audit-checkpoint"
MAX_FRAME_BYTES: Final = 8192
LENGTH_BYTES: Final = 4
MAX_DETAILS: Final = 16
MAX_KIND_CHARS: Final = 40
MAX_WHO_CHARS: Final = 128
MAX_VALUE_CHARS: Final = 300
TRACE_BYTES: Final = 16
MASK: Final = "***"

_MAX_OUTCOME_CHARS = 16
_MAX_NAME_CHARS = 32
_KIND = re.compile(r"[a-z]+(\.[a-z_]+)+")
_NAME = re.compile(r"[a-z][a-z_0-9]*")
_TICKET = re.compile(r"conclave1-[A-Za-z0-9_-]{8,}")
_SECRET_NAME = re.compile(r"secret|pass|private|token")
_ENTRY_START = b"\x8c\x01\x01\x02"  # version 1, then the number
_WIDTHS = {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}
_CHECKPOINT_START = b"\x85\x01\x01\x02\xc4\x20"  # version 1 and the start of a peer id


class Head(NamedTuple):
    """Where a chain ends: the last entry's number and digest."""

    sequence: int
    digest: bytes


START: Final = Head(0, bytes(FINGERPRINT_BYTES))


@dataclass(frozen=True, slots=True)
class AuditNote:
    """What happened, not yet in any chain.

    Attributes:
        kind: what, as `area.event`.
        by: who did it: a peer id, an address, `local`, or empty for this node itself.
        subject: to whom or what it was done.
        outcome: `ok`, `refused`, `failed`, ...
        times: how often, where repeats were counted and not written one by one.
        trace: the trace id, 16 bytes, or empty.
    """

    kind: str
    wall_ms: int
    monotonic_ms: int
    by: str = ""
    subject: str = ""
    outcome: str = "ok"
    detail: Mapping[str, str | int] = field(default_factory=dict)
    times: int = 1
    trace: bytes = b""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """A note in its place. Make one with `link`, read one with `decode_audit_entry`."""

    sequence: int
    previous: bytes
    note: AuditNote
    raw: bytes = field(repr=False)
    digest: bytes

    @property
    def head(self) -> Head:
        return Head(self.sequence, self.digest)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A head, signed. Make one with `sign_head`, read one with `decode_checkpoint`."""

    peer_id: PeerId
    head: Head
    wall_ms: int
    body: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    raw: bytes = field(repr=False)

    def is_signed_by(self, public_key: bytes) -> bool:
        """Whether this key, of the peer that it names, signed it."""
        return self.peer_id == peer_id_of(public_key) and verify_signature(
            public_key, DOMAIN, self.body, self.signature
        )


class Frame(NamedTuple):
    """One frame of a file, or what stands where one should: then `raw` is None."""

    offset: int
    raw: bytes | None


def clean(text: str, limit: int = MAX_VALUE_CHARS) -> str:
    """The text as it may stand in a log: no tickets, no control characters, not too long."""
    if not text.isprintable():
        text = "".join(char if char.isprintable() else "?" for char in text[: 4 * limit])
    if "conclave1-" in text:
        text = _TICKET.sub(f"conclave1-{MASK}", text)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def link(head: Head, note: AuditNote) -> AuditEntry:
    """The entry that follows `head`.

    Raises:
        InvalidValue: the kind or a detail's name is none, or a value is beyond what can be
            written; texts are cleaned and cut.
    """
    if not _KIND.fullmatch(note.kind) or len(note.kind) > MAX_KIND_CHARS:
        raise InvalidValue("an audit entry's kind", f"{note.kind!r} is not area.event")
    if not all(_NAME.fullmatch(n) and len(n) <= _MAX_NAME_CHARS for n in note.detail):
        raise InvalidValue("an audit entry's detail", "has a name that is none")
    if len(note.trace) not in (0, TRACE_BYTES) or note.times < 1:
        raise InvalidValue("an audit entry", "has no such trace, or did not happen")
    sequence = head.sequence + 1
    try:
        made = encode_note(sequence, head.digest, note)
    except (NotCanonical, TypeError) as error:
        raise InvalidValue("an audit entry", str(error)) from error
    return AuditEntry(sequence, head.digest, note, made, fingerprint(made))


def encode_note(sequence: int, previous: bytes, note: AuditNote) -> bytes:
    """The bytes of an entry."""
    detail = dict(list(note.detail.items())[:MAX_DETAILS])
    return encode(
        {
            1: VERSION,
            2: sequence,
            3: previous,
            4: max(0, note.wall_ms),
            5: max(0, note.monotonic_ms),
            6: note.kind,
            7: clean(note.outcome, _MAX_OUTCOME_CHARS),
            8: clean(note.by, MAX_WHO_CHARS),
            9: clean(note.subject, MAX_WHO_CHARS),
            10: note.times,
            11: note.trace,
            12: {name: _value(name, value) for name, value in detail.items()},
        }
    )


def decode_audit_entry(raw: bytes) -> AuditEntry:
    """
    Raises:
        NotCanonical: these bytes are no entry.
    """
    fields = Fields(decode(raw, MAX_FRAME_BYTES))
    fields.integer(1, VERSION, VERSION)
    sequence, previous = fields.integer(2, 1), fields.binary(3, FINGERPRINT_BYTES)
    wall_ms, monotonic_ms = fields.integer(4), fields.integer(5)
    kind = fields.text(6, MAX_KIND_CHARS)
    outcome = fields.text(7, _MAX_OUTCOME_CHARS)
    by, subject = fields.text(8, MAX_WHO_CHARS), fields.text(9, MAX_WHO_CHARS)
    times, trace = fields.integer(10, 1), fields.blob(11, TRACE_BYTES)
    detail = {name: _read_value(item) for name, item in fields.table(12, MAX_DETAILS).items()}
    fields.finish()
    if not _KIND.fullmatch(kind):
        raise NotCanonical(f"{kind!r} is no kind of entry")
    note = AuditNote(
        kind, wall_ms, monotonic_ms, by, subject, outcome, MappingProxyType(detail), times, trace
    )
    return AuditEntry(sequence, previous, note, raw, fingerprint(raw))


def sign_head(signer: Identity, head: Head, wall_ms: int) -> Checkpoint:
    """A checkpoint of a chain's head."""
    body = encode(
        {
            1: VERSION,
            2: decode_id(signer.peer_id),
            3: head.sequence,
            4: head.digest,
            5: max(0, wall_ms),
        }
    )
    return decode_checkpoint(encode([body, signer.sign(DOMAIN, body)]))


def decode_checkpoint(raw: bytes) -> Checkpoint:
    """A checkpoint whose signature is still to be checked.

    Raises:
        NotCanonical: these bytes are none.
    """
    body, signature = pair(decode(raw, MAX_FRAME_BYTES), MAX_FRAME_BYTES)
    fields = Fields(decode(body, MAX_FRAME_BYTES))
    fields.integer(1, VERSION, VERSION)
    peer_id = PeerId(encode_id(fields.binary(2, FINGERPRINT_BYTES)))
    head = Head(fields.integer(3, 1), fields.binary(4, FINGERPRINT_BYTES))
    wall_ms = fields.integer(5)
    fields.finish()
    return Checkpoint(peer_id, head, wall_ms, body, signature, raw)


def is_checkpoint(raw: bytes) -> bool:
    """Whether a frame claims to be a checkpoint, and not an entry."""
    return raw[:1] == b"\x92"


def number_of(raw: bytes) -> int | None:
    """The number of an entry without reading the rest of it; None if it does not begin like one."""
    if raw[:4] != _ENTRY_START or len(raw) < 5:
        return None
    width = _WIDTHS.get(raw[4])
    if width is None:
        return raw[4] if raw[4] < 0x80 else None
    return int.from_bytes(raw[5 : 5 + width], "big")


def frame(raw: bytes) -> bytes:
    return len(raw).to_bytes(LENGTH_BYTES, "big") + raw


def frames(data: bytes) -> Iterator[Frame]:
    """The frames of a file; one that is not whole is the last, without its bytes."""
    at = 0
    while at < len(data):
        length = int.from_bytes(data[at : at + LENGTH_BYTES], "big")
        end = at + LENGTH_BYTES + length
        if not 1 <= length <= MAX_FRAME_BYTES or end > len(data):
            yield Frame(at, None)
            return
        yield Frame(at, data[at + LENGTH_BYTES : end])
        at = end


def last_signed_after(data: bytes, offset: int, public_key: bytes) -> Checkpoint | None:
    """The last checkpoint of this key behind a place at which frames cannot be told any more.

    One that is there was written after everything before it was durable: what is broken before it
    was broken by somebody, and not by a crash.
    """
    start = _CHECKPOINT_START + decode_id(peer_id_of(public_key))
    at = len(data)
    while (at := data.rfind(start, offset, at)) >= 3:
        raw = data[at - 3 : at + data[at - 1] + 2 + SIGNATURE_BYTES]
        try:
            found = decode_checkpoint(raw)
        except NotCanonical:
            continue
        if found.is_signed_by(public_key):
            return found
    return None


def _value(name: str, value: str | int) -> str | int:
    if _SECRET_NAME.search(name):
        return MASK
    return value if type(value) is int else clean(str(value))


def _read_value(value: object) -> str | int:
    if type(value) is int or (type(value) is str and len(value) <= MAX_VALUE_CHARS):
        return value
    raise NotCanonical("a detail is neither short text nor an integer")

"""What members say to one another, and as which bytes.

A message is msgpack: `[version, kind, fields, statements]`. The transport attributes it to its
sender, so only statements, which travel on, are signed. Readers ignore what they do not know at the
end of fields; a message of an unknown kind is None, as garbage is.

What this module does not know: whether a signature holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from p2p.membership.swim.statements import (
    MAX_INCARNATION,
    MAX_MARK_BYTES,
    SIGNATURE_BYTES,
    Say,
    Statement,
    peer_of,
    raw_of,
)
from p2p.membership.swim.table import BUCKETS
from p2p.wire import PayloadError, decode_payload, encode_payload

VERSION = 1
MAX_STATEMENTS = 128
MAX_ENTRIES = 4_096
MAX_STATUS_BYTES = 704
MAX_SUMMARY_BYTES = 64
_U64 = 2**64


@dataclass(frozen=True, slots=True)
class Beat:
    """I am here, from my own loop; my picture has this digest.

    Attributes:
        status: for the layers above, and empty where there is nothing new.
        summary: for them too; in every beat.
    """

    sequence: int
    digest: int
    status: bytes = b""
    summary: bytes = b""


@dataclass(frozen=True, slots=True)
class Ping:
    nonce: int


@dataclass(frozen=True, slots=True)
class Ack:
    nonce: int


@dataclass(frozen=True, slots=True)
class PingFor:
    """Ping this one for me, and tell me when it answers."""

    nonce: int
    subject: bytes  # 32 bytes


@dataclass(frozen=True, slots=True)
class Helping:
    """I ask it. So the silence is not on the way from you to me."""

    nonce: int


@dataclass(frozen=True, slots=True)
class News:
    """Only the statements."""


@dataclass(frozen=True, slots=True)
class Compare:
    """My digests, bucket by bucket."""

    buckets: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Have:
    """What I hold in the buckets that differ."""

    buckets: tuple[int, ...]
    entries: tuple[tuple[bytes, int], ...]


@dataclass(frozen=True, slots=True)
class Want:
    """Give me what you hold about these: eight bytes of each id."""

    prefixes: tuple[bytes, ...]


Body = Beat | Ping | Ack | PingFor | Helping | News | Compare | Have | Want
_KINDS: tuple[type[Body], ...] = (Beat, Ping, Ack, PingFor, Helping, News, Compare, Have, Want)


@dataclass(frozen=True, slots=True)
class Message:
    body: Body
    statements: tuple[Statement, ...] = ()


def encode_message(message: Message) -> bytes:
    body = message.body
    fields = [getattr(body, name) for name in type(body).__slots__]
    if isinstance(body, Have):
        fields = [list(body.buckets), [list(entry) for entry in body.entries]]
    said = [_fields_of(statement) for statement in message.statements]
    return encode_payload([VERSION, _KINDS.index(type(body)), fields, said])


def decode_message(data: bytes) -> Message | None:
    """What these bytes say, or None. Never raises."""
    try:
        whole = decode_payload(data)
    except PayloadError:
        return None
    if not isinstance(whole, list) or len(whole) < 4 or whole[0] != VERSION:
        return None
    kind, fields, said = whole[1:4]
    if type(kind) is not int or not 0 <= kind < len(_KINDS):
        return None
    if not (isinstance(fields, list) and isinstance(said, list) and len(said) <= MAX_STATEMENTS):
        return None
    body = _body_of(_KINDS[kind], fields)
    statements = [_statement_of(each) for each in said]
    if body is None or None in statements:
        return None
    return Message(body, tuple(each for each in statements if each is not None))


def _fields_of(statement: Statement) -> list[object]:
    fields: list[object] = [
        int(statement.say),
        raw_of(statement.subject),
        statement.incarnation,
        statement.signature,
    ]
    if statement.say is Say.ACCUSED:
        return [*fields, raw_of(statement.signer)]
    return [*fields, statement.mark]


def _statement_of(fields: Any) -> Statement | None:
    if not isinstance(fields, list) or len(fields) < 5:
        return None
    say, subject, incarnation, signature, last = fields[:5]
    if type(say) is not int or type(incarnation) is not int:
        return None
    if not (type(subject) is bytes and type(signature) is bytes and type(last) is bytes):
        return None
    if not 0 <= incarnation <= MAX_INCARNATION or len(signature) != SIGNATURE_BYTES:
        return None
    about = peer_of(subject)
    if about is None or say not in tuple(Say):
        return None
    if say == Say.ACCUSED:
        signer = peer_of(last)
        if signer is None or signer == about:
            return None
        return Statement(Say.ACCUSED, about, incarnation, signer, b"", signature)
    if len(last) > MAX_MARK_BYTES:
        return None
    return Statement(Say(say), about, incarnation, about, last, signature)


def _body_of(kind: type[Body], fields: list[Any]) -> Body | None:
    wanted = len(kind.__slots__)
    if kind is Beat:
        return _beat_of(fields[:wanted])
    if len(fields) < wanted:
        return None
    given = fields[:wanted]
    if kind is PingFor:
        is_good = _are_numbers(given[:1]) and type(given[1]) is bytes and len(given[1]) == 32
        return PingFor(*given) if is_good else None
    if kind is News:
        return News()
    if kind is Compare:
        is_good = _are_numbers(given[0]) and len(given[0]) == BUCKETS
        return Compare(tuple(given[0])) if is_good else None
    if kind is Have:
        return _have_of(given)
    if kind is Want:
        return Want(tuple(given[0])) if _are_prefixes(given[0]) else None
    return kind(*given) if _are_numbers(given) else None


def _beat_of(given: list[Any]) -> Beat | None:
    """Earlier versions say no summary."""
    if len(given) < 3 or not _are_numbers(given[:2]):
        return None
    is_good = _is_short(given[2], MAX_STATUS_BYTES)
    is_good &= all(_is_short(each, MAX_SUMMARY_BYTES) for each in given[3:])
    return Beat(*given) if is_good else None


def _have_of(given: list[Any]) -> Have | None:
    buckets, entries = given
    if not _are_numbers(buckets) or len(buckets) > BUCKETS or max(buckets, default=0) >= BUCKETS:
        return None
    if not isinstance(entries, list) or len(entries) > MAX_ENTRIES:
        return None
    if not all(isinstance(each, list) and len(each) == 2 for each in entries):
        return None
    if not _are_prefixes([each[0] for each in entries]):
        return None
    if not _are_numbers([each[1] for each in entries]):
        return None
    return Have(tuple(buckets), tuple((each[0], each[1]) for each in entries))


def _are_numbers(given: Any) -> bool:
    return isinstance(given, list) and all(type(n) is int and 0 <= n < _U64 for n in given)


def _is_short(given: Any, most: int) -> bool:
    return type(given) is bytes and len(given) <= most


def _are_prefixes(given: Any) -> bool:
    if not isinstance(given, list) or len(given) > MAX_ENTRIES:
        return False
    return all(type(each) is bytes and len(each) == 8 for each in given)

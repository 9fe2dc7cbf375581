"""The nine messages of an introduction and of joining, to and from bytes.

Every message is a msgpack array that begins with its kind. Decoding is strict: exact types, exact
lengths, bounds on every field, nothing behind the end. The one leniency is in the three hellos,
where kind and version are judged before the rest is looked at, so that a later version with other
fields is refused as a version and not as garbage. The grammar is in `PROTOCOL.md`.

What this module does not know: which message may come when (`handshake`), whether what a message
claims is true (`checks`), and the inside of certificates, records and grants: they are bytes here.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum

import msgpack  # type: ignore[import-untyped]  # msgpack ships no types

from keys import PeerId
from p2p.admission.frames import MAX_FRAME_BYTES
from p2p.admission.refusals import MAX_TEXT_CHARS, Objection, RefusalCode, code_named, printable

VERSION = 2
NONCE_BYTES = 32
PROOF_BYTES = 64
POSSESSION_BYTES = 32
MAX_HINTS = 32
MAX_HINT_HOSTS = 4
MAX_HOST_CHARS = 64
MAX_CODE_CHARS = 32
MAX_PART_BYTES = 8_000
MAX_PARTS = 9  # of a revocation list with the chain of its signer
# What else is in a message that carries hints: a proof, or a refusal with its text.
HINTS_SLACK_BYTES = 1024

_FINGERPRINT = re.compile(r"[a-z2-7]{52}")
# An IP address in text, perhaps with a zone ("fe80::1%eth0"), or a host name.
_HOST = re.compile(r"[A-Za-z0-9._:%-]{1,64}")


class Kind(IntEnum):
    HELLO = 1
    DOOR_HELLO = 2
    INTRODUCTION = 3
    WELCOME = 4
    REFUSED = 5
    JOIN_HELLO = 6
    JOIN_REQUEST = 7
    JOIN_GRANT = 8
    LIST_PART = 9


@dataclass(frozen=True, slots=True)
class Hint:
    """Where a peer's door may be. Never believed: whoever is there must introduce itself."""

    peer_id: PeerId
    hosts: tuple[str, ...]
    port: int


@dataclass(frozen=True, slots=True)
class Hello:
    """A member asks to be introduced. Nothing of a member's papers yet."""

    network_id: str
    nonce: bytes


@dataclass(frozen=True, slots=True)
class JoinHello:
    """Someone with a ticket asks; the network is known from the ticket."""

    network_id: str
    nonce: bytes


@dataclass(frozen=True, slots=True)
class DoorHello:
    """The door shows its papers."""

    network_id: str
    nonce: bytes
    record: bytes
    chain: bytes


@dataclass(frozen=True, slots=True)
class Introduction:
    """The dialer shows its papers, and proves that it holds both keys that they name."""

    record: bytes
    chain: bytes
    proof: bytes
    possession: bytes


@dataclass(frozen=True, slots=True)
class Welcome:
    """The door has let the dialer in, proves the same, and says who else is there."""

    hints: tuple[Hint, ...]
    proof: bytes
    possession: bytes


@dataclass(frozen=True, slots=True)
class Refusing:
    """Either side ends the conversation and says why."""

    code: RefusalCode
    text: str
    hints: tuple[Hint, ...] = ()


@dataclass(frozen=True, slots=True)
class JoinRequest:
    request: bytes


@dataclass(frozen=True, slots=True)
class JoinGrant:
    grant: bytes


@dataclass(frozen=True, slots=True)
class ListPart:
    """Behind the refusal of one that was revoked: a part of the signed list that says so.

    Attributes:
        number: from 0 on.
        count: of all parts.
    """

    number: int
    count: int
    data: bytes


Message = (
    Hello
    | JoinHello
    | DoorHello
    | Introduction
    | Welcome
    | Refusing
    | JoinRequest
    | JoinGrant
    | ListPart
)

KINDS: dict[type[object], Kind] = {
    Hello: Kind.HELLO,
    DoorHello: Kind.DOOR_HELLO,
    Introduction: Kind.INTRODUCTION,
    Welcome: Kind.WELCOME,
    Refusing: Kind.REFUSED,
    JoinHello: Kind.JOIN_HELLO,
    JoinRequest: Kind.JOIN_REQUEST,
    JoinGrant: Kind.JOIN_GRANT,
    ListPart: Kind.LIST_PART,
}


def kind_of(message: Message) -> Kind:
    return KINDS[type(message)]


def encode(message: Message) -> bytes:
    kind = int(kind_of(message))
    fields: list[object]
    match message:
        case Hello() | JoinHello():
            fields = [kind, VERSION, message.network_id, message.nonce]
        case DoorHello():
            fields = [kind, VERSION, message.network_id, message.nonce]
            fields += [message.record, message.chain]
        case Introduction():
            fields = [kind, message.record, message.chain, message.proof, message.possession]
        case Welcome():
            fields = [kind, hint_fields(message.hints), message.proof, message.possession]
        case Refusing():
            text = printable(message.text)
            fields = [kind, str(message.code), text, hint_fields(message.hints)]
        case JoinRequest():
            fields = [kind, message.request]
        case JoinGrant():
            fields = [kind, message.grant]
        case ListPart():
            fields = [kind, message.number, message.count, message.data]
    return pack(fields)


def hint_fields(hints: Sequence[Hint]) -> list[object]:
    return [[hint.peer_id, list(hint.hosts), hint.port] for hint in hints]


def fitting(hints: Sequence[Hint]) -> tuple[Hint, ...]:
    """As many of these, in order, as one message holds."""
    room_bytes = MAX_FRAME_BYTES - HINTS_SLACK_BYTES
    chosen: list[Hint] = []
    for hint in hints[:MAX_HINTS]:
        room_bytes -= len(pack(hint_fields([hint])))
        if room_bytes < 0:
            break
        chosen.append(hint)
    return tuple(chosen)


def parts_of(packed: bytes) -> tuple[ListPart, ...]:
    """A packed revocation list, cut into messages."""
    cut = [packed[at : at + MAX_PART_BYTES] for at in range(0, len(packed), MAX_PART_BYTES)]
    assert 1 <= len(cut) <= MAX_PARTS, "`keys` makes none that is longer"
    return tuple(ListPart(number, len(cut), data) for number, data in enumerate(cut))


def pack(fields: list[object]) -> bytes:
    packed = msgpack.packb(fields)
    assert isinstance(packed, bytes)
    return packed


def decode(body: bytes) -> Message:
    """The message in a frame's body.

    Raises:
        Objection: it is none (MALFORMED), or a hello of another version (VERSION).
    """
    fields = _unpack(body)
    if not isinstance(fields, list) or not fields or type(fields[0]) is not int:
        raise _malformed("not an array that begins with a kind")
    try:
        kind = Kind(fields[0])
    except ValueError:
        raise _malformed("an unknown kind of message") from None
    if kind in (Kind.HELLO, Kind.DOOR_HELLO, Kind.JOIN_HELLO):
        version = _whole_number(fields[1:2], "version")
        if version != VERSION:
            raise Objection(
                RefusalCode.VERSION,
                f"the other side speaks version {version} of the introduction, this one {VERSION}",
            )
    return _DECODERS[kind](fields[1:])


def _unpack(body: bytes) -> object:
    try:
        return msgpack.unpackb(
            body,
            max_bin_len=MAX_FRAME_BYTES,
            max_str_len=4 * MAX_TEXT_CHARS,
            max_array_len=MAX_HINTS + 8,
            max_map_len=0,
            max_ext_len=0,
        )
    except (ValueError, OverflowError, TypeError, RecursionError, msgpack.UnpackException):
        raise _malformed("not msgpack, or over a limit") from None


def _malformed(problem: str) -> Objection:
    return Objection(RefusalCode.MALFORMED, problem)


def _count(fields: list[object], wanted: int) -> None:
    if len(fields) != wanted:
        raise _malformed(f"{len(fields)} fields instead of {wanted}")


def _whole_number(fields: list[object], what: str) -> int:
    # `type is int`, because True is an int to isinstance.
    if len(fields) != 1 or type(fields[0]) is not int:
        raise _malformed(f"the {what} is not a number")
    return fields[0]


def _data(value: object, what: str, *, exactly: int | None = None) -> bytes:
    if not isinstance(value, bytes) or not value:
        raise _malformed(f"the {what} is not bytes")
    if exactly is not None and len(value) != exactly:
        raise _malformed(f"the {what} has {len(value)} bytes instead of {exactly}")
    return value


def _fingerprint(value: object, what: str) -> str:
    if not isinstance(value, str) or not _FINGERPRINT.fullmatch(value):
        raise _malformed(f"the {what} is not a fingerprint")
    return sys.intern(value)  # it names somebody whom others name too


def _hints(value: object) -> tuple[Hint, ...]:
    if not isinstance(value, list) or len(value) > MAX_HINTS:
        raise _malformed(f"the hints are not an array of at most {MAX_HINTS}")
    return tuple(_hint(item) for item in value)


def _hint(item: object) -> Hint:
    if not isinstance(item, list) or len(item) != 3:
        raise _malformed("a hint does not have three fields")
    hosts = item[1]
    if not isinstance(hosts, list) or not 1 <= len(hosts) <= MAX_HINT_HOSTS:
        raise _malformed(f"a hint does not have 1 to {MAX_HINT_HOSTS} hosts")
    if not all(is_host(host) for host in hosts):
        raise _malformed("a hint's host is not a host")
    port = _whole_number(item[2:3], "port of a hint")
    if not 0 < port < 65_536:
        raise _malformed("the port of a hint is not a port")
    hosts = tuple(map(sys.intern, hosts))
    return Hint(PeerId(_fingerprint(item[0], "peer of a hint")), hosts, port)


def is_host(value: object) -> bool:
    return isinstance(value, str) and _HOST.fullmatch(value) is not None


def _hello(fields: list[object]) -> Hello:
    _count(fields, 3)
    nonce = _data(fields[2], "nonce", exactly=NONCE_BYTES)
    return Hello(_fingerprint(fields[1], "network id"), nonce)


def _join_hello(fields: list[object]) -> JoinHello:
    hello = _hello(fields)
    return JoinHello(hello.network_id, hello.nonce)


def _door_hello(fields: list[object]) -> DoorHello:
    _count(fields, 5)
    return DoorHello(
        _fingerprint(fields[1], "network id"),
        _data(fields[2], "nonce", exactly=NONCE_BYTES),
        _data(fields[3], "record"),
        _data(fields[4], "chain"),
    )


def _introduction(fields: list[object]) -> Introduction:
    _count(fields, 4)
    return Introduction(
        _data(fields[0], "record"),
        _data(fields[1], "chain"),
        _data(fields[2], "proof", exactly=PROOF_BYTES),
        _data(fields[3], "possession", exactly=POSSESSION_BYTES),
    )


def _welcome(fields: list[object]) -> Welcome:
    _count(fields, 3)
    return Welcome(
        _hints(fields[0]),
        _data(fields[1], "proof", exactly=PROOF_BYTES),
        _data(fields[2], "possession", exactly=POSSESSION_BYTES),
    )


def _refusing(fields: list[object]) -> Refusing:
    _count(fields, 3)
    word, text = fields[0], fields[1]
    if not isinstance(word, str) or not 0 < len(word) <= MAX_CODE_CHARS:
        raise _malformed("the reason of a refusal is not a word")
    if not isinstance(text, str) or len(text) > MAX_TEXT_CHARS:
        raise _malformed("the text of a refusal is too long or no text")
    return Refusing(code_named(word), printable(text), _hints(fields[2]))


def _join_request(fields: list[object]) -> JoinRequest:
    _count(fields, 1)
    return JoinRequest(_data(fields[0], "join request"))


def _join_grant(fields: list[object]) -> JoinGrant:
    _count(fields, 1)
    return JoinGrant(_data(fields[0], "grant"))


def _list_part(fields: list[object]) -> ListPart:
    _count(fields, 3)
    number = _whole_number(fields[0:1], "number of a part")
    count = _whole_number(fields[1:2], "number of parts")
    if not 0 <= number < count <= MAX_PARTS:
        raise _malformed(f"part {number} of {count} of a list")
    data = _data(fields[2], "part of a list")
    if len(data) > MAX_PART_BYTES:
        raise _malformed(f"a part of a list has {len(data)} bytes")
    return ListPart(number, count, data)


_DECODERS: dict[Kind, Callable[[list[object]], Message]] = {
    Kind.HELLO: _hello,
    Kind.DOOR_HELLO: _door_hello,
    Kind.INTRODUCTION: _introduction,
    Kind.WELCOME: _welcome,
    Kind.REFUSED: _refusing,
    Kind.JOIN_HELLO: _join_hello,
    Kind.JOIN_REQUEST: _join_request,
    Kind.JOIN_GRANT: _join_grant,
    Kind.LIST_PART: _list_part,
}

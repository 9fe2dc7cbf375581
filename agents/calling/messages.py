"""What travels for calls, notices and sends: msgpack lists, read with suspicion.

    agents.call    request  [capability, arguments]                     -> the result
    agents.notify  notice   [capability, arguments, priority]
    agents.send    request  [capability, arguments, start, number, floor, for start, is repeat]
            -> ["accepted"] | ["refused", code, detail] | ["restarted"] | ["settled"]

What this module does not know: who sends, what becomes of it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from agents.hosting import from_bytes, to_bytes
from p2p import (
    BadRequest,
    NoSuchMethod,
    Overloaded,
    PayloadError,
    PermissionDenied,
    RemoteError,
)

CALL = "agents.call"
NOTIFY = "agents.notify"
SEND = "agents.send"

LOW, NORMAL, HIGH = 0, 1, 2
PRIORITIES = {"low": LOW, "normal": NORMAL, "high": HIGH}

ACCEPTED, REFUSED, RESTARTED, SETTLED = "accepted", "refused", "restarted", "settled"
REFUSALS: dict[str, type[RemoteError]] = {
    "no_such_method": NoSuchMethod,
    "permission_denied": PermissionDenied,
    "overloaded": Overloaded,
    "bad_request": BadRequest,
}
_CODES = {error: code for code, error in REFUSALS.items()}


class Sent(NamedTuple):
    """One acknowledged message as it travels.

    Attributes:
        start: which of its starts the sender is in.
        number, floor: see `Window`.
        for_start: the start of the receiver that the sender means.
        is_repeat: an earlier copy may have arrived.
    """

    capability: str
    arguments: bytes
    start: int
    number: int
    floor: int
    for_start: int
    is_repeat: bool


def read_call(payload: bytes, where: str) -> tuple[str, bytes]:
    """Return the capability and the arguments of a call.

    Raises:
        BadRequest: it is none.
    """
    fields = _fields(payload, where, CALL)
    if len(fields) >= 2 and type(fields[0]) is str and type(fields[1]) is bytes:
        return fields[0], fields[1]
    raise BadRequest(where, CALL, "a call is [capability, arguments]")


def read_notice(payload: bytes, where: str) -> tuple[str, bytes, int]:
    """Return the capability, the arguments and the priority of a notice.

    Raises:
        BadRequest: it is none.
    """
    fields = _fields(payload, where, NOTIFY)
    if [type(f) for f in fields[:3]] == [str, bytes, int]:
        return fields[0], fields[1], fields[2]
    raise BadRequest(where, NOTIFY, "a notice is [capability, arguments, priority]")


def read_sent(payload: bytes, where: str) -> Sent:
    """Return an acknowledged message.

    Raises:
        BadRequest: it is none.
    """
    fields = _fields(payload, where, SEND)
    if [type(f) for f in fields[:7]] == [str, bytes, int, int, int, int, bool]:
        return Sent(*fields[:7])
    raise BadRequest(where, SEND, "a message has another form")


def refusal(error: RemoteError) -> bytes:
    """Return the answer to a message that was refused so."""
    return to_bytes([REFUSED, _CODES.get(type(error), "overloaded"), error.detail])


def read_verdict(answer: bytes, peer: str, capability: str) -> str | RemoteError:
    """Return what a receiver said: the word, or the error in a refusal."""
    try:
        fields = from_bytes(answer)
    except PayloadError:
        fields = None
    if isinstance(fields, list) and fields and all(isinstance(f, str) for f in fields):
        if fields[0] in (ACCEPTED, RESTARTED, SETTLED):
            return str(fields[0])
        if fields[0] == REFUSED and len(fields) >= 3:
            kind = REFUSALS.get(fields[1], Overloaded)
            return kind(peer, capability, fields[2][:4096])
    return BadRequest(peer, capability, "it answered in a way that cannot be read")


def _fields(payload: bytes, where: str, what: str) -> list[Any]:
    try:
        fields = from_bytes(payload)
    except PayloadError as error:
        raise BadRequest(where, what, str(error)) from None
    if not isinstance(fields, list):
        raise BadRequest(where, what, "it is no list")
    return fields

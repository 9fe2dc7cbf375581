"""What travels for calls, notices and sends: msgpack lists, read with suspicion.

    the message             [capability, [positional, ...], {name: value}]
    agents.call    request  the message                                    -> the result
    agents.notify  notice   [priority, the message's bytes]
    agents.send    request  [start, number, floor, for start, the message's bytes]
            -> ["accepted"] | ["refused", code, detail] | ["restarted"] | ["settled"]

A message is packed once, where the program hands it over, and unpacked once, where it is bound.

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
        for_start: the start of the receiver that the sender means; 0 for any.
    """

    start: int
    number: int
    floor: int
    for_start: int
    message: bytes


def read_message(message: bytes, where: str) -> tuple[str, list[Any], dict[Any, Any]]:
    """Return the capability and the arguments of a message.

    Raises:
        BadRequest: it is none.
    """
    fields = _fields(message, where, CALL)
    if len(fields) >= 3:
        capability, args, kwargs = fields[:3]
        if type(capability) is str and type(args) is list and type(kwargs) is dict:
            return capability, args, kwargs
    raise BadRequest(where, CALL, "a message is [capability, positional, by name]")


def read_notice(payload: bytes, where: str) -> tuple[int, bytes]:
    """Return the priority and the message of a notice.

    Raises:
        BadRequest: it is none.
    """
    fields = _fields(payload, where, NOTIFY)
    if [type(f) for f in fields[:2]] == [int, bytes]:
        return fields[0], fields[1]
    raise BadRequest(where, NOTIFY, "a notice is [priority, message]")


def read_sent(payload: bytes, where: str) -> Sent:
    """Return an acknowledged message.

    Raises:
        BadRequest: it is none.
    """
    fields = _fields(payload, where, SEND)
    if [type(f) for f in fields[:5]] == [int, int, int, int, bytes]:
        return Sent(*fields[:5])
    raise BadRequest(where, SEND, "it is no numbered message")


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

"""Frames on the local socket: four bytes of length, then one msgpack value.

Requests are `[id, operation, params]`, a negative id cancels; answers are `[id, tag, value]` with
a tag of `ok`, `item`, `end` or `error`. Errors keep their class, text and fields, so that a
program attached to a node catches the same exceptions as the node itself. A request that opens a
channel turns its connection into one: from then on a frame is length, one byte of tag, raw bytes.

What this module does not know: operations, sockets' paths.
"""

from __future__ import annotations

import asyncio
import struct
from functools import cache
from typing import Any

import p2p
from agents import errors as agent_errors
from agents.hosting.values import from_bytes, to_bytes

MAX_FRAME_BYTES = 64 * 1024 * 1024
COPY_BYTES = 16 * 1024
LOCAL_VERSION = 1

_LENGTH = struct.Struct(">I")
_CHANNEL_HEAD = struct.Struct(">IB")
_PLAIN = (str, int, float, bool, bytes, type(None))


class BadLocalFrame(agent_errors.AgentsError):
    """The other end of the local socket does not speak our version of this protocol."""


async def read_frame(reader: asyncio.StreamReader) -> Any:
    """Return the next value, or None at a clean end.

    Raises:
        BadLocalFrame: the length is over the limit or the bytes are no value.
    """
    try:
        (size,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        if size > MAX_FRAME_BYTES:
            raise BadLocalFrame(f"a local message of {size:,} bytes is over the limit")
        return from_bytes(await reader.readexactly(size))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    except p2p.PayloadError as error:
        raise BadLocalFrame(f"a local message cannot be read: {error}") from None


def frame_of(value: object) -> bytes:
    """Return the bytes that carry this value.

    Raises:
        PayloadTooLarge: over the limit of a local message.
    """
    body = to_bytes(value)
    if len(body) > MAX_FRAME_BYTES:
        raise p2p.PayloadTooLarge(len(body), MAX_FRAME_BYTES, "local message")
    return _LENGTH.pack(len(body)) + body


async def read_channel_frame(
    reader: asyncio.StreamReader, limit_bytes: int
) -> tuple[int, bytes] | None:
    """Return the next tag and bytes of a channel, or None at the end.

    Raises:
        BadLocalFrame: it is over the limit.
    """
    try:
        size, tag = _CHANNEL_HEAD.unpack(await reader.readexactly(_CHANNEL_HEAD.size))
        if size > limit_bytes:
            raise BadLocalFrame(f"a message of {size:,} bytes on a channel is over the limit")
        return tag, await reader.readexactly(size)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


def write_channel_frame(writer: asyncio.StreamWriter, tag: int, body: bytes) -> None:
    """Write a message of a channel, unless the connection is closed."""
    if not writer.is_closing():
        head = _CHANNEL_HEAD.pack(len(body), tag)
        if len(body) <= COPY_BYTES:
            writer.write(head + body)  # a second call of the system would cost more than a copy
        else:
            writer.write(head)
            writer.write(body)


def describe_error(error: Exception) -> dict[str, Any]:
    """Return an error as plain data."""
    fields = {}
    for name, value in vars(error).items():
        if isinstance(value, _PLAIN) or (
            isinstance(value, tuple) and all(isinstance(v, _PLAIN) for v in value)
        ):
            fields[name] = value
    return {"type": type(error).__name__, "message": str(error), "fields": fields}


def rebuild_error(described: Any) -> Exception:
    """Return the error that `describe_error` was given; an unknown class becomes `AgentsError`."""
    if not isinstance(described, dict):
        return BadLocalFrame("the node failed without saying how")
    message = str(described.get("message", "the node failed"))
    kind = _known().get(str(described.get("type")), agent_errors.AgentsError)
    error = kind.__new__(kind, message)
    Exception.__init__(error, message)
    fields = described.get("fields")
    if isinstance(fields, dict):
        for name, value in fields.items():
            # Beside what the class has, never in place of it: `__class__` is a name like any other.
            vars(error)[str(name)] = tuple(value) if isinstance(value, list) else value
    return error


@cache
def _known() -> dict[str, type[Exception]]:
    """Every error that a node may send, by its name; loads what raises it, which few programs do
    themselves."""
    import keys
    import keys.sealing
    import keys.tokens

    roots = (keys.KeysError, p2p.P2PError, agent_errors.AgentsError, p2p.PayloadError)
    return {name: kind for root in roots for name, kind in _tree(root).items()}


def _tree(root: type[Exception]) -> dict[str, type[Exception]]:
    found = {root.__name__: root}
    for child in root.__subclasses__():
        found |= _tree(child)
    return found

"""`conclave seal | unseal`: a file that only some peers can read, as lines of base64.

What this module does not know: keys, how the node seals.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from agents.cli.attached import ask_node, print_json
from agents.errors import InvalidArguments
from agents.net import Net
from agents.observe import printable
from agents.sealing import Unsealed

MAX_BYTES: Final = 1024 * 1024 - 1024
_LONGEST: Final = 2 * MAX_BYTES  # sealed, and in base64
_LINE: Final = 76


def run(arguments: argparse.Namespace) -> None:
    """Seal or open what the file holds."""
    {"seal": _seal, "unseal": _unseal}[arguments.command](arguments)


def _seal(arguments: argparse.Namespace) -> None:
    content = _read(arguments.file, MAX_BYTES)

    async def ask(net: Net) -> bytes:
        return await net.seal(content, to=arguments.to, purpose=arguments.purpose)

    text = base64.b64encode(ask_node(arguments, ask)).decode()
    if arguments.json:
        print_json({"to": arguments.to, "purpose": arguments.purpose, "sealed": text})
        return
    for start in range(0, len(text), _LINE):
        print(text[start : start + _LINE])


def _unseal(arguments: argparse.Namespace) -> None:
    data = _sealed_in(_read(arguments.file, _LONGEST))

    async def ask(net: Net) -> Unsealed:
        return await net.unseal(data, purpose=arguments.purpose, stored=not arguments.once)

    found = ask_node(arguments, ask)
    at = datetime.fromtimestamp(found.sealed_at, UTC).isoformat(timespec="seconds")
    if arguments.json:
        fields: dict[str, Any] = {"sender": found.sender, "name": found.name, "sealed_at": at}
        print_json({**fields, "value": found.value})
        return
    print(f"sealed by {printable(found.name)} ({found.sender[:8]}) at {at}", file=sys.stderr)
    if isinstance(found.value, bytes):
        sys.stdout.flush()
        sys.stdout.buffer.write(found.value)
    else:
        print_json(found.value)


def _sealed_in(content: bytes) -> bytes:
    """The sealed message in a file: as it is, or as lines of base64."""
    try:
        return base64.b64decode(b"".join(content.split()), validate=True)
    except binascii.Error:
        return content  # the node says what is wrong with it


def _read(name: str, limit_bytes: int) -> bytes:
    """
    Raises:
        InvalidArguments: it is too large.
        OSError: it cannot be read.
    """
    if name == "-":
        content = sys.stdin.buffer.read(limit_bytes + 1)
    else:
        with Path(name).open("rb") as file:
            content = file.read(limit_bytes + 1)
    if len(content) > limit_bytes:
        raise InvalidArguments(name, f"more than {limit_bytes:,} bytes; send it as a file instead")
    return content

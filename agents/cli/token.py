"""`conclave token ...`: session tokens for callers outside the network, and who may have them.

What this module does not know: what tokens look like, how they are verified.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from agents.cli.attached import ask_node, print_json
from agents.cli.dates import day_of
from agents.cli.show import print_table
from agents.errors import InvalidArguments
from agents.net import Net
from agents.observe import printable
from keys.tokens import JTI

LONGEST: Final = 8192
KEY_CHARS: Final = 43


def run(arguments: argparse.Namespace) -> int:
    """Do what the verb says."""
    verbs: dict[str, Callable[[argparse.Namespace], None]] = {
        "issue": _issue,
        "show": _show,
        "revoke": _revoke,
        "client": _client,
    }
    verbs[arguments.verb](arguments)
    return 0


def _issue(arguments: argparse.Namespace) -> None:
    async def ask(net: Net) -> dict[str, Any]:
        return await net.tokens.issue(
            _words(arguments.scope),
            roles=arguments.roles,
            audience=arguments.audience,
            life_s=round(arguments.minutes * 60),
        )

    said = ask_node(arguments, ask)
    if arguments.json:
        print_json(said)
        return
    print(said["token"])
    print(
        f"conclave: {said['jti']}, good until {day_of(said['expires_ms'])} for {said['scope']}",
        file=sys.stderr,
    )


def _show(arguments: argparse.Namespace) -> None:
    if arguments.file == "-":
        text = sys.stdin.read(LONGEST)
    else:
        with Path(arguments.file).expanduser().open(encoding="ascii", errors="replace") as file:
            text = file.read(LONGEST)

    async def ask(net: Net) -> dict[str, Any]:
        return await net.tokens.verify(text.strip())

    said = ask_node(arguments, ask)
    if arguments.json:
        print_json(said)
        return
    issuer = f"{said['issuer_name']} ({said['issuer'][:8]})"
    for name, value in (
        ("bearer", said["subject"]),
        ("given by", issuer),
        ("for", said["audience"]),
        ("scope", said["scope"]),
        ("roles", said["roles"]),
        ("namespaces", ", ".join(said["namespaces"])),
        ("until", day_of(said["expires_ms"])),
        ("jti", said["jti"]),
    ):
        print(printable(f"{name:<11} {value}"))


def _revoke(arguments: argparse.Namespace) -> None:
    if arguments.client is None and not JTI.fullmatch(arguments.jti or ""):
        problem = "give the jti of a token, as `conclave token show` prints it, or --client"
        raise InvalidArguments("token revoke", problem)

    async def ask(net: Net) -> None:
        await net.tokens.revoke(arguments.jti, client=arguments.client)

    ask_node(arguments, ask)
    what = f"token {arguments.jti}"
    if arguments.client is not None:
        what = f"every token that the client {arguments.client} has"
    _say(arguments, {"revoked": arguments.client or arguments.jti}, f"{what} is refused now")


def _client(arguments: argparse.Namespace) -> None:
    {"add": _add, "list": _list, "remove": _remove}[arguments.what](arguments)


def _add(arguments: argparse.Namespace) -> None:
    key = _key(arguments.key)

    async def ask(net: Net) -> dict[str, Any]:
        return await net.tokens.add_client(
            arguments.name,
            key,
            _words(arguments.scope),
            roles=arguments.roles,
            namespaces=arguments.namespace,
        )

    said = ask_node(arguments, ask)
    text = f"client:{said['name']} may ask for tokens for {said['scope']}"
    _say(arguments, said, printable(text))


def _list(arguments: argparse.Namespace) -> None:
    async def ask(net: Net) -> list[dict[str, Any]]:
        return await net.tokens.clients()

    said = ask_node(arguments, ask)
    if arguments.json:
        print_json(said)
        return
    rows = [
        (
            f"client:{row['name']}",
            row["scope"],
            row["roles"],
            ", ".join(row["namespaces"]),
            f"{day_of(row['added_ms'])} by {row['added_by']}",
        )
        for row in said
    ]
    print_table(("CLIENT", "SCOPE", "ROLES", "NAMESPACES", "ADDED"), rows)


def _remove(arguments: argparse.Namespace) -> None:
    async def ask(net: Net) -> None:
        await net.tokens.remove_client(arguments.name)

    ask_node(arguments, ask)
    _say(
        arguments, {"removed": arguments.name}, f"client:{arguments.name} is gone, with its tokens"
    )


def _words(scopes: list[str]) -> list[str]:
    return [word for scope in scopes for word in scope.split()]


def _key(text: str) -> bytes:
    """
    Raises:
        InvalidArguments: it is no public key.
    """
    try:
        if len(text) == KEY_CHARS:
            return base64.b64decode(text + "=", b"-_", validate=True)
        return bytes.fromhex(text)
    except (binascii.Error, ValueError):
        problem = "an Ed25519 public key is 43 characters of base64url, or 64 of hex"
        raise InvalidArguments("token client add", problem) from None


def _say(arguments: argparse.Namespace, said: Any, text: str) -> None:
    if arguments.json:
        print_json(said)
    else:
        print(text)

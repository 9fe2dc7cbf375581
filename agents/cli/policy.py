"""`conclave policy ...`: who may do what, beyond roles and namespaces."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agents.blank import BEGUN
from agents.cli.attached import ask_node, print_json
from agents.cli.places import home_of
from agents.errors import NodeNotUp
from agents.net import Net
from keys import Policy, PolicyInvalid, built_in_text
from keys.policies import MAX_POLICY_BYTES, parse_policy

EXIT_DENIED = 1


def run(arguments: argparse.Namespace) -> int:
    """Do what the verb says."""
    verbs: dict[str, Callable[[argparse.Namespace], int | None]] = {
        "show": _show,
        "check": _check,
        "set": _set,
        "reset": _reset,
        "explain": _explain,
    }
    return verbs[arguments.verb](arguments) or 0


def _show(arguments: argparse.Namespace) -> None:
    if arguments.built_in:
        _say(arguments, {"built_in": built_in_text()}, built_in_text().rstrip())
        return

    async def ask(net: Net) -> dict[str, Any]:
        return await net.policy.show()

    said = ask_node(arguments, ask)
    if arguments.json:
        print_json(said)
        return
    for name, text in (
        (f"this node's own ({said['path']})", said["file"]),
        (f"the network's (entry {said['entry']})", said["replicated"]),
    ):
        if text is not None:
            print(f"# {name}")
            _print_safely(text.rstrip())
    if said["file"] is None and said["replicated"] is None:
        print("no policy is in force; `conclave policy show --built-in` says what roles allow")


def _check(arguments: argparse.Namespace) -> None:
    policy = _read(arguments.file)
    count = len(policy.rules)
    _say(arguments, {"rules": count}, f"{arguments.file} is a policy of {count} rule(s)")


def _set(arguments: argparse.Namespace) -> None:
    text = _read(arguments.file).text

    async def ask(net: Net) -> int:
        return await net.policy.set(text, force=arguments.force)

    index = ask_node(arguments, ask)
    _say(arguments, {"entry": index}, f"the network has this policy now, by entry {index}")


def _reset(arguments: argparse.Namespace) -> None:
    async def ask(net: Net) -> int:
        return await net.policy.reset()

    try:
        index = ask_node(arguments, ask)
    except NodeNotUp:
        _reset_while_down(arguments)
    else:
        _say(arguments, {"entry": index}, "the network has no policy any more; roles decide")


def _reset_while_down(arguments: argparse.Namespace) -> None:
    """The way out for those who locked themselves out: whoever owns a voter's machine may."""
    from agents.passphrases import passphrase
    from keys import Keystore
    from keys.policies import PolicyStore

    home = home_of(arguments)
    keystore = Keystore.open(home, passphrase(home))
    if not (home / BEGUN).exists():
        raise SystemExit(f"conclave: {home} is no voter's; do it on the machine of a voter")
    if not arguments.yes:
        if not sys.stdin.isatty():
            raise SystemExit("conclave: nothing was done: say --yes, for nobody can be asked here")
        print("When this node is up again, it has the network give up its policy.")
        if input("Type yes to go on: ").strip() != "yes":
            raise SystemExit("conclave: nothing was done")
    with keystore.lock():
        place = PolicyStore(home).want_recovery()
    said = {"up_to_entry": place.index}
    _say(arguments, said, "noted: bring this node up, and the network gives its policy up")


def _explain(arguments: argparse.Namespace) -> int:
    async def ask(net: Net) -> dict[str, Any]:
        return await net.policy.explain(arguments.who, arguments.action, arguments.what)

    said = ask_node(arguments, ask)
    if arguments.json:
        print_json(said)
    else:
        word = "allowed" if said["allowed"] else "denied"
        rule = f" rule {said['rule']!r}" if said["rule"] else ""
        print(f"{word} by {said['source']}{rule}: {said['why']}")
    return 0 if said["allowed"] else EXIT_DENIED


def _read(file: str) -> Policy:
    """
    Raises:
        PolicyInvalid: the file holds none.
    """
    with Path(file).open("rb") as opened:
        data = opened.read(MAX_POLICY_BYTES + 1)
    try:
        return parse_policy(data.decode(), file)
    except UnicodeDecodeError:
        raise PolicyInvalid(file, "it is no UTF-8") from None


def _print_safely(text: str) -> None:
    print("".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text))


def _say(arguments: argparse.Namespace, said: Any, text: str) -> None:
    if arguments.json:
        print_json(said)
    else:
        print(text)

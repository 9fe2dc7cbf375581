"""`conclave keys ...`: the keys of this node."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from agents.cli import safekeeping
from agents.cli.attached import ask_node, print_json
from agents.net import Net


def run(arguments: argparse.Namespace) -> int:
    """Do what the verb says."""
    verbs: dict[str, Callable[[argparse.Namespace], int | None]] = {
        "rotate": _rotate,
        "show": safekeeping.show,
        "change-passphrase": safekeeping.change,
        "backup": safekeeping.backup,
        "backup-key": safekeeping.make_key,
        "restore": safekeeping.restore,
    }
    return verbs[arguments.verb](arguments) or 0


def _rotate(arguments: argparse.Namespace) -> None:
    async def ask(net: Net) -> dict[str, Any]:
        return await net.keys.rotate()

    said = ask_node(arguments, ask)
    if arguments.json:
        print_json(said)
        return
    came = said["present"] - len(said["missed"])
    print(
        f"this node's transport key was changed in {said['took_ms'] / 1000:.1f} s; "
        f"{came} of {said['present']} peers came over, the old key is forgotten"
    )
    for _, label in said["missed"]:
        print(f"  {label} did not answer: it was cut off and will meet us again by itself")

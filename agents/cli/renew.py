"""`conclave renew`: a new certificate for this node, now."""

from __future__ import annotations

import argparse
from typing import Any

from agents.cli.attached import ask_node, print_json
from agents.cli.dates import day_of
from agents.net import Net


def run(arguments: argparse.Namespace) -> None:
    """Ask the node, which asks itself or an issuer."""

    async def ask(net: Net) -> dict[str, Any]:
        return await net.renew()

    said = ask_node(arguments, ask)
    if arguments.json:
        print_json(said)
        return
    print(f"this node's certificate is good until {day_of(said['until_ms'])}")
    print(f"it will be renewed by itself on {day_of(said['renewed_ms'])}")

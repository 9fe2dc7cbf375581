"""The words of the commands that look after trust: one function for each family.

What this module does not know: what the commands do; see the module that each one names.
"""

from __future__ import annotations

import argparse

from agents.cli.words import Parser, add_command


def add_trust_commands(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add them all."""
    _renewal(commands)


def _renewal(commands: argparse._SubParsersAction[Parser]) -> None:
    renew = add_command(commands, "renew", "renew", "renew this node's certificate now")
    renew.add_argument("--json", action="store_true", help="print one JSON object")

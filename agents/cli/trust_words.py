"""The words of the commands that look after trust: one function for each family.

What this module does not know: what the commands do; see the module that each one names.
"""

from __future__ import annotations

import argparse

from agents.cli.words import Parser


def add_trust_commands(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add them all."""

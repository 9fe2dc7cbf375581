"""Command words: a parser whose complaints are one line.

What this module does not know: which commands there are.
"""

from __future__ import annotations

import argparse
from typing import NoReturn

EXIT_USAGE = 2


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong with the words, and where to read more."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_USAGE, f"conclave: {message}; see `{self.prog} --help`\n")


def add_command(
    commands: argparse._SubParsersAction[Parser], name: str, module: str, text: str
) -> Parser:
    """Add one command, which a module of `agents.cli` runs."""
    command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    command.set_defaults(module=f"agents.cli.{module}")
    command.add_argument("--home", help="the node's directory (CONCLAVE_HOME, ~/.conclave)")
    return command


def add_verb(verbs: argparse._SubParsersAction[Parser], name: str, text: str) -> Parser:
    """Add one verb of a command, which knows `--home` and `--json`."""
    added = verbs.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    added.add_argument("--home", default=argparse.SUPPRESS, help="the node's directory")
    added.add_argument("--json", action="store_true", help="print JSON")
    return added

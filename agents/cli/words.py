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

"""Words of the command line about who votes: those of `conclave submit --policy vote`.

What this module does not know: what a vote is about.
"""

from __future__ import annotations

import argparse

from agents.cli.numbers import seconds
from agents.errors import InvalidArguments


def add_voting(command: argparse.ArgumentParser) -> None:
    """Let somebody say who decides on a task."""
    command.add_argument(
        "--policy",
        choices=("majority", "vote"),
        default="majority",
        help="vote: named voters approve who does it, before anybody does",
    )
    command.add_argument(
        "--voter", action="append", metavar="NAME", help="default: the voters of the log"
    )
    command.add_argument(
        "--may-veto", action="append", metavar="NAME", help="a voter that can stop it alone"
    )
    command.add_argument("--threshold", metavar="N/M", help="to be exceeded; default: 2/3")
    command.add_argument(
        "--vote-deadline", type=seconds, metavar="S", help="for each vote; default: 60"
    )


def fraction(word: str) -> tuple[int, int]:
    """
    Raises:
        InvalidArguments: it is none.
    """
    numerator, _, denominator = word.partition("/")
    try:
        return int(numerator), int(denominator)
    except ValueError:
        raise InvalidArguments("threshold", f"{word!r} is no fraction such as 2/3") from None

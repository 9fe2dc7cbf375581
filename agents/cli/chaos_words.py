"""The words of `conclave chaos`.

What this module does not know: what they do.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from agents.cli.numbers import count
from agents.cli.words import Parser, add_command, add_verb

MAX_SEEDS = 1_000_000


def add_chaos(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the commands."""
    chaos = add_command(commands, "chaos", "chaos", "hurt a network by a script, and judge it")
    verbs = chaos.add_subparsers(dest="verb", metavar="VERB", title="verbs", required=True)
    run = add_verb(verbs, "run", "run a scenario, in virtual time or on processes")
    run.add_argument("file", help="with `async def scenario(net)`")
    which = run.add_mutually_exclusive_group()
    which.add_argument("--seed", type=int, default=0, metavar="N", help="(default: 0)")
    which.add_argument(
        "--seeds", type=seeds, metavar="FROM:TO", help="all of them, without the last"
    )
    run.add_argument(
        "--workers", type=count, default=1, metavar="N", help="processes for --seeds (default: 1)"
    )
    run.add_argument(
        "--real",
        action="store_true",
        help="on processes of `conclave up`, each in a network namespace; Linux, as root",
    )
    run.add_argument(
        "--loopback",
        action="store_true",
        help="with --real: all on loopback, where only processes and clocks can be hurt",
    )
    run.add_argument(
        "--picture", type=Path, metavar="FILE.svg", help="draw the timeline of one run there"
    )
    run.add_argument("--quiet", action="store_true", help="print the verdict, not the timeline")


def seeds(text: str) -> range:
    """A span of seeds, such as 0:500."""
    first, colon, last = text.partition(":")
    try:
        found = range(int(first), int(last)) if colon else range(int(first))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no span such as 0:500") from None
    if not 0 < len(found) <= MAX_SEEDS:
        raise argparse.ArgumentTypeError(f"{text!r} is a span of {len(found)} seeds")
    return found

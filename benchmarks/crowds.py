"""Many peers that look out for each other, brought up and asked together.

What this module does not know: what happens to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.workers import Worker

LOOKOUTS = "benchmarks.ours.lookouts"
LOOPBACK = "127.0.0.1"
ANSWER_S = 90.0


def all_up(
    stack: ExitStack,
    homes: Sequence[Path],
    hosts: Sequence[str] = (),
    before: Sequence[Sequence[str]] = (),
) -> list[Worker]:
    """Start a process for each home, and return them when all have met.

    Args:
        hosts: the address of each; the loopback address otherwise.
        before: what stands before the command of each.
    """

    def worker(number: int, *seed: str) -> Worker:
        host = hosts[number] if hosts else LOOPBACK
        words = (host, str(homes[number]), *seed)
        made = Worker(LOOKOUTS, *words, before=before[number] if before else ())
        return stack.enter_context(made)

    first = worker(0)
    peers = [first, *(worker(number, first.ready["door"]) for number in range(1, len(homes)))]
    ask_all(peers, "meet", count=len(peers) - 1)
    return peers


def ask_all(peers: Sequence[Worker], do: str, **words: Any) -> list[dict[str, Any]]:
    """Order all of them at once, and wait for all."""
    for peer in peers:
        peer.order(do, **words)
    return [peer.answer(ANSWER_S) for peer in peers]

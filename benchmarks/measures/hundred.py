"""A hundred peers on this machine: how soon all know all, and what each costs.

It ends in any case: who is not up, or does not know all, within the limit is counted, and what it
has cost until then is told. A process that ends is left out with a word.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.contenders import homes_of, skipped
from benchmarks.figures import Figure, measures, median_of
from benchmarks.pace import pace
from benchmarks.workers import Worker, WorkerFailed

PEERS = 100
PROCESSES = 25  # few peers each: a busy loop is late for all that run on it
EACH = PEERS // PROCESSES
KNOWN_S = 15.0
RSS_MB = 45.0
START_S = 120.0
LIMIT_S = 120.0
ANSWER_S = 30.0  # of a process that is busy
MB = 1e6

Words = dict[str, Any]


@measures("hundred")
def hundred() -> Iterator[Figure]:
    """Processes of some peers each begin at once; every peer has the same seed."""
    runs = [_run() for _ in range(pace().repeats)]
    how = f"{PEERS} peers in {PROCESSES} processes on loopback, without mDNS, one seed"
    least = [run["pairs"] for run in runs]
    yield median_of(
        "100 peers, who know all",
        [run["whole"] for run in runs],
        "",
        f"{min(least):.0%} to {max(least):.0%} of all pairs knew each other at the end; {how}",
        target=PEERS,
        more_is_better=True,
    )
    yield median_of(
        "100 peers, all know all",
        [run["known_s"] for run in runs],
        "s",
        f"from the last peer's being up until the last calls the last alive, so that at one moment "
        f"all do; {LIMIT_S:g} s where they never do; {how}",
        target=KNOWN_S,
    )
    yield median_of("100 peers, up", [run["up_s"] for run in runs], "s", f"the last; {how}")
    yield median_of(
        "100 peers, CPU until then", [run["cpu_s"] for run in runs], "s", f"of all together; {how}"
    )
    mb = [each for run in runs for each in run["mb"]]
    yield median_of("100 peers, memory of each", mb, "MB", f"growth of RSS by its peers; {how}")
    yield median_of(
        "100 peers, RSS of a process",
        [each for run in runs for each in run["rss_mb"]],
        "MB",
        f"of {EACH} peers; {how}",
        target=RSS_MB * EACH,
    )
    yield median_of(
        "100 peers, most links of one", [run["links"] for run in runs], "", f"on all lanes; {how}"
    )
    yield median_of(
        "100 peers, CPU of each at rest", [run["idle"] for run in runs], "%", f"of one core; {how}"
    )


def _run() -> Words:
    with ExitStack() as stack:
        homes = stack.enter_context(homes_of(PEERS))
        crowd = Crowd(stack, [homes[at : at + EACH] for at in range(0, PEERS, EACH)])
        before = crowd.ask("held")
        begun = crowd.begin()
        met = crowd.meet()
        after = crowd.ask("held")
        time.sleep(pace().watch_s)
        later = crowd.ask("held")
    up_s = max((word["up_s"] for word in begun.values()), default=time.time())
    known = _known(met)
    at_s = max((word["at_s"] for word in met.values()), default=up_s)
    idle_s = sum(later[n]["cpu_s"] - after[n]["cpu_s"] for n in later)
    return {
        "whole": sum(count >= PEERS - 1 for count in known),
        "pairs": sum(known) / (PEERS * (PEERS - 1)),
        "known_s": max(0.0, at_s - up_s) if _is_whole(known) else LIMIT_S,
        "up_s": up_s - crowd.began_s,
        "cpu_s": sum(after[n]["cpu_s"] - before[n]["cpu_s"] for n in after),
        "mb": [(after[n]["rss"] - before[n]["rss"]) / EACH / MB for n in after],
        "rss_mb": [after[n]["rss"] / MB for n in after],
        "links": max((word["links"] for word in after.values()), default=0),
        "idle": 100 * idle_s / pace().watch_s / max(1, EACH * len(later)),
    }


def _known(met: dict[int, Words]) -> list[int]:
    return [known for word in met.values() for known in word["known"]]


def _is_whole(known: list[int]) -> bool:
    return len(known) == PEERS and min(known) >= PEERS - 1


class Crowd:
    """The processes that are there; one that fails is one less."""

    def __init__(self, stack: ExitStack, parts: list[list[Path]]) -> None:
        self._workers: dict[int, Worker] = {}
        self.began_s = 0.0
        for number, part in enumerate(parts):
            words = ("benchmarks.ours.hundreds", *map(str, part))
            self._workers[number] = stack.enter_context(Worker(*words))

    @property
    def workers(self) -> Sequence[Worker]:
        """Those that are there."""
        return tuple(self._workers.values())

    def begin(self) -> dict[int, Words]:
        """The first, whose first peer is the seed of all; then all others at once."""
        first = self._workers[0].ask("begin", answer_s=START_S, seeds=[])
        self.began_s = first["began_s"]
        others = {n: worker for n, worker in self._workers.items() if n}
        return {0: first} | self._all(others, "begin", START_S, seeds=[first["door"]])

    def meet(self) -> dict[int, Words]:
        """What each knows once all know all, at one moment, or when the time is over. Who knew all
        when it was asked may suspect one of them while others are waited for."""
        ends_s = time.monotonic() + LIMIT_S
        while True:
            left_s = max(0.1, ends_s - time.monotonic())
            met = self.ask("meet", limit_s=left_s, count=PEERS - 1, until_s=left_s)
            if _is_whole(_known(met)) or time.monotonic() >= ends_s:
                return met
            time.sleep(0.1)

    def ask(self, do: str, limit_s: float = 0.0, **words: Any) -> dict[int, Words]:
        """What each says, by its number."""
        return self._all(dict(self._workers), do, limit_s + ANSWER_S, **words)

    def _all(
        self, workers: dict[int, Worker], do: str, limit_s: float, **words: Any
    ) -> dict[int, Words]:
        ends_s = time.monotonic() + limit_s
        asked: dict[int, Worker] = {}
        for number, worker in workers.items():
            try:
                worker.order(do, **words)
                asked[number] = worker
            except WorkerFailed as failure:
                self._lose(number, failure)
        answers: dict[int, Words] = {}
        for number, worker in asked.items():
            try:
                answers[number] = worker.answer(max(1.0, ends_s - time.monotonic()))
            except WorkerFailed as failure:
                self._lose(number, failure)
        return answers

    def _lose(self, number: int, failure: WorkerFailed) -> None:
        skipped(f"process {number}", str(failure)[-500:])
        del self._workers[number]

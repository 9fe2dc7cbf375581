"""Commits a second of three voters with logs on disk, beside SQLite alone on the same disk."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from agents.running import run_loop
from benchmarks.figures import Against, Figure, measures, median_of
from benchmarks.nodes import TIMEOUT_S
from benchmarks.pace import pace
from consensus import Config, Entry, Role, Runner, SqliteStorage

VOTERS = ("a", "b", "c")
PAYLOAD = bytes(256)
IN_FLIGHT = (1, 64)
RUN_S = 1.5
WARM_UP_S = 0.3


@measures("commits")
def commits() -> Iterator[Figure]:
    """256 bytes to commit, with 1 and with 64 proposals on the way."""
    rates: dict[int, list[float]] = {n: [] for n in IN_FLIGHT}
    floors: dict[int, list[float]] = {n: [] for n in IN_FLIGHT}
    for _ in range(pace().repeats):
        with tempfile.TemporaryDirectory(prefix="conclave-bench-") as directory:
            for in_flight, rate in run_loop(_cluster_rates(Path(directory))).items():
                rates[in_flight].append(rate)
            for in_flight in IN_FLIGHT:
                file = Path(directory) / f"plain-{in_flight}.db"
                floors[in_flight].append(_plain_rate(file, in_flight))
    for in_flight in IN_FLIGHT:
        yield median_of(
            f"commits of 256 B, {in_flight} in flight",
            rates[in_flight],
            "/s",
            "proposed to applied; three voters in one process, each with its SQLite log, joined in "
            "memory; SQLite alone is one file written in a loop, a durable transaction for "
            f"each {in_flight} rows",
            against=(Against("SQLite alone", floors[in_flight]),),
            more_is_better=True,
        )


class _Machine:
    """Applies nothing."""

    def apply(self, entries: Sequence[Entry]) -> list[None]:
        return [None] * len(entries)


class _Link:
    """Hands messages to the other runners a turn of the loop later."""

    def __init__(self, sender: str, runners: dict[str, Runner]) -> None:
        self._sender = sender
        self._runners = runners

    def send(self, to: str, data: bytes) -> None:
        receive = self._runners[to].receive_from
        asyncio.get_running_loop().call_soon(receive, self._sender, data)


async def _cluster_rates(directory: Path) -> dict[int, float]:
    runners: dict[str, Runner] = {}
    for name in VOTERS:
        runners[name] = Runner(
            Config(name, "bench", VOTERS),
            SqliteStorage(directory / f"{name}.db", "bench", name),
            _Link(name, runners),
            _Machine(),
            clock_ms=lambda: time.monotonic_ns() // 1_000_000,
            rng=random.Random(name),
        )
    for runner in runners.values():
        await runner.__aenter__()
    try:
        leader = await _leader(runners)
        rates = {}
        for in_flight in IN_FLIGHT:
            await _propose_for(WARM_UP_S, leader, in_flight)
            began = time.perf_counter()
            done = await _propose_for(RUN_S, leader, in_flight)
            rates[in_flight] = done / (time.perf_counter() - began)
        return rates
    finally:
        for runner in runners.values():
            await runner.__aexit__(None)


async def _leader(runners: dict[str, Runner]) -> Runner:
    until = time.monotonic() + TIMEOUT_S
    while time.monotonic() < until:
        for runner in runners.values():
            if runner.status().role is Role.LEADER:
                return runner
        await asyncio.sleep(0.01)
    raise AssertionError("the voters elect nobody")


async def _propose_for(seconds: float, leader: Runner, in_flight: int) -> int:
    until = time.perf_counter() + seconds

    async def propose() -> int:
        done = 0
        while time.perf_counter() < until:
            await leader.propose(PAYLOAD)
            done += 1
        return done

    return sum(await asyncio.gather(*(propose() for _ in range(in_flight))))


def _plain_rate(file: Path, rows: int) -> float:
    """Return the rows a second of the plainest durable log: so many rows a transaction."""
    db = sqlite3.connect(file, isolation_level=None)
    try:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute("CREATE TABLE log (idx INTEGER PRIMARY KEY, data BLOB)")
        done, began = 0, time.perf_counter()
        while time.perf_counter() - began < RUN_S:
            db.execute("BEGIN IMMEDIATE")
            db.executemany("INSERT INTO log (data) VALUES (?)", [(PAYLOAD,)] * rows)
            db.execute("COMMIT")
            done += rows
        return done / (time.perf_counter() - began)
    finally:
        db.close()

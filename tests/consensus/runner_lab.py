"""Runners joined by an in-memory link, for tests of the shell; run them in virtual time.

On a real loop a disk that is busy for a tenth of a second costs the leader its lead. Nodes as
processes, with threads and real time, are tested in `test_node_process.py` and `tests/e2e`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from consensus import (
    Config,
    ConsensusError,
    Entry,
    EntryKind,
    MemoryStorage,
    Role,
    Runner,
    SqliteStorage,
)

CLUSTER = "lab"
IDS = ("a", "b", "c")
PATIENCE_S = 10.0


class Machine:
    """Keeps what it was given; the result of a command is its length."""

    def __init__(self) -> None:
        self.applied: list[bytes] = []

    def apply(self, entries: Sequence[Entry]) -> list[int]:
        self.applied += [e.data for e in entries if e.kind is EntryKind.COMMAND]
        return [len(e.data) for e in entries]

    def snapshot(self) -> Iterator[bytes]:
        yield from self.applied

    def restore(self, chunks: Iterable[bytes]) -> None:
        self.applied = list(chunks)


class Lab:
    """Voters that can be started, killed and cut off."""

    def __init__(
        self,
        directory: Path | None = None,
        ids: tuple[str, ...] = IDS,
        *,
        snapshot_entries: int = 20_000,
        keep_entries: int = 10_000,
    ) -> None:
        self.ids = ids
        self.lost_parts = 0  # of so many parts of snapshots one is lost; 0: none
        self._parts = 0
        self._limits = (snapshot_entries, keep_entries)
        self.running: dict[str, Runner] = {}
        self.machines: dict[str, Machine] = {}
        self.fatal: dict[str, ConsensusError] = {}
        self.deaf: set[str] = set()
        self._directory = directory
        self._memory: dict[str, MemoryStorage] = {}

    def storage(self, node: str) -> SqliteStorage | MemoryStorage:
        if self._directory is None:
            return self._memory.setdefault(node, MemoryStorage())
        return SqliteStorage(self._directory / node / "log.db", CLUSTER, node)

    async def start(self, *nodes: str) -> None:
        loop = asyncio.get_running_loop()
        for node in nodes or self.ids:
            self.machines[node] = Machine()
            config = Config(
                node,
                CLUSTER,
                self.ids if node in self.ids else (),
                heartbeat_ms=20,
                election_timeout_ms=100,
                keep_entries=self._limits[1],
            )
            runner = Runner(
                config,
                self.storage(node),
                _Link(self, node),
                self.machines[node],
                clock_ms=lambda: int(loop.time() * 1000),
                rng=random.Random(node),
                snapshot_entries=self._limits[0],
            )
            runner.on_fatal = lambda error, node=node: self.fatal.update({node: error})  # type: ignore[misc]
            self.running[node] = runner
            await runner.__aenter__()

    async def kill(self, *nodes: str) -> None:
        for node in nodes:
            await self.running.pop(node).__aexit__(None)

    async def stop(self) -> None:
        await self.kill(*list(self.running))

    def loses_part(self) -> bool:
        """Whether this part of a snapshot does not arrive."""
        self._parts += 1
        return bool(self.lost_parts) and self._parts % self.lost_parts == 0

    async def leader(self) -> Runner:
        def found() -> Runner | None:
            leaders = [
                r
                for node, r in self.running.items()
                if r.status().role is Role.LEADER and node not in self.deaf
            ]
            return max(leaders, key=lambda r: r.status().term, default=None)

        await until(lambda: found() is not None)
        leader = found()
        assert leader is not None
        return leader

    async def agree(self) -> list[bytes]:
        """Wait until all running voters have applied the same, and return it."""

        def same() -> bool:
            logs = [self.machines[n].applied for n in self.running]
            commits = {r.status().applied for r in self.running.values()}
            return len(commits) == 1 and all(log == logs[0] for log in logs)

        await until(same)
        return self.machines[next(iter(self.running))].applied


class _Link:
    def __init__(self, lab: Lab, own: str) -> None:
        self._lab = lab
        self._own = own

    def send(self, to: str, data: bytes) -> None:
        target = self._lab.running.get(to)
        if target is None or self._lab.deaf & {to, self._own}:
            return
        asyncio.get_running_loop().call_soon(target.receive_from, self._own, data)

    def send_part(self, to: str, data: bytes) -> None:
        target = self._lab.running.get(to)
        if target is None or self._lab.deaf & {to, self._own} or self._lab.loses_part():
            return
        asyncio.get_running_loop().call_soon(target.receive_part_from, self._own, data)


async def until(holds: Callable[[], bool]) -> None:
    """Return once this holds; fail when it does not in time."""
    async with asyncio.timeout(PATIENCE_S):
        while not holds():
            await asyncio.sleep(0.001)

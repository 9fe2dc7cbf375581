"""Garbage against a real node for minutes: `python -m benchmarks.soak [--minutes 10] [--seed 1]`.

Strangers on this machine say what is no protocol, half of one, or nearly one, at the door and at
every port of a node that is up; meanwhile the node's memory and descriptors are read and it is
asked how it is. At the end its memory has to be where it was after a fifth of the time. Everything
is drawn from a seed, and the node's log is shown when it has not survived.

What this module does not know: what the node should say to each (`tests/attacks` does).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgpack  # type: ignore[import-untyped]

from benchmarks.nodes import LOOPBACK, Network, Node
from keys import Keystore

GROWTH_LIMIT_KIB = 16 * 1024
LOOK_S = 5.0
WORKERS = 12
GREETING = b"\xff" + bytes(8) + b"\x7f" + b"\3\1" + b"CURVE".ljust(20, b"\0") + bytes(32)


class Said:
    """What one stranger says, from a seed."""

    def __init__(self, rng: random.Random, network_id: str) -> None:
        self._rng = rng
        self._network_id = network_id
        self._kinds: dict[str, Callable[[], bytes]] = {
            "noise": lambda: rng.randbytes(rng.randrange(1, 4096)),
            "nothing": lambda: b"",
            "http": lambda: b"GET / HTTP/1.1\r\nHost: " + rng.randbytes(40) + b"\r\n\r\n",
            "tls": lambda: b"\x16\x03\x01" + rng.randbytes(200),
            "hello": self._hello,
            "mutated hello": lambda: self._mutated(self._hello()),
            "frames": lambda: b"".join(_frame(rng.randbytes(rng.randrange(1, 300))) for _ in "ab"),
            "absurd length": lambda: (2**31 + rng.randrange(2**31)).to_bytes(4, "big") + b"x" * 64,
            "greeting": lambda: GREETING,
            "mutated greeting": lambda: self._mutated(GREETING),
            "greeting and noise": lambda: GREETING + rng.randbytes(rng.randrange(1, 2000)),
            "half": lambda: GREETING[: rng.randrange(1, 64)],
        }

    def draw(self) -> tuple[str, bytes]:
        kind = self._rng.choice(sorted(self._kinds))
        return kind, self._kinds[kind]()

    def _hello(self) -> bytes:
        first = self._rng.choice([1, 6])
        fields = [first, 2, self._network_id, self._rng.randbytes(32)]
        noise = self._rng.randbytes(self._rng.randrange(1, 900))
        return _frame(msgpack.packb(fields)) + _frame(noise)

    def _mutated(self, data: bytes) -> bytes:
        changed = bytearray(data)
        for _ in range(self._rng.randrange(1, 6)):
            changed[self._rng.randrange(len(changed))] = self._rng.randrange(256)
        return bytes(changed)


def _frame(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


async def stranger(port: int, said: Said, rng: random.Random, counts: Counter[str]) -> None:
    """One connection: say it in pieces, wait a little, leave one way or the other."""
    kind, data = said.draw()
    counts[kind] += 1
    writer: asyncio.StreamWriter | None = None
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(7):
            source = f"127.0.{rng.randrange(256)}.{rng.randrange(1, 255)}"  # each has its own rate
            reader, writer = await asyncio.open_connection(LOOPBACK, port, local_addr=(source, 0))
            for at in range(0, len(data), 700):
                writer.write(data[at : at + 700])
                await writer.drain()
            if rng.random() < 0.7:
                async with asyncio.timeout(rng.choice([0.05, 0.3, 6.0])):
                    await reader.read(4096)
    if writer is not None:
        if rng.random() < 0.5:
            writer.transport.abort()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def attack(
    ports: list[int], network_id: str, until_s: float, seed: int, counts: Counter[str]
) -> None:
    rng = random.Random(seed)
    said = Said(rng, network_id)
    while time.monotonic() < until_s:
        await stranger(rng.choice(ports), said, rng, counts)


async def watch(node: Node, until_s: float, seen: list[tuple[float, int, int]]) -> None:
    """Look at the node's memory every few seconds."""
    began_s = time.monotonic()
    while time.monotonic() < until_s:
        await asyncio.sleep(LOOK_S)
        seen.append((time.monotonic() - began_s, *memory_of(node)))


def memory_of(node: Node) -> tuple[int, int]:
    """KiB in memory, and descriptors."""
    pages = int(Path(f"/proc/{node.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024, len(os.listdir(f"/proc/{node.pid}/fd"))


def ports_of(node: Node) -> list[int]:
    """Every TCP port that this process listens at, the door's first."""
    door = int(node.door.rpartition(":")[2])
    inodes = set()
    for name in os.listdir(f"/proc/{node.pid}/fd"):
        with suppress(OSError):
            inodes.add(os.readlink(f"/proc/{node.pid}/fd/{name}").strip("socket:[]"))
    tables = [Path("/proc/net/tcp"), Path("/proc/net/tcp6")]
    lines = [line for table in tables for line in table.read_text().splitlines()[1:]]
    rows = [line.split() for line in lines]
    ours = (row for row in rows if row[3] == "0A" and row[9] in inodes)
    listening = {int(row[1].split(":")[1], 16) for row in ours}
    return [door, door, *sorted(listening - {door})]


async def soak(node: Node, network_id: str, minutes: float, seed: int) -> int:
    ports, counts = ports_of(node), Counter[str]()
    seen: list[tuple[float, int, int]] = []
    until_s = time.monotonic() + minutes * 60
    print(f"seed {seed}; {minutes:g} minutes at the ports {ports}", flush=True)
    async with asyncio.TaskGroup() as group:
        group.create_task(watch(node, until_s, seen))
        for number in range(WORKERS):
            group.create_task(attack(ports, network_id, until_s, seed + number, counts))
    assert node.process is not None
    if node.process.poll() is not None:
        print(f"the node has ended with {node.process.returncode}\n{node.log[-4000:]}")
        return 1
    return told(seen, counts, node)


def told(seen: list[tuple[float, int, int]], counts: Counter[str], node: Node) -> int:
    """Print what came of it; 0 when memory is where it was."""
    if not seen:
        print("nothing was seen: it was too short")
        return 1
    fifth = max(1, len(seen) // 5)
    early = statistics.median(kib for _, kib, _ in seen[fifth : 2 * fifth])
    late = statistics.median(kib for _, kib, _ in seen[-fifth:])
    tracebacks = node.log.count("Traceback")
    print(f"connections  {sum(counts.values()):,}: {dict(sorted(counts.items()))}")
    print(f"memory       {early:,.0f} KiB early, {late:,.0f} KiB late: {late - early:+,.0f} KiB")
    print(f"             highest {max(kib for _, kib, _ in seen):,} KiB")
    print(f"descriptors  {min(fds for *_, fds in seen)} to {max(fds for *_, fds in seen)}")
    print(f"tracebacks   {tracebacks}")
    return 0 if late - early < GROWTH_LIMIT_KIB and not tracebacks else 1


def main() -> int:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--minutes", type=float, default=10)
    words.add_argument("--seed", type=int, default=1)
    given = words.parse_args()
    with tempfile.TemporaryDirectory(prefix="conclave-soak-") as directory:
        (node,) = Network(Path(directory), 1, 1).nodes
        network_id = Keystore.open(node.home).genesis.network_id
        node.up("--no-mdns", "--port", "0")
        try:
            return asyncio.run(soak(node, network_id, given.minutes, given.seed))
        finally:
            node.stop()


if __name__ == "__main__":
    sys.exit(main())

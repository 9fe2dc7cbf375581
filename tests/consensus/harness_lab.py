"""Nodes of `python -m consensus.node` as real processes, and clients that talk to them."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

READY_S = 20.0


class Harness:
    """Three nodes that can be killed, stopped and started again."""

    def __init__(self, directory: Path, count: int = 3, *extra: str) -> None:
        self.names = [f"n{number}" for number in range(1, count + 1)]
        ports = free_ports(2 * count)
        self._peers = ",".join(
            f"{n}=127.0.0.1:{p}" for n, p in zip(self.names, ports[:count], strict=True)
        )
        self.ports = dict(zip(self.names, ports[count:], strict=True))
        self._directory = directory
        self._extra = extra
        self.running: dict[str, subprocess.Popen[str]] = {}

    def trace(self, name: str) -> Path:
        return self._directory / f"{name}.ndjson"

    def command(self, name: str) -> list[str]:
        return [
            *(sys.executable, "-m", "consensus.node"),
            *("--data-dir", str(self._directory / name), "--id", name),
            *("--peers", self._peers, "--client-port", str(self.ports[name])),
            *("--trace", str(self.trace(name)), "--heartbeat-ms", "50", "--election-ms", "300"),
            *self._extra,
        ]

    def start(self, *names: str) -> None:
        for name in names or self.names:
            process = subprocess.Popen(self.command(name), stdout=subprocess.PIPE, text=True)
            self.running[name] = process
        for name in names or self.names:
            stdout = self.running[name].stdout
            assert stdout is not None
            assert "ready" in stdout.readline()

    def kill(self, name: str) -> None:
        process = self.running.pop(name)
        process.kill()
        process.wait(10)
        assert process.stdout is not None
        process.stdout.close()

    def signal(self, name: str, number: signal.Signals) -> None:
        self.running[name].send_signal(number)

    def stop(self) -> None:
        for name in list(self.running):
            self.kill(name)


class Client:
    """One connection to one node; requests run side by side."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._last = 0
        self._reading = asyncio.get_running_loop().create_task(self._read(reader))

    @classmethod
    async def to(cls, port: int) -> Client:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        """The answer; `unknown` when the connection ends first."""
        self._last += 1
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[self._last] = future
        line = json.dumps({"id": self._last, "op": op, **fields})
        self._writer.write(line.encode() + b"\n")
        if self._reading.done():
            return {"unknown": "the connection is gone"}
        return await future

    async def raw(self, line: bytes) -> None:
        self._writer.write(line)

    async def close(self) -> None:
        self._writer.close()
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while line := await reader.readline():
                answer = json.loads(line)
                future = self._waiting.pop(answer["id"], None)
                if future is not None and not future.done():
                    future.set_result(answer)
        except OSError:
            pass
        finally:
            for future in self._waiting.values():
                if not future.done():
                    future.set_result({"unknown": "the connection is gone"})


async def leader_of(harness: Harness) -> str:
    """Who leads, as soon as somebody does and has committed something."""
    until_s = time.monotonic() + READY_S
    while time.monotonic() < until_s:
        for name in list(harness.running):
            try:
                client = await Client.to(harness.ports[name])
            except OSError:
                continue
            said = await client.ask("status")
            await client.close()
            if said.get("role") == "leader" and said["commit"] > 0:
                return name
        await asyncio.sleep(0.05)
    raise TimeoutError("nobody leads")


def free_ports(count: int) -> list[int]:
    """Ports below those that the kernel hands out by itself."""
    ports: list[int] = []
    candidate = 30_000 + time.monotonic_ns() // 1_000 % 2_000  # and above the doors of nodes
    while len(ports) < count:
        candidate += 1
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", candidate))
            except OSError:
                continue
        ports.append(candidate)
    return ports

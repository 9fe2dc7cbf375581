"""The demo's network: directories, tickets, and one `conclave up` process a node.

Everything is real: each node joins with a ticket at the first one's door, has keys of its own, and
is a process that can be killed. It all stays on this machine's loopback address.

What this module does not know: the job, when somebody is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from agents.errors import AgentsError, NodeNotUp
from agents.local import AttachedGate, attach
from keys import DoorAddress, Keystore
from p2p import join

LOOPBACK = "127.0.0.1"
UP_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 4.0


class DemoFailed(AgentsError):
    """The demo could not be played to its end; the text says why and where the logs are."""


@dataclass(slots=True)
class DemoNode:
    """One process of the demo."""

    name: str
    home: Path
    peer: str
    process: subprocess.Popen[bytes] | None = None
    gate: AttachedGate | None = None

    @property
    def log(self) -> Path:
        return self.home.with_suffix(".log")

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None


class Processes:
    """All nodes of one demo, in one directory."""

    def __init__(self, directory: Path, names: list[str], voters: int, agent_file: Path) -> None:
        self._directory = directory
        self._names = names
        self._voters = voters
        self._agent_file = agent_file
        self.nodes: list[DemoNode] = []
        self.seed: str | None = None

    async def start(self) -> None:
        """Make the network, let everybody join, bring everybody up.

        Raises:
            DemoFailed: a process did not come up.
        """
        first = self._found()
        await self._bring_up(first)
        assert first.gate is not None
        status = await first.gate.request("status", {})
        door = DoorAddress(LOOPBACK, int(status["door_port"]))
        findings = await first.gate.request("doctor", {})
        if any(f["topic"] == "multicast" and f["level"] != "ok" for f in findings):
            self.seed = f"{door.host}:{door.port}"
        others = await asyncio.gather(
            *(self._join(name, first.home, door) for name in self._names[1:])
        )
        self.nodes.extend(others)
        await asyncio.gather(*(self._bring_up(node) for node in others))

    def kill(self, node: DemoNode) -> None:
        """SIGKILL: no goodbye, no flush, nothing."""
        assert node.process is not None
        node.process.kill()
        node.process.wait()

    async def stop(self) -> None:
        """Ask all to leave, and end those that do not."""
        for node in self.nodes:
            if node.gate is not None:
                await node.gate.close()
            if node.is_running and node.process is not None:
                node.process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + STOP_TIMEOUT_S
        for node in self.nodes:
            if node.process is None:
                continue
            left_s = max(0.1, deadline - time.monotonic())
            with contextlib.suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(node.process.wait, left_s)
            if node.is_running:
                node.process.kill()
                node.process.wait()

    def _found(self) -> DemoNode:
        name = self._names[0]
        home = self._directory / name
        now_ms = int(time.time() * 1000)
        store = Keystore.create_network(home, "demo", name, self._voters, now_ms=now_ms)
        node = DemoNode(name, home, store.identity.peer_id)
        self.nodes.append(node)
        return node

    async def _join(self, name: str, inviting: Path, door: DoorAddress) -> DemoNode:
        home = self._directory / name
        issuer = Keystore.open(inviting).issuer
        assert issuer is not None
        now_ms = int(time.time() * 1000)
        ticket = issuer.invite(now_ms, addresses=(door,))
        identity = Keystore.pending_identity(home)
        joined = await join(ticket, identity, name, timeout_s=5.0, now_ms=now_ms)
        Keystore.create_joined(home, identity, name, joined)
        return DemoNode(name, home, identity.peer_id)

    async def _bring_up(self, node: DemoNode) -> None:
        words = [sys.executable, "-m", "agents.cli", "up", str(self._agent_file)]
        words += ["--home", str(node.home), "--host", LOOPBACK]
        if self.seed is not None:
            words += ["--seed", self.seed, "--no-mdns"]
        with node.log.open("wb") as log:
            node.process = await asyncio.to_thread(_spawn, words, log)
        deadline = time.monotonic() + UP_TIMEOUT_S
        while time.monotonic() < deadline and node.is_running:
            try:
                node.gate = await attach(node.home)
                return
            except NodeNotUp:
                await asyncio.sleep(0.02)
        tail = node.log.read_text(errors="replace").strip().splitlines()[-1:]
        raise DemoFailed(f"{node.name} did not come up: {tail[0] if tail else 'no word of it'}")


def _spawn(words: list[str], log: BinaryIO) -> subprocess.Popen[bytes]:
    return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)

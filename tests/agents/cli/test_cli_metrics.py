"""A node in this process, its metrics endpoint, and `connect` where no node runs."""

from __future__ import annotations

import asyncio
import socket
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from free_ports import free_port

from agents import Agent, BadSettings, NodeNotUp, connect
from agents.bringing_up import node_at
from agents.connecting import attached
from agents.observe.metrics import serve_metrics
from keys import Keystore, NoNetworkYet

LOOPBACK = "127.0.0.1"
QUIET: dict[str, Any] = {"host": LOOPBACK, "mdns": False}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    now_ms = int(time.time() * 1000)
    return Keystore.create_network(tmp_path / "ada", "lab", "ada", 1, now_ms=now_ms).home


def run(body: Any) -> Any:
    async def main() -> Any:
        async with asyncio.timeout(15):
            return await body

    return asyncio.run(main())


def scrape(port: int) -> str:
    with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/metrics", timeout=5) as answer:
        return str(answer.read().decode())


def test_the_endpoint_shows_a_node_once_it_is_told_of_one(home: Path) -> None:
    async def main() -> None:
        with serve_metrics(LOOPBACK, 0) as metrics:
            assert "conclave_raft_term" not in await asyncio.to_thread(scrape, metrics.port)
            async with node_at(home, (), QUIET) as node:
                metrics.show(node)
                task = await node.net.submit("lab.nothing", "payload-that-is-secret")
                text = await asyncio.to_thread(scrape, metrics.port)
        lines = text.splitlines()
        assert "conclave_raft_is_leader 1.0" in lines
        assert 'conclave_tasks{state="pending"} 1.0' in lines
        assert 'conclave_peers{state="alive"} 0.0' in lines
        for private in (task.id, node.peer.peer_id, "lab.nothing", "payload-that-is-secret"):
            assert private not in text

    run(main())


def test_the_port_is_free_again_afterwards_and_a_taken_one_is_refused() -> None:
    port = free_port()  # which nobody takes between one and the next
    with serve_metrics(LOOPBACK, port) as metrics:
        assert metrics.port == port
        with pytest.raises(BadSettings, match=f"{port}.*--metrics"), serve_metrics(LOOPBACK, port):
            pass
    with serve_metrics(LOOPBACK, port):
        pass


def test_a_taken_metrics_port_stops_the_node_before_it_is_up(home: Path) -> None:
    async def main() -> None:
        with socket.create_server((LOOPBACK, 0)) as taken:
            settings = {**QUIET, "metrics_port": taken.getsockname()[1]}
            with pytest.raises(BadSettings, match="--metrics"):
                async with node_at(home, (), settings):
                    raise AssertionError("it came up")
        async with node_at(home, (), QUIET):
            pass

    run(main())


def test_connect_becomes_the_node_where_none_runs_and_attaches_where_one_does(home: Path) -> None:
    agent = Agent("bench")

    @agent.serve("lab.add")
    async def add(a: int, b: int) -> int:
        return a + b

    async def main() -> None:
        async with connect(home, **QUIET) as net:
            assert [row["name"] for row in await net.peers()] == ["ada"]
            async with connect(home) as second:
                assert second.peer_id == net.peer_id
        async with node_at(home, (agent,), QUIET), connect(home) as net:
            assert await net.call("lab.add", 1, 2) == 3
            assert await (await net.submit("lab.add", {"a": 1, "b": 2})).result(10) == 3

    run(main())


def test_without_a_network_connect_says_how_to_make_one(tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(NoNetworkYet, match="conclave init"):
            async with connect(tmp_path / "none"):
                pass
        with pytest.raises(NodeNotUp, match="conclave up"):
            async with attached(tmp_path / "none"):
                pass

    run(main())

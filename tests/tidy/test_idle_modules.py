"""What a process that is idle has loaded: nothing that only commands, issuers or mDNS need.

Memory creeps back one import at a time, and each looks harmless. What is forbidden here cost 0.1 to
10 MB in every process (docs/performance.md); whoever needs it loads it where it is needed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from house import ROOT

from keys import Identity, Keystore, accept_grant, make_join_request

NOT_IN_A_NODE = {
    *("keys.backups", "keys.ceremonies", "keys.issuing", "keys.second_opinion"),
    *("p2p.discovery.mdns", "p2p.memory", "zeroconf"),
    *("consensus.sim", "agents.chaos", "agents.switching", "agents.demo"),
    *("agents.disaster", "agents.restoring"),
    *("agents.observe.metrics", "prometheus_client", "rich", "jwt", "cryptography"),
    *("pydantic", "pydantic_core"),  # of a node whose handlers take plain data
    *("csv", "email", "http", "importlib.metadata", "multiprocessing", "unittest"),
    *("urllib.request", "xml", "zipfile", "zoneinfo"),
}
NOT_IN_A_PEER = {
    *("agents", "consensus"),
    *("keys.auditing", "keys.policies", "keys.safekeeping", "keys.sealing", "keys.tokens"),
    *("keys.voters", "argparse", "sqlite3", "tomllib"),
    *NOT_IN_A_NODE,
}

PEER = """
import asyncio, sys
from pathlib import Path
from keys import Keystore
from p2p import LanSettings, LanWorld, Papers, Peer

async def main():
    store = Keystore.open(Path(sys.argv[1]))
    world = LanWorld(LanSettings(host="127.0.0.1", mdns=False))
    incarnation = store.next_incarnation(world.clock.wall_ms())
    papers = Papers(store.identity, store.chain, store.trust, store.name, incarnation)
    async with Peer(papers, world):
        print(*sys.modules)

asyncio.run(main())
"""


NODE = """
import asyncio, sys
from pathlib import Path
from agents import Agent
from agents.bringing_up import node_at

agent = Agent("idle")

@agent.serve("idle.add")
def add(a: int, b: float = 1.0, words: list[str] | None = None) -> float:
    return a + b

async def main():
    settings = {"host": "127.0.0.1", "mdns": False}
    async with node_at(Path(sys.argv[1]), [agent], settings):
        print(*sys.modules)

asyncio.run(main())
"""


def joined_home(directory: Path) -> Path:
    """The directory of a member that is no issuer."""
    now_ms = int(time.time() * 1000)
    first = Keystore.create_network(directory / "first", "net", "first", 1, now_ms=now_ms)
    assert first.issuer is not None
    ticket, own = first.issuer.invite(now_ms), Identity.generate()
    request = make_join_request(ticket, own, "second", b"door", now_ms)
    grant = first.issuer.redeem(request, b"door", now_ms)
    joined = accept_grant(ticket, own, grant, now_ms)
    Keystore.create_joined(directory / "second", own, "second", joined)
    return directory / "second"


def loaded(script: str, home: Path) -> set[str]:
    """What a fresh interpreter has loaded when this script says so."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", script, str(home)],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def found_in(modules: set[str], forbidden: set[str]) -> set[str]:
    return {
        module
        for module in modules
        if any(module == each or module.startswith(each + ".") for each in forbidden)
    }


def test_an_idle_peer_has_loaded_nothing_that_it_does_not_need(tmp_path: Path) -> None:
    modules = loaded(PEER, joined_home(tmp_path))
    assert {"p2p.peer", "keys.trust", "zmq"} <= modules
    assert not found_in(modules, NOT_IN_A_PEER)


def test_an_idle_node_has_loaded_nothing_that_it_does_not_need(tmp_path: Path) -> None:
    modules = loaded(NODE, joined_home(tmp_path))
    assert {"agents.node", "agents.hosting.handler", "consensus.storage.sqlite"} <= modules
    assert not found_in(modules, NOT_IN_A_NODE)

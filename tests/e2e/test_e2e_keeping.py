"""The store on processes: `conclave kv`, `conclave lock`, and the leader's death in mid-write."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_lab import (
    DEADLINE_S,
    ROOT,
    Node,
    Said,
    agreed,
    conclave,
    environment,
    eventually,
    lab,
    leader_of,
    patient,
    refused,
)

from agents.connecting import attached
from agents.keeping.api import KvChange, KvListing
from agents.net import Net

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Node]]:
    with lab(tmp_path_factory.mktemp("store")) as here:
        made = here.network("ada", "bob", "cyd")
        here.up(made)
        yield made


def kv(node: Node, *words: str) -> Said:
    return conclave("kv", *words, "--home", str(node.home))


def lock_words(node: Node, *words: str) -> list[str]:
    return [sys.executable, "-m", "agents.cli", "lock", "--home", str(node.home), *words]


def test_a_person_reads_and_writes_keys(nodes: list[Node]) -> None:
    ada, bob, cyd = nodes
    version = kv(ada, "put", "config/model", '{"size": 7}', "--json").json["version"]
    assert kv(bob, "get", "config/model").out == '{\n  "size": 7\n}\n'
    entry = kv(cyd, "get", "config/model", "--json", "--stale").json
    assert (entry["value"], entry["version"]) == ({"size": 7}, version)
    refused(kv(ada, "cas", "config/model", "1", "--absent"), f"version {version} is there")
    assert kv(ada, "cas", "config/model", "small", "--version", str(version)).status == 0
    assert kv(bob, "get", "config/model").out == "small\n"
    assert kv(bob, "list", "config/").out.startswith("config/model (version ")
    assert kv(bob, "delete", "config/model").status == 0
    absent = kv(bob, "get", "config/model")
    assert (absent.status, absent.out) == (1, "")
    assert "no key" in absent.err
    refused(kv(ada, "put", "conclave/autopilot", "off"), "network's own")


def test_a_watch_tells_what_happens_and_when_a_key_runs_out(nodes: list[Node]) -> None:
    ada, bob, _ = nodes
    words = ("kv", "watch", "news/", "--listing", "--count", "3", "--json")
    watch = subprocess.Popen(
        [sys.executable, "-m", "agents.cli", *words, "--home", str(bob.home)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert watch.stdout is not None
    assert json.loads(watch.stdout.readline())["cause"] == "listing"
    kv(ada, "put", "news/a", "1", "--ttl", "0.5")
    kv(ada, "put", "news/b", "2")
    out, _ = watch.communicate(timeout=DEADLINE_S)
    rows = [json.loads(line) for line in out.splitlines()]
    assert sorted((row["key"], row["cause"]) for row in rows) == [
        ("news/a", "expired"),
        ("news/a", "put"),
        ("news/b", "put"),
    ]


def test_a_command_runs_under_a_lock_with_a_growing_token(nodes: list[Node]) -> None:
    echo = ("--", "sh", "-c", "echo $CONCLAVE_LOCK_TOKEN; exit 3")
    tokens = []
    for node in nodes:
        said = node.run("lock", "printer", *echo)
        assert said.status == 3, said
        tokens.append(int(said.out))
    assert tokens == sorted(set(tokens))
    holding = subprocess.Popen(
        lock_words(nodes[0], "printer", "--", "sh", "-c", "echo held; exec sleep 60"),
        stdout=subprocess.PIPE,
        env=environment(),
    )
    assert holding.stdout is not None
    assert holding.stdout.readline() == b"held\n"
    refused(nodes[1].run("lock", "printer", "--wait", "0.5", "--", "true"), "is held by ada (")
    holding.send_signal(signal.SIGTERM)
    holding.communicate(timeout=DEADLINE_S)
    assert holding.returncode == 128 + signal.SIGTERM
    assert nodes[1].run("lock", "printer", "--wait", "5", "--", "true").status == 0


def test_every_write_runs_once_though_the_leader_is_killed(nodes: list[Node]) -> None:
    leader = leader_of(nodes)
    others = [node for node in nodes if node is not leader]

    async def write() -> list[KvChange]:
        async with attached(others[0].home) as net, attached(others[1].home) as other:
            watch = other.kv.watch("count", listing=True)
            assert isinstance(await anext(watch), KvListing), "it has begun"
            seen: list[KvChange] = []

            async def follow() -> None:
                async for change in watch:
                    assert isinstance(change, KvChange)
                    seen.append(change)
                    if len(seen) == 150:
                        return

            following = asyncio.create_task(follow())
            for value in range(150):
                if value == 50:
                    leader.kill()
                await net.kv.put("count", value, timeout=30)
            async with asyncio.timeout(DEADLINE_S):
                await following
            return seen

    assert [change.value for change in asyncio.run(write())] == list(range(150))
    leader.up(seeds=tuple(others)).until_up()
    eventually(lambda: agreed(nodes), "the leader is back as one of three")


def test_a_lock_is_lost_with_the_quorum_and_its_command_stopped(
    nodes: list[Node], tmp_path: Path
) -> None:
    marks = tmp_path / "marks"
    script = f"while true; do date >> {marks}; sleep 0.1; done"
    holding = subprocess.Popen(
        lock_words(nodes[0], "printer", "--lease", "3", "--grace", "1", "--", "sh", "-c", script),
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    eventually(marks.exists, "the command runs")
    time.sleep(4)
    assert holding.poll() is None
    nodes[1].kill()
    nodes[2].kill()
    began = time.monotonic()
    _, err = holding.communicate(timeout=DEADLINE_S)
    assert time.monotonic() - began < patient(3 + 2)
    assert holding.returncode == 1
    assert err.startswith("conclave: lock 'printer', token ")
    assert "lost" in err
    size = marks.stat().st_size
    time.sleep(0.5)
    assert marks.stat().st_size == size

    async def locked(net: Net) -> str:
        async with net.lock("other", timeout=0.5):
            return "held"

    with pytest.raises(Exception, match="NoQuorum"):
        nodes[0].ask(locked)


def test_the_examples_do_what_they_say(tmp_path: Path) -> None:
    with lab(tmp_path) as here:
        (ada,) = here.network("ada", voters=1)
        ada.up().until_up()
        eventually(lambda: agreed([ada]), "a leader of one")

        def example(name: str, *words: str) -> subprocess.Popen[str]:
            return subprocess.Popen(
                [sys.executable, str(ROOT / "examples" / name), *words],
                stdout=subprocess.PIPE,
                text=True,
                env=environment(CONCLAVE_HOME=str(ada.home)),
            )

        counting = [example("counter.py", "--times", "20") for _ in range(3)]
        said = [process.communicate(timeout=DEADLINE_S)[0] for process in counting]
        assert sorted(int(n) for out in said for n in out.split()) == list(range(1, 61))

        file = tmp_path / "leader.txt"
        first = example("leader_election.py", "--name", "one", "--file", str(file))
        eventually(lambda: file.exists() and "one, term" in file.read_text(), "one leads")
        second = example("leader_election.py", "--name", "two", "--file", str(file))
        time.sleep(1)
        assert "one, term" in file.read_text()
        first.kill()
        eventually(lambda: "two, term" in file.read_text(), "two leads")
        second.kill()
        for process in (first, second):
            process.communicate(timeout=DEADLINE_S)

"""A cluster in real processes, as docs/clusters.md shows it: used, its leader killed, let go."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cli_lab import DEADLINE_S, ROOT, Node, environment, eventually, lab

pytestmark = pytest.mark.e2e
EXAMPLE = str(ROOT / "examples" / "clusters.py")

WAITS_S = 45.0  # the example itself waits 30 s, once its process runs


@contextmanager
def running(file: Path, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process whose words go to a file; it ends with the block."""
    with file.open("wb") as out:
        process = subprocess.Popen([sys.executable, *words], stdout=out, env=environment())
        try:
            yield process
        finally:
            process.kill()
            process.wait(DEADLINE_S)


def clusters(asked: Node) -> list[dict[str, Any]] | None:
    """None while nobody leads the network."""
    said = asked.run("clusters", "--json")
    return list(said.json) if said.status == 0 else None


def test_a_cluster_outlives_its_leader_and_goes_with_its_user(tmp_path: Path) -> None:
    used, watched = tmp_path / "used", tmp_path / "watched"

    def led() -> str | None:
        """Who leads by the last word of the watch, while two are in it."""
        last = watched.read_text().splitlines()[-1:]
        found = re.search(r"2 of 2; (\w+) \(\w+\) leads", last[0]) if last else None
        return found.group(1) if found else None

    with lab(tmp_path / "net") as here:
        here.directory.mkdir()
        nodes = here.network("ada", "bob", "cyd", "dan")
        ada = nodes[0]
        for node in nodes:
            seeds = tuple(n for n in nodes if n is not node)
            node.up(*([] if node is ada else [EXAMPLE]), seeds=seeds)
        for node in nodes:
            node.until_up()
        watching = ("-m", "agents.cli", "clusters", "--watch", "--home", str(ada.home))
        home = environment(CONCLAVE_HOME=str(ada.home))
        with running(watched, *watching), used.open("wb") as out:
            using = [sys.executable, EXAMPLE, "--size", "2"]
            user = subprocess.Popen(using, stdout=out, env=home)
            try:
                eventually(lambda: "members: " in used.read_text(), "a cluster", WAITS_S)
                leader = eventually(led, "a leader")
                eventually(lambda: "by one with the lead" in used.read_text(), "its answer")
                (first,) = eventually(lambda: clusters(ada), "the list")
                print(ada.run("clusters").out, ada.run("cluster", "show", "eyes").out, sep="\n")
                next(n for n in nodes if n.name == leader).kill()
                eventually(lambda: led() not in (None, leader), "another one that leads")
                (then,) = eventually(lambda: clusters(ada), "the list")
                assert then["version"] > first["version"]
                assert then["fence"] > first["fence"]
                shown = ada.run("cluster", "show", "eyes").out
                print(shown)
                assert "it has failed" in shown
                user.send_signal(signal.SIGINT)
                user.wait(DEADLINE_S)
            finally:
                user.kill()
                user.wait(DEADLINE_S)
            eventually(lambda: "eyes: dissolved" in watched.read_text(), "word of its end")
        print(used.read_text(), watched.read_text(), sep="\n")
        eventually(lambda: clusters(ada) == [], "that nobody uses it any more")
        assert ada.run("cluster", "show", "eyes").status == 1

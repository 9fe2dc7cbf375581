"""`conclave decide`, `vote`, `verify-certificate` with real processes; certificates offline."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cli_lab import ROOT, Lab, Node, agreed, conclave, environment, eventually, lab, refused

pytestmark = pytest.mark.e2e

GREEN = '{"tests": "green"}'


def reviewers(here: Lab, *names: str) -> list[Node]:
    nodes = here.network(*names)
    for node in nodes:
        seeds = tuple(other for other in nodes if other is not node)
        node.up(str(ROOT / "examples" / "approval.py"), seeds=seeds)
    for node in nodes:
        node.until_up()
    eventually(lambda: agreed(nodes), "a leader")
    return nodes


def begin(node: Node, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "agents.cli", "decide", "--home", str(node.home), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )


def test_agents_decide_and_anybody_can_check_it_offline(tmp_path: Path) -> None:
    with lab(tmp_path) as here:
        nodes = reviewers(here, "ada", "bob", "cyd")
        file, text = tmp_path / "v2.cert", tmp_path / "v2.json"
        words = ("Deploy v2?", "--kind", "deploy", "--subject", GREEN, "--key", "v2")
        said = nodes[0].run("decide", *words, "--save", str(file))
        assert said.status == 0, said
        assert said.out.startswith("approved: Deploy v2?\n")
        assert said.out.count("the tests are green") == 3
        again = nodes[0].run("decide", *words, "--json", "--save", str(text))
        assert {vote["choice"] for vote in again.json["votes"]} == {"approve"}
        red = nodes[1].run("decide", "Deploy v3?", "--kind", "deploy", "--subject", "{}")
        assert (red.status, red.out.split("\n")[0]) == (3, "rejected: Deploy v3?")
        assert "the tests are not run" in red.out
        for node in nodes:
            node.kill()

        for certificate in (file, text):
            said = conclave("verify-certificate", str(certificate))
            assert said.status == 0, said
            assert said.out.startswith("VALID: approved\n")
            assert "NOT CHECKED" in said.out
            said = conclave("verify-certificate", str(certificate), "--roster", str(nodes[2].home))
            assert said.status == 0, said
            assert "3 of its 3 voters were asked" in said.out
            assert "NOT CHECKED" not in said.out
        changed = bytearray(file.read_bytes())
        changed[-40] ^= 1
        file.write_bytes(changed)
        for more in ((), ("--roster", str(nodes[2].home))):
            said = conclave("verify-certificate", str(file), *more)
            assert (said.status, said.out[:8]) == (1, "INVALID:")
        (elsewhere,) = here.network("dan", label="elsewhere")
        assert not (elsewhere.home / "roster").exists()
        refused(conclave("verify-certificate", str(text), "--roster", str(elsewhere.home)), "dan")


def test_people_vote_and_time_runs_out(tmp_path: Path) -> None:
    with lab(tmp_path) as here:
        nodes = reviewers(here, "ada", "bob", "cyd")
        asking = begin(nodes[0], "Lunch at noon?", "--json", "--threshold", "1/2")

        def is_listed() -> Any:
            rows = nodes[1].run("vote", "--json").json
            return rows and rows[0]

        row = eventually(is_listed, "the question")
        assert (row["question"], row["own"]) == ("Lunch at noon?", "may vote")
        assert "Lunch at noon?" in nodes[2].run("vote").out
        said = nodes[1].run("vote", row["id"][:12], "approve", "--reason", "hungry")
        assert said.status == 0, said
        assert "signed and final" in said.out
        refused(nodes[1].run("vote", row["id"], "reject"), "voted on it, and otherwise")
        assert nodes[2].run("vote", row["id"], "approve").status == 0
        out, err = asking.communicate(timeout=20)
        assert asking.returncode == 0, err
        assert [v["reason"] for v in json.loads(out)["votes"] if v["name"] == "bob"] == ["hungry"]
        refused(nodes[0].run("vote", row["id"], "reject"), "it is over: approved")
        late = nodes[0].run("decide", "Anybody there?", "--deadline", "1")
        assert (late.status, late.out.split("\n")[0]) == (4, "expired: Anybody there?")
        assert "nothing is open" in nodes[0].run("vote").out
        assert nodes[0].run("vote", "--all").out.count("expired") == 1

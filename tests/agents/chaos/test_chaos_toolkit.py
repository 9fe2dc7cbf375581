"""Experiments of the Chaos Toolkit, run by its own command; skipped where it is not installed."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agents.chaos import ChaosNet, NotPermitted, RealNetwork
from agents.chaos.spaces import Spaces
from agents.chaostoolkit import actions, discover, probes
from agents.chaostoolkit.current import NoNetwork

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        importlib.util.find_spec("chaoslib") is None, reason="chaostoolkit is not installed"
    ),
]

ROOT = Path(__file__).parents[3]
EXPERIMENT = ROOT / "examples" / "chaos" / "experiment.yaml"
PYTHON = {"type": "python"}


def chaos(*words: str, before: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    command = [*before, sys.executable, "-m", "chaostoolkit", *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def run(experiment: Path, journal: Path, before: tuple[str, ...] = ()) -> Any:
    """The words that were said, and the journal."""
    logs = ("--log-file", str(journal.with_suffix(".log")))
    done = chaos(*logs, "run", "--journal-path", str(journal), str(experiment), before=before)
    return done.returncode, done.stdout + done.stderr, json.loads(journal.read_text())


def test_the_shipped_experiment_is_completed_on_hosts_of_their_own(tmp_path: Path) -> None:
    try:
        Spaces.opened(tmp_path).close()
    except NotPermitted as error:
        pytest.skip(error.why)
    code, said, journal = run(EXPERIMENT, tmp_path / "journal.json")
    assert code == 0, said
    assert (journal["status"], journal["deviated"]) == ("completed", False)
    assert journal["conclave"]["passed"]
    texts = [event["text"] for event in journal["conclave"]["events"]]
    assert any(text.startswith("partition ") for text in texts)
    assert "is killed" in texts
    assert any(text.startswith("5 processes in network namespaces") for text in texts)


def probe(name: str, tolerance: object, **arguments: object) -> dict[str, Any]:
    provider = {**PYTHON, "module": "agents.chaostoolkit.probes", "func": name}
    found = {"type": "probe", "name": name, "provider": {**provider, "arguments": arguments}}
    return {**found, "tolerance": tolerance}


def action(name: str, **arguments: object) -> dict[str, Any]:
    provider = {**PYTHON, "module": "agents.chaostoolkit.actions", "func": name}
    return {"type": "action", "name": name, "provider": {**provider, "arguments": arguments}}


def test_an_experiment_deviates_when_the_network_does_and_says_what_it_cannot_do(
    tmp_path: Path,
) -> None:
    control = {**PYTHON, "module": "agents.chaostoolkit.control"}
    picture = tmp_path / "run.svg"
    arguments = {"nodes": 2, "voters": 1, "loopback": True, "picture": str(picture)}
    experiment = {
        "title": "two nodes",
        "description": "the only voter is killed and nobody starts it again",
        "controls": [{"name": "conclave", "provider": {**control, "arguments": arguments}}],
        "steady-state-hypothesis": {
            "title": "led",
            "probes": [probe("leader_known", True, within=2)],
        },
        "method": [
            action("isolate", node="b"),
            action("freeze", node="follower"),
            probe("peers_alive", {"type": "range", "range": [1, 2]}),
            action("thaw"),
            action("set_clock", node="follower", offset_s=5),
            action("kill"),
        ],
        "rollbacks": [],
    }
    path = tmp_path / "experiment.json"
    path.write_text(json.dumps(experiment))
    code, said, journal = run(path, tmp_path / "journal.json")
    assert code == 1
    assert journal["deviated"], said
    isolated, frozen, _, thawed, skewed, killed = journal["run"]
    assert isolated["status"] == "failed"
    assert "all nodes are on loopback" in str(isolated["exception"])
    assert (frozen["output"], thawed["output"], killed["output"]) == ("b", ["b"], "a")
    assert skewed["output"] == "b"
    assert journal["conclave"]["passed"], "at its end the node was started again"
    assert picture.read_text().startswith("<svg")


def test_where_no_network_can_be_made_the_experiment_is_interrupted(tmp_path: Path) -> None:
    if shutil.which("setpriv") is None:
        pytest.skip("there is no setpriv here")
    less = ("setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin")
    code, said, journal = run(EXPERIMENT, tmp_path / "journal.json", before=less)
    assert code == 1
    assert journal["status"] == "interrupted"
    assert "processes in network namespaces need" in said


def test_without_the_control_actions_and_probes_say_what_is_missing() -> None:
    with pytest.raises(NoNetwork, match=r"agents\.chaostoolkit\.control among the controls"):
        actions.kill()
    with pytest.raises(NoNetwork):
        probes.members_agree()


def test_every_action_and_probe_is_discovered() -> None:
    found = discover()["activities"]
    names = {(one["type"], one["name"]) for one in found}
    wanted = {("action", name) for name in actions.__all__}
    assert names == wanted | {("probe", name) for name in probes.__all__}
    assert all(one["doc"] for one in found)
    kinds = {one["name"]: one["return_type"] for one in found if "return_type" in one}
    assert (kinds["peers_alive"], kinds["no_lost_task"]) == ("integer", "boolean")


def test_chaos_init_makes_an_experiment_from_what_is_discovered(tmp_path: Path) -> None:
    found = tmp_path / "discovery.json"
    words = [sys.executable, "-m", "agents.chaostoolkit"]
    found.write_text(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    made = tmp_path / "experiment.json"
    logs = ("--log-file", str(tmp_path / "log"))
    paths = ("--discovery-path", str(found), "--experiment-path", str(made))
    kill = 1 + sorted(actions.__all__).index("kill")
    answers = ["two nodes", "n", "y", str(kill), "y", "b", "n", "n"]  # its wizard's questions
    command = [sys.executable, "-m", "chaostoolkit", *logs, "init", *paths]
    done = subprocess.run(command, input="\n".join(answers) + "\n", capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (action,) = json.loads(made.read_text())["method"]
    assert action["provider"]["module"] == "agents.chaostoolkit.actions"
    assert (action["provider"]["func"], action["provider"]["arguments"]) == ("kill", {"node": "b"})


def test_a_network_in_a_thread_is_driven_from_outside_and_leaves_nothing() -> None:
    async def pid(net: ChaosNet) -> int:
        await net.up(1, voters=1)
        process = net._world._machines["a"].process  # type: ignore[attr-defined]
        return int(process.pid)

    with RealNetwork(loopback=True) as network:
        number = network.do(pid)
        assert network.finish().passed
    assert not Path(f"/proc/{number}/cmdline").exists() or not Path(f"/proc/{number}/exe").exists()
    with pytest.raises(Exception, match="does not run"):
        network.do(pid)
    network.close()

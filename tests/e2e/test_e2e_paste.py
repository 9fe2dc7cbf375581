"""What the README says to paste works as pasted."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from warm import program

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(heading: str, language: str) -> list[str]:
    section = README.split(f"## {heading}\n")[1].split("\n## ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


def patient(script: str) -> str:
    """The pauses of a person who looks whether it is up: a busy machine takes longer than they."""
    looks = {
        "sleep 2\n": "conclave status --home /tmp/lab/ada >/dev/null 2>&1",
        "sleep 3\n": "conclave status --home /tmp/lab/ben 2>&1 | grep -q '^leader .*, term'",
    }
    for pause, look in looks.items():
        assert script.count(pause) == 1
        script = script.replace(pause, f"{pause}until {look}; do sleep 0.2; done\n")
    return script


def test_the_three_nodes_of_the_readme_come_up_and_work(tmp_path: Path) -> None:
    (script,) = blocks("Three nodes on this machine", "sh")
    assert "/tmp/lab" in script
    script = patient(script).replace("/tmp/lab", str(tmp_path))
    (_, caller) = blocks("In Python", "python")
    (tmp_path / "caller.py").write_text(caller)
    programs = program(tmp_path / "bin").parent
    assert "$PWD/.venv/bin" in script
    script = script.replace("$PWD/.venv/bin", str(programs))
    script = f"{script}\n{sys.executable} {tmp_path}/caller.py\nkill -INT %1 %2 %3; wait\n"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CONCLAVE_")}
    said = subprocess.run(
        ["bash", "-m", "-c", script],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    print(said.stdout, said.stderr)
    assert "Traceback" not in said.stderr
    assert re.search(r"^leader +(ada|ben|cleo) ", said.stdout, re.MULTILINE)
    assert re.search(r"^5\.0$", said.stdout, re.MULTILINE)
    assert '"path": "examples/summer.py"' in said.stdout
    assert re.search(r"^files +\d+ ", said.stdout, re.MULTILINE)
    assert re.search(r"^9\.0 [a-z2-7]{52} \('[a-z2-7]{52}',", said.stdout, re.MULTILINE)


def test_the_agent_of_the_readme_is_the_example() -> None:
    (agent, _) = blocks("In Python", "python")
    example = (ROOT / "examples" / "summer.py").read_text(encoding="utf-8")
    docstring = re.compile(r'^ *""".*?"""\n+', re.MULTILINE)
    assert agent == docstring.sub("", example)

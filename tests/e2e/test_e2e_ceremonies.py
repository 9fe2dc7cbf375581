"""The commands of docs/ceremonies.md, word for word, and what nodes make of their results."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cli_lab import environment

from keys import Keystore

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "ceremonies.md").read_text(encoding="utf-8")


def blocks() -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_page_works_as_pasted(tmp_path: Path) -> None:
    script = "set -e\n" + "\n".join(blocks())
    programs = tmp_path / "bin"
    programs.mkdir()
    program = programs / "conclave"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m agents.cli "$@"\n')
    program.chmod(0o755)
    place = tmp_path / "page"
    place.mkdir()
    said = subprocess.run(
        ["bash", "-m", "-c", script],
        cwd=place,
        env=environment(PATH=f"{programs}:{os.environ['PATH']}"),
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    print(said.stdout, said.stderr)
    assert said.returncode == 0
    assert "Traceback" not in said.stderr
    assert "root     number 1, 2 of 3 keys" in said.stdout
    passphrase = (place / "passphrase").read_text().strip()
    a, b = (Keystore.open(place / name, passphrase) for name in "ab")
    assert a.chain.rotations == 1, "the first issuer moved its own certificate under the new root"
    assert b.issuer is not None
    assert b.issuer.chain.rotations == 1
    assert b.issuer.chain.leaf.namespaces == ("shop",)
    assert (a.names_voters, b.names_voters) == (True, False)

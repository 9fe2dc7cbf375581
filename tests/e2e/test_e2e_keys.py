"""`conclave keys`: looking, another passphrase, backups that come back, with real processes."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli_lab import (
    AGENT,
    QUICK,
    Node,
    Said,
    agreed,
    conclave,
    environment,
    eventually,
    lab,
    refused,
)

pytestmark = pytest.mark.e2e


def word(path: Path, text: str) -> Path:
    path.write_text(text + "\n")
    path.chmod(0o600)
    return path


def keys(home: Path, *words: str, **env: str) -> Said:
    return quick("keys", *words, "--home", str(home), **env)


def quick(*words: str, **env: str) -> Said:
    return conclave(*words, script=QUICK, **env)


def test_a_passphrase_is_given_changed_and_taken_away(tmp_path: Path) -> None:
    one, two = word(tmp_path / "one", "first words"), word(tmp_path / "two", "second words")
    home = tmp_path / "ada"
    assert quick("init", "lab", "--home", str(home)).status == 0
    said = keys(home, "show", "--json").json
    assert [(key["file"], key["is_sealed"]) for key in said["keys"]] == [
        ("identity.key", False),
        ("issuer.key", False),
        ("root.key", False),
    ]
    made = keys(home, "change-passphrase", "--new-file", str(one), "--json").json
    assert made["sealed"] is True
    assert "open" not in keys(home, "show").out
    refused(keys(home, "change-passphrase", "--new-file", str(two)), "CONCLAVE_PASSPHRASE_FILE")
    first = {"CONCLAVE_PASSPHRASE_FILE": str(one)}
    second = {"CONCLAVE_PASSPHRASE_FILE": str(two)}
    assert keys(home, "change-passphrase", "--new-file", str(two), **first).status == 0
    refused(conclave("invite", "--home", str(home), **first), "passphrase does not open")
    (tmp_path / "creds").mkdir()
    (tmp_path / "creds" / "conclave-passphrase").write_text("second words\n")
    credential = {"CREDENTIALS_DIRECTORY": str(tmp_path / "creds")}
    assert conclave("invite", "--home", str(home), **credential).status == 0
    refused(keys(home, "change-passphrase", "--none", **second), "say --yes")
    assert keys(home, "change-passphrase", "--none", "--yes", **second).status == 0
    assert conclave("invite", "--home", str(home)).status == 0


def test_somebody_at_a_terminal_is_asked(tmp_path: Path) -> None:
    home = tmp_path / "ada"
    one = word(tmp_path / "one", "first words")
    env = {"CONCLAVE_PASSPHRASE_FILE": str(one)}
    assert quick("init", "lab", "--home", str(home), **env).status == 0
    out, status = at_a_terminal(("invite", "--home", str(home)), "first words")
    assert status == 0, out
    assert "Passphrase of" in out
    assert "conclave1-" in out
    assert "first words" not in out
    out, status = at_a_terminal(("invite", "--home", str(home)), "wrong words")
    assert status == 1
    assert "does not open" in out


def test_somebody_at_a_terminal_tells_a_node_that_is_up_the_passphrase(tmp_path: Path) -> None:
    one = word(tmp_path / "one", "first words")
    env = {"CONCLAVE_PASSPHRASE_FILE": str(one)}
    with lab(tmp_path) as here:
        node = here.node("ada")
        assert quick("init", "lab", "--voters", "1", "--home", str(node.home), **env).status == 0
        words = ("issuer", "open", "--home", str(node.home))
        assert "no node is up" in at_a_terminal(words, "first words")[0]
        node.up(str(AGENT), **env).until_up()
        one.unlink()  # now nobody but a person can say it
        out, status = at_a_terminal(words, "wrong words")
        assert (status, "does not open" in out) == (1, True), out
        out, status = at_a_terminal((*words, "--json"), "first words")
        assert (status, '-issuer"}' in out) == (0, True), out
        assert "first words" not in out
        refused(conclave(*words), "CONCLAVE_PASSPHRASE_FILE")
        assert "first words" not in node.log


def at_a_terminal(words: tuple[str, ...], typed: str) -> tuple[str, int]:
    """What a command says at a terminal, where somebody types one line when asked."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "agents.cli", *words]
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment(), close_fds=True,
        start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    out, is_typed, until = b"", False, time.monotonic() + 20
    while time.monotonic() < until:
        try:
            piece = os.read(ours, 4096)
        except OSError:
            break
        if not piece:
            break
        out += piece
        if b"assphrase" in out and not is_typed:
            os.write(ours, typed.encode() + b"\n")
            is_typed = True
    status = process.wait(20)
    os.close(ours)
    return out.decode(), status


def test_a_running_home_is_not_changed_and_a_sealed_node_dumps_no_core(tmp_path: Path) -> None:
    one = word(tmp_path / "one", "first words")
    env = {"CONCLAVE_PASSPHRASE_FILE": str(one)}
    with lab(tmp_path) as here:
        node = here.node("ada")
        assert quick("init", "lab", "--voters", "1", "--home", str(node.home), **env).status == 0
        node.up(str(AGENT), **env).until_up()
        refused(keys(node.home, "change-passphrase", "--none", "--yes", **env), "is in use")
        assert keys(node.home, "show").status == 0
        assert node.process is not None
        limits = Path(f"/proc/{node.process.pid}/limits")
        if limits.exists():
            line = next(x for x in limits.read_text().splitlines() if "core file" in x)
            assert line.split()[4:6] == ["0", "0"]


def test_a_node_that_burnt_down_comes_back_from_its_backup_and_votes_no_more(
    tmp_path: Path,
) -> None:
    with lab(tmp_path) as here:
        nodes = here.network("ada", "bob", "cyd", "dan")
        here.up(nodes)
        bob = nodes[1]
        file, words = tmp_path / "bob.backup", word(tmp_path / "words", "backup words")
        said = keys(bob.home, "backup", str(file), "--passphrase-file", str(words))
        assert said.status == 0, said.err
        assert "must not run beside this one" in said.out
        assert file.stat().st_mode & 0o777 == 0o600
        refused(keys(bob.home, "backup", str(file), "--passphrase-file", str(words)), "already")
        refused(keys(bob.home, "backup", str(tmp_path / "x")), "nobody can be asked")
        refused(keys(bob.home, "restore", str(file), "--passphrase-file", str(words)), "another")
        old = bob.status()
        bob.kill()
        bob.home.rename(tmp_path / "burnt")
        refused(keys(bob.home, "restore", str(file)), "--passphrase-file")
        wrong = word(tmp_path / "wrong", "other words")
        refused(keys(bob.home, "restore", str(file), "--passphrase-file", str(wrong)), "open")
        again = keys(bob.home, "restore", str(file), "--passphrase-file", str(words), "--json")
        assert again.json["peer"] == old["peer"]
        was_voter = again.json["was_voter"]
        others = [n for n in nodes if n is not bob]
        bob.up(str(AGENT), seeds=tuple(others)).until_up()
        eventually(lambda: agreed(nodes), "the restored member")
        assert bob.status()["peer"] == old["peer"]
        assert not (bob.home / "raft" / "log.db").exists(), "it has begun to vote"
        assert was_voter is (old["peer"] in _voters(others[0]))
        assert conclave("kv", "put", "x", "1", "--home", str(bob.home)).status == 0
        assert "doctor" not in refusals(bob)


def _voters(node: Node) -> list[str]:
    roster = node.home / "roster"
    from keys import Roster

    return list(Roster.decode(roster.read_bytes()).voters)


def refusals(node: Node) -> str:
    return "\n".join(line for line in node.log.splitlines() if "Traceback" in line)


def test_a_backup_for_a_key_that_is_offline(tmp_path: Path) -> None:
    with lab(tmp_path) as here:
        (ada,) = here.network("ada", voters=1)
        refused(keys(ada.home, "backup", "x", "--to", "nonsense"), "conclave-backup1-")
        words = word(tmp_path / "words", "offline words")
        offline = tmp_path / "offline.key"
        made = keys(ada.home, "backup-key", str(offline), "--passphrase-file", str(words), "--json")
        public, file = made.json["public"], tmp_path / "b"
        refused(keys(ada.home, "backup", str(file), "--to", public), "first voters")
        ada.up(str(AGENT)).until_up()
        eventually(lambda: (ada.home / "roster").exists(), "the roster")
        assert keys(ada.home, "backup", str(file), "--to", public).status == 0
        ada.kill()
        home = tmp_path / "again"
        refused(keys(home, "restore", str(file)), "--key", public)
        refused(keys(home, "restore", str(file), "--key", str(offline)), "passphrase")
        said = keys(
            home, "restore", str(file), "--key", str(offline), "--passphrase-file", str(words)
        )
        assert said.status == 0, said.err
        assert "votes no more" in said.out
        assert keys(home, "show").status == 0

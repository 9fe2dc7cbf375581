"""`conclave audit` with real processes: what is shown, killed nodes, tampering, cut logs."""

from __future__ import annotations

import json
import socket
from contextlib import suppress
from pathlib import Path

import pytest
from cli_lab import LOOPBACK, Lab, Node, agreed, conclave, eventually, lab, refused

from keys.auditing import HeadStore

pytestmark = pytest.mark.e2e


def shown(node: Node, *words: str) -> list[dict[str, object]]:
    said = conclave("audit", "show", *words, "--json", "--home", str(node.home))
    assert said.status == 0, said
    return [json.loads(line) for line in said.out.splitlines()]


def kinds(node: Node, *words: str) -> list[object]:
    return [row["kind"] for row in shown(node, *words)]


def last_file(node: Node) -> Path:
    return sorted((node.home / "audit").glob("*.audit"))[-1]


def two_up(here: Lab) -> list[Node]:
    nodes = here.network("ada", "bob", voters=1)
    for node in nodes:
        node.up(seeds=tuple(other for other in nodes if other is not node))
    for node in nodes:
        node.until_up()
    eventually(lambda: agreed(nodes), "a leader")
    return nodes


def test_a_person_sees_what_happened_verifies_and_exports_it(tmp_path: Path) -> None:
    with lab(tmp_path) as here:
        ada, bob = two_up(here)
        invited = conclave("invite", "--home", str(ada.home), "--json").json
        eventually(lambda: "peer.admitted" in kinds(ada), "an entry")
        eventually(lambda: "leader.changed" in kinds(bob), "an entry")
        assert "ticket.made" in kinds(ada)
        assert kinds(ada, "--kind", "node") == ["node.started"]
        eventually(lambda: kinds(ada, "--since", "0s") == [], "a moment without an entry")
        words = conclave("audit", "show", "--home", str(ada.home)).out
        assert "node.started ok" in words
        eventually(lambda: "peer.admitted" in kinds(ada, "--peer", "bob"), "another's log")
        denied = conclave("audit", "show", "--peer", "ada", "--home", str(bob.home))
        refused(denied, "AUDIT_READ")
        eventually(lambda: "permission.denied" in kinds(ada), "the denial")

        def compared() -> bool:
            said = conclave("audit", "verify", "--home", str(ada.home), "--json")
            assert said.json["whole"], said
            return bool(said.json["compared"])

        eventually(compared, "a head that bob holds")
        file = tmp_path / "ada.jsonl"
        assert conclave("audit", "export", str(file), "--home", str(ada.home)).status == 0
        refused(conclave("audit", "export", str(file), "--home", str(ada.home)), "exists")
        said = conclave("audit", "verify", "--file", str(file))
        assert said.status == 0
        assert "whole" in said.out
        text = file.read_text()
        file.write_text(text.replace("peer.admitted", "peer.expelled", 1))
        refused(conclave("audit", "verify", "--file", str(file)), "was changed")
        without = [line for line in text.splitlines() if '"leader.changed"' not in line]
        file.write_text("\n".join(without))
        said = conclave("audit", "verify", "--file", str(file))
        assert said.status == 1
        assert "REMOVED" in said.out

        raw = b"".join(path.read_bytes() for path in tmp_path.rglob("audit/*.audit"))
        for secret in (invited["ticket"], invited["ticket"][10:]):
            assert secret.encode() not in raw
            assert secret not in text
        for key in tmp_path.rglob("*.key"):
            assert key.read_bytes()[-32:] not in raw


def test_a_node_that_is_killed_again_and_again_keeps_a_whole_log(tmp_path: Path) -> None:
    with lab(tmp_path) as here:
        (ada,) = here.network("ada", voters=1)
        for round_ in range(5):
            ada.up()
            eventually(lambda: (ada.home / "node.sock").exists(), "ada up")
            for _ in range(4 * round_):  # later and later
                shown(ada)
            ada.kill()
            (ada.home / "node.sock").unlink()
            said = conclave("audit", "verify", "--offline", "--home", str(ada.home), "--json")
            assert said.json["whole"], said
        assert kinds(ada).count("node.started") == 5
        assert "node.stopped" not in kinds(ada)
        assert "log.broken" not in kinds(ada)


def test_a_log_that_is_changed_or_cut_is_named(tmp_path: Path) -> None:
    with lab(tmp_path) as here:
        ada, bob = two_up(here)
        short = last_file(bob).read_bytes()
        assert bob.run("keys", "rotate").status == 0
        (entry,) = eventually(lambda: shown(bob, "--kind", "key.rotated"), "an entry")
        eventually(lambda: held(ada) >= int(str(entry["sequence"])), "its head at ada's")
        path = last_file(bob)
        whole = path.read_bytes()
        assert len(whole) > len(short)
        path.write_bytes(whole.replace(b"peer.admitted", b"peer.expelled", 1))
        said = conclave("audit", "verify", "--offline", "--home", str(bob.home))
        assert said.status == 1
        assert "CHANGED: entry" in said.out
        path.write_bytes(short)
        assert conclave("audit", "verify", "--offline", "--home", str(bob.home)).status == 0
        cut = conclave("audit", "verify", "--home", str(bob.home))
        assert cut.status == 1
        assert "TRUNCATED: entry" in cut.out
        bob.interrupt()
        down = conclave("audit", "verify", "--home", str(bob.home))
        assert down.status == 1
        assert "--offline" in down.err
        assert "REMOVED" in conclave("audit", "verify", "--offline", "--home", str(bob.home)).out


def held(node: Node) -> int:
    """Up to which entry this one knows the log of the other one."""
    newest, _ = HeadStore(node.home).load()
    return max((one.head.sequence for one in newest.values()), default=0)


def test_a_flood_of_strangers_fills_no_disk(tmp_path: Path) -> None:
    with lab(tmp_path) as here:
        (ada,) = here.network("ada", voters=1)
        ada.up().until_up()
        for _ in range(400):
            with socket.create_connection((LOOPBACK, ada.port)) as knock:
                knock.sendall(b"GET / HTTP/1.0\r\n\r\n")
                with suppress(ConnectionResetError):
                    while knock.recv(4096):  # until the door has looked at it
                        pass
        found = eventually(lambda: shown(ada, "--kind", "peer.refused"), "an entry")
        assert len(found) <= 8
        assert found[0]["by"] == LOOPBACK
        ada.interrupt()
        found = shown(ada, "--kind", "peer.refused")
        assert len(found) <= 16
        assert sum(int(str(row["times"])) for row in found) >= 300


def test_what_is_no_log_is_one_line(tmp_path: Path) -> None:
    nowhere = str(tmp_path / "nowhere")
    refused(conclave("audit", "verify", "--offline", "--home", nowhere), "no network")
    (tmp_path / "file").write_text("nonsense\n")
    refused(conclave("audit", "verify", "--file", str(tmp_path / "file")), "no export")
    refused(conclave("audit", "verify", "--file", nowhere))
    refused(conclave("audit", "show", "--since", "yesterday", "--home", nowhere), "15m")

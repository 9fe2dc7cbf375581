"""Revocation on real processes: how quickly it bites, and that it goes on biting."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from cli_lab import Lab, Node, conclave, eventually, lab, patient, refused

from keys import Keystore

pytestmark = pytest.mark.e2e


def alive_at(node: Node, name: str) -> bool:
    return node.states().get(name) in ("alive", "suspect")


def lists_at(home: Path) -> int:
    return len(list((home / "revocations").glob("*.list")))


def four(here: Lab) -> list[Node]:
    nodes = here.network("ann", "bob", "cat", "bad")
    here.up(nodes)
    eventually(lambda: all(n.status().get("peers_alive") == 3 for n in nodes), "all four")
    return nodes


def test_one_of_four_is_revoked_and_cut_everywhere_within_a_second_and_stays_out(
    tmp_path: Path,
) -> None:
    with lab(tmp_path) as here:
        ann, bob, cat, bad = four(here)
        said = ann.run("revoke", "bad", "--reason", "stolen", "--yes", "--json").json
        done = time.monotonic()
        assert said["by"][0]["number"] == 1
        for node in (ann, bob, cat):
            eventually(lambda node=node: not alive_at(node, "bad"), f"{node.name} cut it")  # type: ignore[misc]
        took_s = time.monotonic() - done
        print(f"cut everywhere {took_s:.3f} s after the command had ended")
        assert took_s < patient(1)
        assert bad.ended(10) == 77
        assert "was revoked by 'ann-issuer'" in bad.log
        # It cannot come back: not by itself, and not when it has forgotten what it was told.
        refused(bad.run("up", "--no-mdns", "--host", "127.0.0.1"), "was revoked by", "stolen")
        for path in (bad.home / "revocations").iterdir():
            path.unlink()
        read = len(bad.log)
        bad.up(seeds=(ann, bob, cat))
        eventually(lambda: "Ctrl-C leaves" in bad.log[read:], "up, alone")
        assert bad.ended() == 77
        assert "was revoked by 'ann-issuer'" in bad.log[read:]
        assert "stolen" in bad.log[read:], "it has read the list at somebody's door"
        assert lists_at(bad.home) == 1
        assert all(not alive_at(node, "bad") for node in (ann, bob, cat))
        shown = cat.run("revocations").out
        assert "ann-issuer (issuer" in shown
        assert ": stolen" in shown


def test_one_that_was_away_learns_it_before_it_counts_the_revoked_one(tmp_path: Path) -> None:
    """The revoked one was away too, so it does not know; its door is knocked at first."""
    with lab(tmp_path) as here:
        ann, bob, away, bad = four(here)
        for node in (away, bad):
            node.kill()
        ann.run("revoke", "bad", "--yes")
        eventually(lambda: lists_at(bob.home) == 1, "bob knows")
        assert lists_at(away.home) == lists_at(bad.home) == 0
        bad.up(seeds=(away,))
        away.up(seeds=(bad, ann, bob))
        eventually(lambda: lists_at(away.home) == 1, "it is told")
        eventually(lambda: not alive_at(away, "bad"), "cut")
        eventually(lambda: alive_at(away, "ann") and alive_at(away, "bob"), "the others")
        # Either it was let in for a moment and told, or every door tells it so.
        eventually(lambda: "was revoked by" in bad.log, "the revoked one hears why")


def test_a_kill_between_keeping_and_adopting_loses_nothing(tmp_path: Path) -> None:
    with lab(tmp_path) as here:
        ann, bob, cat, bad = four(here)
        bob.kill()
        ann.run("revoke", "bad", "--yes")
        eventually(lambda: lists_at(cat.home) == 1, "cat knows")
        # As if bob had been killed just behind the write: the file is there, and nothing else.
        (path,) = (cat.home / "revocations").glob("*.list")
        (bob.home / "revocations").mkdir(mode=0o700)
        copy = bob.home / "revocations" / path.name
        copy.write_bytes(path.read_bytes())
        copy.chmod(0o600)
        ann.kill()
        cat.kill()
        assert len(Keystore.open(bob.home).trust.revocations) == 1
        read = len(bob.log)
        bob.up(seeds=(bad,))
        eventually(lambda: "Ctrl-C leaves" in bob.log[read:], bob.log[read:])
        time_limit = time.monotonic() + 4
        while time.monotonic() < time_limit:
            assert not alive_at(bob, "bad")
            time.sleep(0.1)


def test_without_a_node_and_by_the_root(tmp_path: Path) -> None:
    with lab(tmp_path) as here:
        ann, bob, _ = here.network("ann", "bob", "bad")
        refused(bob.run("revoke", "bad"), "no node runs here", "no issuer's key")
        refused(ann.run("revoke", "zoe"), "known: ann, bad, bob")
        refused(ann.run("revoke", "--all"), "--issued-before")
        said = ann.run("revoke", "bad", "--reason", "gone", "--json").json
        assert said["by"][0]["number"] == 1
        assert "bad" in ann.run("revocations").out
        # The root takes the issuer's key back; everything that it gave is over.
        keystore = Keystore.open(ann.home)
        issuer_id = keystore.chain.certificates[1].peer_id
        target = tmp_path / "root.list"
        words = ("--root-key", str(ann.home / "root.key"), "--list", str(target))
        assert ann.run("revoke", issuer_id, *words, "--json").json["number"] == 1
        assert ann.run("revoke", issuer_id, *words, "--json").json["number"] == 2
        assert bob.run("revoke", "--load", str(target)).status == 0
        refused(bob.run("up", "--no-mdns"), "'ann-issuer' was revoked by 'lab'")
        refused(bob.run("revoke", "--load", str(bob.home / "chain")))
        assert conclave("revocations", "--home", str(bob.home)).status == 0

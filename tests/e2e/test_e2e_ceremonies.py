"""The commands of docs/ceremonies.md, word for word, and what nodes make of their results."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from cli_lab import QUICK, conclave, environment, eventually, free_port, lab, refused
from warm import program

from keys import Keystore, Role

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "ceremonies.md").read_text(encoding="utf-8")


def blocks() -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_page_works_as_pasted(tmp_path: Path) -> None:
    port = free_port()
    script = "set -e\n" + "\n".join(blocks()).replace("4747", str(port))
    programs = program(tmp_path / "bin", QUICK).parent
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


def test_nodes_that_are_up_follow_a_rotation(tmp_path: Path) -> None:
    with lab(tmp_path) as here:
        a, b = here.network("a", "b", voters=1)
        a.up().until_up()
        b.up(seeds=(a,)).until_up()
        eventually(lambda: b.states().get("a") == "alive", "b sees a")
        place = {name: str(tmp_path / name) for name in ("roots", "rotation", "new.key", "again")}
        assert a.run("root", "show", "--save", place["roots"]).status == 0
        old = str(a.home / "root.key")
        turn = ("root", "rotate", place["roots"], "--key", old, "--no-passphrase", "--yes")
        made = conclave(*turn, "--new-key", place["new.key"], "--out", place["rotation"], "--json")
        assert made.json["missing"] is None
        assert a.run("issuer", "request", "--out", place["again"]).status == 0
        sign = ("root", "sign", place["again"], "--roots", place["rotation"])
        unasked = conclave(*sign, "--key", place["new.key"])
        assert unasked.status == 1
        assert "may give    admin, manager, observer, service in *" in unasked.err
        assert "nothing was signed" in unasked.err
        refused(conclave(*sign, "--key", old, "--yes"), "does not sign for this paper")
        refused(a.run("issuer", "install", place["again"]), "still needs 1 signature")
        assert conclave(*sign, "--key", place["new.key"], "--yes").status == 0
        refused(b.run("issuer", "install", place["again"]), "issuer")
        assert a.run("issuer", "install", place["again"]).status == 0
        a.interrupt()
        a.up(seeds=(b,)).until_up()
        eventually((b.home / "roots").exists, "b remembers the new root")
        ticket = a.run("invite").out.strip()
        c = here.node("c")
        assert c.run("join", ticket, "--name", "c").status == 0
        assert c.run("root", "show", "--json").json["root_number"] == 1
        other = str(tmp_path / "other")
        again = (*turn, "--new-key", str(tmp_path / "thief.key"), "--out", other)
        assert conclave(*again).status == 0, "the old key can do it again"
        refused(b.run("root", "learn", other), "another root number 1", "first one seen counts")
        refused(c.run("root", "learn", other), "another root number 1")


def test_a_ticket_gives_what_it_was_made_for_and_no_issuer_gives_more(tmp_path: Path) -> None:
    with lab(tmp_path) as here:
        (a,) = here.network("a", voters=1)
        a.up().until_up()
        ticket = a.run("invite", "--role", "manager", "--role", "observer", "--namespace", "shop")
        b = here.node("b")
        assert b.run("join", ticket.out.strip(), "--name", "b").status == 0
        leaf = Keystore.open(b.home).chain.leaf
        assert (leaf.roles, leaf.namespaces) == (Role.MANAGER | Role.OBSERVER, ("shop",))
        paper = tmp_path / "b.request"
        asked = ("--roles", "service", "--namespace", "shop", "--days", "9", "--out", str(paper))
        assert b.run("issuer", "request", *asked).status == 0
        refused(a.run("invite", "--role", "king"), "there are admin, manager, observer, service")
        root = str(a.home / "root.key")
        wider = conclave("root", "sign", str(paper), "--key", root, "--roles", "admin", "--yes")
        refused(wider, "asks only for service")
        assert conclave("root", "sign", str(paper), "--key", root, "--yes").status == 0
        assert b.run("issuer", "install", str(paper)).status == 0
        facts = b.run("issuer", "show", "--json").json
        assert (facts["roles"], facts["namespaces"]) == (["service"], ["shop"])
        assert not facts["names_voters"]
        refused(b.run("invite", "--role", "manager"), "may give only service")
        refused(b.run("invite", "--namespace", "bank"), "may give only shop")
        b.up(seeds=(a,)).until_up()
        c = here.node("c")
        assert c.run("join", b.run("invite").out.strip(), "--name", "c").status == 0
        leaf = Keystore.open(c.home).chain.leaf
        assert (leaf.roles, leaf.namespaces) == (Role.SERVICE, ("shop",))
        c.up(seeds=(a,)).until_up()
        eventually(lambda: a.states().get("c") == "alive", "a sees whom b let in")

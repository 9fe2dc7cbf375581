"""`conclave policy`: check, set, explain, reset, and the way out, between real processes."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_lab import AGENT, Node, Said, conclave, eventually, lab, leader_of, refused

pytestmark = pytest.mark.e2e

ALL = '[[rule]]\nname = "all"\neffect = "allow"\nwho = "*"\nactions = "*"\nwhat = "*"\n'
NO_NEWS = (
    f"version = 1\n{ALL}[[rule]]\n"
    'name = "no-news"\neffect = "deny"\nwho = "name:bob"\nactions = "publish"\nwhat = "news/*"\n'
)
NOBODY = (
    'version = 1\n[[rule]]\nname = "x"\neffect = "deny"\nwho = "*"\nactions = "*"\nwhat = "*"\n'
)


def policy(node: Node, *words: str) -> Said:
    return conclave("policy", *words, "--home", str(node.home))


def test_a_person_writes_checks_sets_and_explains_a_policy(tmp_path: Path) -> None:
    with lab(tmp_path) as here:
        nodes = here.network("ada", "bob", "cyd")
        here.up(nodes)
        ada, bob, _ = nodes
        file = tmp_path / "policy.toml"
        file.write_text(NO_NEWS.replace("news/*", "ne*"))
        refused(policy(ada, "check", str(file)), "line 13: rule 'no-news', what", "separator")
        refused(policy(ada, "set", str(file)), "line 13: rule 'no-news', what", "separator")
        file.write_text(NO_NEWS)
        assert "a policy of 2 rule(s)" in policy(ada, "check", str(file)).out
        assert "no policy is in force" in policy(ada, "show").out
        refused(policy(bob, "set", str(file)), "bob lacks the permission CONFIG_CHANGE")
        assert policy(ada, "set", str(file), "--json").json["entry"] > 0
        eventually(lambda: "no-news" in policy(bob, "show").out, "the policy at bob")
        said = conclave("pub", "news/today", "1", "--home", str(bob.home))
        refused(said, "rule 'no-news' of the replicated policy denies bob")
        assert conclave("pub", "other", "1", "--home", str(bob.home)).status == 0
        no = policy(ada, "explain", "bob", "publish", "news/today")
        assert no.status == 1
        assert no.out.startswith("denied by replicated rule 'no-news'")
        assert policy(ada, "explain", "ada", "publish", "news/today").status == 0
        refused(policy(ada, "explain", "ada", "fly", "x"), "'fly' is none of call")
        assert policy(ada, "reset").status == 0
        eventually(lambda: "no policy is in force" in policy(bob, "show").out, "the reset")
        assert 'effect = "allow"' in policy(bob, "show", "--built-in").out


def test_a_file_that_is_no_policy_keeps_the_node_down_and_one_that_is_counts(
    tmp_path: Path,
) -> None:
    with lab(tmp_path) as here:
        (ada,) = here.network("ada")
        (ada.home / "policy.toml").write_text("version = 1\n[[rules]]\n")
        ada.up(str(AGENT))
        eventually(lambda: not ada.is_running, "the refusal to start")
        assert "policy.toml: there is no key 'rules'" in ada.log
        assert "Traceback" not in ada.log
        (ada.home / "policy.toml").write_text(NO_NEWS.replace("bob", "ada"))
        ada.up(str(AGENT)).until_up()
        said = conclave("pub", "news/today", "1", "--home", str(ada.home))
        refused(said, "rule 'no-news' of the file policy denies ada")


def test_who_has_locked_everybody_out_gets_in_again_on_a_voter_s_machine(tmp_path: Path) -> None:
    with lab(tmp_path) as here:
        (ada,) = here.network("ada", voters=1)
        ada.up(str(AGENT)).until_up()
        leader_of([ada])
        file = tmp_path / "policy.toml"
        file.write_text(NOBODY)
        refused(policy(ada, "set", str(file)), "ada could not change the policy", "--force")
        assert policy(ada, "set", str(file), "--force").status == 0
        refused(policy(ada, "reset"), "rule 'x' of the replicated policy denies ada")
        ada.interrupt()
        refused(policy(ada, "reset"), "say --yes")
        assert "bring this node up" in policy(ada, "reset", "--yes").out
        ada.up(str(AGENT)).until_up()
        eventually(lambda: "no policy is in force" in policy(ada, "show").out, "the way out")
        assert conclave("kv", "put", "x", "1", "--home", str(ada.home)).status == 0


def test_a_node_that_was_killed_and_comes_up_alone_obeys_what_it_knew(tmp_path: Path) -> None:
    with lab(tmp_path) as here:
        nodes = here.network("ada", "bob", "cyd")
        here.up(nodes)
        ada, bob, cyd = nodes
        file = tmp_path / "policy.toml"
        file.write_text(NO_NEWS)
        assert policy(ada, "set", str(file)).status == 0
        eventually(lambda: "no-news" in policy(bob, "show").out, "the policy at bob")
        for node in (bob, ada, cyd):
            node.kill()
        bob.up()
        eventually(lambda: policy(bob, "show").status == 0, "the start")
        said = conclave("pub", "news/today", "1", "--home", str(bob.home))
        refused(said, "rule 'no-news' of the replicated policy denies bob")

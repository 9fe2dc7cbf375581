"""`conclave issuer request | install | open | show`: a node that may let others in.

What this module does not know: who signs a request (`conclave root sign`), what papers are made of.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from agents.auditing_kinds import Kind
from agents.auditing_offline import note_ceremony, note_command, open_noted
from agents.cli.attached import ask_node
from agents.cli.papers import day, read_paper, root_words, write_paper
from agents.cli.places import home_of
from agents.errors import NodeNotUp
from agents.passphrases import passphrase
from keys import ALL_ROLES, EVERYWHERE, Keystore, NotTheIssuer, role_words, roles_named
from keys.ceremonies import IssuerRequest, Paper, asking_key, install_issuer
from keys.issuing import issuer_name


def run(arguments: argparse.Namespace) -> int:
    """Do what the verb says."""
    verbs = {"request": _request, "install": _install, "open": _open, "show": _show}
    verbs[arguments.verb](arguments)
    return 0


def _request(arguments: argparse.Namespace) -> None:
    """Print what the keepers of the root are asked to sign. The key is kept before it is shown."""
    home = home_of(arguments)
    given = passphrase(home)
    keystore = Keystore.open(home, given)
    key = asking_key(home, given)
    note_ceremony(keystore, Kind.ISSUER_ASKED, key.peer_id)
    request = IssuerRequest.make(
        key,
        keystore.genesis.network_id,
        arguments.name or issuer_name(keystore.name),
        roles_named(arguments.roles) if arguments.roles else ALL_ROLES,
        arguments.namespace or [EVERYWHERE],
        arguments.days,
        int(time.time() * 1000),
    )
    seen = keystore.trust.seen
    line = (seen.roots if seen is not None else ()) or keystore.chain.roots
    paper = Paper.issuing(request, line)
    word = key.peer_id
    if arguments.out:
        write_paper(Path(arguments.out), paper)
    if arguments.json:
        print(json.dumps({"request": str(paper), "key": word}))
    elif not arguments.out:
        print(paper, end="")
    print(
        f"conclave: the key that asks is {word}; tell it to whoever signs, by another way",
        file=sys.stderr,
    )


def _install(arguments: argparse.Namespace) -> None:
    given = passphrase(home_of(arguments))
    keystore = open_noted(home_of(arguments), given)
    now_ms = int(time.time() * 1000)
    chain = read_paper(arguments.file).issuer_chain(now_ms)
    note_command(keystore, "issuer.install")
    made = install_issuer(keystore, chain, now_ms, given)
    leaf = chain.leaf
    detail: dict[str, str | int] = {"name": leaf.name, "until_ms": leaf.not_after_ms}
    detail |= {"roles": role_words(leaf.max_roles), "namespaces": " ".join(leaf.namespaces)}
    note_ceremony(made, Kind.ISSUER_INSTALLED, leaf.peer_id, detail)
    is_told = given is not None and _is_told(arguments, given)
    seen = "It is up and knows." if is_told else "If it is up, it notices within seconds."
    seen += " `conclave invite` works here."
    _say(arguments, _facts(made), [f"This node issues now, as {leaf.name}.", seen])


def _is_told(arguments: argparse.Namespace, given: str) -> bool:
    """Whether the node is up and has taken in the sealed key: it may know nobody else to ask."""
    try:
        ask_node(arguments, lambda net: net.keys.open_issuer(given))
    except NodeNotUp:
        return False
    return True


def _open(arguments: argparse.Namespace) -> None:
    """Have the node that is up take in the key, with the passphrase of whoever sits here."""
    given = passphrase(home_of(arguments))
    name = ask_node(arguments, lambda net: net.keys.open_issuer(given))
    _say(arguments, {"name": name}, [f"The node that is up issues, as {name}."])


def _show(arguments: argparse.Namespace) -> None:
    keystore = Keystore.open(home_of(arguments), passphrase(home_of(arguments)))
    facts = _facts(keystore)
    issuer = keystore.issuer
    assert issuer is not None, "_facts has looked"
    lines = [
        f"issuer     {facts['name']}",
        f"its key    {facts['key']}",
        f"may give   {role_words(issuer.chain.leaf.max_roles)} in {', '.join(facts['namespaces'])}",
        f"valid      until {day(issuer.chain.leaf.not_after_ms)}",
        f"root       {root_words(issuer.chain.root)}",
        f"voters     {'it' if keystore.names_voters else 'another'} names the first ones",
    ]
    _say(arguments, facts, lines)


def _facts(keystore: Keystore) -> dict[str, Any]:
    """Return what this node may issue.

    Raises:
        NotTheIssuer: nothing.
    """
    issuer = keystore.issuer
    if issuer is None:
        raise NotTheIssuer("issuing")
    leaf = issuer.chain.leaf
    return {
        "name": leaf.name,
        "key": leaf.peer_id,
        "roles": role_words(leaf.max_roles).split(", "),
        "namespaces": list(leaf.namespaces),
        "not_after_ms": leaf.not_after_ms,
        "root_number": issuer.chain.rotations,
        "names_voters": keystore.names_voters,
    }


def _say(arguments: argparse.Namespace, said: dict[str, Any], lines: list[str]) -> None:
    print(json.dumps(said) if arguments.json else "\n".join(lines))

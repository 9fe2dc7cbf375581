"""`conclave init`: make a network.

With several root keys it takes two steps, because those sign elsewhere: the first keeps this node's
keys and writes a founding, the second (`--finish`) takes it back signed.

What this module does not know: what a founding is made of (`keys.ceremonies`).
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from agents.cli.papers import authority_words, read_paper, words_of, write_paper
from agents.cli.places import home_of, node_name_of
from agents.cli.root import quorum_of
from agents.passphrases import passphrase
from keys import InvalidValue, Keystore, check_name
from keys.ceremonies import Paper


def run(arguments: argparse.Namespace) -> None:
    """Make the root key, the issuer, genesis and this node's own papers."""
    if arguments.finish:
        _finish(arguments)
    elif arguments.network is None:
        raise InvalidValue("the network", "give it a name, such as `conclave init lab`")
    elif arguments.root_key or arguments.root_quorum is not None:
        _found(arguments)
    else:
        home = home_of(arguments)
        keystore = Keystore.create_network(
            home,
            arguments.network,
            node_name_of(arguments),
            arguments.voters,
            passphrase=passphrase(),
            now_ms=int(time.time() * 1000),
        )
        where = f"The root key is {home / 'root.key'}: move it to a safe place, a node never"
        _greet(arguments, keystore, f"{where} reads it.")


def _found(arguments: argparse.Namespace) -> None:
    """Write what the root keys have to sign. This node's keys are kept before."""
    root = quorum_of(arguments.root_quorum, arguments.root_key or [])
    if root.quorum is None:
        raise InvalidValue("--root-key", "give 2 to 5; without it one key is made here")
    home, name = home_of(arguments), node_name_of(arguments)
    now_ms = int(time.time() * 1000)
    check_name("node name", name)
    check_name("network name", arguments.network)
    path = Path(arguments.out or f"{arguments.network}.founding")
    _, issuer = Keystore.pending_founder(home, passphrase(home))
    paper = Paper.founding(
        root.quorum, arguments.network, name, issuer.public_key, arguments.voters, now_ms
    )
    write_paper(path, paper, is_new=True)
    if arguments.json:
        print(json.dumps({"founding": str(path), "home": str(home), "missing": paper.missing}))
        return
    print("\n".join(words_of(paper)[:-1]))
    print(f"The founding is in {path}; it needs {paper.missing}.")
    print("Next:")
    print(f"  conclave root sign {path} --key FILE     by each keeper of a key, in any order")
    print(f"  conclave init --finish {path}            here, when it is complete")


def _finish(arguments: argparse.Namespace) -> None:
    paper = read_paper(arguments.finish)
    founded = paper.founded()
    keystore = Keystore.create_founded(
        home_of(arguments),
        paper.node_name,
        founded,
        passphrase=passphrase(),
        now_ms=int(time.time() * 1000),
    )
    root = authority_words(founded[0].authority)
    _greet(arguments, keystore, f"Its root is {root}; none of them is here.")


def _greet(arguments: argparse.Namespace, keystore: Keystore, about_root: str) -> None:
    home, voters = keystore.home, keystore.genesis.expected_voters
    said = {
        "network": keystore.genesis.network_name,
        "network_id": keystore.genesis.network_id,
        "node": keystore.name,
        "peer": keystore.identity.peer_id,
        "home": str(home),
        "voters": voters,
    }
    if arguments.json:
        print(json.dumps(said))
        return
    print(f"Network {said['network']} is made; this node is {said['node']}, in {home}.")
    waits = (
        "this node alone decides"
        if voters == 1
        else (f"they elect a leader once {voters} nodes are up")
    )
    print(f"Voters: {voters} ({waits}).")
    print(about_root)
    print("Next:")
    print("  conclave up [AGENT ...]     bring this node up")
    print("  conclave invite             a ticket for each further node")

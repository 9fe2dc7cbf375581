"""`conclave init`: make a network."""

from __future__ import annotations

import argparse
import json
import time

from agents.bringing_up import passphrase
from agents.cli.places import home_of, node_name_of
from keys import Keystore


def run(arguments: argparse.Namespace) -> None:
    """Make the root key, the issuer, genesis and this node's own papers."""
    home = home_of(arguments)
    keystore = Keystore.create_network(
        home,
        arguments.network,
        node_name_of(arguments),
        arguments.voters,
        passphrase=passphrase(),
        now_ms=int(time.time() * 1000),
    )
    said = {
        "network": keystore.genesis.network_name,
        "network_id": keystore.genesis.network_id,
        "node": keystore.name,
        "peer": keystore.identity.peer_id,
        "home": str(home),
        "voters": arguments.voters,
    }
    if arguments.json:
        print(json.dumps(said))
        return
    print(f"Network {said['network']} is made; this node is {said['node']}, in {home}.")
    waits = (
        "this node alone decides"
        if arguments.voters == 1
        else (f"they elect a leader once {arguments.voters} nodes are up")
    )
    print(f"Voters: {arguments.voters} ({waits}).")
    print(f"The root key is {home / 'root.key'}: move it to a safe place, a node never reads it.")
    print("Next:")
    print("  conclave up [AGENT ...]     bring this node up")
    print("  conclave invite             a ticket for each further node")

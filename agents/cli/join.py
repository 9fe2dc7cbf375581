"""`conclave join TICKET`: own keys, own certificate."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time

from agents.cli.places import home_of, node_name_of
from agents.doors import remember_doors
from agents.passphrases import passphrase
from keys import Identity, JoinedNetwork, Keystore, Ticket
from p2p import JoinFailed, join

ATTEMPT_S = 5.0
PAUSE_S = 1.0
ABSENT = frozenset({"unreachable", "deadline"})


def run(arguments: argparse.Namespace) -> None:
    """Make keys here, be issued a certificate, and keep both."""
    home = home_of(arguments)
    name = node_name_of(arguments)
    line = sys.stdin.readline() if arguments.ticket == "-" else arguments.ticket
    ticket = Ticket.parse(line.strip())
    given = passphrase(home)
    identity = Keystore.pending_identity(home, given)
    joined = asyncio.run(_join(ticket, identity, name, arguments.wait))
    keystore = Keystore.create_joined(home, identity, name, joined, passphrase=given)
    remember_doors(home, (str(door) for door in ticket.addresses))
    said = {
        "network": keystore.genesis.network_name,
        "network_id": keystore.genesis.network_id,
        "node": name,
        "peer": identity.peer_id,
        "home": str(home),
    }
    if arguments.json:
        print(json.dumps(said))
        return
    if arguments.ticket != "-":
        print(
            "conclave: the ticket stood in the list of processes and stands in the shell's history;"
            " `conclave join -` reads it from standard input",
            file=sys.stderr,
        )
    print(f"This node is {name}, a member of {said['network']}, in {home}.")
    print("Next:")
    print("  conclave up [AGENT ...]     bring it up")


async def _join(ticket: Ticket, identity: Identity, name: str, wait_s: float) -> JoinedNetwork:
    """Ask until somebody is there; a refusal is final at once.

    Raises:
        JoinFailed: refused, or nobody answered in time.
    """
    deadline = time.monotonic() + wait_s
    told = False
    while True:
        try:
            now_ms = int(time.time() * 1000)
            return await join(ticket, identity, name, timeout_s=ATTEMPT_S, now_ms=now_ms)
        except JoinFailed as error:
            absent = all(each.reason in ABSENT for each in error.failures)
            if not absent or not error.failures or time.monotonic() >= deadline:
                raise
            if not told:
                told = True
                doors = ", ".join(each.address for each in error.failures)
                print(
                    f"conclave: nobody answers yet at {doors}; "
                    "waiting for `conclave up` on the node that invited",
                    file=sys.stderr,
                )
        await asyncio.sleep(PAUSE_S)

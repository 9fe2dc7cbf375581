"""`conclave invite`: a ticket for one node."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path

from agents.auditing_offline import note_ticket, open_noted
from agents.cli.places import home_of
from agents.errors import NodeNotUp
from agents.local import attach
from agents.passphrases import passphrase
from agents.settings import load_settings
from keys import DoorAddress, NotTheIssuer, roles_named
from p2p import DEFAULT_DOOR_PORT, hosts_to_tell, parse_seed, usable_interfaces

MAX_ADDRESSES = 4


def run(arguments: argparse.Namespace) -> None:
    """Print a ticket; nobody needs to be up for that."""
    home = home_of(arguments)
    keystore = open_noted(home, passphrase(home))
    if keystore.issuer is None:
        raise NotTheIssuer("inviting")
    doors = asyncio.run(_door_of(home))
    addresses = _addresses(home, arguments.address, doors)
    ticket = keystore.issuer.invite(
        int(time.time() * 1000),
        ttl_s=max(1, round(arguments.minutes * 60)),
        roles=roles_named(",".join(arguments.role or ["service"])),
        addresses=addresses,
        namespaces=arguments.namespace or keystore.issuer.chain.leaf.namespaces,
    )
    note_ticket(keystore, ticket)
    line = ticket.export_secret()
    if arguments.json:
        print(json.dumps({"ticket": line, "addresses": [str(a) for a in addresses]}))
    else:
        print(line)
    sys.stdout.flush()
    if doors is None:
        print(
            "conclave: this node is not up; the newcomer waits until you run `conclave up` here",
            file=sys.stderr,
        )


async def _door_of(home: Path) -> tuple[DoorAddress, ...] | None:
    """Return where the door of the node that runs here is, or None while none runs."""
    try:
        gate = await attach(home)
    except NodeNotUp:
        return None
    try:
        status = await gate.request("status", {})
        port = int(status["door_port"])
        return tuple(
            DoorAddress(str(host), port) for host in status["door_hosts"] or ("127.0.0.1",)
        )
    finally:
        await gate.close()


def _addresses(
    home: Path, said: list[str] | None, doors: tuple[DoorAddress, ...] | None
) -> tuple[DoorAddress, ...]:
    """Return where the newcomer should knock: what was said, where this node is, or would be.

    Raises:
        BadSeed: an address is none.
    """
    settings = load_settings(home, {})
    port = doors[0].port if doors else settings.port or DEFAULT_DOOR_PORT
    if said:
        seeds = [parse_seed(text, default_port=port) for text in said]
        return tuple(DoorAddress(seed.host, seed.port) for seed in seeds)[:MAX_ADDRESSES]
    if doors:
        return doors[:MAX_ADDRESSES]
    if settings.host in ("0.0.0.0", "::"):
        usable = usable_interfaces(chosen=settings.interfaces)
        hosts = list(hosts_to_tell(usable, ipv6=settings.host == "::"))
    else:
        hosts = [settings.host]
    return tuple(DoorAddress(host, port) for host in dict.fromkeys(hosts))[:MAX_ADDRESSES]

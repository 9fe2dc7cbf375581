"""`conclave doctor`: what is wrong, in words, and what to do about it.

With a node up here, the node itself tells; without one, what can be seen from outside is looked at:
the directory and its papers, multicast, the door's port, versions. `--network` asks the peers, too.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from agents.cli.attached import print_json
from agents.cli.places import home_of
from agents.connecting import attached
from agents.doctoring import Finding
from agents.errors import NodeNotUp
from agents.passphrases import passphrase
from agents.running import run_loop
from agents.settings import load_settings
from keys import CertificateRefused, KeysError, Keystore, NoNetworkYet
from p2p import multicast_problem, survey_interfaces, zmq_version

IPV4_ALONE = "0.0.0.0"
EVERYWHERE = frozenset({IPV4_ALONE, "::", "*"})
MARKS = {"ok": "ok      ", "warning": "warning ", "problem": "PROBLEM "}


def run(arguments: argparse.Namespace) -> int:
    """Print all findings; 1 when one of them is a problem."""
    home = home_of(arguments)
    findings = [*_versions(), *_directory(home), *_network(home)]
    try:
        findings += run_loop(_ask_node(home, network=arguments.network))
    except NodeNotUp as error:
        findings.append(Finding("warning", "node", str(error), "conclave up"))
    if arguments.json:
        print_json([finding.to_wire() for finding in findings])
    else:
        for finding in findings:
            print(f"{MARKS[finding.level]}{finding.topic}: {finding.said}")
            if finding.advice:
                print(f"{'':8}-> {finding.advice}")
    return 1 if any(finding.level == "problem" for finding in findings) else 0


async def _ask_node(home: Path, *, network: bool) -> list[Finding]:
    async with attached(home) as net:
        return [_finding(said) for said in await net.doctor(network=network)]


def _finding(said: dict[str, Any]) -> Finding:
    return Finding(said["level"], said["topic"], said["said"], said["advice"])


def _versions() -> Iterator[Finding]:
    python = platform.python_version()
    said = f"conclave {version('conclave-mesh')}, Python {python}, libzmq {zmq_version()}"
    yield Finding("ok", "versions", f"{said}, {sys.platform}")


def _directory(home: Path) -> Iterator[Finding]:
    """The node's directory and its papers."""
    try:
        keystore = Keystore.open(home, passphrase(home))
        keystore.principal(int(time.time() * 1000))
    except NoNetworkYet as error:
        yield Finding(
            "problem", "directory", str(error), "conclave init NAME, or conclave join TICKET"
        )
    except CertificateRefused as error:
        yield Finding("problem", "certificate", str(error), "look at the clock, or join again")
    except KeysError as error:
        yield Finding("problem", "directory", str(error))
    else:
        name = keystore.genesis.network_name
        yield Finding("ok", "directory", f"{home}: {keystore.name}, a member of {name}")


def _network(home: Path) -> Iterator[Finding]:
    """Addresses, and whether multicast is possible at all."""
    host = load_settings(home, {}).host
    if host not in EVERYWHERE:
        yield Finding("ok", "addresses", f"the settings say: {host}, and no other")
        return
    survey = survey_interfaces()
    told = [i for i in survey.usable if i.ip.version == 4 or host != IPV4_ALONE]
    if told:
        shown = ", ".join(f"{i.address} ({i.name})" for i in told[:6])
        yield Finding("ok", "addresses", f"told to others: {shown}")
    elif survey.usable:
        yield Finding(
            "problem",
            "addresses",
            f"this machine has IPv6 addresses only, and --host {host} listens on IPv4",
            "conclave up --host ::",
        )
    else:
        yield Finding(
            "warning",
            "addresses",
            "this machine has no address that others could reach",
            "connect it to a network, or use --host 127.0.0.1 for nodes on this machine only",
        )
    for excluded in survey.excluded:
        if excluded.reason != "reaches only this machine":
            said = (
                f"{excluded.address} ({excluded.name}) is not told to others: it {excluded.reason}"
            )
            yield Finding("ok", "addresses", said, "")
    problem = multicast_problem(survey.usable)
    if problem is not None:
        yield Finding("warning", "multicast", problem, "use `conclave up --seed HOST:PORT`")

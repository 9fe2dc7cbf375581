"""`conclave bench`: how fast the way to another node is, measured by the node here.

What this module does not know: how it is measured.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any

from agents.cli.attached import ask_node, print_json
from agents.cli.show import print_table
from agents.net import Net
from agents.observe import one_line

NOTE = (
    "The whole path is measured: encoding, encryption, sockets, both processes. Both machines are "
    "loaded meanwhile, and what else they do makes it slower: see how much CPU the node here got."
)


def run(arguments: argparse.Namespace) -> None:
    """Measure, telling on stderr what goes on, and print what was found."""

    async def ask(net: Net) -> dict[str, Any]:
        said: dict[str, Any] = {}
        async for event in net.bench(arguments.peer, seconds=arguments.seconds):
            kind = event.pop("event")
            if kind == "peer":
                said = {**event, "note": NOTE, "found": []}
                print(one_line(f"from {net.name} to {event['name']}"), file=sys.stderr)
            elif kind == "begins":
                print(f"measuring {_what(event)} ...", file=sys.stderr)
            else:
                said["found"].append(event)
        return said

    said = ask_node(arguments, ask)
    if arguments.json:
        print_json(said)
        return
    head = ("WHAT", "RATE", "P50", "P99", "CPU HERE", "")
    print_table(head, [row_of(found) for found in said["found"]])
    print(NOTE)


def row_of(found: Mapping[str, Any]) -> tuple[str, ...]:
    """Return one finding as a line of the table."""
    what, cpu = _what(found), f"{found['cpu_percent']} %"
    if found["what"] == "stream":
        return (what, f"{found['mb_per_s']:,.1f} MB/s", "", "", cpu, "")
    rate = f"{found['per_s']:,.0f}/s"
    if found["what"] == "notices":
        lost = f"{found['lost']} of {found['sent']} lost" if found["lost"] else ""
        return (what, rate, "", "", cpu, lost)
    times = (found["p50_ms"], found["p99_ms"])
    refused = f"{found['refused']} refused" if found["refused"] else ""
    return (what, rate, *("-" if ms is None else f"{ms:.2f} ms" for ms in times), cpu, refused)


def _what(event: Mapping[str, Any]) -> str:
    if "in_flight" in event:
        return f"{event['what']}, {event['in_flight']} in flight"
    return str(event["what"])

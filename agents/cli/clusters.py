"""`conclave clusters` and `conclave cluster show NAME`: which there are, who is in one and why.

What this module does not know: how members are chosen.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import AsyncGenerator
from typing import Any

from agents.cli.attached import ask_node, print_json, print_json_line
from agents.cli.dates import day_of
from agents.cli.show import print_table
from agents.net import Net
from agents.observe import one_line, printable

EXIT_ABSENT = 1


def run(arguments: argparse.Namespace) -> int:
    """Do what the words say."""
    if arguments.command == "cluster":
        return _show(arguments)
    if arguments.watch:
        _watch(arguments)
    else:
        _list(arguments)
    return 0


def _list(arguments: argparse.Namespace) -> None:
    async def ask(net: Net) -> list[dict[str, Any]]:
        return await net.clusters()

    rows = ask_node(arguments, ask)
    if arguments.json:
        print_json(rows)
    else:
        _print(rows)


def _watch(arguments: argparse.Namespace) -> None:
    """Print what each cluster is now, and each that changes; until Ctrl-C."""

    async def ask(net: Net) -> None:
        told: dict[str, dict[str, Any]] = {}
        left = arguments.count
        views = net.watch_clusters()
        assert isinstance(views, AsyncGenerator)
        async with contextlib.aclosing(views):
            async for rows in views:
                now = {row["name"]: row for row in rows}
                news = [row for name, row in now.items() if told.get(name) != row]
                news += [{"name": name, "dissolved": True} for name in told if name not in now]
                for row in news:
                    if left is not None and left <= 0:
                        return
                    _print_news(row, as_json=arguments.json)
                    left = None if left is None else left - 1
                if left is not None and left <= 0:
                    return
                told = now

    ask_node(arguments, ask)


def _print_news(row: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json_line(row)
    elif "dissolved" in row:
        print(one_line(f"{row['name']}: dissolved"), flush=True)
    else:
        leader = f"{row['leader'][1]} leads, token {row['fence']}" if row["leader"] else "no leader"
        text = f"{row['name']}: {_members(row)}; {_size(row)}; {leader}; {row['why']}"
        print(one_line(text), flush=True)


def _show(arguments: argparse.Namespace) -> int:
    async def ask(net: Net) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
        found = next((c for c in await net.clusters() if c["name"] == arguments.name), None)
        return found, await net.explain_cluster(arguments.name) if found is not None else []

    found, candidates = ask_node(arguments, ask)
    if found is None:
        name = printable(arguments.name)
        print(f"conclave: there is no cluster {name!r}; see `conclave clusters`", file=sys.stderr)
        return EXIT_ABSENT
    if arguments.json:
        print_json({**found, "candidates": candidates})
        return 0
    leader = f"{found['leader'][1]}, token {found['fence']}" if found["leader"] else "none now"
    for name, value in (
        ("cluster", f"{found['name']}, for {found['capability']}"),
        ("size", _size(found)),
        ("leader", leader),
        ("formed", day_of(found["formed_ms"])),
        ("changed", f"{day_of(found['changed_ms'])}, version {found['version']}: {found['why']}"),
    ):
        print(printable(f"{name:<8} {value}"))
    if not found["is_sure"]:
        print("unsure   this node hears of nobody who leads the log; all this may be old")
    print_table(
        ("NODE", "ID", "IN IT", "FIT", "SCORE", "WHY NOT"),
        [
            (
                each["name"].partition(" ")[0],
                each["peer"][:8],
                "yes" if each["is_member"] else "no",
                each["fit"],
                str(each["score"]),
                each["why"],
            )
            for each in candidates
        ],
    )
    return 0


def _print(rows: list[dict[str, Any]]) -> None:
    print_table(
        ("CLUSTER", "CAPABILITY", "SIZE", "LEADER", "MEMBERS"),
        [
            (
                row["name"],
                row["capability"],
                _size(row),
                row["leader"][1] if row["leader"] else "none now",
                _members(row),
            )
            for row in rows
        ],
    )


def _members(row: dict[str, Any]) -> str:
    return ", ".join(name.partition(" ")[0] for _, name in row["members"]) or "nobody"


def _size(row: dict[str, Any]) -> str:
    least, most = row["min_size"], row["max_size"]
    wanted = f"{least}" if least == most else f"{least} to {most}"
    return f"{len(row['members'])} of {wanted}" + (", too few" if row["is_short"] else "")

"""`conclave kv ...`: keys of the replicated store.

What this module does not know: how the node decides.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable
from typing import Any

from agents.cli.attached import ask_node, print_json, print_json_line, to_json
from agents.cli.work import value_of
from agents.keeping.api import KvChange, KvEntry, KvListing
from agents.net import Net
from agents.observe import one_line, printable

EXIT_ABSENT = 1


def run(arguments: argparse.Namespace) -> int:
    """Do what the verb says."""
    verbs: dict[str, Callable[[argparse.Namespace], int | None]] = {
        "get": _get,
        "put": _put,
        "cas": _compare_set,
        "delete": _delete,
        "list": _list,
        "watch": _watch,
    }
    return verbs[arguments.verb](arguments) or 0


def _get(arguments: argparse.Namespace) -> int:
    async def ask(net: Net) -> KvEntry | None:
        return await net.kv.entry(arguments.key, stale_ok=arguments.stale)

    entry = ask_node(arguments, ask)
    if arguments.json:
        print_json(None if entry is None else entry._asdict())
    elif entry is None:
        print(f"conclave: there is no key {printable(arguments.key)!r}", file=sys.stderr)
    elif isinstance(entry.value, (dict, list)):
        print_json(entry.value)
    else:
        print(printable(entry.value) if isinstance(entry.value, str) else to_json(entry.value))
    return EXIT_ABSENT if entry is None else 0


def _put(arguments: argparse.Namespace) -> None:
    async def ask(net: Net) -> int:
        return await net.kv.put(arguments.key, value_of(arguments.value), ttl=arguments.ttl)

    _say_version(arguments, ask_node(arguments, ask))


def _compare_set(arguments: argparse.Namespace) -> None:
    value, expected = value_of(arguments.value), arguments.expect
    conditions: dict[str, Any] = {"absent": arguments.absent, "version": arguments.if_version}
    if expected is not None:
        conditions["expect"] = value_of(expected)

    async def ask(net: Net) -> int:
        return await net.kv.compare_set(arguments.key, value, ttl=arguments.ttl, **conditions)

    _say_version(arguments, ask_node(arguments, ask))


def _say_version(arguments: argparse.Namespace, version: int) -> None:
    if arguments.json:
        print_json({"key": arguments.key, "version": version})
    else:
        print(f"version {version}")


def _delete(arguments: argparse.Namespace) -> int:
    async def ask(net: Net) -> bool:
        return await net.kv.delete(arguments.key, version=arguments.if_version)

    was_there = ask_node(arguments, ask)
    if arguments.json:
        print_json({"key": arguments.key, "deleted": was_there})
    elif not was_there:
        print(f"conclave: there is no key {printable(arguments.key)!r}", file=sys.stderr)
    return 0 if was_there else EXIT_ABSENT


def _list(arguments: argparse.Namespace) -> None:
    async def ask(net: Net) -> None:
        async for key, entry in net.kv.list(arguments.prefix, stale_ok=arguments.stale):
            if arguments.json:
                print_json_line({"key": key, **entry._asdict()})
            else:
                print(_line(key, entry.value, f"version {entry.version}"))

    ask_node(arguments, ask)


def _watch(arguments: argparse.Namespace) -> None:
    async def ask(net: Net) -> None:
        left = arguments.count
        changes = net.kv.watch(arguments.prefix, since=arguments.since, listing=arguments.listing)
        async with contextlib.aclosing(changes):
            while left is None or left > 0:
                change = await anext(changes)
                if isinstance(change, KvListing):
                    _print_listing(change, as_json=arguments.json)
                    continue
                _print_change(change, as_json=arguments.json)
                left = None if left is None else left - 1

    ask_node(arguments, ask)


def _print_listing(listing: KvListing, *, as_json: bool) -> None:
    if as_json:
        rows = {key: entry._asdict() for key, entry in listing.entries.items()}
        print_json_line({"cause": "listing", "entries": rows, "resume": listing.resume})
        return
    for key, entry in listing.entries.items():
        print(_line(key, entry.value, f"there, version {entry.version}"), flush=True)


def _print_change(change: KvChange, *, as_json: bool) -> None:
    if as_json:
        print_json_line(change._asdict())
    else:
        what = f"{change.cause}, version {change.version}"
        print(_line(change.key, change.value, what, is_there=change.cause == "put"), flush=True)


def _line(key: str, value: Any, what: str, *, is_there: bool = True) -> str:
    shown = value if isinstance(value, str) else to_json(value)
    return one_line(f"{key} ({what})" + (f": {shown}" if is_there else ""))

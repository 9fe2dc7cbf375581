"""`conclave revoke` and `conclave revocations`: taking certificates back, and what was taken back.

A node that is up does it at once, everywhere. Without one, this directory's own issuer signs, and
the list spreads when the node is up again. With the root's key a list is written to a file, which
any node takes by `--load`.

What this module does not know: how lists spread, who is cut how.
"""

from __future__ import annotations

import argparse
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agents.cli.attached import ask_node, print_json
from agents.cli.dates import day_of
from agents.cli.numbers import ago
from agents.cli.papers import open_root_key
from agents.cli.places import home_of
from agents.errors import InvalidArguments, NodeNotUp, NotRevoked
from agents.net import Net
from agents.operations_trust import revocation_rows
from agents.passphrases import passphrase
from agents.revoking import Wish, known_of, wish_of, wish_of_all
from keys import (
    Chain,
    Custodians,
    Keystore,
    Revocations,
    decode_id,
    next_list,
    pack_list,
    read_list,
    read_list_file,
    read_own_list,
    verify_issuer,
    write_list_file,
)


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked; 0 when it is done."""
    if arguments.command == "revocations":
        return _show(arguments)
    chosen = [arguments.target is not None, arguments.all, arguments.load is not None]
    if sum(chosen) != 1:
        raise InvalidArguments("revoke", "say whom: a name, an id, a serial, --all or --load FILE")
    if arguments.all and not arguments.issued_before:
        raise InvalidArguments("revoke", "--all needs --issued-before, such as now or 2h")
    if arguments.load is not None:
        return _load(arguments)
    if arguments.root_key:
        return _by_root(arguments)
    try:
        return _by_node(arguments)
    except NodeNotUp:
        return _by_home(arguments)


# -- a node that is up -----------------------------------------------------------------------------


def _by_node(arguments: argparse.Namespace) -> int:
    target, before_ms = arguments.target, _before_ms(arguments)

    async def plan(net: Net) -> dict[str, Any]:
        return await net.trust.plan(target, before_ms)

    async def revoke(net: Net) -> dict[str, Any]:
        if target is None:
            return await net.trust.revoke_all(before_ms, reason=arguments.reason)
        return await net.trust.revoke(target, before_ms=before_ms, reason=arguments.reason)

    planned = ask_node(arguments, plan)
    if planned["warnings"]:
        _ask_first(arguments, planned["warnings"])
    said = ask_node(arguments, revoke)
    by = ", ".join(f"{each['issuer']} (list {each['number']})" for each in said["by"])
    _say(arguments, said, f"{said['whom']} is revoked, by {by}")
    return 0


def _load(arguments: argparse.Namespace) -> int:
    packed = _read(Path(arguments.load))

    async def load(net: Net) -> dict[str, Any]:
        return await net.trust.load(packed)

    try:
        said = ask_node(arguments, load)
    except NodeNotUp:
        keystore = _keystore(arguments)
        with keystore.lock():
            listed = read_list(packed, keystore.trust, _now_ms())
            keystore.put_in_force(keystore.trust.revocations.taking(listed))
        said = {"signer": listed.signer.name, "number": listed.list.sequence}
    _say(arguments, said, f"list {said['number']} of {said['signer']} is in force here")
    return 0


# -- a home whose node is down ---------------------------------------------------------------------


def _by_home(arguments: argparse.Namespace) -> int:
    keystore = _keystore(arguments)
    if keystore.issuer is None:
        raise NotRevoked(
            arguments.target or "everything",
            ("no node runs here, and this directory holds no issuer's key",),
        )
    issuer, now_ms = keystore.issuer, _now_ms()
    wish = _wish(arguments, issuer_known=known_of(issuer.issued))
    if wish.whom is not None and wish.whom.peer_id == keystore.identity.peer_id:
        _ask_first(arguments, ["that is this node: nobody lets it in any more"])
    with keystore.lock():
        verify_issuer(issuer.chain, keystore.trust, now_ms)
        known = keystore.trust.revocations
        listed = issuer.revoke(known, [wish.entry(issuer.chain.leaf, now_ms)], now_ms)
        keystore.put_in_force(known.taking(listed))
    said = {"whom": _whom(wish), "by": [{"issuer": keystore.name, "number": listed.list.sequence}]}
    text = f"{said['whom']} is revoked; others hear of it when this node is up: `conclave up`"
    _say(arguments, said, text)
    return 0


# -- the root --------------------------------------------------------------------------------------


def _by_root(arguments: argparse.Namespace) -> int:
    if arguments.list is None:
        raise InvalidArguments("revoke", "--root-key needs --list FILE, which is written")
    path, now_ms = Path(arguments.list), _now_ms()
    chain, known = _roots(arguments, path)
    top, keys = chain.leaf, [open_root_key(each) for each in arguments.root_key]
    entry = _wish(arguments, issuer_known=()).entry(top, now_ms)
    signer = Custodians(top.authority, tuple(keys))
    listed = next_list(signer, chain, known, [entry], now_ms)
    read_own_list(pack_list(listed), now_ms)  # that these are the root's keys
    write_list_file(path, listed)
    said = {"file": str(path), "number": listed.list.sequence, "signer": top.name}
    text = (
        f"list {listed.list.sequence} of the root is in {path}; any node puts it in force "
        f"everywhere: conclave revoke --load {path}"
    )
    _say(arguments, said, text)
    return 0


def _roots(arguments: argparse.Namespace, path: Path) -> tuple[Chain, Revocations]:
    """The roots' certificates and what the root has revoked: of the file, or of a home."""
    known = Revocations()
    if path.exists():
        packed = _read(path)
        before = read_own_list(packed, _now_ms())
        return Chain.decode(before.chain), known.taking(before)
    keystore = _keystore(arguments)
    seen = keystore.trust.seen
    roots = (seen.roots if seen is not None else ()) or keystore.chain.roots
    chain = Chain(roots)
    held = keystore.trust.revocations.of(chain.leaf.key_id)
    return chain, known.taking(held) if held is not None else known


# -- looking ---------------------------------------------------------------------------------------


def _show(arguments: argparse.Namespace) -> int:
    async def ask(net: Net) -> dict[str, Any]:
        return await net.trust.revocations()

    try:
        said = ask_node(arguments, ask)
    except NodeNotUp:
        keystore = _keystore(arguments)
        held = keystore.trust.revocations
        issued = keystore.issuer.issued if keystore.issuer is not None else ()
        names: dict[bytes, str] = {}
        for each in known_of(issued):
            names[decode_id(each.peer_id)] = each.name
            names |= dict.fromkeys(each.serials, each.name)
        said = {"lists": revocation_rows(held, names, _now_ms()), "head": held.head.hex()}
    if arguments.json:
        print_json(said)
        return 0
    if not said["lists"]:
        print("nothing was ever revoked, as far as this node knows")
    for row in said["lists"]:
        _print_list(row)
    return 0


def _print_list(row: dict[str, Any]) -> None:
    kind = "root" if row["is_root"] else "issuer"
    late = "STALE since" if row["is_stale"] else "next by"
    print(
        f"{row['signer']} ({kind} {row['key_id'][:8]})  list {row['number']}, "
        f"made {day_of(row['issued_ms'])}, {late} {day_of(row['next_update_ms'])}"
    )
    for entry in row["entries"]:
        before = f" issued before {day_of(entry['before_ms'])}" if entry["before_ms"] else ""
        why = f": {entry['reason']}" if entry["reason"] else ""
        print(f"  {entry['what']}{before}, revoked {day_of(entry['revoked_ms'])}{why}")


# -- words -----------------------------------------------------------------------------------------


def _wish(arguments: argparse.Namespace, *, issuer_known: Any) -> Wish:
    before_ms = _before_ms(arguments)
    if arguments.all:
        return wish_of_all(before_ms, arguments.reason)
    return wish_of(arguments.target, issuer_known, before_ms=before_ms, reason=arguments.reason)


def _whom(wish: Wish) -> str:
    if wish.whom is not None:
        return f"{wish.whom.name} ({wish.whom.peer_id[:8]})"
    return wish.ident.hex() or "everything that was issued before that time"


def _before_ms(arguments: argparse.Namespace) -> int:
    """A moment: `now`, a date or time (ISO 8601, UTC unless it says more), or how long ago."""
    word = arguments.issued_before
    if word is None:
        return 0
    if word == "now":
        return _now_ms()
    try:
        moment = datetime.fromisoformat(word)
    except ValueError:
        return _now_ms() - round(ago(word) * 1000)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(1, round(moment.timestamp() * 1000))


def _keystore(arguments: argparse.Namespace) -> Keystore:
    home = home_of(arguments)
    return Keystore.open(home, passphrase(home))


def _now_ms() -> int:
    return int(time.time() * 1000)


def _read(path: Path) -> bytes:
    data = read_list_file(path.expanduser())
    if data is None:
        raise InvalidArguments("revoke", f"there is no file {path}")
    return data


def _ask_first(arguments: argparse.Namespace, warnings: list[str]) -> None:
    if arguments.yes:
        return
    for each in warnings:
        print(f"conclave: {each}", file=sys.stderr)
    if not sys.stdin.isatty():
        raise SystemExit("nothing was done: say --yes, for nobody can be asked here")
    if input("Type yes to go on: ").strip() != "yes":
        raise SystemExit("nothing was done")


def _say(arguments: argparse.Namespace, said: Any, text: str) -> None:
    if arguments.json:
        print_json(said)
    else:
        print(text)

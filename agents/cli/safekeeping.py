"""`conclave keys show | change-passphrase | backup | backup-key | restore`: a home's keys.

What this module does not know: formats, how anything is sealed.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from agents.auditing_kinds import Kind
from agents.auditing_offline import is_required, note_command, note_offline, open_noted
from agents.cli.attached import print_json
from agents.cli.dates import day_of
from agents.cli.places import home_of
from agents.cli.show import print_table
from agents.passphrases import ask, new_passphrase, passphrase, passphrase_in
from agents.restoring import restore_home
from keys.backups import (
    BackupHead,
    back_up,
    backup_in,
    keep_backup,
    load_backup_key,
    make_backup_key,
    needs_passphrase,
    open_backup,
    parse_public,
    public_text,
    read_head,
)
from keys.safekeeping import change_passphrase, forbid_core_dumps, key_notes


def show(arguments: argparse.Namespace) -> None:
    """Say which keys there are, never what is in them."""
    home = home_of(arguments)
    notes = key_notes(home)
    if arguments.json:
        print_json({"home": str(home), "keys": [asdict(note) for note in notes]})
        return
    rows = [
        (
            note.file,
            note.name or "?",
            note.key_id or "not certified yet",
            "sealed" if note.is_sealed else "open",
            day_of(note.not_after_ms) if note.not_after_ms else "",
        )
        for note in notes
    ]
    print_table(("FILE", "NAME", "FINGERPRINT", "PASSPHRASE", "CERTIFICATE UNTIL"), rows)


def change(arguments: argparse.Namespace) -> None:
    """Seal all key files with another passphrase, at one moment."""
    home = home_of(arguments)
    notes = key_notes(home)
    is_sealed = any(note.is_sealed for note in notes)
    _confirm_open(arguments)
    old = passphrase(home) if is_sealed else None
    keystore = open_noted(home, old)
    new = None if arguments.none else new_passphrase("these keys", arguments.new_file)
    with keystore.lock():
        note_command(keystore, "keys.change-passphrase")
        files = change_passphrase(home, old, new)
    now = "open: whoever reads the files is this node" if new is None else "sealed anew"
    next_step = (
        "; the service that starts this node needs the new passphrase" if new is not None else ""
    )
    _say(
        arguments,
        {"files": files, "sealed": new is not None},
        f"{', '.join(files)}: {now}{next_step}",
    )


def _confirm_open(arguments: argparse.Namespace) -> None:
    if not arguments.none or arguments.yes:
        return
    if not sys.stdin.isatty():
        raise SystemExit("conclave: nothing was done: say --yes, for nobody can be asked here")
    print("Without a passphrase, whoever reads the files is this node.")
    if input("Type yes to go on: ").strip() != "yes":
        raise SystemExit("conclave: nothing was done")


def backup(arguments: argparse.Namespace) -> None:
    """Write the node's whole identity into a file, sealed."""
    home, target = home_of(arguments), Path(arguments.file).expanduser()
    notes, now_ms = key_notes(home), time.time_ns() // 1_000_000
    recipient = parse_public(arguments.to) if arguments.to else None
    if recipient is not None:
        data = back_up(home, now_ms, recipient=recipient)
    else:
        data = back_up(
            home, now_ms, passphrase=new_passphrase("this backup", arguments.passphrase_file)
        )
    detail = {"to": arguments.to or "passphrase"}
    kind, required = Kind.COMMAND_RUN, is_required(home)
    note_offline(home, None, kind, "keys.backup", detail=detail, required=required)
    keep_backup(target, data)
    names = [note.file for note in notes]
    said = {
        "file": str(target),
        "bytes": len(data),
        "keys": names,
        "sealed_to": arguments.to or "passphrase",
    }
    has_root = "root.key" in names
    lines = [
        f"{', '.join(names)} and their papers are in {target}, sealed"
        f" {'for ' + arguments.to if arguments.to else 'with the passphrase'}.",
        "A node that is restored from it must not run beside this one: both would be the same"
        " member, and each would be thrown out in turn.",
        *(("The root key is in it: whoever opens it rules the network.",) if has_root else ()),
    ]
    _say(arguments, said, "\n".join(lines))


def make_key(arguments: argparse.Namespace) -> None:
    """Make the key of somebody who keeps backups offline."""
    path = Path(arguments.file).expanduser()
    given = None
    if not arguments.no_passphrase:
        given = new_passphrase("the key of backups", arguments.passphrase_file)
    public = public_text(make_backup_key(path, given).public)
    text = (
        f"The key is in {path}: keep it where no node runs.\n"
        f"Anybody can make backups for it: conclave keys backup --to {public} FILE"
    )
    _say(arguments, {"file": str(path), "public": public}, text)


def restore(arguments: argparse.Namespace) -> None:
    """Put a backup into a home that is empty."""
    home, source = home_of(arguments), Path(arguments.file).expanduser()
    data = backup_in(source)
    head = read_head(data)
    opened = open_backup(data, **_opener(arguments, head))
    was_voter = restore_home(home, opened, time.time_ns() // 1_000_000)
    notes = key_notes(home)
    said = {
        "home": str(home),
        "network": head.network_name,
        "network_id": head.network_id,
        "node": head.node_name,
        "peer": head.peer_id,
        "made_ms": head.made_ms,
        "was_voter": was_voter,
        "certificate_until_ms": notes[0].not_after_ms,
    }
    lines = [
        f"{head.node_name} of {head.network_name} ({head.peer_id}) is in {home}, as it was on"
        f" {day_of(head.made_ms)}; its certificate is good until {day_of(notes[0].not_after_ms)}.",
        "Bring it up only if the old one never runs again.",
        "It is a member as before, and votes no more: its votes are forgotten and could be cast"
        " twice.",
    ]
    if was_voter:
        lines.append(
            f"Next: `conclave raft remove-voter {head.node_name}` on another node, and let a new"
            " node join in its place; if no other voter is left, `conclave raft restore FILE`."
        )
    _say(arguments, said, "\n".join(lines))


def _opener(arguments: argparse.Namespace, head: BackupHead) -> dict[str, Any]:
    """What opens a backup: a key file, or a passphrase; asked for where somebody can be asked."""
    forbid_core_dumps()
    file = arguments.passphrase_file
    given = passphrase_in(file, file) if file else None
    if not head.recipient:
        if given is None and sys.stdin.isatty():
            given = ask("Passphrase of the backup: ")
        return {"passphrase": given}
    if arguments.key is None:
        return {}
    path = Path(arguments.key).expanduser()
    if given is None and needs_passphrase(path) and sys.stdin.isatty():
        given = ask(f"Passphrase of {path}: ")
    return {"key": load_backup_key(path, given)}


def _say(arguments: argparse.Namespace, said: Any, text: str) -> None:
    if arguments.json:
        print_json(said)
    else:
        print(text)

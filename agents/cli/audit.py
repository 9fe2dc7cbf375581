"""`conclave audit`: show, verify and export audit logs.

What this module does not know: the format, who writes entries.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from agents.cli.attached import ask_node, print_json, to_json
from agents.cli.places import home_of
from agents.errors import NodeNotUp
from agents.net import Net
from agents.observe.logs import one_line
from keys import Chain, HomeUnreadable, InvalidValue, NoNetworkYet, NotCanonical, peer_id_of
from keys.auditing import (
    AuditEntry,
    AuditVerdict,
    Checkpoint,
    audit_bytes_of,
    audit_fields,
    audit_files,
    audit_header,
    audit_line,
    decode_audit_entry,
    decode_checkpoint,
    read_audit,
    read_audit_file,
    read_audit_header,
    verify_log,
)

FOLLOW_S = 0.5


def run(arguments: argparse.Namespace) -> int:
    """Do what the verb says."""
    verbs = {"show": _show, "verify": _verify, "export": _export}
    return verbs[arguments.verb](arguments)


# -- show --------------------------------------------------------------------------------------


def _show(arguments: argparse.Namespace) -> int:
    since_ms = 0
    if arguments.since is not None:
        since_ms = int((time.time() - arguments.since) * 1000)
    for entry in _entries(arguments):
        note = entry.note
        if note.wall_ms < since_ms or not _is_wanted(note.kind, arguments.kind):
            continue
        print(to_json(audit_fields(entry)) if arguments.json else _in_words(entry), flush=True)
    return 0


def _entries(arguments: argparse.Namespace) -> Iterator[AuditEntry]:
    if arguments.peer is not None:
        yield from _of_peer(arguments)
        return
    directory = _directory_of(arguments)
    following = 1
    while True:
        for one in read_audit(directory, following):
            if isinstance(one, AuditEntry) and one.sequence >= following:
                following = one.sequence + 1
                yield one
        if not arguments.follow:
            return
        time.sleep(FOLLOW_S)


def _of_peer(arguments: argparse.Namespace) -> Iterator[AuditEntry]:
    """Another node's, a page at a time."""
    following = 1
    while True:
        since = following

        async def ask(net: Net, since: int = since) -> Any:
            return await net.audit.read(arguments.peer, since)

        for raw in ask_node(arguments, ask):
            try:
                entry = decode_audit_entry(raw)
            except NotCanonical:
                continue  # a checkpoint
            if entry.sequence >= following:
                following = entry.sequence + 1
                yield entry
        if following == since:
            if not arguments.follow:
                return
            time.sleep(FOLLOW_S)


def _is_wanted(kind: str, wanted: str | None) -> bool:
    return wanted is None or kind == wanted or kind.startswith(f"{wanted}.")


def _in_words(entry: AuditEntry) -> str:
    note = entry.note
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(note.wall_ms / 1000))
    words = [f"{entry.sequence:>7} {at} {note.kind} {note.outcome}"]
    if note.times > 1:
        words.append(f"{note.times} times")
    if note.subject:
        words.append(_short(note.subject))
    words.append(f"by {_short(note.by)}")
    words += [f"{name}={value}" for name, value in note.detail.items() if value != ""]
    if note.trace:
        words.append(f"trace={note.trace.hex()}")
    return one_line(" ".join(words))


def _short(who: str) -> str:
    """The start of a peer id, which is enough for people; anything else as it is."""
    return who[:8] if len(who) == 52 and who.isalnum() else who


# -- verify ------------------------------------------------------------------------------------


def _verify(arguments: argparse.Namespace) -> int:
    if arguments.file is not None:
        return _tell(arguments, *_verify_file(Path(arguments.file)))
    directory = _directory_of(arguments)
    public_key, whose = _own_key(directory.parent)
    held, why_not = _held(arguments)
    numbers = audit_files(directory)
    # Read after asking: what others hold now, this log holds too.
    files = ((number, read_audit_file(directory, number)) for number in numbers)
    verdict = verify_log(files, public_key, held)
    status = _tell(arguments, whose, verdict, len(held))
    if why_not:
        print(f"conclave: not compared with what others hold: {why_not}", file=sys.stderr)
    return 1 if why_not else status


def _held(arguments: argparse.Namespace) -> tuple[list[Checkpoint], str]:
    """What others hold of our log, and why that cannot be known."""
    if arguments.offline:
        return [], ""

    async def ask(net: Net) -> Any:
        return await net.audit.held()

    try:
        return [decode_checkpoint(raw) for raw in ask_node(arguments, ask)], ""
    except NodeNotUp as error:
        return [], f"{error} (--offline leaves that out)"


def _verify_file(path: Path) -> tuple[str, AuditVerdict, int]:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    if not lines:
        raise InvalidValue("the file", "is empty")
    peer_id, name, public_key = read_audit_header(lines[0])
    verdict = verify_log([audit_bytes_of(lines[1:])], public_key)
    return f"{name} ({peer_id})", verdict, 0


def _tell(arguments: argparse.Namespace, whose: str, verdict: AuditVerdict, held: int) -> int:
    problem = verdict.problem
    if arguments.json:
        said = {**asdict(verdict), "unsigned": verdict.unsigned, "held": held, "log": whose}
        print_json(said | {"whole": problem is None})
        return 1 if problem else 0
    print(f"The audit log of {one_line(whose)}, entries {verdict.first} to {verdict.last}:")
    if problem is not None:
        span = str(problem.sequence)
        if problem.through > problem.sequence:
            span += f" to {problem.through}"
        name = f"{problem.file:016d}.audit"
        print(f"  {problem.fault.value.upper()}: entry {span}, in {name}: {problem.said}")
        return 1
    print(f"  whole: {verdict.checkpoints} checkpoints, the last of entry {verdict.signed}")
    if verdict.unsigned:
        print(f"  {verdict.unsigned} entries behind it are not signed yet")
    if verdict.torn_bytes:
        print(f"  {verdict.torn_bytes} bytes at the end are unfinished, as a crash leaves them")
    if verdict.compared:
        print(f"  {verdict.compared} heads that others hold agree with it")
    return 0


# -- export ------------------------------------------------------------------------------------


def _export(arguments: argparse.Namespace) -> int:
    directory = _directory_of(arguments)
    public_key, _ = _own_key(directory.parent)
    leaf = _chain(directory.parent).leaf
    count = _write(Path(arguments.to), audit_header(public_key, leaf.name), read_audit(directory))
    if arguments.json:
        print_json({"file": arguments.to, "lines": count})
    else:
        print(f"{count} lines are in {arguments.to}.")
        print(f"To check them: conclave audit verify --file {arguments.to}")
    return 0


def _write(path: Path, header: str, parts: Iterable[AuditEntry | Checkpoint]) -> int:
    """
    Raises:
        FileExistsError: it is there already.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    count = 0
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(header + "\n")
        for one in parts:
            file.write(audit_line(one) + "\n")
            count += 1
    return count


# -- whose -------------------------------------------------------------------------------------


def _directory_of(arguments: argparse.Namespace) -> Path:
    return home_of(arguments) / "audit"


def _chain(home: Path) -> Chain:
    """Papers are public: no passphrase is needed to verify a log."""
    try:
        return Chain.decode((home / "chain").read_bytes())
    except FileNotFoundError:
        raise NoNetworkYet(home) from None
    except OSError as error:
        raise HomeUnreadable(home / "chain", "read", error.strerror or str(error)) from error


def _own_key(home: Path) -> tuple[bytes, str]:
    leaf = _chain(home).leaf
    return leaf.public_key, f"{leaf.name} ({peer_id_of(leaf.public_key)})"

"""An audit log as JSON lines, for people and other programs, still with its chain and signatures.

The first line says whose log it is; then one line an entry or checkpoint. Every field of an entry
stands in its line, so the bytes that were hashed can be made again from it, and a change in any of
them shows.

What this module does not know: files, how a log is verified.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from keys.auditing.entry import (
    AuditEntry,
    AuditNote,
    Checkpoint,
    decode_audit_entry,
    decode_checkpoint,
    encode_note,
    frame,
)
from keys.canonical import NotCanonical
from keys.errors import InvalidValue
from keys.identity import KEY_BYTES, PeerId, peer_id_of

FORMAT: Final = "conclave-audit 1"


def audit_header(public_key: bytes, name: str) -> str:
    """Whose log follows."""
    said = {"format": FORMAT, "peer": peer_id_of(public_key), "name": name}
    return json.dumps({**said, "public_key": public_key.hex()})


def audit_fields(entry: AuditEntry) -> dict[str, Any]:
    """An entry as plain data."""
    note = entry.note
    return {
        "sequence": entry.sequence,
        "wall_ms": note.wall_ms,
        "monotonic_ms": note.monotonic_ms,
        "kind": note.kind,
        "outcome": note.outcome,
        "by": note.by,
        "subject": note.subject,
        "times": note.times,
        "trace": note.trace.hex(),
        "detail": dict(note.detail),
        "previous": entry.previous.hex(),
        "digest": entry.digest.hex(),
    }


def audit_line(one: AuditEntry | Checkpoint) -> str:
    """One line of an export."""
    if isinstance(one, AuditEntry):
        return json.dumps(audit_fields(one), ensure_ascii=True)
    said = {"sequence": one.head.sequence, "digest": one.head.digest.hex(), "peer": one.peer_id}
    return json.dumps(
        {"checkpoint": {**said, "wall_ms": one.wall_ms}, "signed": one.raw.hex()},
        ensure_ascii=True,
    )


def read_audit_header(line: str) -> tuple[PeerId, str, bytes]:
    """Whose log an export is: id, name and key, as it says itself.

    Raises:
        InvalidValue: it is no export, or its id is not that of its key.
    """
    try:
        said = json.loads(line)
        key, name = bytes.fromhex(said["public_key"]), str(said["name"])
        is_ours = said["format"] == FORMAT and len(key) == KEY_BYTES
    except (ValueError, KeyError, TypeError, RecursionError):
        is_ours = False
    if not is_ours or said.get("peer") != peer_id_of(key):
        raise InvalidValue("the file", "is no export of an audit log, or not of the key it names")
    return peer_id_of(key), name, key


def audit_bytes_of(lines: Iterable[str]) -> tuple[int, bytes]:
    """The log that these lines were made of: the number of its first entry, and its frames.

    Raises:
        InvalidValue: a line is neither an entry nor a checkpoint, and which.
    """
    first, made = 0, []
    for number, line in enumerate(lines, 2):
        try:
            said = json.loads(line)
            raw = bytes.fromhex(said["signed"]) if "signed" in said else _entry_bytes(said)
            if "signed" in said:
                _same_checkpoint(decode_checkpoint(raw), said["checkpoint"])
            else:
                first = first or decode_audit_entry(raw).sequence
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            problem = f"is neither an entry nor a checkpoint: {error}"
            raise InvalidValue(f"line {number} of the export", problem[:200]) from None
        made.append(frame(raw))
    return first or 1, b"".join(made)


def _entry_bytes(said: Mapping[str, Any]) -> bytes:
    detail = said["detail"]
    note = AuditNote(
        said["kind"],
        said["wall_ms"],
        said["monotonic_ms"],
        said["by"],
        said["subject"],
        said["outcome"],
        detail,
        said["times"],
        bytes.fromhex(said["trace"]),
    )
    raw = encode_note(said["sequence"], bytes.fromhex(said["previous"]), note)
    if audit_fields(decode_audit_entry(raw)) != said:
        raise NotCanonical(f"entry {said['sequence']} was changed: its digest is another")
    return raw


def _same_checkpoint(one: Checkpoint, said: Mapping[str, Any]) -> None:
    """What people read must be what is signed."""
    if json.loads(audit_line(one))["checkpoint"] != said:
        raise NotCanonical("its words are not those that are signed")

"""Audit logs in memory and on disk."""

from __future__ import annotations

from pathlib import Path

from keys_lab import NOW_MS, key

from keys.auditing.entry import (
    START,
    AuditEntry,
    AuditNote,
    Checkpoint,
    Head,
    frame,
    link,
    sign_head,
)
from keys.auditing.log import AuditLog, audit_files, read_audit_file
from keys.auditing.verdict import AuditVerdict, verify_log

OWN = key(3)
OTHER = key(2)


def note(number: int = 0, kind: str = "peer.refused", **detail: str | int) -> AuditNote:
    said = detail or {"why": "wrong_network", "number": number}
    return AuditNote(kind, NOW_MS + number, number, by="192.0.2.1", outcome="refused", detail=said)


def written(count: int, every: int, head: Head = START) -> list[AuditEntry | Checkpoint]:
    """A chain of so many entries, a checkpoint behind each `every`."""
    made: list[AuditEntry | Checkpoint] = []
    for number in range(1, count + 1):
        entry = link(head, note(head.sequence + 1))
        head = entry.head
        made.append(entry)
        if number % every == 0:
            made.append(sign_head(OWN, head, NOW_MS + number))
    return made


def packed(parts: list[AuditEntry | Checkpoint]) -> bytes:
    return b"".join(frame(part.raw) for part in parts)


def on_disk(directory: Path) -> list[tuple[int, bytes]]:
    return [(n, read_audit_file(directory, n)) for n in audit_files(directory)]


def judged(home: Path, *held: Checkpoint) -> AuditVerdict:
    return verify_log(on_disk(home / "audit"), OWN.public_key, held)


def append(log: AuditLog, count: int, kind: str = "peer.refused") -> Checkpoint:
    notes = [note(number, kind) for number in range(count)]
    checkpoint = log.append(notes, wall_ms=NOW_MS, monotonic_ms=1)
    assert checkpoint is not None
    return checkpoint

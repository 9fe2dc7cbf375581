"""Entries of commands that work on a home without its node: tickets, disasters, a key that will
not open.

They go into the same files; a node that runs meanwhile goes on behind them.

What this module does not know: what the commands do.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path

from agents.auditing_kinds import Kind
from agents.settings import load_settings
from keys import AuditUnwritable, Identity, Keystore, PassphraseNeeded, PassphraseWrong, Ticket
from keys.auditing import AuditLog, AuditNote

log = logging.getLogger("conclave.agents.auditing")


def note_offline(
    home: Path,
    signer: Identity | None,
    kind: Kind,
    subject: str = "",
    *,
    outcome: str = "ok",
    detail: Mapping[str, str | int] | None = None,
    required: bool = False,
) -> None:
    """Write one entry, durably.

    Raises:
        AuditUnwritable: it cannot be written, and is `required`.
    """
    wall_ms, now_ms = time.time_ns() // 1_000_000, time.monotonic_ns() // 1_000_000
    note = AuditNote(kind.value, wall_ms, now_ms, "local", subject, outcome, dict(detail or {}))
    try:
        AuditLog(home, signer).append([note], wall_ms=wall_ms, monotonic_ms=now_ms)
    except AuditUnwritable as error:
        if required:
            raise
        log.warning("%s", error)


def note_ticket(keystore: Keystore, ticket: Ticket) -> None:
    """Say that a ticket was made, before anybody sees it. Its secret is no part of that.

    Raises:
        AuditUnwritable: the settings of this home require that it is written.
    """
    note_offline(
        keystore.home,
        keystore.identity,
        Kind.TICKET_MADE,
        ticket.ticket_id.hex(),
        detail={"roles": str(ticket.roles.name).lower(), "expires_s": ticket.expires_s},
        required=is_required(keystore.home),
    )


def note_disaster(keystore: Keystore, verb: str) -> None:
    """Say that the log of the voters is about to be begun again, or left.

    Raises:
        AuditUnwritable: the settings of this home require that it is written.
    """
    note_command(keystore, f"raft.{verb}")


def note_command(keystore: Keystore, words: str) -> None:
    """Say that a command is about to change this home.

    Raises:
        AuditUnwritable: the settings of this home require that it is written.
    """
    note_offline(
        keystore.home,
        keystore.identity,
        Kind.COMMAND_RUN,
        words,
        outcome="begun",
        required=is_required(keystore.home),
    )


def note_ceremony(
    keystore: Keystore, kind: Kind, subject: str, detail: Mapping[str, str | int] | None = None
) -> None:
    """Say what a ceremony has made of this home, if it has a log."""
    if (keystore.home / "audit").is_dir():
        note_offline(keystore.home, keystore.identity, kind, subject, detail=detail)


def is_required(home: Path) -> bool:
    """Whether the settings of this home refuse what cannot be written down."""
    return load_settings(home, {}).audit == "required"


def open_noted(home: Path, passphrase: str | None) -> Keystore:
    """`Keystore.open`; a passphrase that does not open it is an entry.

    Raises:
        KeystoreError: as `Keystore.open` does.
    """
    try:
        return Keystore.open(home, passphrase)
    except (PassphraseNeeded, PassphraseWrong) as error:
        why = "no passphrase" if isinstance(error, PassphraseNeeded) else "wrong passphrase"
        detail = {"why": why, "file": error.path.name}
        note_offline(home, None, Kind.UNLOCK_FAILED, outcome="failed", detail=detail)
        raise

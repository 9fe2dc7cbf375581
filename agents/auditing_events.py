"""What the parts of a node tell an audit, in its words.

What this module does not know: how entries are written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agents.auditing import Audit, Detail
from agents.auditing_kinds import Kind
from agents.local import Operation
from keys import Principal
from p2p import (
    Incident,
    IntroductionRefused,
    PeerAdmitted,
    PeerExpelled,
    TransportKeyChanged,
)

# What administrators do through the local door, by the first word of the operation.
ADMIN = frozenset(
    {
        "raft",
        "trust",
        "policy",
        "keys",
        "cert",
        "issuer",
        "root",
        "revoke",
        "ticket",
        "token",
        "renew",
        "rotate",
    }
)
READS = frozenset(
    {"status", "show", "list", "explain", "check", "read", "held", "plan", "revocations"}
)


def on_incident(audit: Audit, incident: Incident) -> None:
    """Somebody came, was kept out, or was thrown out."""
    match incident:
        case IntroductionRefused(host, reason, said, is_theirs, at_our_door):
            where = "our door" if at_our_door else "their door"
            who = "they refused us" if is_theirs else "we refused"
            audit.note(
                Kind.PEER_REFUSED,
                by=host,
                outcome="refused",
                why=reason,
                detail={"said": said, "where": where, "who": who},
            )
        case PeerAdmitted(peer_id, name, host, how):
            audit.note(
                Kind.PEER_ADMITTED, peer_id, by=host, why=how, detail={"name": name, "host": host}
            )
        case TransportKeyChanged(took_ms, missed):
            detail: Detail = {"took_ms": took_ms, "missed": missed}
            audit.note(Kind.KEY_ROTATED, "transport", detail=detail)
        case PeerExpelled(peer_id, name, reason):
            audit.note(
                Kind.PEER_EXPELLED, peer_id, outcome="expelled", why=reason, detail={"name": name}
            )


def on_denied(audit: Audit, who: Principal, action: str, what: str, rule: str) -> None:
    """A member asked for what it may not have."""
    audit.note(
        Kind.PERMISSION_DENIED,
        f"{action} {what}",
        by=who.peer_id,
        outcome="denied",
        why=rule,
        detail={"name": who.name},
    )


def is_admins(operation: str) -> bool:
    """Whether an operation of the local door is worth an entry each time."""
    area, _, verb = operation.partition(".")
    return area in ADMIN and verb not in READS


def watched(audit: Audit, operations: Mapping[str, Operation]) -> dict[str, Operation]:
    """The operations, with those of administrators written down before and after.

    Where the settings say `required`, one that cannot be written down is refused:
    `AuditUnwritable`.
    """
    return {
        name: _watched(audit, name, run) if is_admins(name) else run
        for name, run in operations.items()
    }


def _watched(audit: Audit, name: str, run: Operation) -> Operation:
    async def noted(params: Mapping[str, Any]) -> Any:
        detail = {"parameters": _in_words(params)}
        await audit.record(Kind.COMMAND_RUN, name, by="local", detail=detail)
        try:
            answer = await run(params)
        except BaseException as error:
            why = type(error).__name__
            audit.note(Kind.COMMAND_RUN, name, by="local", outcome="failed", why=why)
            raise
        audit.note(Kind.COMMAND_RUN, name, by="local")
        return answer

    return noted


def _in_words(params: Mapping[str, Any]) -> str:
    """Short values by name; never what could be somebody's data."""
    said = [
        f"{name}={value}"
        for name, value in sorted(params.items())
        if value is None or isinstance(value, bool | int | float | str)  # bytes may be secrets
    ]
    return ", ".join(word for word in said if len(word) <= 120)


def in_words(names: Sequence[str]) -> str:
    """Peer ids, short."""
    return " ".join(name[:8] for name in sorted(names))

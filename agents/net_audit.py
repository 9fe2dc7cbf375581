"""Audit logs, for programs: `net.audit`.

What this module does not know: the format of entries.
"""

from __future__ import annotations

from agents.local import Gate


class AuditNet:
    """What one may ask of audit logs through a node."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def read(self, peer: str, since: int = 1) -> list[bytes]:
        """Return a page of a member's entries and checkpoints, from this entry on.

        Raises:
            PermissionDenied, PeerUnreachable.
        """
        return list(await self._gate.request("audit.read", {"peer": peer, "since": since}))

    async def held(self) -> list[bytes]:
        """Return the heads of this node's own log that other members hold."""
        return [bytes(raw) for _, raw in await self._gate.request("audit.held", {})]

"""Revoking, for programs: `net.trust`.

What this module does not know: how lists are signed or spread.
"""

from __future__ import annotations

from typing import Any

from agents.local import Gate


class TrustNet:
    """What one may ask about revocations through a node."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def revoke(self, target: str, *, before_ms: int = 0, reason: str = "") -> dict[str, Any]:
        """Revoke a member by name, peer id or serial; it is cut off everywhere within a second.

        This node needs an issuer's key, or the permission CERT_REVOKE at nodes that have one.

        Args:
            before_ms: only its certificates that were issued before this Unix time.
            reason: for people; up to 40 characters.

        Raises:
            NotRevoked: nobody of that name is known, or no issuer did it.
        """
        params = {"target": target, "before_ms": before_ms, "reason": reason}
        return dict(await self._gate.request("trust.revoke", params))

    async def revoke_all(self, before_ms: int, *, reason: str = "") -> dict[str, Any]:
        """Revoke everything that this node has issued before a Unix time."""
        params = {"target": None, "before_ms": before_ms, "reason": reason}
        return dict(await self._gate.request("trust.revoke", params))

    async def plan(self, target: str | None, before_ms: int = 0) -> dict[str, Any]:
        """Whom that would mean, and what should be thought of before."""
        params = {"target": target, "before_ms": before_ms}
        return dict(await self._gate.request("trust.plan", params))

    async def load(self, packed: bytes) -> dict[str, Any]:
        """Put a list in force that was signed elsewhere, such as the root's.

        Raises:
            RevocationRefused: it is none, or not later than what is in force.
        """
        return dict(await self._gate.request("trust.load", {"packed": packed}))

    async def revocations(self) -> dict[str, Any]:
        """The lists in force at this node."""
        return dict(await self._gate.request("trust.revocations", {}))

"""Session tokens for callers outside the network, for programs: `net.tokens`.

What this module does not know: what tokens look like, how they are verified.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agents.local import Gate
from keys.tokens import DEFAULT_LIFE_S


class TokensNet:
    """What one may ask of tokens through a node."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def issue(
        self,
        scope: Sequence[str],
        *,
        roles: str | None = None,
        audience: str | None = None,
        life_s: int = DEFAULT_LIFE_S,
    ) -> dict[str, Any]:
        """A token of this node's own, with `token`, `jti`, `expires_ms` and `scope`.

        Args:
            scope: words such as `call:math.*`.
            roles: with commas between; default: service.
            audience: `network`, or a peer's name or id; default: this node.

        Raises:
            TokenRefused, TokensUnavailable, ScopeInvalid, InvalidValue, InvalidArguments.
        """
        params = {"scope": list(scope), "roles": roles, "audience": audience, "life_s": life_s}
        return dict(await self._gate.request("token.issue", params))

    async def exchange(
        self, assertion: str, *, scope: str | None = None, audience: str | None = None
    ) -> dict[str, Any]:
        """A token for a registered client, whose assertion this is.

        Raises:
            TokenRefused, TokensUnavailable, ScopeInvalid.
        """
        params = {"assertion": assertion, "scope": scope, "audience": audience}
        return dict(await self._gate.request("token.exchange", params))

    async def verify(self, token: str) -> dict[str, Any]:
        """What a token says, if this node would take it.

        Raises:
            TokenRefused, TokensUnavailable.
        """
        return dict(await self._gate.request("token.read", {"token": token}))

    async def revoke(self, jti: str | None = None, *, client: str | None = None) -> None:
        """Have every member refuse a token, or all those that a client has.

        Raises:
            InvalidArguments, TokenRefused, PermissionDenied, NoQuorum, OutcomeUnknown.
        """
        await self._gate.request("token.revoke", {"jti": jti, "client": client})

    async def add_client(
        self,
        name: str,
        key: bytes,
        scope: Sequence[str],
        *,
        roles: str | None = None,
        namespaces: Sequence[str] | None = None,
    ) -> dict[str, Any]:
        """Register a client by its Ed25519 public key; its earlier tokens are refused from now on.

        Raises:
            InvalidArguments, ScopeInvalid, PermissionDenied, NoQuorum, OutcomeUnknown.
        """
        params = {
            "name": name,
            "key": key,
            "scope": list(scope),
            "roles": roles,
            "namespaces": None if namespaces is None else list(namespaces),
        }
        return dict(await self._gate.request("token.client_add", params))

    async def remove_client(self, name: str) -> None:
        """Forget a client, and refuse its tokens.

        Raises:
            InvalidArguments, PermissionDenied, NoQuorum, OutcomeUnknown.
        """
        await self._gate.request("token.client_remove", {"name": name})

    async def clients(self) -> list[dict[str, Any]]:
        """The clients that this node knows."""
        return list(await self._gate.request("token.list", {}))

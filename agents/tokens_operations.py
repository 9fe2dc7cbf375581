"""What programs on this machine may ask of the node about tokens.

What this module does not know: sockets, printing, what tokens look like.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from agents.addressing import peer_or_id
from agents.errors import InvalidArguments
from agents.local import Table
from agents.tokens import NETWORK
from agents.tokens_keeping import described
from keys import EVERYWHERE, Role, role_words, roles_named
from keys.tokens import REGISTRATION_BYTES, Client, Scope, TokensNotKnown

if TYPE_CHECKING:
    from agents.node_parts import NodeParts


def token_operations(node: NodeParts) -> Table:
    """Return the operations of tokens."""
    tokens = _Tokens(node)
    return Table(
        {
            "token.issue": tokens.issue,
            "token.exchange": tokens.exchange,
            "token.read": tokens.read,
            "token.revoke": tokens.revoke,
            "token.client_add": tokens.client_add,
            "token.client_remove": tokens.client_remove,
            "token.list": tokens.clients,
        },
        {},
        {},
    )


class _Tokens:
    def __init__(self, node: NodeParts) -> None:
        self._node = node

    async def issue(self, params: Mapping[str, Any]) -> dict[str, Any]:
        service, words = self._node.tokens, params.get("roles")
        made = service.issue(
            Scope.of(list(params["scope"])),
            None if words is None else roles_named(str(words)),
            self._audience(params),
            int(params["life_s"]),
        )
        return {
            "token": made.text,
            "jti": made.jti,
            "expires_ms": made.expires_ms,
            "scope": str(made.scope),
        }

    async def exchange(self, params: Mapping[str, Any]) -> dict[str, Any]:
        scope = params.get("scope")
        made = self._node.tokens.exchange(
            str(params["assertion"]),
            scope=None if scope is None else Scope.parse(str(scope)),
            audience=self._audience(params),
        )
        return {
            "token": made.text,
            "jti": made.jti,
            "expires_ms": made.expires_ms,
            "scope": str(made.scope),
        }

    def _audience(self, params: Mapping[str, Any]) -> str:
        wanted = params.get("audience")
        if wanted not in (None, NETWORK):
            wanted = peer_or_id(self._node.peer, str(wanted))
        return self._node.tokens.audience_of(wanted)

    async def read(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Verify a token as a door would."""
        caller = self._node.tokens.verify(str(params["token"]))
        return {
            "subject": caller.subject,
            "issuer": caller.issuer.peer_id,
            "issuer_name": caller.issuer.name,
            "scope": str(caller.scope),
            "roles": role_words(caller.principal.roles),
            "namespaces": list(caller.principal.namespaces),
            "audience": caller.audience,
            "jti": caller.jti,
            "expires_ms": caller.expires_ms,
        }

    async def revoke(self, params: Mapping[str, Any]) -> None:
        kept, name = self._node.tokens.kept, params.get("client")
        if name is None:
            await kept.revoke(str(params["jti"]))
            return
        client = kept.book.client(str(name))
        await kept.put_client(_again(client))

    async def client_add(self, params: Mapping[str, Any]) -> dict[str, Any]:
        own = self._node.peer.principal
        roles = roles_named(str(params["roles"])) if params.get("roles") else Role.SERVICE
        if roles & ~own.roles:
            raise InvalidArguments(
                "client", f"this node has the roles {role_words(own.roles)} only"
            )
        client = Client(
            str(params["name"]),
            bytes(params["key"]),
            Scope.of(list(params["scope"])),
            roles,
            tuple(sorted(set(params.get("namespaces") or [EVERYWHERE]))),
            secrets.token_bytes(REGISTRATION_BYTES),
            self._node.world.clock.wall_ms(),
            own.name,
        )
        await self._node.tokens.kept.put_client(Client.decode(client.encode()))
        return _named(client)

    async def client_remove(self, params: Mapping[str, Any]) -> None:
        await self._node.tokens.kept.remove_client(str(params["name"]))

    async def clients(self, params: Mapping[str, Any]) -> list[dict[str, Any]]:
        book = self._node.tokens.kept.book
        if not book.is_known:
            raise TokensNotKnown("this node has not heard yet which clients there are")
        return [_named(client) for _, client in sorted(book.clients.items())]


def _named(client: Client) -> dict[str, Any]:
    return {**described(client), "roles": role_words(client.roles)}


def _again(client: Client) -> Client:
    """The same client, none of whose tokens count any more."""
    return Client(
        client.name,
        client.public_key,
        client.scope,
        client.roles,
        client.namespaces,
        secrets.token_bytes(REGISTRATION_BYTES),
        client.added_ms,
        client.added_by,
    )

"""Who outside the network may ask for tokens, and which tokens were taken back.

    conclave/tokens/client/NAME     a `Client`, as below
    conclave/tokens/revoked/JTI     is there for as long as a token can live, then runs out

Both stand in the replicated store, where every member reads them and nobody writes them as keys.
A client that is registered again, or whose tokens are all taken back, has another registration;
tokens name the one that they were given to.

What this module does not know: the store, who may change it.

Invariants: a book that was never told the whole says so; what cannot be read is no client.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from keys.canonical import Fields, NotCanonical, decode, encode
from keys.errors import InvalidValue
from keys.guard import TOKENS
from keys.identity import KEY_BYTES
from keys.names import name_problem, namespaces_problem
from keys.roles import ALL_ROLES, Role
from keys.tokens.access import JTI, REGISTRATION_BYTES, Caller
from keys.tokens.refusals import (
    ScopeInvalid,
    TokenClientUnknown,
    TokenRevoked,
    TokensNotKnown,
)
from keys.tokens.scope import MAX_CHARS, Scope

VERSION: Final = 1
CLIENTS: Final = f"{TOKENS}client/"
REVOKED: Final = f"{TOKENS}revoked/"
MAX_CLIENTS: Final = 1000
MAX_REVOKED: Final = 10_000
MAX_CLIENT_BYTES: Final = 4096
MAX_NAMESPACES: Final = 16


@dataclass(frozen=True, slots=True)
class Client:
    """Somebody outside who may ask for tokens.

    Attributes:
        scope, roles, namespaces: no token of it has more.
        registration: changes whenever its tokens are all to be refused.
    """

    name: str
    public_key: bytes
    scope: Scope
    roles: Role
    namespaces: tuple[str, ...]
    registration: bytes
    added_ms: int
    added_by: str

    def encode(self) -> bytes:
        return encode(
            {
                1: VERSION,
                2: self.name,
                3: self.public_key,
                4: str(self.scope),
                5: int(self.roles),
                6: list(self.namespaces),
                7: self.registration,
                8: self.added_ms,
                9: self.added_by,
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> Client:
        """
        Raises:
            InvalidValue: it is no client, and why.
        """
        try:
            fields = Fields(decode(data, MAX_CLIENT_BYTES))
            fields.integer(1, VERSION, VERSION)
            client = cls(
                fields.text(2, 63),
                fields.binary(3, KEY_BYTES),
                Scope.parse(fields.text(4, MAX_CHARS)),
                Role(fields.integer(5, 0, int(ALL_ROLES))),
                fields.texts(6, MAX_NAMESPACES, 255),
                fields.binary(7, REGISTRATION_BYTES),
                fields.integer(8),
                fields.text(9, 128),
            )
            fields.finish()
        except (NotCanonical, ScopeInvalid) as error:
            raise InvalidValue("a client", str(error)) from error
        problem = name_problem(client.name) or namespaces_problem(client.namespaces)
        if problem:
            raise InvalidValue("a client", problem)
        return client


class TokenBook:
    """What one node knows of clients and revoked tokens."""

    def __init__(self) -> None:
        self.clients: dict[str, Client] = {}
        self.revoked: set[str] = set()
        self.is_known = False
        self.unreadable = 0

    def replace(self, rows: Iterable[tuple[str, bytes]]) -> None:
        """Forget everything, and know all of this."""
        self.clients.clear()
        self.revoked.clear()
        for key, value in rows:
            self.change(key, value)
        self.is_known = True

    def change(self, key: str, value: bytes | None) -> None:
        """A key of the store has this value now, or none."""
        if key.startswith(REVOKED):
            jti = key.removeprefix(REVOKED)
            if value is None:
                self.revoked.discard(jti)
            elif JTI.fullmatch(jti):
                self.revoked.add(jti)
            return
        if not key.startswith(CLIENTS):
            return
        name = key.removeprefix(CLIENTS)
        self.clients.pop(name, None)
        if value is None:
            return
        try:
            client = Client.decode(value)
        except InvalidValue:
            self.unreadable += 1  # a newer program wrote it; none of its tokens is taken here
            return
        if client.name == name:
            self.clients[name] = client

    def client(self, name: str) -> Client:
        """
        Raises:
            TokensNotKnown, TokenClientUnknown.
        """
        self._check_known()
        client = self.clients.get(name)
        if client is None:
            raise TokenClientUnknown(name)
        return client

    def judge(self, caller: Caller) -> Caller:
        """The caller, held to the namespaces of the client that it is.

        Raises:
            TokensNotKnown, TokenRevoked, TokenClientUnknown.
        """
        self._check_known()
        if caller.jti in self.revoked:
            raise TokenRevoked
        if not caller.is_client:
            return caller
        name = caller.subject.partition(":")[2]
        client = self.client(name)
        if client.registration.hex() != caller.registration:
            raise TokenClientUnknown(name)
        return caller.within(client.namespaces)

    def _check_known(self) -> None:
        if not self.is_known:
            raise TokensNotKnown("this node has not heard yet which were revoked")

"""Clients outside and revoked tokens: decided by the leader, followed by every node.

    who may configure "tokens" -> the leader checks it and puts it into the store
                               -> every node hears of it by a watch, within moments

A revocation stays for as long as the longest token can live, and runs out by itself; so the list is
bounded by what is revoked in that time, and by a number. A node that is cut off goes on with what
it knew. One that has just started knows nothing, and takes no token until it has heard it all.

What this module does not know: tokens' texts, what a caller may do.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from agents.errors import InvalidArguments
from agents.hosting import from_bytes, to_bytes
from agents.kept_by_log import KeptByLog, Row, refused
from agents.tasking import Asking, wire
from consensus.kv import delete, encode, encode_put
from keys import Action, InvalidValue, Permission, Principal
from keys.policies import Place
from keys.tokens import (
    CLIENTS,
    JTI,
    MAX_CLIENTS,
    MAX_LIFE_S,
    MAX_REVOKED,
    REVOKED,
    Client,
    TokenBook,
)
from p2p import Incoming, PayloadError, Peer

if TYPE_CHECKING:
    from agents.keeping import Keeping
    from agents.quorum import Quorum

log = logging.getLogger("conclave.agents.tokens")

CHANGE: Final = "tokens.change"
WHAT: Final = "tokens"  # as what it is configured
PREFIX: Final = CLIENTS.removesuffix("client/")
REVOKED_MS: Final = (MAX_LIFE_S + 2 * 120 + 60) * 1000  # both clocks may be off, and some more


class TokenKeeping:
    """The book of tokens on one node."""

    def __init__(self, peer: Peer, quorum: Quorum, asking: Asking, keeping: Keeping) -> None:
        self._peer = peer
        self._quorum = quorum
        self._kept = KeptByLog(peer, quorum, asking, keeping, PREFIX, self)
        self.book = TokenBook()
        self.on_look: Callable[[], None] = lambda: None  # called about once a second
        peer.serve(CHANGE, self._on_change, permission=Permission.CONFIG_CHANGE)

    def start(self) -> None:
        """Begin to follow what the network decides."""
        self._kept.on_look = self.on_look
        self._kept.start()

    async def close(self) -> None:
        await self._kept.close()

    # -- who wants a change --------------------------------------------------------------------

    async def put_client(self, client: Client) -> None:
        """Register a client, in place of an earlier one of this name.

        Raises:
            InvalidArguments, PermissionDenied, NoQuorum: nothing has changed.
            OutcomeUnknown.
        """
        await self._ask("client", client.name, client.encode())

    async def remove_client(self, name: str) -> None:
        """Errors as those of `put_client`."""
        await self._ask("remove", name, b"")

    async def revoke(self, jti: str) -> None:
        """Errors as those of `put_client`."""
        await self._ask("revoke", jti, b"")

    async def _ask(self, verb: str, name: str, data: bytes) -> None:
        why, _ = await self._kept.ask(CHANGE, [verb, name, data])
        if why is not None:
            raise InvalidArguments(WHAT, why)

    # -- on the leader -------------------------------------------------------------------------

    async def _on_change(self, incoming: Incoming, payload: bytes) -> bytes:
        if not self._quorum.leads:
            return self._kept.not_leader()
        self._peer.check(incoming.caller, Action.CONFIGURE, WHAT)
        fields = wire.read_list(payload, 3)
        if [type(each) for each in fields] != [str, str, bytes]:
            return refused("it is malformed")
        try:
            command = self._command(incoming.caller, *fields)
        except InvalidValue as error:
            return refused(str(error))
        return (await self._kept.decide(command)).answer

    def _command(self, who: Principal, verb: str, name: str, data: bytes) -> bytes:
        """
        Raises:
            InvalidValue: it means nothing, or there is no room.
        """
        match verb:
            case "client":
                client = Client.decode(data)
                if client.name != name:
                    raise InvalidValue("a client", "it has another name")
                if client.roles & ~who.roles:  # else a client could get what its maker never had
                    raise InvalidValue("a client", f"has no roles that {who.name} has not")
                self._check_room(CLIENTS, name, MAX_CLIENTS)
                return encode_put(CLIENTS + name, to_bytes(data))
            case "remove":
                if self._quorum.kv.get(CLIENTS + name) is None:
                    raise InvalidValue(f"the client {name[:64]!r}", "is not registered")
                return encode(delete(CLIENTS + name))
            case "revoke":
                if not JTI.fullmatch(name):
                    raise InvalidValue(f"{name[:40]!r}", "is no jti of a token")
                self._check_room(REVOKED, name, MAX_REVOKED)
                return encode_put(REVOKED + name, to_bytes(b""), ttl_ms=REVOKED_MS)
        raise InvalidValue(WHAT, f"{verb[:20]!r} means nothing; upgrade the leader")

    def _check_room(self, prefix: str, name: str, limit: int) -> None:
        kv = self._quorum.kv
        if kv.get(prefix + name) is None and len(kv.list(prefix, limit=limit)) >= limit:
            raise InvalidValue(WHAT, f"there are {limit:,} already; remove some, or let them end")

    # -- following -----------------------------------------------------------------------------

    def replace(self, rows: Iterable[Row], place: Place) -> None:
        """All that is known of clients and revoked tokens."""
        self.book.replace([(row.key, _data_of(row.value) or b"") for row in rows])

    def change(self, row: Row) -> None:
        """One client or revoked token came or went."""
        self.book.change(row.key, _data_of(row.value))


def _data_of(value: bytes | None) -> bytes | None:
    if value is None:
        return None
    try:
        data = from_bytes(value)
    except PayloadError:
        return b""
    return data if isinstance(data, bytes) else b""  # which is no client


def described(client: Client) -> dict[str, Any]:
    """Return a client as plain data."""
    return {
        "name": client.name,
        "key": client.public_key.hex(),
        "scope": str(client.scope),
        "roles": int(client.roles),
        "namespaces": list(client.namespaces),
        "registration": client.registration.hex(),
        "added_ms": client.added_ms,
        "added_by": client.added_by,
    }

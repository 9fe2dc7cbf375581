"""Clients outside and revoked tokens: decided by the leader, followed by every node.

    who may configure "tokens" -> the leader checks it and puts it into the store
                               -> every node hears of it by a watch, within moments

A revocation stays for as long as the longest token can live, and runs out by itself; so the list is
bounded by what is revoked in that time, and by a number. A node that is cut off goes on with what
it knew. One that has just started knows nothing, and takes no token until it has heard it all.

What this module does not know: tokens' texts, what a caller may do.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

from agents.errors import AgentsError, InvalidArguments
from agents.hosting import from_bytes, to_bytes
from agents.replicated import KV_TAG, command_for
from agents.tasking import Asking, wire
from consensus import NotLeader, OutcomeUnknown, ProposalError, Stopped
from consensus.kv import Reply, delete, encode, encode_put
from keys import Action, InvalidValue, Permission, Principal
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
from p2p import Incoming, P2PError, PayloadError, Peer

if TYPE_CHECKING:
    from agents.keeping import Keeping
    from agents.quorum import Quorum

log = logging.getLogger("conclave.agents.tokens")

CHANGE: Final = "tokens.change"
WHAT: Final = "tokens"  # as what it is configured
PREFIX: Final = CLIENTS.removesuffix("client/")
ASK_S: Final = 10.0
FOLLOW_S: Final = 3.0
LOOK_S: Final = 1.0
LOOK_AGAIN_S: Final = 0.01
REVOKED_MS: Final = (MAX_LIFE_S + 2 * 120 + 60) * 1000  # both clocks may be off, and some more


class TokenKeeping:
    """The book of tokens on one node."""

    def __init__(self, peer: Peer, quorum: Quorum, asking: Asking, keeping: Keeping) -> None:
        self._peer = peer
        self._quorum = quorum
        self._asking = asking
        self._keeping = keeping
        self.book = TokenBook()
        self._index = 0  # up to which entry the book is known to go
        self._running: asyncio.Task[None] | None = None
        self.on_look: Callable[[], None] = lambda: None  # called about once a second
        peer.serve(CHANGE, self._on_change, permission=Permission.CONFIG_CHANGE)

    def start(self) -> None:
        """Begin to follow what the network decides."""
        self._running = asyncio.get_running_loop().create_task(self._follow())

    async def close(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

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
        said = await self._asking.ask(CHANGE, [verb, name, data], ASK_S)
        if not (isinstance(said, list) and len(said) == 2 and type(said[1]) is int):
            raise InvalidArguments(WHAT, "the leader's answer cannot be read; upgrade it")
        if said[0] is not None:
            raise InvalidArguments(WHAT, str(said[0]))
        for _ in range(round(FOLLOW_S / LOOK_AGAIN_S)):
            if self._index >= said[1]:
                return
            await asyncio.sleep(LOOK_AGAIN_S)

    # -- on the leader -------------------------------------------------------------------------

    async def _on_change(self, incoming: Incoming, payload: bytes) -> bytes:
        if not self._quorum.leads:
            return self._not_leader()
        self._peer.check(incoming.caller, Action.CONFIGURE, WHAT)
        fields = wire.read_list(payload, 3)
        if [type(each) for each in fields] != [str, str, bytes]:
            return _answer("it is malformed", 0)
        try:
            command = self._command(incoming.caller, *fields)
        except InvalidValue as error:
            return _answer(str(error), 0)
        return await self._decide(command)

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

    async def _decide(self, command: bytes) -> bytes:
        replica = self._quorum.own_replica()
        if replica is None or not self._quorum.leads:
            return self._not_leader()
        try:
            committed = await replica.propose(command_for(KV_TAG, 0, command))
        except NotLeader as error:
            return wire.answer(wire.Tag.NOT_LEADER, error.leader_hint)
        except OutcomeUnknown:
            return wire.answer(wire.Tag.UNDECIDED, False)
        except (ProposalError, Stopped):
            return wire.answer(wire.Tag.BUSY, None)
        reply = committed.result
        assert isinstance(reply, Reply)
        if reply.results and reply.results[0].refusal is not None:
            return _answer(f"the store refuses it: {reply.results[0].refusal}", 0)
        return _answer(None, reply.log_index)

    def _not_leader(self) -> bytes:
        hint = self._quorum.leader()
        return wire.answer(wire.Tag.NOT_LEADER, None if hint == self._peer.peer_id else hint)

    # -- following -----------------------------------------------------------------------------

    @property
    def _generation(self) -> int:
        return self._quorum.electorate.cluster.generation

    async def _follow(self) -> None:
        """Watch; begin again with each new log, in which indexes mean something else."""
        while True:
            generation = self._generation
            watching = asyncio.get_running_loop().create_task(self._watch(generation))
            try:
                while not watching.done() and generation == self._generation:
                    self.on_look()
                    await asyncio.wait((watching,), timeout=LOOK_S)
            finally:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)
            if generation != self._generation:
                self._index = 0
            await asyncio.sleep(LOOK_AGAIN_S if generation != self._generation else LOOK_S)

    async def _watch(self, generation: int) -> None:
        rows: list[tuple[str, bytes]] = []
        try:
            async with aclosing(self._keeping.watch(PREFIX, None, is_listed=True)) as items:
                async for item in items:
                    if generation != self._generation:
                        return
                    if item[0] == "changes":
                        for (index, _, key, value), _ in item[1]:
                            self.book.change(key, _data_of(value))
                            self._index = max(self._index, index)
                        continue
                    _, as_of, _, listed, is_last = item
                    rows += [(key, _data_of(value) or b"") for key, (value, *_) in listed]
                    if is_last:
                        self.book.replace(rows)
                        self._index, rows = max(self._index, as_of), []
        except (AgentsError, P2PError) as error:
            log.debug("what is known of tokens is not followed just now: %s", error)


def _data_of(value: bytes | None) -> bytes | None:
    if value is None:
        return None
    try:
        data = from_bytes(value)
    except PayloadError:
        return b""
    return data if isinstance(data, bytes) else b""  # which is no client


def _answer(why: str | None, index: int) -> bytes:
    return wire.answer(wire.Tag.OK, [why, index])


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

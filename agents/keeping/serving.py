"""The store on a member: decides what is asked of the leader, answers reads, ends what is over.

Writes go into the log with the leader's reading of ledger time; proposals of one turn of the loop
share a batch there. Reads of the leader wait for a round of heartbeats that was sent after they
came (R15). What has run out ends by an entry that only the leader proposes, and that is judged
again when it is applied (L3).

Every key is judged by who asks for it, the node's own programs as the node. What one may not read
is left out of listings and watches.

What this module does not know: sessions' clients, how a reader finds a member, values' meaning.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from agents.keeping import reading
from agents.keeping import wire as kv_wire
from agents.keeping.wire import MAX_WAIT_MS, READ, RESERVED, WATCH, WRITE, Found, What
from agents.replicated import KV_TAG, command_for
from agents.tasking import wire
from consensus import (
    AppliedTimeout,
    ConsensusError,
    NotLeader,
    OutcomeUnknown,
    ProposalError,
    ProposalsFull,
    ProposalTooLarge,
    Stopped,
)
from consensus.kv import (
    Changes,
    FeedCompacted,
    Kind,
    KvStore,
    Refusal,
    Reply,
    Request,
    Result,
    decode,
    encode_expire,
)
from keys import Action, PeerId, Permission, Principal
from p2p import Incoming, Peer, PermissionDenied, World

if TYPE_CHECKING:
    from agents.quorum import Quorum
    from agents.replica import Replica

log = logging.getLogger("conclave.agents.keeping")

TICK_S = 0.1
IDLE_TICK_S = 0.5
LOOK_AGAIN_S = 1.0  # a snapshot that is installed wakes nobody
READ_S = 3.0
EXPIRE_ITEMS = 512

_HELD = (Kind.RENEW, Kind.RELEASE, Kind.COMPLETE)  # by whoever holds the lock
_WANTED = (Kind.ACQUIRE, Kind.RENEW)
_KEYED = (Kind.PUT, Kind.DELETE, Kind.COMPARE_SET, Kind.COMPLETE)


# Raises PermissionDenied: who must not look at a lock, or must not hold it where that is wanted.
LockRule = Callable[[Principal, str, bool], None]


class Serving:
    """One member's store, for others and for this node itself.

    Attributes:
        lock_rules: who may hold locks whose names begin so, in place of the policy's word.
    """

    def __init__(self, peer: Peer, world: World, quorum: Quorum) -> None:
        self._peer = peer
        self._clock = world.clock
        self._quorum = quorum
        self._changed: asyncio.Event | None = None  # made when somebody waits
        self._ticking: asyncio.Task[None] | None = None
        self.lock_rules: dict[str, LockRule] = {}
        quorum.on_stored = self._on_stored
        peer.serve(WRITE, self._on_write, permission=Permission.STORE_WRITE)
        # Every member may read the policy that it obeys; any other key takes more.
        peer.serve(READ, self._on_read, permission=Permission.STATUS_READ)
        peer.serve(WATCH, self._on_watch, permission=Permission.STATUS_READ)

    def start(self) -> None:
        """Begin to look for what is over."""
        self._ticking = asyncio.get_running_loop().create_task(self._tick())

    async def close(self) -> None:
        if self._ticking is not None:
            self._ticking.cancel()
            await asyncio.gather(self._ticking, return_exceptions=True)

    # -- for this node -------------------------------------------------------------------------

    def is_member(self) -> bool:
        """Whether the log comes here."""
        return self._quorum.own_replica() is not None

    def read_here(self, what: What, arguments: list[Any], reader: Principal) -> Found:
        """What this member's own state says to a reader, whatever its age.

        Raises:
            ValueError: the arguments are not those of such a question.
            PermissionDenied: it is not the reader's to know.
        """
        replica, kv = self._quorum.own_replica(), self._quorum.kv
        assert replica is not None, "only a member has a state"
        now_ms, leads = self._clock.now_ms(), self._quorum.leads
        age_ms = reading.age_ms(replica.status, now_ms, leads=leads)
        self._check_read(reader, what, arguments)
        found = reading.answer(kv, what, arguments)
        if what is What.LIST:
            found = self._readable(kv, arguments, found, reader)
        return Found(kv.index, age_ms, self._time_ms(), found)

    def _check_read(self, reader: Principal, what: What, arguments: list[Any]) -> None:
        if not arguments or not isinstance(arguments[0], str):
            return
        if what is What.LIST:
            self._check_prefix(reader, arguments[0])
        elif what is What.LOCK:
            self._check_lock(reader, arguments[0], is_wanted=False)
        else:
            self._peer.check(reader, Action.READ, arguments[0])

    def _check_lock(self, who: Principal, name: str, *, is_wanted: bool) -> None:
        for prefix, rule in self.lock_rules.items():
            if name.startswith(prefix):
                rule(who, name, is_wanted)
                return
        self._peer.check(who, Action.LOCK, name)

    def _check_prefix(self, reader: Principal, prefix: str) -> None:
        why = self._peer.guard.prefix_refusal(reader, Action.READ, prefix)
        if why is not None:
            raise PermissionDenied(self._peer.name, f"read keys below {prefix[:128]!r}", why)

    def _readable(
        self, kv: KvStore, arguments: list[Any], page: list[Any], reader: Principal
    ) -> list[Any]:
        """The first page of which the reader may see something, or the last one."""
        may = self._peer.guard.may
        prefix, _, limit = arguments
        while True:
            rows, has_more = page
            shown = [row for row in rows if may(reader, Action.READ, row[0])]
            if shown or not has_more:
                return [shown, has_more]
            page = reading.answer(kv, What.LIST, [prefix, rows[-1][0], limit])

    async def changes(
        self, prefix: str, since: int, wait_s: float, reader: Principal
    ) -> Changes | FeedCompacted:
        """What changed behind `since` as far as this reader may know, as soon as something has, or
        nothing in time.

        Raises:
            PermissionDenied: nothing below the prefix is the reader's to know.
        """
        found = await self._changes(prefix, since, wait_s)
        reader = self._as_now(reader)
        self._check_prefix(reader, prefix)  # a policy may have changed meanwhile
        if isinstance(found, FeedCompacted):
            return found
        may = self._peer.guard.may
        shown = tuple(one for one in found.changes if may(reader, Action.READ, one.key))
        return Changes(shown, found.through)

    def _as_now(self, reader: Principal) -> Principal:
        """Who has waited may have other rights than when it asked."""
        return self._peer.principal_of(reader.peer_id) or reader

    async def _changes(self, prefix: str, since: int, wait_s: float) -> Changes | FeedCompacted:
        until_ms = self._clock.now_ms() + int(wait_s * 1000)
        while True:
            found = reading.changes(self._quorum.kv, prefix, since)
            left_s = (until_ms - self._clock.now_ms()) / 1000
            if isinstance(found, FeedCompacted) or found.changes or left_s <= 0:
                return found
            await self._change(left_s)

    async def _change(self, limit_s: float) -> None:
        """Return when something was applied, or when it is time to look again."""
        if self._changed is None:
            self._changed = asyncio.Event()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(limit_s, LOOK_AGAIN_S)):
                await self._changed.wait()

    def _on_stored(self) -> None:
        changed, self._changed = self._changed, None
        if changed is not None:
            changed.set()

    def _time_ms(self) -> int:
        leading = self._quorum.leading
        return leading.reading_ms() if leading is not None else self._quorum.kv.time_ms

    # -- writes --------------------------------------------------------------------------------

    async def _on_write(self, incoming: Incoming, payload: bytes) -> bytes:
        fields = wire.read_list(payload, 1)
        command = fields[0] if fields else None
        refused = _refusal_of(command, incoming.caller.peer_id)
        if refused is not None:
            return wire.answer(wire.Tag.OK, kv_wire.reply_row(refused))
        self._check_write(command, incoming.caller)
        replica = self._quorum.own_replica()
        if replica is None or not self._quorum.leads or not isinstance(command, bytes):
            return self._not_leader()
        try:
            committed = await replica.propose(command_for(KV_TAG, self._time_ms(), command))
        except ProposalsFull:
            return wire.answer(wire.Tag.BUSY, None)
        except ProposalTooLarge:
            return wire.answer(wire.Tag.OK, kv_wire.reply_row(Reply(0, Refusal.MALFORMED)))
        except OutcomeUnknown:
            return wire.answer(wire.Tag.UNDECIDED, False)
        except (ProposalError, Stopped):
            return self._not_leader()
        reply = committed.result
        assert isinstance(reply, Reply)
        return wire.answer(wire.Tag.OK, kv_wire.reply_row(reply))

    def _check_write(self, command: Any, caller: Principal) -> None:
        """
        Raises:
            PermissionDenied: one of its operations is not the caller's to do.
        """
        request = decode(command) if isinstance(command, bytes) else None
        for op in request.ops if isinstance(request, Request) else ():
            if isinstance(op, list) and len(op) > 1 and isinstance(op[1], str):
                if op[0] in _KEYED:
                    self._peer.check(caller, Action.WRITE, op[1])
                else:
                    self._check_lock(caller, op[1], is_wanted=op[0] in _WANTED)
                self._check_held(op, caller)

    def _check_held(self, op: list[Any], caller: Principal) -> None:
        """Tokens are no secrets: whoever may lock can read them, and fences are told them.

        Raises:
            PermissionDenied: somebody else holds the lock under this token.
        """
        lock = self._quorum.kv.lock(op[1]) if op[0] in _HELD and len(op) > 2 else None
        if lock is None or lock.holder is None or lock.token != op[2]:
            return
        if not _is_own(lock.holder, caller.peer_id):
            self._peer.guard.deny(caller, Action.LOCK, op[1], "holder")
            why = f"somebody else than {caller.name} holds it"
            raise PermissionDenied(self._peer.name, f"lock {op[1][:128]!r}", why)

    # -- reads ---------------------------------------------------------------------------------

    async def _on_read(self, incoming: Incoming, payload: bytes) -> bytes:
        fields = wire.read_list(payload, 3)
        replica = self._quorum.own_replica()
        if not fields or replica is None:
            return self._not_leader()
        what, is_stale_ok, arguments = fields
        try:
            if not is_stale_ok:
                if not self._quorum.leads:
                    return self._not_leader()
                await replica.read_index(READ_S)
            found = self.read_here(What(what), arguments, incoming.caller)
            if what == What.LOCK:
                found = await self._when_free(found, arguments, incoming.caller)
        except NotLeader:
            return self._not_leader()
        except (AppliedTimeout, Stopped):
            return wire.answer(wire.Tag.UNDECIDED, True)
        except (ValueError, TypeError):
            return wire.answer(wire.Tag.OK, None)
        if not is_stale_ok:
            found = found._replace(age_ms=0)
        return wire.answer(wire.Tag.OK, found)

    async def _when_free(self, found: Found, arguments: list[Any], reader: Principal) -> Found:
        """Wait until nobody holds the lock under this token any more."""
        _, token, wait_ms = arguments
        until_ms = self._clock.now_ms() + max(0, min(wait_ms, MAX_WAIT_MS))
        while found.value is not None and found.value[:1] == [token] and found.value[1]:
            left_ms = until_ms - self._clock.now_ms()
            if left_ms <= 0 or not self._quorum.leads:
                break
            await self._change(left_ms / 1000)
            found = self.read_here(What.LOCK, arguments, self._as_now(reader))
        return found

    async def _on_watch(self, incoming: Incoming, payload: bytes) -> bytes:
        fields = wire.read_list(payload, 3)
        if not fields or not self._quorum.leads:
            return self._not_leader()
        prefix, since, wait_ms = fields
        if not (type(prefix) is str and type(since) is int and type(wait_ms) is int):
            return wire.answer(wire.Tag.OK, None)
        wait_s = max(0, min(wait_ms, MAX_WAIT_MS)) / 1000
        found = await self.changes(prefix, since, wait_s, incoming.caller)
        if isinstance(found, FeedCompacted):
            return wire.answer(wire.Tag.OK, [None, found.first_index])
        rows = [reading.change_row(change) for change in found.changes]
        return wire.answer(wire.Tag.OK, [found.through, rows])

    def _not_leader(self) -> bytes:
        hint = self._quorum.leader()
        return wire.answer(wire.Tag.NOT_LEADER, None if hint == self._peer.peer_id else hint)

    # -- what is over --------------------------------------------------------------------------

    async def _tick(self) -> None:
        while True:
            replica = self._quorum.own_replica()
            if replica is None or not self._quorum.leads:
                await asyncio.sleep(IDLE_TICK_S)
                continue
            await self._expire(replica)
            await asyncio.sleep(TICK_S)

    async def _expire(self, replica: Replica) -> None:
        """Have it decided that what is over ends; one such entry at a time."""
        time_ms = self._time_ms()
        items = self._quorum.kv.expired(time_ms, EXPIRE_ITEMS)
        if not items:
            return
        try:
            await replica.propose(command_for(KV_TAG, time_ms, encode_expire(items)))
        except ConsensusError as error:
            log.debug("not decided: %s", error)  # the next leader, or the next tick, sees it too


def _refusal_of(command: Any, caller: PeerId) -> Reply | None:
    """Why a command of another peer does not get into the log, if so.

    What a newer program wrote would stop every member that applies it; expiries are the leader's
    to propose; some keys are the network's; and who holds a lock is whom the connection proves.
    """
    request = decode(command) if isinstance(command, bytes) else Refusal.MALFORMED
    if not isinstance(request, Request) or request.kind is Kind.EXPIRE:
        return Reply(0, Refusal.MALFORMED)
    refused = [_refusal_of_operation(op, caller) for op in request.ops]
    if any(refused):
        return Reply(0, None, tuple(Result(refusal or Refusal.KEY_INVALID) for refusal in refused))
    return None


def _refusal_of_operation(op: Any, caller: PeerId) -> Refusal | None:
    if not (isinstance(op, list) and len(op) > 1 and isinstance(op[1], str)):
        return None  # the store says what is wrong with it
    if op[0] in _KEYED and op[1].startswith(RESERVED):
        return Refusal.KEY_INVALID
    if op[0] == Kind.ACQUIRE and len(op) > 2 and isinstance(op[2], str):
        return None if _is_own(op[2], caller) else Refusal.MALFORMED
    return None


def _is_own(holder: str, caller: PeerId) -> bool:
    return holder == caller or holder.startswith(f"{caller}/")

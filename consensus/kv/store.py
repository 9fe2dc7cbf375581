"""The key-value store: a deterministic state machine over the committed log.

Every replica applies the same commands in the same order and holds the same state. `apply` is the
way in, and `restore` where the log no longer reaches back; everything else reads. Applying costs in
proportion to what changes, whatever else the store holds.

Ledger time is replicated: each entry carries its leader's reading, and applying takes the larger of
that and the time so far. Nothing ends because time passes: what has run out goes on until the log
says that it ended, and that is judged again when it is applied.

The version of a key is the log index of its last change. Operations of one batch share an index:
a later one sees what an earlier one did, and a key that is changed twice in a batch has the same
version after each.

Invariants: see `state`. What this module does not know: Raft, the network, clocks, who asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from types import MappingProxyType
from typing import Any

from consensus.kv.commands import Kind, Request, decode, is_count
from consensus.kv.feed import Feed
from consensus.kv.model import (
    MAX_DURATION_MS,
    MAX_TIME_MS,
    MIN_SESSION_MS,
    NEEDS_UPGRADE,
    Cause,
    Changes,
    ClientId,
    Entry,
    Expiry,
    FeedCompacted,
    Limits,
    Listed,
    LockView,
    Refusal,
    Reply,
    Result,
    SessionView,
    What,
)
from consensus.kv.rules import run
from consensus.kv.sessions import Session
from consensus.kv.snapshot import digest_of, read, write
from consensus.kv.snapshot_rows import is_client
from consensus.kv.state import KvState, check

FEED_CHANGES = 65_536
FEED_BYTES = 16 * 1024 * 1024
_WHATS = {str(what): what for what in What}
# What `Reply` does, without a call in Python: there is one for each command.
_reply_of: Callable[[tuple[int, Refusal | None, tuple[Result, ...]]], Reply] = partial(
    tuple.__new__, Reply
)


class KvStore:
    """Keys, sessions and locks. Not thread-safe.

    Args:
        limits: the same ones on every replica, or replies differ.
        feed_changes, feed_bytes: how much of the past `changes_since` remembers; a replica's own.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        feed_changes: int = FEED_CHANGES,
        feed_bytes: int = FEED_BYTES,
    ) -> None:
        self._state = KvState(limits or Limits(), Feed(feed_changes, feed_bytes))
        self._refused: dict[Refusal, int] = {}

    def apply(self, index: int, time_ms: int, command: bytes) -> Reply:
        """Apply the committed entry at log `index`; indexes grow. Garbage is a refusal.

        Args:
            time_ms: the proposing leader's reading of ledger time.

        A reply with `needs_upgrade` means that nothing was applied and nothing may be any more.
        """
        state = self._state
        assert index > state.index, (index, state.index)
        request = decode(command)
        if not isinstance(request, Request) and request in NEEDS_UPGRADE:
            return self._counted(Reply(index, request))
        state.index = index
        if state.time_ms < time_ms <= MAX_TIME_MS:
            state.time_ms = time_ms
        if not isinstance(request, Request):
            return self._counted(Reply(index, request))
        return self._counted(self._run(request))

    def check_invariants(self) -> None:
        """Assert that keys, sums, locks, sessions and deadlines agree; linear in all of them."""
        check(self._state)

    # -- snapshots -----------------------------------------------------------------------------

    def snapshot(self) -> Iterator[bytes]:
        """The whole state in chunks of 64 KiB, each made when it is asked for; `snapshot` has the
        format. Equal stores give equal chunks. Apply nothing before the last one.

        Raises:
            StoreChanged: while it goes on, if something was applied all the same.
        """
        return write(self._state)

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Hold what the store held that these chunks are a snapshot of, cut anywhere, and nothing
        else. The feed begins anew; `refused` goes on counting.

        Raises:
            SnapshotInvalid: they are none, damaged, or of other limits; this store is what it was.
        """
        self._state = read(chunks, self._state.limits, self._state.feed)

    def digest(self) -> bytes:
        """32 bytes that are equal for equal stores; as much work as a snapshot."""
        return digest_of(self._state)

    # -- time and counts -----------------------------------------------------------------------

    @property
    def time_ms(self) -> int:
        """Ledger time."""
        return self._state.time_ms

    @property
    def index(self) -> int:
        """Of the last entry applied."""
        return self._state.index

    @property
    def limits(self) -> Limits:
        return self._state.limits

    @property
    def total_bytes(self) -> int:
        """Keys as UTF-8 and values."""
        return self._state.total_bytes

    @property
    def refused(self) -> Mapping[Refusal, int]:
        """Commands and operations that changed nothing, by reason, since this replica started."""
        return MappingProxyType(self._refused)

    def __len__(self) -> int:
        """How many keys there are."""
        return len(self._state.entries)

    def lock_count(self) -> int:
        """Locks that are held."""
        return len(self._state.locks.held)

    def session_count(self) -> int:
        return len(self._state.sessions)

    # -- reading -------------------------------------------------------------------------------

    def get(self, key: str) -> Entry | None:
        """The key's value and version, also past its deadline, until its expiry is decided."""
        return self._state.entries.get(key)

    def list(self, prefix: str = "", *, after: str | None = None, limit: int = 100) -> list[Listed]:
        """Keys that begin with `prefix`, in order, behind `after`: one page."""
        state = self._state
        behind = after is not None and after >= prefix
        first = after if behind and after is not None else prefix
        found = []
        for key in islice(state.keys.from_(first, after=behind), max(limit, 0)):
            if not key.startswith(prefix):
                break
            found.append(Listed(key, state.entries[key]))
        return found

    def lock(self, name: str) -> LockView | None:
        """Who holds the lock, or its highest token; None if it is not known (any more)."""
        return self._state.locks.view(name)

    def session(self, client: ClientId) -> SessionView | None:
        session = self._state.sessions.by_client.get(client)
        return None if session is None else session.view()

    def changes_since(
        self, index: int, limit: int = 1000, *, key: str | None = None, prefix: str = ""
    ) -> Changes | FeedCompacted:
        """Changes behind log `index`, of one key, of a prefix, or of all.

        Whoever read the keys at index i asks for those since i, then since each answer's `through`.
        `limit` is exceeded by the rest of a command whose first change was within it.
        """
        return self._state.feed.since(index, limit, self._state.index, key=key, prefix=prefix)

    # -- expiry --------------------------------------------------------------------------------

    def expired(self, time_ms: int, limit: int = 1000) -> Sequence[Expiry]:
        """What is over once ledger time is `time_ms`, earliest first, for a leader to propose."""
        return self._state.deadlines.due(time_ms, limit)

    def next_deadline_ms(self) -> int | None:
        """The ledger time at which something is over next."""
        return self._state.deadlines.next_ms()

    # -- applying ------------------------------------------------------------------------------

    def _run(self, request: Request) -> Reply:
        state = self._state
        _, ref, ops, _ = request
        if not ops:
            return self._run_other(request)
        if ref is None:
            return _reply_of((state.index, None, _run_all(state, None, ops)))
        session = state.sessions.admit(ref, len(ops), state.index, state.time_ms)
        if not isinstance(session, Session):
            return session
        reply = _reply_of((state.index, None, _run_all(state, session, ops)))
        session.remember(ref.sequence, reply)
        return reply

    def _run_other(self, request: Request) -> Reply:
        """What is no operation, and so has none."""
        match request.kind:
            case Kind.REGISTER:
                results = [self._register(request.args)]
            case Kind.KEEP_ALIVE | Kind.END_SESSION:
                return self._on_session(request)
            case _:
                assert request.kind is Kind.EXPIRE, "a request without operations"
                results = [self._expire(item) for item in request.args[0]]
        return Reply(self._state.index, None, tuple(results))

    def _register(self, args: Any) -> Result:
        if len(args) != 2 or not is_client(args[0]) or type(args[1]) is not int:
            return Result(Refusal.MALFORMED)
        client, ttl_ms = args
        if not MIN_SESSION_MS <= ttl_ms <= MAX_DURATION_MS:
            return Result(Refusal.OUT_OF_RANGE)
        state = self._state
        session = state.sessions.by_client.get(client)
        if session is None:
            session = state.open_session(client, ttl_ms)
        else:
            state.sessions.use(session, state.index, state.time_ms)
        return Result(None, 0, session.number, session.deadline_ms)

    def _on_session(self, request: Request) -> Reply:
        state, args = self._state, request.args
        if len(args) != 2 or not is_client(args[0]) or not is_count(args[1]):
            return Reply(state.index, Refusal.MALFORMED)
        session = state.sessions.get(*args)
        if session is None:
            return Reply(state.index, Refusal.SESSION_GONE)
        if request.kind is Kind.END_SESSION:
            state.end_session(session)
            return Reply(state.index, None, (Result(None, 0, session.number),))
        state.sessions.use(session, state.index, state.time_ms)
        return Reply(state.index, None, (Result(None, 0, session.number, session.deadline_ms),))

    def _expire(self, item: Any) -> Result:
        state = self._state
        expiry = _expiry_of(item)
        if expiry is None:
            return Result(Refusal.MALFORMED)
        deadline_ms = state.deadline_of(expiry)
        if deadline_ms is None:
            return Result(Refusal.NOT_FOUND)
        if deadline_ms > state.time_ms:
            return Result(Refusal.NOT_DUE, 0, 0, deadline_ms)
        match expiry.what:
            case What.KEY:
                state.remove_entry(expiry.name, state.entries[expiry.name], Cause.EXPIRED)
            case What.LOCK:
                state.free(state.locks.held[expiry.name])
            case What.SESSION:
                state.end_session(state.sessions.by_client[ClientId(expiry.name)])
        return Result(None)

    def _counted(self, reply: Reply) -> Reply:
        refused = self._refused
        _, refusal, results = reply
        if refusal is not None:
            refused[refusal] = refused.get(refusal, 0) + 1
        for result in results:
            refusal = result[0]
            if refusal is not None:
                refused[refusal] = refused.get(refusal, 0) + 1
        return reply


def _run_all(state: KvState, session: Session | None, ops: Sequence[Any]) -> tuple[Result, ...]:
    if len(ops) == 1:
        return (run(state, session, ops[0]),)
    return tuple([run(state, session, op) for op in ops])


def _expiry_of(item: Any) -> Expiry | None:
    if type(item) is not list or len(item) != 3:
        return None
    what, name, mark = item
    known = _WHATS.get(what) if type(what) is str else None
    if known is None or type(name) is not str or not is_count(mark):
        return None
    return Expiry(known, name, mark)

"""The vocabulary of the key-value store: limits, refusals, and what it gives back.

Results and replies are named tuples because a busy store makes one or more per command. All of
them hold numbers and short texts only, so what a session remembers stays small.

Invariants: nothing here can change once it is made.
What this module does not know: bytes on the wire, the log, when an operation is allowed.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple, NewType

ClientId = NewType("ClientId", str)  # 16 random bytes as 32 lowercase hex digits
Token = NewType("Token", int)  # log index of the entry that granted the lock

MAX_KEY_BYTES: Final = 512  # of UTF-8; names of locks, too
MAX_VALUE_BYTES: Final = 256 * 1024
MAX_HOLDER_BYTES: Final = 128
MAX_TIME_MS: Final = 2**53
MAX_INDEX: Final = 2**62
MAX_DURATION_MS: Final = 366 * 24 * 3600 * 1000
MIN_LEASE_MS: Final = 100
MIN_SESSION_MS: Final = 1000

WINDOW: Final = 64  # requests of a session past what it acknowledged
MAX_REMEMBERED: Final = 1024  # results of those requests, so that batches are bounded, too
MAX_OPS: Final = 256  # operations in one batch
MAX_EXPIRIES: Final = 1024  # items in one expiry


@dataclass(frozen=True, slots=True)
class Limits:
    """What the store holds at most. They decide replies: all replicas have the same ones."""

    max_keys: int = 1_000_000
    max_total_bytes: int = 256 * 1024 * 1024  # keys as UTF-8 and values
    max_sessions: int = 10_000
    max_locks: int = 100_000  # held and free ones whose token is remembered

    def __post_init__(self) -> None:
        assert self.max_keys > 0
        assert self.max_total_bytes > 0
        assert self.max_sessions > 0
        assert self.max_locks > 0

    def as_row(self) -> tuple[int, int, int, int]:
        return (self.max_keys, self.max_total_bytes, self.max_sessions, self.max_locks)


class Refusal(StrEnum):
    """Why a command or an operation changed nothing. They are in snapshots: never rename one."""

    # The whole command
    MALFORMED = "malformed"
    UNKNOWN_VERSION = "unknown_version"
    UNKNOWN_KIND = "unknown_kind"
    SESSION_GONE = "session_gone"
    SEQUENCE_OLD = "sequence_old"
    SEQUENCE_INVALID = "sequence_invalid"
    WINDOW_FULL = "window_full"
    # One operation
    KEY_INVALID = "key_invalid"
    VALUE_TOO_LARGE = "value_too_large"
    OUT_OF_RANGE = "out_of_range"
    STORE_FULL = "store_full"
    TOO_MANY_KEYS = "too_many_keys"
    TOO_MANY_LOCKS = "too_many_locks"
    NOT_FOUND = "not_found"
    EXISTS = "exists"
    VERSION_MISMATCH = "version_mismatch"
    VALUE_MISMATCH = "value_mismatch"
    NOT_DUE = "not_due"
    HELD = "held"
    NOT_HELD = "not_held"
    STALE_TOKEN = "stale_token"  # noqa: S105 - no password, a number
    TAKEN_IN_THIS_COMMAND = "taken_in_this_command"
    SESSION_REQUIRED = "session_required"
    COMPLETED = "completed"


NEEDS_UPGRADE: Final = (Refusal.UNKNOWN_VERSION, Refusal.UNKNOWN_KIND)


class Result(NamedTuple):
    """What one operation did, or what stood in its way.

    `version` is the key's after the operation, 0 if it is absent then. `token` is the one that
    counts for the lock, for sessions the session's number; 0 before the first. `deadline_ms` is
    that of the key, lock or session in ledger time, 0 if it has none.
    """

    refusal: Refusal | None
    version: int = 0
    token: int = 0
    deadline_ms: int = 0

    @property
    def accepted(self) -> bool:
        return self.refusal is None


class Reply(NamedTuple):
    """What a command did: a result for each of its operations, or one refusal and nothing else.

    `log_index` is where it ran. A repeat within a session is given the reply of the first run.
    """

    log_index: int
    refusal: Refusal | None
    results: tuple[Result, ...] = ()

    @property
    def needs_upgrade(self) -> bool:
        """A newer node wrote it. Nothing changed, not even the index: stop this node."""
        return self.refusal in NEEDS_UPGRADE


class Entry(NamedTuple):
    """A value and where it comes from. Versions are log indexes; see `store` for batches."""

    value: bytes
    version: int  # log index of the last change
    created_index: int
    expires_ms: int | None  # ledger time from which it may be removed by decision

    @property
    def modified_index(self) -> int:
        return self.version


class Listed(NamedTuple):
    key: str
    entry: Entry


class LockView(NamedTuple):
    """A lock. A free one has no holder; its token is the highest that was ever given out."""

    name: str
    token: Token
    holder: str | None
    deadline_ms: int | None
    client: ClientId | None  # whose session it is tied to


class SessionView(NamedTuple):
    client: ClientId
    number: int  # log index of its registration
    ttl_ms: int
    deadline_ms: int
    last_used_index: int
    acknowledged: int
    remembered: int  # replies


class SessionRef(NamedTuple):
    """What a request says of its session.

    `acknowledged`: the client knows the outcome of every request up to this one, or no longer
    wants it; what did not run yet up to there never will.
    """

    client: ClientId
    number: int
    sequence: int
    acknowledged: int = 0


class What(StrEnum):
    """What may run out."""

    KEY = "key"
    LOCK = "lock"
    SESSION = "session"


class Expiry(NamedTuple):
    """Something whose time is over. `mark` is a key's version, a lock's token, a session's number,
    so that the decision to end it hits exactly what was meant."""

    what: What
    name: str
    mark: int


class Cause(StrEnum):
    """Why a key changed."""

    PUT = "put"
    DELETED = "deleted"
    EXPIRED = "expired"


class Change(NamedTuple):
    """One change of one key. `value` is None where the key was removed."""

    log_index: int
    cause: Cause
    key: str
    value: bytes | None


class Changes(NamedTuple):
    """Changes in the order they happened. Ask again from `through`: nothing is missed or twice."""

    changes: tuple[Change, ...]
    through: int


class FeedCompacted(NamedTuple):
    """The feed no longer reaches back that far: read the keys again, then ask from
    `first_index`, or from the index at which they were read."""

    first_index: int

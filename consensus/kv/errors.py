"""What can go wrong around the key-value store, split by whose fault it is.

    ConsensusError
    '- KvError
       |- StoreChanged        you: applied a command while a snapshot was being taken
       |- WindowFull          you: more requests in flight than a session may have
       |- SessionNotOpen      you: a request before the session was registered, or after its end
       |- LeaseOver           the holder's deadline has passed: stop the work
       |- StaleToken          a later holder was seen: stop the work
       |- FenceFull           you: more resources than this fence was made for
       |- FenceDamaged        the world: the stored token cannot be trusted
       |- FenceUnavailable    the world: this system has no file locks
       |- IdentifierInvalid   you: a name that is no plain SQL identifier
       '- SnapshotInvalid     the other side: bytes that are no snapshot, or a damaged one; it is
                              a `consensus.SnapshotInvalid`, too

Refusals of commands are no exceptions: they are `Refusal` in a reply.
It knows no exception of other packages. Every class writes its own message from data.
"""

from __future__ import annotations

from enum import StrEnum

from consensus import errors


class KvError(errors.ConsensusError):
    """Root of everything that this package raises on purpose."""


class StoreChanged(KvError):
    """A command was applied while a snapshot was being taken; what was taken is of no use."""

    def __init__(self, begun_at: int, now_at: int) -> None:
        self.begun_at = begun_at
        self.now_at = now_at
        super().__init__(
            f"the store went from index {begun_at} to {now_at} while a snapshot was taken;"
            " apply nothing between its chunks, or take it again"
        )


class WindowFull(KvError):
    """The session has as many requests without an outcome as it may have."""

    def __init__(self, client: str, oldest: int, window: int) -> None:
        self.client = client
        self.oldest = oldest
        super().__init__(
            f"session of {client}: request {oldest} has no outcome yet and {window} may follow it"
            " at most; settle or resend it first"
        )


class SessionNotOpen(KvError):
    """There is no session to make this request in."""

    def __init__(self, client: str, why: str) -> None:
        self.client = client
        super().__init__(f"session of {client}: {why}; register a new one")


class LeaseOver(KvError):
    """The time in which the holder may be sure of its lock has passed."""

    def __init__(self, name: str, token: int, late_ms: int) -> None:
        self.name = name
        self.token = token
        self.late_ms = late_ms
        super().__init__(
            f"lock {name!r}: the lease with token {token} is over since {late_ms} ms; stop the"
            " work, another may hold it"
        )


class StaleToken(KvError):
    """A write with a token that is lower than one already seen."""

    def __init__(self, resource: str, token: int, highest: int | None) -> None:
        self.resource = resource
        self.token = token
        self.highest = highest
        seen = "a higher one" if highest is None else str(highest)
        super().__init__(
            f"{resource}: token {token} is stale, {seen} was seen; stop the work, another holds"
            " the lock"
        )


class FenceFull(KvError):
    """A fence cannot forget a resource without letting stale writes pass, so it refuses more."""

    def __init__(self, resource: str, max_resources: int) -> None:
        self.resource = resource
        super().__init__(
            f"{resource}: this fence already guards {max_resources} resources; make it with more"
        )


class FenceDamaged(KvError):
    """The stored token is unreadable. Taking it for zero would let stale writes pass."""

    def __init__(self, path: str, why: str) -> None:
        self.path = path
        super().__init__(
            f"{path}: the fencing token is damaged ({why}); when no older holder can still be at"
            " work, remove this file"
        )


class FenceUnavailable(KvError):
    """Without file locks two processes could both pass the check."""

    def __init__(self, path: str) -> None:
        self.path = path
        super().__init__(f"{path}: this system has no flock; keep the data in a database instead")


class IdentifierInvalid(KvError):
    """A table or column whose name is no plain identifier."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"{name!r} is no plain SQL identifier: letters, digits and _ only")


class SnapshotFault(StrEnum):
    """Why bytes are no snapshot."""

    FOREIGN = "it does not begin like one"
    VERSION = "its version is not known here"
    LIMITS = "it was made under other limits"
    TRUNCATED = "its end is missing"
    TRAILING = "bytes follow its end"
    CHECKSUM = "its checksum does not match"
    MALFORMED = "a record is not of its shape"
    INCONSISTENT = "its records contradict each other"


class SnapshotInvalid(KvError, errors.SnapshotInvalid):
    """Bytes that are no snapshot of a store, or a damaged one. Nothing was changed by them."""

    def __init__(self, fault: SnapshotFault, detail: str = "") -> None:
        self.fault = fault
        self.detail = detail
        more = f" ({detail})" if detail else ""
        super().__init__(f"key-value store: {fault.value}{more}; fetch another")

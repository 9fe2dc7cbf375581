"""A store with a log index and ledger time of its own, and short names for what tests need."""

from __future__ import annotations

from consensus.kv import (
    ClientId,
    Expiry,
    KvStore,
    Limits,
    Operation,
    Refusal,
    Reply,
    Result,
    SessionRef,
    Token,
    acquire,
    compare_set,
    complete,
    delete,
    encode,
    encode_batch,
    encode_end_session,
    encode_expire,
    encode_keep_alive,
    encode_register,
    put,
    release,
    renew,
)


def client(number: int) -> ClientId:
    return ClientId(f"{number:032x}")


ANNA, BEN = client(0xA), client(0xB)
SMALL = Limits(max_keys=4, max_total_bytes=100, max_sessions=3, max_locks=3)


class Lab:
    """Applies commands at growing indexes and checks the invariants after each."""

    def __init__(self, limits: Limits | None = None, **feed: int) -> None:
        self.store = KvStore(limits, **feed)
        self.index = 0
        self.now_ms = 1000
        self.log: list[tuple[int, int, bytes]] = []

    def apply(self, command: bytes) -> Reply:
        self.index += 1
        self.log.append((self.index, self.now_ms, command))
        reply = self.store.apply(self.index, self.now_ms, command)
        self.store.check_invariants()
        return reply

    def do(self, op: Operation, session: SessionRef | None = None) -> Result:
        """One operation that is run."""
        reply = self.apply(encode(op, session))
        assert reply.refusal is None, reply
        (result,) = reply.results
        return result

    def refusal(self, op: Operation, session: SessionRef | None = None) -> Refusal | None:
        return self.do(op, session).refusal

    def batch(self, *ops: Operation, session: SessionRef | None = None) -> tuple[Result, ...]:
        reply = self.apply(encode_batch(ops, session))
        assert reply.refusal is None, reply
        return reply.results

    def put(self, key: str, value: bytes = b"v", ttl_ms: int | None = None) -> Result:
        return self.do(put(key, value, ttl_ms=ttl_ms))

    def compare_set(self, key: str, expected: int | bytes | None, value: bytes = b"new") -> Result:
        return self.do(compare_set(key, expected, value))

    def delete(self, key: str, version: int | None = None) -> Result:
        return self.do(delete(key, version=version))

    def acquire(self, name: str = "lock", holder: str = "anna", lease_ms: int = 1000) -> Result:
        return self.do(acquire(name, holder, lease_ms))

    def taken(self, name: str = "lock", holder: str = "anna", lease_ms: int = 1000) -> Token:
        result = self.acquire(name, holder, lease_ms)
        assert result.accepted, result
        return Token(result.token)

    def renew(self, token: int, name: str = "lock", lease_ms: int = 1000) -> Result:
        return self.do(renew(name, token, lease_ms))

    def release(self, token: int, name: str = "lock") -> Result:
        return self.do(release(name, token))

    def complete(self, token: int, name: str = "lock", value: bytes = b"done") -> Result:
        return self.do(complete(name, token, value))

    def register(self, who: ClientId = ANNA, ttl_ms: int = 10_000) -> int:
        """The number of the session."""
        (result,) = self.apply(encode_register(who, ttl_ms)).results
        assert result.accepted, result
        return result.token

    def keep_alive(self, who: ClientId, number: int) -> Reply:
        return self.apply(encode_keep_alive(who, number))

    def end_session(self, who: ClientId, number: int) -> Reply:
        return self.apply(encode_end_session(who, number))

    def expire(self, *items: Expiry) -> tuple[Refusal | None, ...]:
        return tuple(result.refusal for result in self.apply(encode_expire(items)).results)

    def expire_all(self) -> tuple[Refusal | None, ...]:
        return self.expire(*self.store.expired(self.now_ms))

    def value(self, key: str) -> bytes | None:
        entry = self.store.get(key)
        return None if entry is None else entry.value


def restored(store: KvStore) -> KvStore:
    other = KvStore(store.limits)
    other.restore(store.snapshot())
    other.check_invariants()
    return other

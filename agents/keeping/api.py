"""The store as a program sees it: `net.kv`.

    version = await net.kv.put("config/model", {"name": "small"}, ttl=30)
    entry = await net.kv.entry("config/model")
    await net.kv.compare_set("config/model", {"name": "big"}, version=entry.version)
    async for change in net.kv.watch("config/"):
        print(change)

What this module does not know: how the node decides, where the store lies.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any, Final, NamedTuple

from agents.amounts import seconds, seconds_if_any
from agents.errors import InvalidArguments
from agents.hosting.values import from_bytes, to_bytes
from agents.local import Gate

TIMEOUT_S: Final = 10.0

_NOT_GIVEN: Final = object()


class KvEntry(NamedTuple):
    """A key's value and where it comes from.

    Attributes:
        version: log index of its last change; grows with every change of any key.
        created: log index of the change that made it.
        expires_in: seconds after which it may be removed by decision; None for never. Zero says
            that this is due.
        age: it was the latest at most so many seconds before the answer came; 0.0 for a
            linearizable read, which is the latest at some moment of the call; None if nobody knows.
    """

    value: Any
    version: int
    created: int
    expires_in: float | None
    age: float | None


class KvChange(NamedTuple):
    """One change of one key.

    Attributes:
        value: None where the key was removed.
        version: log index of the change.
        cause: "put", "deleted" or "expired".
        resume: give it as `since` to go on behind this change.
    """

    key: str
    value: Any
    version: int
    cause: str
    resume: int


class KvListing(NamedTuple):
    """All keys there are, in place of the changes that led to them: what was known before and is
    not in here is gone.

    Attributes:
        resume: give it as `since` to go on behind this listing.
    """

    entries: Mapping[str, KvEntry]
    resume: int


class Kv:
    """The store's keys. Values are whatever a call may carry; as bytes at most 256 KiB.

    Every write runs once or not at all, whatever happens on the way. All of them raise

        KeyInvalid, ValueTooLarge, StoreFull, PermissionDenied, NoQuorum: nothing happened.
        OutcomeUnknown: until the deadline nobody said whether it happened. It ran once or not at
            all, and may still run within seconds.
    """

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    # -- reading -------------------------------------------------------------------------------

    async def get(self, key: str, *, stale_ok: bool = False, timeout: float = TIMEOUT_S) -> Any:
        """Return the key's value, None when it is absent; see `entry`."""
        found = await self.entry(key, stale_ok=stale_ok, timeout=timeout)
        return None if found is None else found.value

    async def entry(
        self, key: str, *, stale_ok: bool = False, timeout: float = TIMEOUT_S
    ) -> KvEntry | None:
        """Return the key's entry, None when it is absent.

        Args:
            stale_ok: take the nearest member's word, also without a quorum; `age` says how old it
                can be. Otherwise the read is linearizable: it sees every write that was answered
                before it began.

        Raises:
            NoQuorum: it could not be read.
        """
        params = {"key": key, "stale_ok": stale_ok, "timeout_s": seconds(key, "timeout", timeout)}
        _, age_ms, time_ms, row = await self._gate.request("kv.get", params)
        return None if row is None else _entry_of(row, age_ms, time_ms)

    async def list(
        self, prefix: str = "", *, stale_ok: bool = False, timeout: float = TIMEOUT_S
    ) -> AsyncIterator[tuple[str, KvEntry]]:
        """Yield the keys that begin with `prefix`, in order, with their entries.

        Up to a thousand come from one moment; the next ones from a later one.

        Args:
            stale_ok, timeout: as for `entry`, for each thousand.
        """
        after: str | None = None
        while True:
            params = {
                "prefix": prefix,
                "after": after,
                "stale_ok": stale_ok,
                "timeout_s": seconds(prefix, "timeout", timeout),
            }
            _, age_ms, time_ms, found = await self._gate.request("kv.list", params)
            rows, has_more = found
            for key, row in rows:
                yield key, _entry_of(row, age_ms, time_ms)
            if not has_more:
                return
            after = rows[-1][0]

    # -- writing -------------------------------------------------------------------------------

    async def put(
        self, key: str, value: Any, *, ttl: float | None = None, timeout: float = TIMEOUT_S
    ) -> int:
        """Set a key and return its version.

        Args:
            ttl: seconds after which it is removed, by a decision of its own: never earlier, and a
                little later; while nobody leads, time stands still for it.
            timeout: how long to go on trying.
        """
        params = {
            "key": key,
            "value": to_bytes(value),
            "ttl_s": seconds_if_any(key, "ttl", ttl),
            "timeout_s": seconds(key, "timeout", timeout),
        }
        return int(await self._gate.request("kv.put", params))

    async def compare_set(
        self,
        key: str,
        value: Any,
        *,
        version: int | None = None,
        expect: Any = _NOT_GIVEN,
        absent: bool = False,
        ttl: float | None = None,
        timeout: float = TIMEOUT_S,
    ) -> int:
        """Set a key if it is still as expected, and return its version.

        Args:
            version, expect, absent: exactly one of them: this version, this value (equal as bytes,
                so maps in the same order), or no such key.

        Raises:
            CompareFailed: it is not; `found` is the version that is there, None if it is absent.
        """
        conditions = (version is not None) + (expect is not _NOT_GIVEN) + absent
        if conditions != 1:
            raise InvalidArguments(key, "say one of version=, expect= and absent=True")
        expected = None if absent else version if version is not None else to_bytes(expect)
        params = {
            "key": key,
            "value": to_bytes(value),
            "expected": expected,
            "ttl_s": seconds_if_any(key, "ttl", ttl),
            "timeout_s": seconds(key, "timeout", timeout),
        }
        return int(await self._gate.request("kv.cas", params))

    async def delete(
        self, key: str, *, version: int | None = None, timeout: float = TIMEOUT_S
    ) -> bool:
        """Remove a key; return whether it was there.

        Raises:
            CompareFailed: `version` was given, and it is not the one that is there.
        """
        params = {"key": key, "version": version, "timeout_s": seconds(key, "timeout", timeout)}
        return bool(await self._gate.request("kv.delete", params))

    # -- following -----------------------------------------------------------------------------

    async def watch(
        self, prefix: str = "", *, since: int | None = None, listing: bool = False
    ) -> AsyncGenerator[KvChange | KvListing, None]:
        """Yield every change of the keys that begin with `prefix`, in order, for ever.

        Nothing is missed and nothing comes twice, whoever leads meanwhile. Where the feed no longer
        reaches back to where this watch is, which is some ten thousand changes, or a node that was
        away and took a snapshot, a `KvListing` stands for what is missing. A watch waits while
        nobody leads; it ends when this node does.

        Args:
            since: go on behind this `resume` of an earlier change or listing; None for from now on.
            listing: begin with a `KvListing` of what there is.

        Raises:
            NoQuorum: it could not begin.
        """
        params = {"prefix": prefix, "since": since, "listing": listing}
        items = self._gate.stream("kv.watch", params)
        entries: dict[str, KvEntry] = {}
        async with aclosing(_generator(items)) as stream:
            async for item in stream:
                if item[0] == "listing":
                    _, index, time_ms, rows, is_last = item
                    entries |= {key: _entry_of(row, 0, time_ms) for key, row in rows}
                    if is_last:
                        yield KvListing(entries, index)
                        entries = {}
                    continue
                for (index, cause, key, value), resume in item[1]:
                    plain = None if value is None else from_bytes(value)
                    yield KvChange(key, plain, index, cause, resume)


async def _generator(items: AsyncIterator[Any]) -> AsyncGenerator[Any, None]:
    try:
        async for item in items:
            yield item
    finally:
        if isinstance(items, AsyncGenerator):
            await items.aclose()


def _entry_of(row: list[Any], age_ms: int | None, time_ms: int) -> KvEntry:
    value, version, created, expires_ms = row
    expires_in = None if expires_ms is None else max(0, expires_ms - time_ms) / 1000
    age = None if age_ms is None else age_ms / 1000
    return KvEntry(from_bytes(value), version, created, expires_in, age)

"""What programs on this machine may ask of the node about the store and its locks.

A lock belongs to the program that claims it, not to the node: the program renews it, and when the
program is gone nobody does.

What this module does not know: sockets, printing, leases as their holders see them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

from agents.errors import CompareFailed, InvalidArguments
from agents.keeping.client import check_key, check_write, raise_refusal
from agents.keeping.reading import PAGE_KEYS
from agents.keeping.wire import MAX_WAIT_MS, What
from agents.local import Table
from consensus.kv import Refusal, acquire, compare_set, delete, put, release, renew

if TYPE_CHECKING:
    from agents.node_parts import NodeParts

SPARE_S = 3.0  # beyond what the other side may wait


def keeping_operations(node: NodeParts) -> Table:
    """Return the operations of the store."""
    store = _Store(node)
    return Table(
        {
            "kv.cas": store.compare_set,
            "kv.delete": store.delete,
            "kv.get": store.get,
            "kv.list": store.page,
            "kv.put": store.put,
            "lock.claim": store.claim,
            "lock.release": store.release,
            "lock.renew": store.renew,
            "lock.view": store.view,
        },
        {"kv.watch": store.watch},
        {},
    )


class _Store:
    def __init__(self, node: NodeParts) -> None:
        self._keeping = node.keeping
        self._client = node.keeping.client
        self._own = node.peer.peer_id
        self._label = node.peer.label

    # -- keys ----------------------------------------------------------------------------------

    async def get(self, params: Mapping[str, Any]) -> list[Any]:
        key = str(params["key"])
        check_key(key)
        return list(await self._read(What.GET, [key], params))

    async def page(self, params: Mapping[str, Any]) -> list[Any]:
        arguments = [str(params["prefix"]), params["after"], PAGE_KEYS]
        return list(await self._read(What.LIST, arguments, params))

    async def _read(self, what: What, arguments: list[Any], params: Mapping[str, Any]) -> Any:
        timeout_s = float(params["timeout_s"])
        if params["stale_ok"]:
            return await self._keeping.read_stale(what, arguments, timeout_s)
        return await self._client.read(what, arguments, timeout_s)

    async def put(self, params: Mapping[str, Any]) -> int:
        key, value = str(params["key"]), params["value"]
        check_write(key, value)
        op = put(key, value, ttl_ms=_ttl_ms(key, params))
        result = await self._client.write(op, f"put {key!r}", float(params["timeout_s"]))
        raise_refusal(key, result)
        return result.version

    async def compare_set(self, params: Mapping[str, Any]) -> int:
        key, value = str(params["key"]), params["value"]
        check_write(key, value)
        op = compare_set(key, params["expected"], value, ttl_ms=_ttl_ms(key, params))
        result = await self._client.write(op, f"compare and set {key!r}", _timeout_s(params))
        raise_refusal(key, result)
        return result.version

    async def delete(self, params: Mapping[str, Any]) -> bool:
        key, version = str(params["key"]), params["version"]
        check_write(key, b"")
        op = delete(key, version=version)
        result = await self._client.write(op, f"delete {key!r}", _timeout_s(params))
        if result.refusal is Refusal.NOT_FOUND:
            if version is not None:
                raise CompareFailed(key, None)
            return False
        raise_refusal(key, result)
        return True

    def watch(self, params: Mapping[str, Any]) -> AsyncIterator[Any]:
        since = params["since"]
        return self._keeping.watch(
            str(params["prefix"]),
            None if since is None else int(since),
            is_listed=bool(params["listing"]),
        )

    # -- locks ---------------------------------------------------------------------------------

    async def claim(self, params: Mapping[str, Any]) -> list[Any]:
        """Try once: whether it is granted, and the token that counts."""
        name = str(params["name"])
        check_key(name)
        op = acquire(name, f"{self._own}/{params['mark']}", int(params["lease_ms"]))
        result = await self._client.write(op, f"claim lock {name!r}", _timeout_s(params))
        if result.refusal is Refusal.HELD:
            return [False, result.token]
        raise_refusal(name, result)
        return [True, result.token]

    async def renew(self, params: Mapping[str, Any]) -> bool:
        """Whether the lock is still held under this token, for the whole lease again."""
        name = str(params["name"])
        op = renew(name, int(params["token"]), int(params["lease_ms"]))
        result = await self._client.write(op, f"renew lock {name!r}", _timeout_s(params))
        if result.refusal in (Refusal.NOT_HELD, Refusal.STALE_TOKEN):
            return False
        raise_refusal(name, result)
        return True

    async def release(self, params: Mapping[str, Any]) -> bool:
        """Whether it was held under this token until now."""
        name = str(params["name"])
        op = release(name, int(params["token"]))
        result = await self._client.write(op, f"release lock {name!r}", _timeout_s(params))
        return result.accepted

    async def view(self, params: Mapping[str, Any]) -> list[Any] | None:
        """Token, holder and mark, once nobody holds it under that token or the time is over."""
        wait_ms = max(0, min(MAX_WAIT_MS, int(float(params["wait_s"]) * 1000)))
        limit_s = wait_ms / 1000 + SPARE_S
        arguments = [str(params["name"]), int(params["token"]), wait_ms]
        found = await self._client.read(What.LOCK, arguments, limit_s, attempt_s=limit_s)
        if found.value is None:
            return None
        token, holder, _ = found.value
        if holder is None:
            return [token, None, None]
        peer, _, mark = str(holder).partition("/")
        return [token, self._label(peer), mark]  # type: ignore[arg-type]


def _timeout_s(params: Mapping[str, Any]) -> float:
    return float(params["timeout_s"])


def _ttl_ms(key: str, params: Mapping[str, Any]) -> int | None:
    """
    Raises:
        InvalidArguments: it is no time in which something can run out.
    """
    ttl_s = params["ttl_s"]
    if ttl_s is None:
        return None
    ttl_ms = int(float(ttl_s) * 1000)
    if ttl_ms <= 0:
        raise InvalidArguments(key, "a time to live is at least a millisecond")
    return ttl_ms

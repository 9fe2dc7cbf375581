"""Sealing as a program sees it: the part of `Net` that seals and unseals.

    data = await net.seal({"salary": 1}, to=["ada", "bob"], purpose="payroll")
    await net.kv.put("payroll/may", data)                       # wherever it lies or passes by
    found = await net.unseal(await net.kv.get("payroll/may"), purpose="payroll", stored=True)
    print(found.name, found.value)

What this module does not know: keys, how the node seals.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

from agents.errors import InvalidArguments
from agents.hosting.values import as_type, from_bytes, to_bytes
from agents.local import Gate

DEFAULT_PURPOSE = "message"


class Unsealed(NamedTuple):
    """What was in a sealed message.

    Attributes:
        sender: the peer that signed it; its name is as its certificate says.
        sealed_at: when, in Unix seconds, on the sender's clock.
    """

    sender: str
    name: str
    value: Any
    sealed_at: float


class SealingNet:
    """Seals and unseals."""

    _gate: Gate

    async def seal(
        self, value: Any, *, to: str | Collection[str], purpose: str = DEFAULT_PURPOSE
    ) -> bytes:
        """Sign a value and seal it, so that only these peers can read it, wherever it lies.

        A peer that was never met while this node runs must be there, to say its key. This node
        cannot read it again, unless it is a reader too.

        Args:
            to: up to 64 peers: names, ids or starts of ids of living ones, whole ids of others.
            purpose: what it is for; it opens only for whoever says the same.

        Raises:
            PeerUnreachable, NoSealingKey: there is no key of a reader to be had.
            InvalidArguments, InvalidValue, PayloadError: no reader, or too large.
        """
        readers = [to] if isinstance(to, str) else list(to)
        if not readers:
            raise InvalidArguments("seal", "say for whom, as to=...")
        params = {"value": to_bytes(value), "to": readers, "purpose": purpose}
        return bytes(await self._gate.request("seal", params))

    async def unseal(
        self,
        data: bytes,
        *,
        purpose: str = DEFAULT_PURPOSE,
        stored: bool = False,
        returns: Any = None,
    ) -> Unsealed:
        """Open what was sealed for this node.

        Args:
            purpose: as it was sealed for.
            stored: it was put somewhere and may be opened again, within seven days of its sealing.
                Otherwise it is a message: it is taken once, and soon.
            returns: a type that the value is validated as; plain data otherwise.

        Raises:
            SealedRefused: it is not for us, not for this purpose, changed, of no member, too old,
                or was taken before; one class for each.
        """
        params = {"data": data, "purpose": purpose, "stored": stored}
        sender, name, payload, time_ms = await self._gate.request("unseal", params)
        value = from_bytes(payload)
        if returns is not None:
            value = as_type(value, returns)
        return Unsealed(sender, name, value, time_ms / 1000)

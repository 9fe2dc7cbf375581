"""What programs on this machine may ask of the node about its keys.

What this module does not know: sockets, printing, how a key is changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from agents.errors import InvalidArguments
from agents.local import Table

if TYPE_CHECKING:
    from agents.node_parts import NodeParts


def keys_operations(node: NodeParts) -> Table:
    """Return the operations of keys."""

    async def rotate(params: Mapping[str, Any]) -> dict[str, Any]:
        rotated = await node.peer.rotate_keys()
        return {
            "key": rotated.key.hex(),
            "present": rotated.present,
            "missed": [[peer_id, node.peer.label(peer_id)] for peer_id in rotated.missed],
            "took_ms": rotated.took_ms,
        }

    async def open_issuer(params: Mapping[str, Any]) -> dict[str, Any]:
        # As bytes, which neither logs nor the audit log ever show.
        given = params.get("passphrase")
        if not (given is None or isinstance(given, bytes)):
            raise InvalidArguments("issuer.open", "the passphrase is not bytes")
        passphrase = given.decode("utf-8", "surrogateescape") if given is not None else None
        return {"name": await node.rereading.open_issuer(passphrase)}

    return Table({"issuer.open": open_issuer, "keys.rotate": rotate}, {}, {})

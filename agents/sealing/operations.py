"""What programs on this machine may ask of the node about sealing: a part of its operations.

What this module does not know: sockets, how values become bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from agents.addressing import peer_or_id
from agents.local import Table

if TYPE_CHECKING:
    from agents.node_parts import NodeParts

# What programs seal is never taken for what nodes seal among themselves.
_PROGRAMS: Final = "program/"


def sealing_operations(node: NodeParts) -> Table:
    """Return the operations of sealing."""

    async def seal(params: Mapping[str, Any]) -> bytes:
        readers = [peer_or_id(node.peer, str(word)) for word in params["to"]]
        purpose = _PROGRAMS + str(params["purpose"])
        return await node.sealing.seal(readers, purpose, params["value"])

    async def unseal(params: Mapping[str, Any]) -> list[Any]:
        purpose = _PROGRAMS + str(params["purpose"])
        message = node.sealing.unseal(
            bytes(params["data"]), purpose, is_stored=bool(params["stored"])
        )
        name = message.principal.name
        return [message.sender, name, message.payload, message.stamp.time_ms]

    async def unseal_result(params: Mapping[str, Any]) -> bytes:
        task_id, skill = str(params["id"]), str(params["skill"])
        return node.sealed_tasks.open_result(task_id, skill, params["data"])

    return Table({"seal": seal, "unseal": unseal, "unseal_result": unseal_result}, {}, {})

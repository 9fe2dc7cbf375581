"""What programs on this machine may ask of the node about clusters.

A lease belongs to the program that holds it, not to the node: the program renews it, and when the
program is gone nobody does.

What this module does not know: sockets, printing, leases as their holders see them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

from agents.clusters import Need
from agents.local import Table

if TYPE_CHECKING:
    from agents.node_parts import NodeParts


def cluster_operations(node: NodeParts) -> Table:
    """Return the operations of clusters."""
    clusters = _Clusters(node)
    return Table(
        {
            "cluster.explain": clusters.explain,
            "cluster.hold": clusters.hold,
            "cluster.list": clusters.all,
            "cluster.release": clusters.release,
        },
        {"cluster.watch": clusters.watch},
        {},
    )


class _Clusters:
    def __init__(self, node: NodeParts) -> None:
        self._clusters = node.clusters

    async def hold(self, params: Mapping[str, Any]) -> dict[str, Any]:
        need = Need(str(params["capability"]), int(params["min_size"]), int(params["max_size"]))
        return await self._clusters.hold(
            str(params["name"]),
            need,
            str(params["mark"]),
            int(params["lease_ms"]),
            float(params["timeout_s"]),
        )

    async def release(self, params: Mapping[str, Any]) -> None:
        name, mark = str(params["name"]), str(params["mark"])
        await self._clusters.release(name, mark, float(params["timeout_s"]))

    async def all(self, params: Mapping[str, Any]) -> list[dict[str, Any]]:
        return await self._clusters.views()

    async def explain(self, params: Mapping[str, Any]) -> list[dict[str, Any]]:
        return await self._clusters.explain(str(params["name"]))

    def watch(self, params: Mapping[str, Any]) -> AsyncIterator[Any]:
        name = params["name"]
        return self._clusters.watch(None if name is None else str(name))

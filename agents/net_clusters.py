"""Clusters by purpose, for programs: the part of `Net` that forms, lists and explains them.

What this module does not know: how members are chosen.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TYPE_CHECKING, Any, cast

from agents.amounts import whole
from agents.clusters import Cluster, cluster_need
from agents.local import Gate
from agents.names import seen_from
from p2p import Clock

if TYPE_CHECKING:
    from agents.net import Net

LEASE_S = 15.0
TIMEOUT_S = 10.0


class ClustersNet:
    """Some nodes for one purpose."""

    _gate: Gate
    _namespace: str
    _clock: Clock

    def cluster(
        self,
        name: str,
        *,
        capability: str,
        min_size: int = 1,
        max_size: int | None = None,
        lease: float = LEASE_S,
        timeout: float = TIMEOUT_S,
    ) -> Cluster:
        """Use some of the nodes that offer a capability: `async with net.cluster(...) as cluster`.

        The network chooses them, by health and score, replaces those that fail, and elects one that
        leads. Who uses the same name shares them; the largest size that anybody wants counts. The
        last one to leave dissolves the cluster.

        Args:
            min_size: how many it takes; fewer are an error when it begins, and `is_short` later.
            max_size: how many may be in it; as many as `min_size` where it is not said.
            lease: seconds for which it outlives us when we vanish.
            timeout: seconds to wait until so many fit.

        Raises:
            InvalidArguments: no cluster can be called that, or be of that size.
        """
        capability = seen_from(self._namespace, capability)
        whole("cluster", "min_size", min_size)
        whole("cluster", "max_size", min_size if max_size is None else max_size)
        need = cluster_need(capability, min_size, max_size)
        net = cast("Net", self)
        return Cluster(net, self._gate, self._clock, name, need, lease, timeout)

    async def clusters(self) -> list[dict[str, Any]]:
        """Return all clusters there are, as this node has heard.

        Raises:
            NoQuorum: it has come up, and has not heard yet.
        """
        return list(await self._gate.request("cluster.list", {}))

    async def explain_cluster(self, name: str) -> list[dict[str, Any]]:
        """Return who is in a cluster, who could be, and why the others cannot: `peer`, `name`,
        `fit` ("well", "degraded", "silent", "unfit"), `why`, `score`, `is_member`.

        Raises:
            NoQuorum: nobody leads.
        """
        return list(await self._gate.request("cluster.explain", {"name": name}))

    async def watch_clusters(self) -> AsyncIterator[list[dict[str, Any]]]:
        """Yield all clusters, now and whenever one of them changes."""
        views = self._gate.stream("cluster.watch", {"name": None})
        try:
            async for view in views:
                yield view
        finally:
            if isinstance(views, AsyncGenerator):
                with contextlib.suppress(RuntimeError):
                    await views.aclose()

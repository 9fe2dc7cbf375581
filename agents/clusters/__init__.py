"""Clusters by purpose: some nodes for one capability, with a roster and a leader, while somebody
uses them. See `docs/clusters.md`.

`core` says who is in one; `leading` has it decided on the node that leads the log; `seats` is what
members have of it, `using` what users have.
"""

from agents.clusters.changes import ClusterChange, ClusterMember, ClusterState
from agents.clusters.model import Need
from agents.clusters.seats import ClusterSeat
from agents.clusters.using import Cluster, cluster_need, state_of

__all__ = [
    "Cluster",
    "ClusterChange",
    "ClusterMember",
    "ClusterSeat",
    "ClusterState",
    "Need",
    "cluster_need",
    "state_of",
]

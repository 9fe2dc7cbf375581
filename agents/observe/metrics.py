"""The Prometheus endpoint of a node: gathered from plain counters when it is scraped.

The hot path pays nothing. Labels hold no ids and no topics from outside. Loopback unless told
otherwise: names of capabilities and counts are nobody else's business.

What this module does not know: how the counters are counted.
"""

from __future__ import annotations

import contextlib
import resource
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from agents.errors import BadSettings

if TYPE_CHECKING:
    from agents.node_parts import NodeParts


class NodeCollector(Collector):
    """Reads a node when it is asked to."""

    def __init__(self, node: NodeParts) -> None:
        self._node = node
        self._since = time.time()

    def collect(self) -> Iterator[Metric]:
        """Yield every metric as it stands."""
        node = self._node
        status = node.quorum.status()
        own = node.peer.peer_id
        yield _gauge("conclave_start_time_seconds", "Unix time of this start", self._since)
        yield _gauge("conclave_process_max_resident_bytes", "Peak memory", _peak_bytes())
        yield self._peers()
        yield _gauge("conclave_raft_term", "Term of the log", status["term"])
        yield _gauge("conclave_raft_is_leader", "1 if this node leads", status["leader"] == own)
        yield _gauge("conclave_raft_has_leader", "1 if a leader is known", bool(status["leader"]))
        yield _gauge("conclave_raft_commit_index", "Last decided entry", status["commit"] or 0)
        yield _gauge("conclave_raft_applied_index", "Last applied entry", status["applied"] or 0)
        yield _gauge("conclave_leases", "Task leases held here", node.working.held)
        yield _gauge("conclave_handlers_running", "Handlers running here", node.host.running)
        yield self._tasks()
        left_ms = node.peer.principal.not_after_ms
        yield _gauge("conclave_cert_expiry_timestamp_seconds", "End of our papers", left_ms / 1000)
        yield _gauge(
            "conclave_cert_renewal_failing",
            "1 if the last attempt to renew our certificate failed",
            node.renewing.problem is not None,
        )
        offset_ms = node.peer.presence.clock_offset_ms or 0
        yield _gauge(
            "conclave_clock_offset_seconds", "The others' clocks less ours", offset_ms / 1000
        )
        stale = node.peer.trusting.revocations.stale(node.world.clock.wall_ms())
        yield _gauge(
            "conclave_revocations_stale_seconds",
            "For how long a revocation list is past its time",
            stale[1] / 1000 if stale is not None else 0,
        )
        yield self._agents()
        yield self._events()

    def _peers(self) -> Metric:
        family = GaugeMetricFamily("conclave_peers", "Known peers by state", labels=["state"])
        counts = dict.fromkeys(("alive", "suspect", "dead", "left"), 0)
        for member in self._node.peer.presence.members():
            counts[member.state.value] += 1
        for state, count in counts.items():
            family.add_metric([state], count)
        return family

    def _agents(self) -> Metric:
        family = GaugeMetricFamily(
            "conclave_agent_health",
            "This node's agents: 0 healthy, 1 degraded, 2 failed",
            labels=["agent"],
        )
        health = self._node.health
        for name in health.keepers:
            family.add_metric([name], health.told(name).condition.state.badness)
        return family

    def _tasks(self) -> Metric:
        family = GaugeMetricFamily(
            "conclave_tasks", "Tasks in this replica of the ledger by state", labels=["state"]
        )
        for state, count in self._node.quorum.ledger.counts().items():
            family.add_metric([state.value], count)
        return family

    def _events(self) -> Metric:
        family = CounterMetricFamily(
            "conclave_events", "What happened, by part and name", labels=["event"]
        )
        node = self._node
        counters = {
            **node.peer.counters(),
            **node.host.counts,
            **node.calling.counters(),
            **node.directory.counts,
            **node.sealing.counters(),
            **node.renewing.counts,
        }
        for name, count in sorted(counters.items()):
            family.add_metric([name.replace(" ", "_")], count)
        return family


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=float(value))


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class Metrics:
    """The endpoint while it is open: empty until it is told of a node.

    Attributes:
        port: where it is served.
    """

    def __init__(self, registry: CollectorRegistry, port: int) -> None:
        self._registry = registry
        self.port = port

    def show(self, node: NodeParts) -> None:
        """Serve this node's metrics; it must be up."""
        self._registry.register(NodeCollector(node))


@contextlib.contextmanager
def serve_metrics(host: str, port: int) -> Iterator[Metrics]:
    """Serve `/metrics` until the block ends; port 0 takes any.

    Raises:
        BadSettings: the port is taken, or the address is none of this machine's.
    """
    registry = CollectorRegistry()
    try:
        server, thread = start_http_server(port, addr=host, registry=registry)
    except OSError as error:
        raise BadSettings(
            f"metrics cannot be served at {host}:{port}: {error.strerror}; "
            "choose another --metrics port or --metrics-host"
        ) from None
    try:
        yield Metrics(registry, int(server.server_port))
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=1)

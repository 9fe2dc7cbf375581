"""What went on between two readings of a node's figures: rates, quantiles, what grew.

What this module does not know: how it is shown, how figures are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agents.hosting.tally import quantile_us

_GAUGES = frozenset(
    {"streams_open", "streams_handlers", "streams_waiting_to_send", "rpc_pending", "rpc_running"}
)


def span(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Return what happened from one reading to a later one, as plain data.

    Quantiles are those of the calls that ended in between, and of all calls where none did.
    """
    took_s = max(1e-3, after["node"]["at_s"] - before["node"]["at_s"])
    return {
        "seconds": round(took_s, 3),
        "node": _node(before["node"], after["node"], took_s),
        "peers": _paired(before["peers"], after["peers"], "peer", _peer, took_s),
        "capabilities": _paired(
            before["capabilities"], after["capabilities"], "capability", _capability, took_s
        ),
        "published": _paired(
            before["topics"]["published"], after["topics"]["published"], "topic", _topic, took_s
        ),
        "subscribed": after["topics"]["subscribed"],
        "streams": _streams(before["streams"], after["streams"], took_s),
        "counters": _grown(before["counters"], after["counters"]),
    }


def _node(before: Mapping[str, Any], after: Mapping[str, Any], took_s: float) -> dict[str, Any]:
    busy_s = after["cpu_s"] - before["cpu_s"]
    shown = ("name", "peer", "network", "uptime_s", "rss_bytes", "loop_lag")
    return {
        **{name: after[name] for name in shown},
        "cpu_percent": round(100 * busy_s / took_s, 1),
    }


def _paired(
    before: list[dict[str, Any]],
    after: list[dict[str, Any]],
    key: str,
    compare: Any,
    took_s: float,
) -> list[dict[str, Any]]:
    """Compare each row with the one of the same key; one that was not there began at nothing."""
    old = {row[key]: row for row in before}
    return [compare(old.get(row[key], {}), row, took_s) for row in after]


def _peer(before: Mapping[str, Any], after: Mapping[str, Any], took_s: float) -> dict[str, Any]:
    now, then = _summed(after["lanes"]), _summed(before.get("lanes", {}))
    for total, row in ((now, after), (then, before)):
        total["bytes_in"] += row.get("publications_in_bytes", 0)
        total["frames_in"] += row.get("publications_in", 0)
    grew = {name: max(0, now[name] - then[name]) / took_s for name in now}
    return {
        "peer": after["peer"],
        "name": after["name"],
        "state": after["state"],
        "lanes": {name: lane["state"] for name, lane in after["lanes"].items()},
        "round_trip": after["round_trip"] or {},
        "bytes_in_per_s": round(grew["bytes_in"]),
        "bytes_out_per_s": round(grew["bytes_out"]),
        "frames_in_per_s": round(grew["frames_in"], 1),
        "envelopes_out_per_s": round(grew["envelopes_out"], 1),
        "queued_bytes": now["queued_bytes"],
        "refused": now["refused"],
        "dropped": now["dropped"],
        "holds_topics": after.get("holds_topics", False),
    }


_SUMMED = (
    "bytes_in",
    "bytes_out",
    "frames_in",
    "envelopes_out",
    "queued_bytes",
    "refused",
    "dropped",
)


def _summed(lanes: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    return {name: sum(lane[name] for lane in lanes.values()) for name in _SUMMED}


def _capability(
    before: Mapping[str, Any], after: Mapping[str, Any], took_s: float
) -> dict[str, Any]:
    earlier = before.get("buckets") or [0] * len(after["buckets"])
    ended = [new - old for new, old in zip(after["buckets"], earlier, strict=True)]
    calls = sum(ended)
    buckets = ended if calls else after["buckets"]
    return {
        **{name: after[name] for name in ("capability", "agent", "running", "limit")},
        "calls": after["calls"],
        "calls_per_s": round(calls / took_s, 1),
        "p50_ms": _ms(quantile_us(buckets, 0.5)),
        "p99_ms": _ms(quantile_us(buckets, 0.99)),
        "failed": after["failed"],
        "refused": after["refused"],
    }


def _topic(before: Mapping[str, Any], after: Mapping[str, Any], took_s: float) -> dict[str, Any]:
    grew = max(0, after["sequence"] - before.get("sequence", 0))
    return {
        "topic": after["topic"],
        "sequence": after["sequence"],
        "published_per_s": round(grew / took_s, 1),
        "subscribers": after["subscribers"],
    }


def _streams(before: Mapping[str, int], after: Mapping[str, int], took_s: float) -> dict[str, Any]:
    def rate(name: str) -> int:
        return round(max(0, after.get(name, 0) - before.get(name, 0)) / took_s)

    return {
        **{name: after.get(name, 0) for name in ("open", "handlers", "waiting_to_send")},
        "sent_bytes_per_s": rate("sent_bytes"),
        "received_bytes_per_s": rate("received_bytes"),
    }


def _grown(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, dict[str, int]]:
    return {
        name: {"grew": value - before.get(name, 0), "total": value}
        for name, value in sorted(after.items())
        if value > before.get(name, 0) and name not in _GAUGES
    }


def _ms(us: float | None) -> float | None:
    return None if us is None else round(us / 1000, 3)

"""What is told of the time between two readings of a node's figures."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from agents.cli.spans import span
from agents.cli.top import header, sections

LANE: dict[str, Any] = {
    "state": "up",
    "queued_bytes": 0,
    "frames_out": 0,
    "bytes_out": 0,
    "envelopes_out": 0,
    "frames_in": 0,
    "bytes_in": 0,
    "refused": 0,
    "dropped": 0,
}


@pytest.fixture
def before() -> dict[str, Any]:
    return {
        "node": {
            "name": "ada",
            "peer": "abcdefghijkl",
            "network": "lab",
            "at_s": 100.0,
            "uptime_s": 90_061.0,
            "cpu_s": 1.0,
            "rss_bytes": 52_000_000,
            "loop_lag": {"mean_ms": 0.5, "max_ms": 2.0},
        },
        "peers": [
            {
                "peer": "qwertyuiop",
                "name": "bob",
                "state": "alive",
                "lanes": {"control": dict(LANE), "data": dict(LANE), "bulk": dict(LANE)},
                "round_trip": None,
                "subscriptions": 0,
                "holds_topics": False,
                "publications_in": 0,
                "publications_in_bytes": 0,
            }
        ],
        "capabilities": [
            {
                "capability": "lab.add",
                "agent": "bench",
                "running": 0,
                "limit": 256,
                "calls": 4,
                "failed": 0,
                "refused": 0,
                "total_us": 4000,
                "buckets": [0] * 10 + [4] + [0] * 21,
            }
        ],
        "topics": {
            "published": [{"topic": "a/b", "sequence": 7, "subscribers": 1}],
            "subscribed": [],
        },
        "streams": {"open": 0, "sent_bytes": 0, "received_bytes": 0},
        "counters": {"rpc_request_refused": 1, "quiet": 5, "streams_open": 0},
    }


def later(before: dict[str, Any], seconds: float = 2.0) -> dict[str, Any]:
    after = copy.deepcopy(before)
    after["node"]["at_s"] += seconds
    return after


def test_rates_are_those_between_the_two_readings(before: dict[str, Any]) -> None:
    after = later(before)
    after["node"]["cpu_s"] += 0.5
    peer = after["peers"][0]
    peer["lanes"]["data"] |= {"bytes_in": 1_000, "frames_in": 10, "envelopes_out": 8}
    peer["lanes"]["bulk"]["bytes_in"] = 3_000
    peer["publications_in"], peer["publications_in_bytes"] = 4, 2_000
    peer["round_trip"] = {"control_ms": 0.25, "data_error": "no answer"}
    after["topics"]["published"][0]["sequence"] = 27
    after["streams"] |= {"open": 1, "sent_bytes": 4_000_000}
    seen = span(before, after)
    assert seen["seconds"] == 2.0
    assert seen["node"]["cpu_percent"] == 25.0
    (bob,) = seen["peers"]
    assert (bob["bytes_in_per_s"], bob["frames_in_per_s"]) == (3_000, 7.0)
    assert bob["envelopes_out_per_s"] == 4.0
    assert seen["published"][0]["published_per_s"] == 10.0
    assert seen["streams"]["sent_bytes_per_s"] == 2_000_000
    shown = {section.title: section.rows for section in sections(seen)}
    assert shown["PEERS"][0][:5] == (
        "bob (qwertyui)",
        "alive",
        "control,data,bulk",
        "0.25",
        "none",
    )
    assert shown["STREAMS"][0][3] == "2 MB"


def test_quantiles_are_of_the_calls_between_or_of_all_where_there_were_none(
    before: dict[str, Any],
) -> None:
    after = later(before)
    (still,) = span(before, after)["capabilities"]
    assert still["calls_per_s"] == 0
    assert 0.512 <= still["p50_ms"] <= 1.024
    after["capabilities"][0]["buckets"][1] = 10
    after["capabilities"][0]["calls"] = 14
    (busy,) = span(before, after)["capabilities"]
    assert busy["calls_per_s"] == 5.0
    assert busy["p99_ms"] <= 0.002


def test_only_counters_that_grew_are_told(before: dict[str, Any]) -> None:
    after = later(before)
    after["counters"] |= {"rpc_request_refused": 4, "new": 2, "streams_open": 3}
    counters = span(before, after)["counters"]
    assert counters == {
        "new": {"grew": 2, "total": 2},
        "rpc_request_refused": {"grew": 3, "total": 4},
    }


def test_a_peer_that_was_not_there_before_began_at_nothing(before: dict[str, Any]) -> None:
    after = later(before)
    after["peers"][0]["lanes"]["data"]["bytes_out"] = 500
    before["peers"] = []
    assert span(before, after)["peers"][0]["bytes_out_per_s"] == 250


def test_a_peer_that_was_started_again_has_no_negative_rates(before: dict[str, Any]) -> None:
    after = later(before)
    before["peers"][0]["lanes"]["data"]["bytes_out"] = 500
    assert span(before, after)["peers"][0]["bytes_out_per_s"] == 0


def test_tables_without_rows_are_left_out_and_the_header_tells_of_the_node(
    before: dict[str, Any],
) -> None:
    after = later(before)
    after["peers"] = []
    seen = span(before, after)
    assert [s.title for s in sections(seen)] == ["CAPABILITIES", "PUBLISHED"]
    first, second = header(seen)
    assert first == "ada (abcdefgh) in lab, up 1 d 1 h 1 min"
    assert "memory 52 MB, loop late by 0.50 ms, at most 2.00 ms" in second

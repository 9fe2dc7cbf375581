"""`conclave top`: what the node here does, its peers, capabilities, topics and streams, live.

Where the output is no terminal, it is shown once and plainly.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from agents.cli.attached import ask_node, print_json
from agents.cli.show import print_table
from agents.cli.spans import span
from agents.net import Net
from agents.observe import one_line

if TYPE_CHECKING:
    from rich.console import Group

MIN_INTERVAL_S = 0.2
MAX_ROWS = 20  # of one table on a screen


class Section(NamedTuple):
    """A table: what it is about, its columns, its rows."""

    title: str
    head: tuple[str, ...]
    rows: list[tuple[str, ...]]


def run(arguments: argparse.Namespace) -> None:
    """Show the figures of the node, once or until Ctrl-C."""
    interval_s = max(MIN_INTERVAL_S, arguments.interval)
    is_once = arguments.once or arguments.json or not sys.stdout.isatty()

    async def look_once(net: Net) -> dict[str, Any]:
        before = await net.figures()
        await asyncio.sleep(interval_s)
        return span(before, await net.figures(pings=True))

    if not is_once:
        ask_node(arguments, lambda net: _live(net, interval_s))
        return
    seen = ask_node(arguments, look_once)
    if arguments.json:
        print_json(seen)
        return
    for line in header(seen):
        print(one_line(line))
    for section in sections(seen):
        print(f"\n{section.title}")
        print_table(section.head, section.rows)


async def _live(net: Net, interval_s: float) -> None:
    from rich.live import Live

    before = await net.figures()
    await asyncio.sleep(min(1.0, interval_s))
    with Live(screen=True, auto_refresh=False) as live:
        while True:
            after = await net.figures(pings=True)
            live.update(_drawn(span(before, after)), refresh=True)
            before = after
            await asyncio.sleep(interval_s)


def _drawn(seen: Mapping[str, Any]) -> Group:
    """Return the same tables for a screen; others' words are text there, and no markup."""
    from rich.console import Group, RenderableType
    from rich.table import Table
    from rich.text import Text

    parts: list[RenderableType] = [Text(one_line(line), style="bold") for line in header(seen)]
    for section in sections(seen):
        table = Table(title=section.title, title_justify="left", title_style="bold", box=None)
        for name in section.head:
            table.add_column(Text(name, style="dim"), no_wrap=True)
        for row in section.rows[:MAX_ROWS]:
            table.add_row(*(Text(one_line(cell)) for cell in row))
        parts += [Text(""), table]
        if len(section.rows) > MAX_ROWS:
            parts.append(Text(f"and {len(section.rows) - MAX_ROWS} more", style="dim"))
    return Group(*parts)


def header(seen: Mapping[str, Any]) -> list[str]:
    """Return the lines about the node itself."""
    node, lag = seen["node"], seen["node"]["loop_lag"]
    name = f"{node['name']} ({node['peer'][:8]})"
    return [
        f"{name} in {node['network']}, up {_duration(node['uptime_s'])}",
        f"cpu {node['cpu_percent']:g} %, memory {_bytes(node['rss_bytes'])}, "
        f"loop late by {lag['mean_ms']:.2f} ms, at most {lag['max_ms']:.2f} ms",
    ]


def sections(seen: Mapping[str, Any]) -> list[Section]:
    """Return the tables, those without rows left out."""
    streams = seen["streams"]
    moves = streams["open"] or streams["sent_bytes_per_s"] or streams["received_bytes_per_s"]
    all_of_them = [
        Section("PEERS", _PEER_HEAD, [_peer(row) for row in seen["peers"]]),
        Section("CAPABILITIES", _CAPABILITY_HEAD, [_capability(r) for r in seen["capabilities"]]),
        Section("PUBLISHED", _PUBLISHED_HEAD, [_published(row) for row in seen["published"]]),
        Section("SUBSCRIBED", _SUBSCRIBED_HEAD, [_subscribed(row) for row in seen["subscribed"]]),
        Section("STREAMS", _STREAM_HEAD, [_stream(streams)] if moves else []),
        Section(
            "COUNTERS THAT GREW",
            ("NAME", "BY", "TO"),
            [(k, str(v["grew"]), str(v["total"])) for k, v in seen["counters"].items()],
        ),
    ]
    return [section for section in all_of_them if section.rows]


_PEER_HEAD = (
    *("NAME", "STATE", "LANES", "CONTROL ms", "DATA ms", "IN/s", "OUT/s"),
    *("FRAMES IN/s", "SENT/s", "QUEUED", "REFUSED", "DROPPED"),
)


def _peer(row: Mapping[str, Any]) -> tuple[str, ...]:
    held = " (holds topics)" if row["holds_topics"] else ""
    return (
        f"{row['name']} ({row['peer'][:8]})",
        row["state"],
        (",".join(k for k, state in row["lanes"].items() if state == "up") or "none") + held,
        _round_trip(row["round_trip"], "control"),
        _round_trip(row["round_trip"], "data"),
        _bytes(row["bytes_in_per_s"]),
        _bytes(row["bytes_out_per_s"]),
        f"{row['frames_in_per_s']:g}",
        f"{row['envelopes_out_per_s']:g}",
        _bytes(row["queued_bytes"]),
        str(row["refused"]),
        str(row["dropped"]),
    )


def _round_trip(said: Mapping[str, Any], lane: str) -> str:
    if f"{lane}_ms" in said:
        return f"{said[f'{lane}_ms']:.2f}"
    return "none" if f"{lane}_error" in said else "-"


_CAPABILITY_HEAD = (
    *("CAPABILITY", "AGENT", "CALLS", "CALLS/s", "RUNNING", "P50 ms", "P99 ms"),
    *("FAILED", "REFUSED"),
)


def _capability(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        row["capability"],
        row["agent"],
        str(row["calls"]),
        f"{row['calls_per_s']:g}",
        f"{row['running']} of {row['limit']}",
        *("-" if row[name] is None else f"{row[name]:.2f}" for name in ("p50_ms", "p99_ms")),
        str(row["failed"]),
        str(row["refused"]),
    )


_PUBLISHED_HEAD = ("TOPIC", "LAST", "PUBLISHED/s", "SUBSCRIBERS")


def _published(row: Mapping[str, Any]) -> tuple[str, ...]:
    rate = f"{row['published_per_s']:g}"
    return (row["topic"], f"#{row['sequence']}", rate, str(row["subscribers"]))


_SUBSCRIBED_HEAD = ("TOPIC", "POLICY", "RECEIVED", "WAITING", "DROPPED", "REPAIRED", "LOST")


def _subscribed(row: Mapping[str, Any]) -> tuple[str, ...]:
    counts = ("received", "waiting", "dropped", "repaired", "lost")
    return (row["topic"], row["policy"], *(str(row[name]) for name in counts))


_STREAM_HEAD = ("OPEN", "HANDLERS", "WAITING TO SEND", "SENT/s", "RECEIVED/s")


def _stream(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        *(str(row[name]) for name in ("open", "handlers", "waiting_to_send")),
        _bytes(row["sent_bytes_per_s"]),
        _bytes(row["received_bytes_per_s"]),
    )


def _bytes(count: float) -> str:
    for unit in ("B", "KB", "MB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def _duration(seconds: float) -> str:
    whole = int(seconds)
    days, hours, minutes = whole // 86_400, whole // 3600 % 24, whole // 60 % 60
    parts: Sequence[tuple[int, str]] = ((days, "d"), (hours, "h"), (minutes, "min"))
    shown = [f"{number} {unit}" for number, unit in parts if number]
    return " ".join(shown) or f"{whole} s"

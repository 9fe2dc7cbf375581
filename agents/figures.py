"""The figures of a node, as plain data: what `net.figures()` returns and `conclave top` shows.

All numbers only grow, except where a name says otherwise (running, queued, lag of the last
seconds), so that any number of readers can each take the difference of two readings.

What this module does not know: how figures are shown, who counts.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.probing import ping
from p2p import Lane

if TYPE_CHECKING:
    from agents.node_parts import NodeParts
    from keys import PeerId

LAG_EVERY_S = 0.25
LAG_KEPT = 40  # ten seconds of them


class LoopLag:
    """How late the event loop runs its timers: one every 250 ms, compared with when it was due."""

    def __init__(self) -> None:
        self._late_s: deque[float] = deque(maxlen=LAG_KEPT)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._due_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to measure on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._set()

    def close(self) -> None:
        """Measure no more."""
        if self._timer is not None:
            self._timer.cancel()

    def figures(self) -> dict[str, float]:
        """Return the mean and the most of the last ten seconds, in milliseconds."""
        late = self._late_s
        mean_s = sum(late) / len(late) if late else 0.0
        return {
            "mean_ms": round(mean_s * 1000, 3),
            "max_ms": round(max(late, default=0.0) * 1000, 3),
        }

    def _set(self) -> None:
        assert self._loop is not None
        self._due_s = self._loop.time() + LAG_EVERY_S  # its own time, which may be virtual
        self._timer = self._loop.call_later(LAG_EVERY_S, self._ran)

    def _ran(self) -> None:
        assert self._loop is not None
        self._late_s.append(max(0.0, self._loop.time() - self._due_s))
        self._set()


class Figures:
    """Gathers them from the parts of one node."""

    def __init__(self, node: NodeParts) -> None:
        self._node = node
        self._began_s = time.monotonic()
        self._lag = LoopLag()

    def start(self) -> None:
        self._lag.start()

    def close(self) -> None:
        self._lag.close()

    @property
    def lag_ms(self) -> int:
        """How late the loop was in the last ten seconds, on the whole."""
        return int(self._lag.figures()["mean_ms"])

    async def read(self, *, pings: bool) -> dict[str, Any]:
        """Return all of them.

        Args:
            pings: measure the round trip to every living peer too; that takes up to a second.
        """
        node, peer = self._node, self._node.peer
        rounds = await self._ping_all() if pings else {}
        counters = peer.counters()
        return {
            "node": {
                "name": peer.name,
                "peer": peer.peer_id,
                "network": node.keystore.genesis.network_name,
                "at_s": time.monotonic(),
                "uptime_s": round(time.monotonic() - self._began_s, 3),
                "cpu_s": round(time.process_time(), 3),
                "rss_bytes": resident_bytes(),
                "loop_lag": self._lag.figures(),
            },
            "peers": self._peers(rounds),
            "capabilities": node.host.figures(),
            "topics": peer.topic_figures(),
            "streams": {
                name.removeprefix("streams_"): value
                for name, value in counters.items()
                if name.startswith("streams_")
            },
            "counters": {
                **counters,
                **{f"host_{k}": v for k, v in node.host.counts.items()},
                **{f"calling_{k}": v for k, v in node.calling.counters().items()},
                **{f"directory_{k}": v for k, v in node.directory.counts.items()},
                **node.sealing.counters(),
            },
        }

    async def _ping_all(self) -> dict[PeerId, dict[str, Any]]:
        peer = self._node.peer
        present = list(peer.presence.present())
        said = await asyncio.gather(*(ping(peer, peer_id) for peer_id in present))
        return dict(zip(present, said, strict=True))

    def _peers(self, rounds: dict[PeerId, dict[str, Any]]) -> list[dict[str, Any]]:
        peer = self._node.peer
        links = peer.links()
        rows = []
        for member in peer.presence.members():
            shown = peer.member(member.peer_id)
            link = links.get(member.peer_id)
            row: dict[str, Any] = {
                "peer": member.peer_id,
                "name": shown.name if shown else "?",
                "state": member.state.value,
                "lanes": {},
                "round_trip": rounds.get(member.peer_id),
            }
            if link is not None:
                row["lanes"] = {lane.name.lower(): _plain(link.lanes[lane]) for lane in Lane}
                row |= {
                    "subscriptions": link.subscriptions,
                    "holds_topics": link.holds_topics,
                    "publications_in": link.publications_in,
                    "publications_in_bytes": link.publications_in_bytes,
                }
            rows.append(row)
        return sorted(rows, key=lambda row: (row["name"], row["peer"]))


def _plain(figures: Any) -> dict[str, Any]:
    return {name: getattr(figures, name) for name in type(figures).__slots__}


def resident_bytes() -> int:
    """Return this process's memory now, or its peak where the system tells no more."""
    if sys.platform.startswith("linux"):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024

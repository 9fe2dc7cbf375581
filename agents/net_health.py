"""The health of all agents, for programs: `net.agents_health`.

What this module does not know: how health is judged.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, NamedTuple

from agents.health import Health
from agents.local import Gate


class HealthChange(NamedTuple):
    """An agent is in another state than before."""

    agent: str
    peer: str
    node: str
    before: Health | None
    state: Health
    reason: str


class HealthNet:
    """What one may ask of the health of agents through a node."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def show(self) -> list[dict[str, Any]]:
        """Return each agent's `health`, `reason` and `health_since_ms`, as its node says."""
        rows = await self._gate.request("agents", {})
        names = ("agent", "peer", "node", "health", "reason", "health_since_ms")
        return [{name: row[name] for name in names} for row in rows]

    async def watch(self) -> AsyncIterator[HealthChange]:
        """Yield every change from now on, as this node learns of it."""
        events = self._gate.stream("watch", {})
        try:
            async for event in events:
                if event["event"] == "health":
                    yield _change_of(event)
        finally:
            if isinstance(events, AsyncGenerator):
                with contextlib.suppress(RuntimeError):
                    await events.aclose()


def _change_of(event: dict[str, Any]) -> HealthChange:
    before = event["before"]
    return HealthChange(
        event["agent"],
        event["peer"],
        event["node"],
        Health(before) if before is not None else None,
        Health(event["state"]),
        event["reason"],
    )

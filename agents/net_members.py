"""Who is in the network, for programs: `net.members`.

    async for change in net.members.watch():
        if change.kind is MemberKind.FAILED:
            print(change.name, change.why)

It is what one node sees: two nodes may see the same thing at different moments, and a node that is
cut off sees all the others fail. Nothing here decides anything.

What this module does not know: how it is found out who is alive.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from enum import StrEnum
from typing import Any, NamedTuple

from agents.local import Gate
from p2p import MemberChange, MemberState


class MemberKind(StrEnum):
    """What happened to a member."""

    JOINED = "joined"
    SUSPECTED = "suspected"  # silent; it may come back at once
    ALIVE_AGAIN = "alive again"  # after a suspicion, a failure, or a goodbye
    LEFT = "left"  # it said goodbye
    FAILED = "failed"  # what it held is given to others


class MemberEvent(NamedTuple):
    """One change, as the node saw it."""

    peer: str
    name: str  # and the beginning of its id
    kind: MemberKind
    why: str
    at_ms: int  # Unix time, by the node's clock
    incarnation: int  # of this start of the member; a restart fails the old one first
    missed: int  # changes and other events before this one that a slow reader lost


class MembersNet:
    """What one may ask of the members through a node."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def show(self) -> list[dict[str, Any]]:
        """Return everybody, the node itself first, with `state` and for how long (`since_s`)."""
        names = ("peer", "name", "state", "is_self", "since_s")
        rows = await self._gate.request("peers", {})
        return [{name: row[name] for name in names} for row in rows]

    async def watch(self) -> AsyncIterator[MemberEvent]:
        """Yield every change from now on."""
        events = self._gate.stream("watch", {})
        missed = 0
        try:
            async for event in events:
                missed += event.get("lost_before", 0)
                if event["event"] == "peer":
                    yield _event_of(event, missed)
                    missed = 0
        finally:
            if isinstance(events, AsyncGenerator):
                with contextlib.suppress(RuntimeError):
                    await events.aclose()


def told_of(change: MemberChange, name: str, at_ms: int) -> dict[str, Any]:
    """The event that watchers of a node are told."""
    return {
        "event": "peer",
        "peer": change.peer_id,
        "name": name,
        "state": change.after.value,
        "reason": change.reason,
        "kind": _kind_of(change).value,
        "at_ms": at_ms,
        "incarnation": change.incarnation,
    }


def _kind_of(change: MemberChange) -> MemberKind:
    match change.after:
        case MemberState.SUSPECT:
            return MemberKind.SUSPECTED
        case MemberState.LEFT:
            return MemberKind.LEFT
        case MemberState.DEAD:
            return MemberKind.FAILED
        case MemberState.ALIVE:
            is_new = change.before is None
            return MemberKind.JOINED if is_new else MemberKind.ALIVE_AGAIN


def _event_of(event: dict[str, Any], missed: int) -> MemberEvent:
    return MemberEvent(
        event["peer"],
        event["name"],
        MemberKind(event["kind"]),
        event["reason"],
        event["at_ms"],
        event["incarnation"],
        missed,
    )

"""How a cluster stands, and what is new about it, for those who wait.

Whoever follows is told what differs from what it was told last: one that is slow misses what came
and went in between, and never how it stands now.

What this module does not know: where it comes from.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import NamedTuple


class ClusterMember(NamedTuple):
    """One peer in a cluster.

    Attributes:
        name: what people call it; only `peer` tells it from all others.
    """

    peer: str
    name: str


@dataclass(frozen=True, slots=True)
class ClusterState:
    """How a cluster stands, as this node knows.

    Attributes:
        version: of the roster; grows with every change, 0 before there is one.
        fence: the token of the leader's term, 0 while nobody leads.
        is_short: fewer are in it than its users need.
        is_sure: the log has confirmed that we hold it, so it cannot be dissolved now. One that is
            unsure may be another one by now, of which this node has not heard.
        why: what the last change of the roster was about, in words.
    """

    version: int = 0
    members: tuple[ClusterMember, ...] = ()
    leader: ClusterMember | None = None
    fence: int = 0
    is_short: bool = True
    is_sure: bool = False
    why: str = ""


@dataclass(frozen=True, slots=True)
class ClusterChange:
    """What is new.

    Attributes:
        joined, left: since the change before this one.
        leads_anew: another one leads, or the same one again, or nobody.
    """

    before: ClusterState
    now: ClusterState
    joined: tuple[ClusterMember, ...]
    left: tuple[ClusterMember, ...]

    @property
    def leads_anew(self) -> bool:
        return (self.before.leader, self.before.fence) != (self.now.leader, self.now.fence)

    def __str__(self) -> str:
        now, said = self.now, []
        if self.before.is_sure and not now.is_sure:
            said.append("unsure")
        elif now.is_sure and not self.before.is_sure:
            said.append("sure")
        said += [f"{member.name} joined" for member in self.joined]
        said += [f"{member.name} left" for member in self.left]
        if self.leads_anew:
            leader = now.leader
            said.append(f"{leader.name} leads, token {now.fence}" if leader else "nobody leads")
        if now.is_short and not self.before.is_short:
            said.append("too few")
        return ", ".join(said) or now.why or "as before"


class ClusterView:
    """What members and users of a cluster see of it alike.

    Attributes:
        name: of the cluster.
        capability: what it is for.
    """

    def __init__(self, name: str, capability: str) -> None:
        self.name = name
        self.capability = capability
        self._standing = Standing()

    @property
    def state(self) -> ClusterState:
        """How it stands."""
        return self._standing.now

    @property
    def members(self) -> tuple[ClusterMember, ...]:
        """Who is in it, those that came first before the others."""
        return self.state.members

    @property
    def leader(self) -> ClusterMember | None:
        """Which member leads, as this node has heard; None between two terms."""
        return self.state.leader

    @property
    def version(self) -> int:
        """Of the roster; grows with every change."""
        return self.state.version

    async def watch(self) -> AsyncGenerator[ClusterChange, None]:
        """Yield what changes from now on: members, the leader, whether it is short or unsure.
        Whoever is slow is told of the sum of what came in between; a member until it is out."""
        async for change in self._standing.changes():
            yield change


class Standing:
    """How a cluster stands, and whoever waits for it to change."""

    def __init__(self) -> None:
        self.now = ClusterState()
        self.is_over = False
        self._changed = asyncio.Event()

    def take(self, state: ClusterState) -> None:
        """It stands so now."""
        if state != self.now:
            self.now = state
            self._wake()

    def end(self) -> None:
        """Nobody follows any more."""
        self.is_over = True
        self._wake()

    async def wait(self) -> None:
        """Return when something has changed."""
        await self._changed.wait()

    async def changes(self) -> AsyncGenerator[ClusterChange, None]:
        """Yield what is new from now on, until the end."""
        told = self.now
        while not self.is_over:
            changed = self._changed
            if self.now == told:
                await changed.wait()
                continue
            before, told = told, self.now
            yield change_of(before, told)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def change_of(before: ClusterState, now: ClusterState) -> ClusterChange:
    joined = tuple(each for each in now.members if each not in before.members)
    left = tuple(each for each in before.members if each not in now.members)
    return ClusterChange(before, now, joined, left)

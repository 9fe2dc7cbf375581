"""A cluster as whoever uses it has it: `net.cluster`.

    async with net.cluster("vision", min_size=3, capability="vision.detect") as cluster:
        print(cluster.members, cluster.leader)
        found = await cluster.call(image)

While the block runs, a lease of ours is in the log; the last one that is let go, or runs out,
dissolves the cluster. It is renewed when a third is gone. Where that fails until the lease's end by
our own clock, the cluster is unsure: it may be dissolved, or changed without our having heard. Then
it is held anew, as soon as it can be, and is sure again.

What this module does not know: who decides, how members are chosen.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from agents.amounts import millis
from agents.clusters.changes import ClusterMember, ClusterState, ClusterView
from agents.clusters.model import MAX_SIZE, Need, name_problem
from agents.errors import (
    AgentsError,
    InvalidArguments,
    NetworkError,
    NoProvider,
    NoQuorum,
    OutcomeUnknown,
    TooFewMembers,
)
from agents.local import Gate
from consensus.kv import HeldLease
from p2p import Clock, P2PError, PermissionDenied

if TYPE_CHECKING:
    from agents.net import Net

LEASE_S: Final = 15.0
TIMEOUT_S: Final = 10.0
HOLD_S: Final = 5.0
AGAIN_S: Final = 0.5
RELEASE_S: Final = 2.0
LEADER: Final = "leader"


class Cluster(ClusterView):
    """One cluster, held for as long as the block lasts.

    Args:
        lease_s: seconds for which the cluster outlives us when we vanish.
        timeout_s: seconds to wait until it is formed.
    """

    def __init__(
        self,
        net: Net,
        gate: Gate,
        clock: Clock,
        name: str,
        need: Need,
        lease_s: float = LEASE_S,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        lease_ms = millis("cluster", "lease", lease_s)
        problem = name_problem(name) or need.problem()
        if not 1 <= lease_s <= 600:
            problem = "a lease is 1 to 600 seconds"
        if problem:
            raise InvalidArguments(f"cluster {name[:64]!r}", problem)
        super().__init__(name, need.capability)
        self._net = net
        self._gate = gate
        self._clock = clock
        self._need = need
        self._lease_ms = lease_ms
        self._timeout_ms = millis("cluster", "timeout", timeout_s)
        self._mark = secrets.token_hex(8)
        self._lease: HeldLease | None = None
        self._view: Mapping[str, Any] | None = None
        self._running: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        """Hold it, and form it if it is not there.

        Raises:
            TooFewMembers: not enough peers fit until the timeout; the error names who does, and
                why the others do not.
            InvalidArguments: the name is taken for another capability, or there is no room.
            PermissionDenied, NoQuorum: it is not held.
            OutcomeUnknown: perhaps it is, for one lease.
        """
        await self._hold_until(self._clock.now_ms() + self._timeout_ms)
        begin = asyncio.get_running_loop().create_task
        self._running = [begin(self._renew()), begin(self._follow())]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let go: it is dissolved if nobody else holds it."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        self._standing.end()
        with suppress(AgentsError, P2PError):  # or else the lease runs out
            params = {"name": self.name, "mark": self._mark, "timeout_s": RELEASE_S}
            await self._gate.request("cluster.release", params)

    # -- how it stands -------------------------------------------------------------------------

    @property
    def is_short(self) -> bool:
        """Whether fewer are in it than its users need."""
        return self.state.is_short

    @property
    def is_sure(self) -> bool:
        """Whether our lease is good by our own clock, so that it cannot be dissolved now."""
        return self._lease is not None and self._lease.is_valid(self._clock.now_ms())

    async def until_led(self, timeout: float = TIMEOUT_S) -> ClusterMember:
        """Return who leads, as soon as somebody does.

        Raises:
            TimeoutError: nobody does in time.
        """
        async with asyncio.timeout(timeout):
            while self.leader is None:
                await self._standing.wait()
        return self.leader

    # -- asking the members --------------------------------------------------------------------

    async def call(self, *args: Any, to: str | None = None, **options: Any) -> Any:
        """Ask a member, and return the answer; see `Net.call` for options and errors.

        A cluster that is unsure is asked as it was known last.

        Args:
            to: "leader", or the id of one member; otherwise whichever its balancer chooses.

        Raises:
            NoProvider: nobody leads, or nobody is in it.
        """
        if to is None:
            among = [member.peer for member in self.members]
            return await self._net.call(f":{self.capability}", *args, among=among, **options)
        if to == LEADER:
            leader = self.leader
            if leader is None:
                raise NoProvider(f"{self.capability} (of the leader of {self.name})", (), 0)
            to = leader.peer
        return await self._net.call(f":{self.capability}", *args, peer=to, **options)

    async def call_all(self, *args: Any, **options: Any) -> dict[ClusterMember, Any]:
        """Ask every member at once; return each one's answer, or the error in its place."""
        members = self.members
        calls = [
            self._net.call(f":{self.capability}", *args, peer=member.peer, **options)
            for member in members
        ]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        return dict(zip(members, answers, strict=True))

    # -- holding it ----------------------------------------------------------------------------

    async def _hold_until(self, deadline_ms: int) -> None:
        while True:
            left_s = (deadline_ms - self._clock.now_ms()) / 1000
            try:
                await self._hold(max(1.0, min(HOLD_S, left_s)))
                return
            except (TooFewMembers, NoQuorum, OutcomeUnknown):
                left_s = (deadline_ms - self._clock.now_ms()) / 1000
                if left_s <= 0:
                    raise
                await asyncio.sleep(min(AGAIN_S, left_s))

    async def _hold(self, timeout_s: float) -> None:
        sent_ms = self._clock.now_ms()
        params = {
            "name": self.name,
            "capability": self._need.capability,
            "min_size": self._need.min_size,
            "max_size": self._need.max_size,
            "mark": self._mark,
            "lease_ms": self._lease_ms,
            "timeout_s": timeout_s,
        }
        view = await self._gate.request("cluster.hold", params)
        self._lease = HeldLease.granted(self.name, 1, sent_ms=sent_ms, lease_ms=self._lease_ms)
        self._take(view)

    async def _renew(self) -> None:
        """Hold it again and again, for as long as the block runs."""
        while True:
            lease, now_ms = self._lease, self._clock.now_ms()
            assert lease is not None
            self._take(self._view)  # it may be unsure by now
            if not lease.renew_due(now_ms) and now_ms >= lease.sent_ms:
                await asyncio.sleep(lease.look_in_ms(now_ms) / 1000)
                continue
            try:
                await self._hold(max(1.0, min(HOLD_S, lease.remaining_ms(now_ms) / 1000)))
            except (AgentsError, P2PError):
                await self._pause(lease)

    async def _pause(self, lease: HeldLease) -> None:
        """Wait a little, and no longer than until the lease is over."""
        left_s = lease.remaining_ms(self._clock.now_ms()) / 1000
        await asyncio.sleep(min(AGAIN_S, left_s + 0.01) if left_s > 0 else AGAIN_S)

    async def _follow(self) -> None:
        """Hear of every change, from this node."""
        while True:
            with suppress(NetworkError, P2PError, PermissionDenied):
                views = self._gate.stream("cluster.watch", {"name": self.name})
                async with aclosing(_generator(views)) as stream:
                    async for view in stream:
                        self._take(view)
            await asyncio.sleep(AGAIN_S)

    def _take(self, view: Mapping[str, Any] | None) -> None:
        self._view = view
        self._standing.take(state_of(view, is_sure=self.is_sure))


def cluster_need(capability: str, min_size: int, max_size: int | None) -> Need:
    """What `net.cluster` was told; up to `min_size` where nothing else is said."""
    return Need(capability, min_size, min(MAX_SIZE, max_size if max_size is not None else min_size))


def state_of(view: Mapping[str, Any] | None, *, is_sure: bool) -> ClusterState:
    """How a cluster stands, from what a node tells of it; None where there is none."""
    if view is None:
        return ClusterState(is_sure=False)
    leader = view["leader"]
    return ClusterState(
        version=view["version"],
        members=tuple(ClusterMember(*row) for row in view["members"]),
        leader=ClusterMember(*leader) if leader is not None else None,
        fence=view["fence"],
        is_short=view["is_short"],
        is_sure=is_sure,
        why=view["why"],
    )


async def _generator(items: Any) -> AsyncGenerator[Any, None]:
    try:
        async for item in items:
            yield item
    finally:
        if isinstance(items, AsyncGenerator):
            with contextlib.suppress(RuntimeError):
                await items.aclose()

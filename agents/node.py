"""A node: one peer, its agents, its part in deciding, and the ways in for this machine's programs.

    Keystore -> Peer -> AgentHost, Calling        calls and topics work as soon as peers are found
                     -> Founding -> Replica       consensus begins when there is a roster
                     -> Leading, Working, Asking  tasks

What this module does not know: command lines, printing.

Shutdown, within two seconds: stop taking work, give back what was not started, finish and report
the rest while there is time, hand over leadership, say goodbye, close.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

from agents.advertising import Advertising, workers_seen
from agents.adverts import check_namespaces
from agents.auditing import DEFAULT, AuditSettings
from agents.auditing_service import Auditing
from agents.calling import Calling
from agents.clusters.service import Clusters
from agents.contexts import Contexts
from agents.deciding import Judges
from agents.deciding_service import Deciding
from agents.directory import Directory
from agents.errors import AgentHopeless, NodeAlreadyUp
from agents.figures import Figures
from agents.founding_service import FoundingService
from agents.governing import Governing
from agents.health.service import HealthService
from agents.hosting import Offer
from agents.hosting.host import AgentHost
from agents.keeping import Keeping
from agents.local import DirectGate, LocalDoor
from agents.measuring import Measuring
from agents.net import Net
from agents.net_members import told_of
from agents.operations import Operations
from agents.policing import Policing
from agents.probing import Probing
from agents.quorum import Quorum
from agents.renewing import Renewing
from agents.reporting import Reporting
from agents.rereading import Rereading
from agents.sealing import SealedStreams, SealedTasks, SealedTopics, Sealing
from agents.standing import Standing
from agents.steering import Steering
from agents.streaming import Opening, StreamServing
from agents.tasking import Approvals, Asking, Working
from agents.tokens import TokenService
from agents.tokens_keeping import TokenKeeping
from agents.trusting import Trusting
from agents.watching import Watching
from keys import HomeInUse, Keystore, PeerId
from keys.policies import PolicyStore
from keys.sealing import Suite
from p2p import (
    AdvertSeen,
    HeartbeatSeen,
    LinkBroken,
    MemberChange,
    MemberState,
    Papers,
    Peer,
    PresenceEvent,
    Strictness,
    SwimSettings,
    World,
)

log = logging.getLogger("conclave.agents.node")

DRAIN_S = 0.8
HAND_OVER_S = 0.5


class Node:
    """One node on one data directory. Enter it to bring it up.

    Args:
        offers: the agents that it hosts.
        local_door: whether programs of this machine may attach.
        sealing: the suite of this node's sealing keys.
        freshness: what is refused while a revocation list is stale.
        membership: how it is told who is alive.
        supervised: somebody brings this node up again when it ends, so it ends when an agent
            cannot be restarted in place.

    Raises:
        BadAgent: the agents do not fit together.
    """

    def __init__(
        self,
        keystore: Keystore,
        world: World,
        offers: Iterable[Offer],
        *,
        local_door: bool = True,
        audit: AuditSettings = DEFAULT,
        sealing: Suite = Suite.X25519,
        key_rotation_hours: float = 12,
        freshness: Strictness = Strictness.ADMIN,
        membership: SwimSettings | None = None,
        supervised: bool = False,
    ) -> None:
        self._membership = membership
        self.keystore = keystore
        self.world = world
        self.home: Path = keystore.home
        self._has_local_door = local_door
        self._audit_settings = audit
        self._suite = sealing
        self._key_rotation_hours = key_rotation_hours
        self._freshness = freshness
        self._is_supervised = supervised
        self.host = AgentHost(offers, keystore.name, world.clock.now_ms)
        self._judges = Judges(self.host.offers)
        self.directory = Directory()
        self.watching = Watching()
        self.health: HealthService
        self._stack = contextlib.AsyncExitStack()
        self.failed: asyncio.Event | None = None
        self.failure: Exception | None = None

    async def __aenter__(self) -> Self:
        """Bring the node up.

        Raises:
            NodeAlreadyUp: another process runs a node here.
            PortInUse, TransportFailed, StorageError, KeystoreError: as they say.
            HybridUnavailable: that suite is wanted, and the library for it is not there.
            BadAgent: an agent is in a namespace that this node's certificate does not allow.
        """
        self.failed = asyncio.Event()
        async with contextlib.AsyncExitStack() as stack:
            self._lock(stack)
            self._build()
            stack.push_async_callback(self.auditing.close)
            await self.auditing.start()
            self.sealing.open()
            stack.push_async_callback(self.quorum.close)
            await stack.enter_async_context(self.peer)
            stack.push_async_callback(self._wind_down)
            self.advertising.all()
            self.reporting.start()
            self.sealing.start()
            self.working.start()
            self.figures.start()
            self.renewing.start()
            self.peer.rotate_keys_every(self._key_rotation_hours * 3600)
            self.trusting.start()
            self.rereading.start()
            self.steering.start()
            self.keeping.start()
            self.policing.start()
            self.tokens.kept.start()
            self.deciding.start()
            await self.founding.begin()
            self._workers_changed()
            self.gate = DirectGate(self.operations.table)
            clock = self.world.clock
            self.net = Net(self.gate, self.peer.name, self.peer.peer_id, clock=clock)
            self.health.start(self.net)
            self.clusters.start(self.net, self.gate)
            if self._has_local_door:
                door = LocalDoor(self.home, self.operations.table)
                await stack.enter_async_context(door)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.auditing.stopping()
        await self._stack.aclose()

    def _lock(self, stack: contextlib.AsyncExitStack) -> None:
        try:
            stack.enter_context(self.keystore.lock())
        except HomeInUse as error:
            raise NodeAlreadyUp(str(self.home), getattr(error, "pid", None)) from None

    def _build(self) -> None:
        clock = self.world.clock
        papers = Papers(
            self.keystore.identity,
            self.keystore.chain,
            self.keystore.trust,
            self.keystore.name,
            self.keystore.next_incarnation(clock.wall_ms()),
            self.keystore.issuer,
            self.keystore.put_in_force,
        )
        self.peer = Peer(papers, self.world, self._membership)
        self.peer.trusting.freshness.strictness = self._freshness
        self.trusting = Trusting(self.peer, self.keystore, self.world)
        self.auditing = Auditing(self.keystore, self.peer, clock, self._audit_settings)
        check_namespaces(self.host.offers, self.peer.principal)
        self.quorum = Quorum(self.peer, self.world, self.home, self._leader_changed, self._fatal)
        self.asking = Asking(
            self.peer,
            self.world,
            self.quorum.leader,
            self.quorum.why_none,
            self.quorum.is_hopeless,
        )
        contexts = Contexts(
            self.peer,
            self.host,
            clock,
            lambda: self.net,
            lambda agent: self.health.fence_of(agent),
            lambda capability: self.clusters.seats(capability),
        )
        self.calling = Calling(self.peer, self.host, self.directory, self.world, contexts.of_call)
        self._build_sealing()
        self.opening = Opening(self.peer, self.calling, clock, self.sealed_streams)
        StreamServing(self.peer, self.host, contexts.of_call, self.sealed_streams)
        self.working = Working(
            self.peer,
            self.world,
            self.host,
            contexts.of_task,
            self.quorum.is_voter,
            self.sealed_tasks,
            self._approvals(),
        )
        self.working.on_unapproved = self.auditing.work_refused
        self.founding = FoundingService(
            self.peer,
            self.keystore,
            clock,
            self.quorum.begin,
            self._fatal,
            self.quorum.begun.expect,
        )
        self.founding.on_adopted = self.auditing.roster_adopted
        self.quorum.on_members = self._members_changed
        self.peer.keep_links(lambda: self.quorum.electorate.voters, "they vote")
        self.quorum.founded_by(self.founding.explain, self.founding.was_here)
        self.steering = Steering(
            self.peer,
            self.world,
            self.quorum,
            wanted=self.keystore.genesis.expected_voters,
            may_vote=self.founding.may_vote,
            machine_of=self.directory.machine_of,
            is_revoked=self.trusting.is_revoked,
        )
        self.governing = Governing(
            self.peer,
            self.world,
            self.quorum,
            self.asking,
            self.steering,
            may_vote=self.founding.may_vote,
            audit=self.auditing.audit,
        )
        self.keeping = Keeping(self.peer, self.world, self.quorum, self.asking)
        self.policing = Policing(
            self.peer, self.quorum, self.asking, self.keeping, PolicyStore(self.home)
        )
        self.policing.load()
        kept = TokenKeeping(self.peer, self.quorum, self.asking, self.keeping)
        self.tokens = TokenService(self.peer, self.keystore.identity, clock, kept)
        self.deciding = Deciding(
            self.peer,
            self.world,
            self.keystore.identity,
            self.home,
            self.quorum,
            self.asking,
            self._judges,
            contexts.of_judge,
            self._fatal,
        )
        self.clusters = Clusters(
            self.peer,
            self.world,
            self.quorum,
            self.asking,
            self.keeping,
            self.directory,
            self.steering,
            self.host.offers,
            self.auditing.audit,
        )
        self.renewing = Renewing(self.peer, self.keystore, self.world)
        self.renewing.on_renewal = self.auditing.renewal
        self.probing = Probing(self.peer, clock)
        self.measuring = Measuring(self.peer)
        self.figures: Figures = Figures(self)
        self.health = HealthService(
            self.host,
            self.directory,
            clock,
            self.world.rng,
            self.peer.label,
            lambda: self.figures.lag_ms,
            lambda name: self.advertising.one(name),
            self.auditing.health_told(self.watching.tell),
            self._on_hopeless,
        )
        self.advertising = Advertising(
            self.peer,
            self.host.offers,
            self.directory,
            lambda name: self.health.told(name, self.reporting.told_of(name)),
            self._offers_changed,
            self.health.compare,
        )
        self.reporting = Reporting(self.world, self.host, self.advertising)
        self.rereading: Rereading = Rereading(self)
        self.operations: Operations = Operations(self)
        self.peer.report_status(self._status)
        self.peer.watch(self._on_presence)

    def _approvals(self) -> Approvals:
        """What looks at the votes on work that comes here."""
        standing = Standing(self.peer, self.quorum.electorate, self.trusting.is_revoked)
        return Approvals(self.peer.peer_id, self.peer.principal.network_id, standing, self.home)

    def _build_sealing(self) -> None:
        peer, clock = self.peer, self.world.clock
        self.sealing = Sealing(peer, clock, self.home, self.keystore.identity, self._suite)
        self.sealed_tasks = SealedTasks(self.sealing, peer.peer_id)
        self.sealed_topics = SealedTopics(self.sealing)
        self.sealed_streams = SealedStreams(self.sealing, peer.peer_id, clock)

    async def _wind_down(self) -> None:
        """Leave cleanly: nobody should have to wait for a timeout to notice."""
        self.advertising.nothing()
        await self.reporting.close()
        self.figures.close()
        await self.renewing.close()
        await self.trusting.close()
        await self.rereading.close()
        await self.working.drain(DRAIN_S)
        await self.health.close()
        await self.clusters.leave()
        await self.clusters.close()
        await self.policing.close()
        await self.tokens.kept.close()
        await self.keeping.close()
        await self.deciding.close()
        await self.quorum.hand_over(HAND_OVER_S, self.steering.successor())
        await self.steering.close()
        await self.calling.close()
        await self.working.close()
        await self.sealing.close()
        self.host.close()

    def _offers_changed(self) -> None:
        """The directory is another one."""
        self.calling.changed()
        self._workers_changed()

    # -- what happens --------------------------------------------------------------------------

    def _status(self) -> bytes:
        """What every heartbeat says: who leads, and what we know of voters and roots."""
        return self.quorum.heartbeat_status(self.founding.has_roster, self.rereading.roots.word())

    def _on_presence(self, event: PresenceEvent) -> None:
        match event:
            case AdvertSeen():
                self.advertising.seen(event)
            case HeartbeatSeen(peer_id, _, status):
                has_roster = self.quorum.on_heartbeat(peer_id, status)
                self.rereading.roots.on_heartbeat(peer_id, status)
                self.founding.on_heartbeat(peer_id, has_roster)
            case LinkBroken(peer_id):
                self.quorum.link_lost(peer_id)
            case MemberChange():
                self._on_member_change(event)

    def _on_member_change(self, change: MemberChange) -> None:
        gone = change.after in (MemberState.DEAD, MemberState.LEFT)
        if gone:
            self.directory.remove(change.peer_id)
            self.quorum.peer_died(change.peer_id, change.incarnation)
        self.founding.members_changed()
        self.auditing.heads.changed()
        self.steering.member_changed(change)
        self._workers_changed()
        name, at_ms = self.peer.label(change.peer_id), self.world.clock.wall_ms()
        self.watching.tell(told_of(change, name, at_ms))

    def _workers_changed(self) -> None:
        """Tell the scheduler who could do tasks, and clusters who could be in them."""
        self.clusters.changed()
        self.quorum.workers_changed(workers_seen(self.peer, self.directory))

    def _members_changed(self) -> None:
        self.auditing.voters_changed(self.quorum.electorate)

    def _leader_changed(self, leader: PeerId | None) -> None:
        self.asking.leader_changed()
        self.working.leader_changed(leader)
        self.auditing.leader_changed(leader, self.quorum.term)
        name = self.peer.label(leader) if leader is not None else None
        log.info("the leader is %s", name or "unknown", extra={"peer": leader or "none"})
        self.watching.tell(
            {"event": "leader", "peer": leader, "name": name, "term": self.quorum.term}
        )

    def _on_hopeless(self, error: AgentHopeless) -> None:
        if self._is_supervised:
            self._fatal(error)
        else:
            log.error("%s", error)

    def _fatal(self, error: Exception) -> None:
        """Something that this node cannot do without is gone; it is better down than wrong."""
        if self.failure is None:
            self.failure = error
            log.error("this node stops: %s", error)
            self.auditing.failed(error)
        if self.failed is not None:
            self.failed.set()

    async def until_failed(self) -> Exception:
        """Return the error that stops this node, when there is one."""
        assert self.failed is not None, "the node is not up"
        assert self.peer.failed is not None, "the peer is not up"
        waiting = asyncio.ensure_future(self.failed.wait())
        both: set[asyncio.Future[Any]] = {waiting, self.peer.failed}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if self.peer.failed.done() and self.failure is None:
            self.failure = self.peer.failed.result()
            self.auditing.failed(self.failure)
        assert self.failure is not None
        return self.failure

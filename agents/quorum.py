"""This node's part in deciding: a member's replica and scheduler, or a client's view of the leader.

Voters of the roster bring up their replica at once; any other node does when the leader makes it a
member, which shows in the first message of the log that comes here.

What this module does not know: how the roster came to be, who should be a member, handlers.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from agents.blank import Begun, Heard, LogMissing
from agents.cluster import Cluster, ClusterReplaced
from agents.confirming import Confirming
from agents.deciding import Decisions
from agents.electorate import Electorate
from agents.ledger import Ledger, Outcome, Refused
from agents.replica import MESSAGE, PART, Replica
from agents.replicated import DECISIONS_TAG, KV_TAG, Machine, Replicated
from agents.scheduling import WorkerView
from agents.tasking import Leading, Polls
from agents.unheard import Unheard
from agents.vouching import Vouching
from consensus import ConsensusError, Role, SqliteStorage, Status, Storage
from consensus.kv import KvStore, Reply
from keys import PeerId, Permission, Roster
from keys.voters import VotersBook
from p2p import PayloadError, Peer, World, decode_payload, encode_payload

log = logging.getLogger("conclave.agents.quorum")

ASK_AGAIN_S = 0.25  # where too few have said that a new member is one


def machines_of(kv: KvStore, decisions: Decisions) -> dict[int, Machine]:
    """What the log drives beside the ledger, by tag."""
    return {KV_TAG: kv, DECISIONS_TAG: decisions}


class LedgerTooNew(ConsensusError):
    """The log holds commands of a newer program."""

    def __init__(self, index: int) -> None:
        super().__init__(
            f"entry {index} of the log was written by a newer program: upgrade this node"
        )


class Quorum:
    """Who leads, and our share in it.

    Args:
        on_leader: the leader changed; None while nobody is known to lead.
        on_fatal: this voter must stop.
    """

    def __init__(
        self,
        peer: Peer,
        world: World,
        home: Path,
        on_leader: Callable[[PeerId | None], None],
        on_fatal: Callable[[Exception], None],
    ) -> None:
        self._peer = peer
        self._world = world
        self._home = home
        self._on_leader = on_leader
        self._on_fatal = on_fatal
        self._why_no_roster: Callable[[], str] = lambda: ""
        self.roster: Roster | None = None
        self.replica: Replica | None = None
        self.leading: Leading | None = None
        self.electorate = Electorate()
        self.kv = KvStore()
        self.decisions = Decisions(peer.principal.network_id)
        self.ledger = Ledger(self.decisions.register)
        self.polls: Polls | None = None  # how tasks are voted on
        self.on_members: Callable[[], None] = lambda: None  # hears that others vote now
        self.dress_log: Callable[[Storage], Storage] = lambda log: log  # simulated disks fail here
        self.on_stored: Callable[[], None] = lambda: None  # hears of every entry of the store
        self._workers: tuple[WorkerView, ...] = ()
        self._heard: dict[PeerId, tuple[int, PeerId | None]] = {}  # voters' word on (term, leader)
        self._known_leader: PeerId | None = None
        self.term = 0
        self.leader_changes = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_starting = False
        self._left: frozenset[Cluster] = frozenset()
        self._own_cluster: Cluster | None = None  # whose member our replica is
        self.vouching = Vouching(
            peer,
            world.clock,
            self.electorate,
            VotersBook(home, peer.principal.network_id),
            Confirming(peer.peer_id, world.clock, self.electorate, home),
            lambda: self._own_cluster,
            self._on_believed,
        )
        self.begun = Begun(home)
        self.unheard = Unheard(peer, home, self.electorate, self.begun)
        self._heard_in_log: Heard | None = None  # who spoke in the log that our replica is of
        consensus = Permission.CONSENSUS
        peer.serve_notice(MESSAGE, self._on_message, permission=consensus)
        peer.serve_notice(PART, self._on_part, permission=consensus)

    def founded_by(self, why: Callable[[], str], was_here: Callable[[PeerId], bool]) -> None:
        """Who can say why there is no roster, when there is none; and who was here before it."""
        self._why_no_roster, self.unheard.founded_with = why, was_here

    async def begin(self, roster: Roster) -> None:
        """There are voters now; if we are one, or have become a member since, bring up our replica.

        Raises:
            StorageError, LogMissing: our log cannot be trusted.
            KeystoreError: nor what we knew of the voters.
        """
        self.roster = self.unheard.roster = roster
        self.electorate.begin(Cluster.first(roster), roster.voters)
        later = Cluster.load(self._home)
        if later is not None:
            self.electorate.begin(later, ())
        self.vouching.begin(roster.created_ms)
        self._left = Cluster.left(self._home)
        is_first_voter = later is None and not self._left and self._peer.peer_id in roster.voters
        self._is_starting = True  # a message of the log that comes meanwhile must not start it too
        if is_first_voter and self.begun.is_blank and not self.begun.was_signed:
            if not self.begun.is_expected:
                raise LogMissing(self.begun.path, "this first voter has had one before")
            self._begin(self._begin_once_new(roster))
            return
        try:
            if is_first_voter or self.begun.is_begun:
                await self._start(roster)
            self.begun.settle()
        finally:
            self._is_starting = False

    async def _begin_once_new(self, roster: Roster) -> None:
        """This first voter has no log. Until it is certain that it never had, it says nothing."""
        try:
            if await self.unheard.is_new_voter(roster):
                await self._start(roster)
            self.begun.settle()
            self._is_starting = False
        except Exception as error:  # noqa: BLE001 - a voter without its log must stop
            self._on_fatal(error)

    async def _start(self, roster: Roster) -> None:
        cluster = self._own_cluster = self.electorate.cluster
        leading = Leading(
            self._peer, self._world, self.ledger, self._on_outcome, lambda: self.polls
        )
        own = self._peer.peer_id
        machines = machines_of(self.kv, self.decisions)
        replicated = Replicated(self.ledger, machines, leading.on_applied)
        replicated.on_other = self._on_other
        heard = Heard(self._home, cluster.cluster_id)
        replica = Replica(
            self._peer,
            self._world,
            cluster.cluster_id,
            roster.voters if cluster.generation == 0 and own in roster.voters else (),
            self._open_log,
            replicated,
            self._on_status,
            self._on_fatal,
            heard.note,
        )
        leading.attach(replica)
        self.leading, self._heard_in_log = leading, heard
        await replica.__aenter__()
        if cluster.generation:
            cluster.save(self._home)
        self.begun.begin()
        self.replica = replica
        leading.workers_changed(self._workers)

    def _open_log(self, cluster_id: str, node_id: str) -> Storage:
        if self.begun.is_begun and not self.begun.has_log:
            raise LogMissing(self.begun.path)
        return self.dress_log(SqliteStorage(self.begun.path, cluster_id, node_id))

    async def hand_over(self, timeout_s: float, target: PeerId | None = None) -> None:
        """Give leadership away before we go, if we have it and somebody can take it."""
        replica = self.replica
        if replica is None or not replica.is_leader or len(replica.status.voters) == 1:
            return
        try:
            await replica.hand_over(timeout_s, target)
        except ConsensusError as error:
            log.info("leadership is not handed over: %s", error)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.vouching.close()
        if self.leading is not None:
            await self.leading.close()
        if self.replica is not None:
            await self.replica.__aexit__(None, None, None)

    # -- messages of the log -------------------------------------------------------------------

    def _on_message(self, peer_id: PeerId, payload: bytes) -> None:
        if not self._may_feed(peer_id):
            return
        if self.replica is not None:
            self.replica.receive(peer_id, payload)
        elif self.roster is not None and not self._is_starting and self._may_become_member():
            # A voter replicates to us: the leader has made us a member.
            self._is_starting = True
            self._begin(self._become_member(self.roster))

    def _on_part(self, peer_id: PeerId, payload: bytes) -> None:
        if self.replica is not None and self._may_feed(peer_id):
            self.replica.receive_part(peer_id, payload)

    def _may_feed(self, peer_id: PeerId) -> bool:
        """A log that names its members judges by itself. Before it does, whoever writes it could
        name whom it likes: so that is for the voters whom we know."""
        if self.replica is not None and self.replica.status.membership.voters:
            return True
        return peer_id in self.electorate.membership.deciders

    def _may_become_member(self) -> bool:
        """Not of a log that was left: its votes are forgotten (R23)."""
        return self.electorate.cluster not in self._left

    async def _become_member(self, roster: Roster) -> None:
        try:
            is_blank = self.begun.is_blank
            if is_blank and self.electorate.is_voter(self._peer.peer_id):
                raise LogMissing(self.begun.path, "who votes has had one")
            if not is_blank or await self.unheard.is_new_member():
                await self._start(roster)
            else:
                await asyncio.sleep(ASK_AGAIN_S)  # the next message of the log has us ask again
            self._is_starting = False
        except Exception as error:  # noqa: BLE001 - a member without its log must stop
            self._on_fatal(error)

    # -- who leads -----------------------------------------------------------------------------

    def is_voter(self, peer_id: PeerId) -> bool:
        return self.electorate.is_voter(peer_id)

    @property
    def leads(self) -> bool:
        """Whether this node leads and has caught up with its own election."""
        return self.leading is not None and self.leading.leads

    def own_replica(self) -> Replica | None:
        """Our replica, if the log still comes here. One that was removed may not have heard of it
        from the log, but from the others."""
        is_member = self._peer.peer_id in self.electorate.membership.members
        return self.replica if is_member else None

    def leader(self) -> PeerId | None:
        """Return who leads, as far as this node knows."""
        replica = self.own_replica()
        if replica is not None:
            leader = replica.status.leader
            return PeerId(leader) if leader is not None else None
        alive = set(self._peer.presence.present())
        words = [(term, who) for voter, (term, who) in self._heard.items() if voter in alive]
        best = max((term for term, who in words if who is not None), default=None)
        if best is None:
            return None
        found = next(who for term, who in words if term == best and who is not None)
        return found if found in alive else None  # voters may not have heard of its end yet

    def why_none(self) -> str:
        """Say in words why nothing can be decided."""
        if self.roster is None:
            return self._why_no_roster()
        voters = set(self.electorate.voters)
        alive = (set(self._peer.presence.present()) | {self._peer.peer_id}) & voters
        needed = len(voters) // 2 + 1
        if self.unheard.awaited:
            return f"this voter does not begin its log yet: {self.unheard.why()}"
        if len(alive) < needed:
            return (
                f"{len(alive)} of {len(voters)} voters are reachable and {needed} are needed; "
                "calls still work, tasks wait"
            )
        return f"{len(alive)} of {len(voters)} voters are reachable, but none leads yet"

    def is_hopeless(self) -> bool:
        """Return whether too few voters are reachable for anybody to lead."""
        if self.roster is None:
            return True
        present = {*self._peer.presence.present(), self._peer.peer_id}
        return not self.electorate.has_majority(present)

    def heartbeat_status(self, has_roster: bool, roots: list[Any]) -> bytes:
        """What our heartbeat says of this."""
        replica = self.own_replica()
        leader = replica.status.leader if replica is not None else None
        term = replica.status.term if replica is not None else 0
        return encode_payload([has_roster, term, leader, list(self.electorate.place), roots])

    def on_heartbeat(self, peer_id: PeerId, status: bytes) -> bool:
        """Take a peer's word; return whether it knows the roster."""
        try:
            fields = decode_payload(status)
        except PayloadError:
            return True
        if not (isinstance(fields, list) and len(fields) >= 3 and type(fields[1]) is int):
            return True
        if len(fields) >= 4 and self.roster is not None and (place := _place(fields[3])):
            self.vouching.on_heartbeat(peer_id, place)
        if self.is_voter(peer_id) and self.own_replica() is None:
            who = fields[2] if isinstance(fields[2], str) else None
            self._heard[peer_id] = (fields[1], PeerId(who) if who else None)
            self.term = max(self.term, fields[1])
            self._note_leader()
        return bool(fields[0])

    def _on_believed(self, peer_id: PeerId) -> None:
        """Others vote than we knew; a higher generation stops a member of a lower one."""
        self.on_members()
        self._heard = {who: word for who, word in self._heard.items() if self.is_voter(who)}
        own, now = self._own_cluster, self.electorate.cluster
        if own is not None and own.generation < now.generation:
            who = self._peer.label(peer_id)
            self._on_fatal(ClusterReplaced(own.generation, now.generation, who))
        self._note_leader()

    def peer_died(self, peer_id: PeerId, incarnation: int) -> None:
        self._heard.pop(peer_id, None)
        self.vouching.peer_died(peer_id)
        if self.leading is not None:
            self.leading.peer_died(peer_id, incarnation)
        if self.replica is not None:
            self.replica.unreachable(peer_id)
        self._note_leader()

    def link_lost(self, peer_id: PeerId) -> None:
        """The connection to a peer broke: a hint for the election."""
        if self.replica is not None:
            self.replica.unreachable(peer_id)

    def workers_changed(self, workers: tuple[WorkerView, ...]) -> None:
        self._workers = workers
        if self.leading is not None:
            self.leading.workers_changed(workers)

    def _on_status(self, status: Status) -> None:
        self.term = status.term
        assert self._own_cluster is not None
        if self.electorate.learn(self._own_cluster, status.membership_index, status.membership):
            self.vouching.decided()
            self.on_members()
        if self.leading is not None:
            self.leading.on_status(status)
        if status.role is Role.LEADER:
            log.info("this node leads", extra={"term": status.term})
        self._note_leader()

    def _note_leader(self) -> None:
        leader = self.leader()
        if leader != self._known_leader:
            self._known_leader = leader
            if leader is not None:
                self.leader_changes += 1
            self._on_leader(leader)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _on_outcome(self, outcome: Outcome) -> None:
        if isinstance(outcome, Refused) and outcome.needs_upgrade:
            self._on_fatal(LedgerTooNew(outcome.index))

    def _on_other(self, tag: int, index: int, reply: object) -> None:
        if tag != KV_TAG:
            return
        if isinstance(reply, Reply) and reply.needs_upgrade:
            self._on_fatal(LedgerTooNew(index))
        self.on_stored()

    def status(self) -> dict[str, Any]:
        """Return what people want to know."""
        replica = self.own_replica()
        raft = replica.status if replica is not None else None
        return {
            "founded": self.roster is not None,
            "voters": list(self.electorate.voters),
            "learners": list(self.electorate.learners),
            "generation": max(0, self.electorate.cluster.generation),
            "role": raft.role.value if raft is not None else "client",
            "term": self.term,
            "leader": self.leader(),
            "commit": raft.commit if raft is not None else None,
            "applied": raft.applied if raft is not None else None,
            "why_no_leader": self.why_none() if self.leader() is None else None,
            "leader_changes": self.leader_changes,
        }


def _place(word: Any) -> tuple[int, int] | None:
    """How far a peer knows who votes, as its heartbeat says it."""
    if not (isinstance(word, list) and len(word) == 2 and all(type(n) is int for n in word)):
        return None
    return (word[0], word[1])

"""The autopilot at work on one node: it looks every second, on the leader it proposes.

Every voter also says how long it would hold back before a campaign, so that the better ones lead.

What this module does not know: how a change is decided, how voters are judged, people's wishes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from agents.autopilot import (
    VOTER_COUNTS,
    Autopilot,
    AutopilotSettings,
    MemberView,
    Phase,
    View,
    handover_target,
)
from agents.replicated import KV_TAG, command_for
from agents.scoring import PeerFacts, priority_delay_ms, ranks_of, score_of
from consensus import ConsensusError
from consensus.kv import encode_batch, put
from keys import PeerId
from p2p import Machine, Member, MemberChange, MemberState, Peer, World

if TYPE_CHECKING:
    from agents.quorum import Quorum
    from agents.replica import Replica

log = logging.getLogger("conclave.agents.steering")

LOOK_S = 1.0
CHANGE_S = 10.0
TRANSFER_S = 3.0
FLAPS_FOR_MS = 3_600_000
AUTOPILOT_KEY = "conclave/autopilot"
REMOVED_KEYS = "conclave/removed/"  # before the id of each member that a person wanted removed
MAX_REMOVED = 1000
ON, OFF = b"\xa2on", b"\xa3off"  # as payloads of the store


class Steering:
    """Looks around while it is started.

    Args:
        wanted: how many voters there should be.
        may_vote: whether a peer's certificate lets it vote.
        machine_of: how a peer says that its machine is.
        is_revoked: whether a peer is gone for good.
    """

    def __init__(
        self,
        peer: Peer,
        world: World,
        quorum: Quorum,
        *,
        wanted: int,
        may_vote: Callable[[PeerId], bool],
        machine_of: Callable[[PeerId], Machine | None],
        is_revoked: Callable[[PeerId], bool] = lambda _: False,
    ) -> None:
        self._peer = peer
        self._clock = world.clock
        self._quorum = quorum
        self._may_vote = may_vote
        self._machine_of = machine_of
        self._is_revoked = is_revoked
        self._autopilot = Autopilot(AutopilotSettings(max_voters=_allowed(wanted)))
        self._began_ms = world.clock.now_ms()
        self._flaps: dict[PeerId, list[int]] = {}
        self._looking: asyncio.Task[None] | None = None
        self._changing: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look around."""
        self._looking = asyncio.get_running_loop().create_task(self._look())

    async def close(self) -> None:
        tasks = [task for task in (self._looking, self._changing) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def member_changed(self, change: MemberChange) -> None:
        """A peer that is dead again and again makes a poor voter."""
        if change.after is MemberState.DEAD:
            now_ms = self._clock.now_ms()
            recent = [t for t in self._flaps.get(change.peer_id, ()) if now_ms - t < FLAPS_FOR_MS]
            self._flaps[change.peer_id] = [*recent[-99:], now_ms]

    def explain(self) -> str:
        """One line for a status."""
        return self._autopilot.explain() if self.is_automatic else "off: voters change by hand only"

    @property
    def is_automatic(self) -> bool:
        """Whether the autopilot may change the voters. A change by hand switches it off: it would
        undo what a person wanted."""
        entry = self._quorum.kv.get(AUTOPILOT_KEY)
        return entry is None or entry.value != OFF

    async def set_automatic(
        self, replica: Replica, *, on: bool, removing: PeerId | None = None
    ) -> None:
        """Have it decided whether the autopilot may change the voters.

        Args:
            removing: the member that a person wants removed, noted in the same entry.

        Raises:
            ProposalError: it is not, or nobody knows.
        """
        notes = [] if removing is None else [put(REMOVED_KEYS + removing, b"\xc0")]
        command = encode_batch([put(AUTOPILOT_KEY, ON if on else OFF), *notes])
        await replica.propose(command_for(KV_TAG, 0, command))

    def removed(self) -> list[str]:
        """The ids of all members that a person wanted removed, as far as this node has the log."""
        found = self._quorum.kv.list(REMOVED_KEYS, limit=MAX_REMOVED)
        return [key.removeprefix(REMOVED_KEYS) for key, _ in found]

    def was_to_be_removed(self, peer_id: PeerId) -> bool:
        """Whether a person wanted this member removed, ever."""
        return self._quorum.kv.get(REMOVED_KEYS + peer_id) is not None

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            replica = self._quorum.own_replica()
            if replica is None:
                continue
            view = self._view(replica)
            self._set_priority(replica, view)
            if not self.is_automatic:
                continue
            change = self._autopilot.step(view, self._clock.now_ms())
            if self._autopilot.phase is Phase.HAND_OVER:
                await self._step_aside(replica)
            if change is not None and (self._changing is None or self._changing.done()):
                log.info("the voters change: %s", change)
                work = self._change(replica, change.voters, change.learners)
                self._changing = asyncio.get_running_loop().create_task(work)

    async def _step_aside(self, replica: Replica) -> None:
        """This leader should not vote any more; another one lets it go."""
        target = self.best_successor(replica)
        if target is None:
            return
        try:
            await replica.hand_over(TRANSFER_S, target)
        except ConsensusError as error:
            log.info("leadership is not handed over: %s", error)

    async def _change(
        self, replica: Replica, voters: tuple[PeerId, ...], learners: tuple[PeerId, ...]
    ) -> None:
        try:
            await replica.change_members(voters, learners, CHANGE_S)
        except ConsensusError as error:
            log.info("the voters did not change: %s", error)

    def _view(self, replica: Replica) -> View:
        status, now_ms = replica.status, self._clock.now_ms()
        own = self._peer.peer_id
        membership = status.membership
        rows = [
            MemberView(
                own,
                is_alive=True,
                since_ms=self._began_ms,
                match_index=status.match.get(own),
                score=self._score(own, self._began_ms),
                may_vote=self._may_vote(own),
            )
        ]
        for member in self._peer.presence.members():
            since_ms = now_ms - member.since_ms
            rows.append(
                MemberView(
                    member.peer_id,
                    is_alive=_is_alive(member),
                    since_ms=since_ms,
                    match_index=status.match.get(member.peer_id),
                    score=self._score(member.peer_id, since_ms),
                    may_vote=self._may_vote(member.peer_id),
                )
            )
        known = {row.peer for row in rows}
        for name in (*membership.voters, *membership.learners):
            if name not in known and self._is_revoked(PeerId(name)):
                rows.append(MemberView(PeerId(name), is_alive=False, since_ms=0, has_left=True))
        return View(
            me=own,
            leader=PeerId(status.leader) if status.leader is not None else None,
            voters=tuple(PeerId(name) for name in membership.voters),
            learners=tuple(PeerId(name) for name in membership.learners),
            last_index=status.last_index,
            members=tuple(rows),
            outgoing=tuple(PeerId(name) for name in membership.outgoing),
            is_changing=status.is_changing,
            has_committed_own=self._quorum.leads,
        )

    def _score(self, peer_id: PeerId, since_ms: int) -> int:
        uptime_ms = max(0, self._clock.now_ms() - since_ms)
        machine = self._machine_of(peer_id) or Machine()
        facts = PeerFacts(
            uptime_ms=uptime_ms,
            flaps_last_hour=self.flaps(peer_id),
            cpu_load_permille=machine.busy_permille,
            free_memory_permille=machine.free_permille,
        )
        return score_of(facts)

    def flaps(self, peer_id: PeerId) -> int:
        """How often a peer was taken for dead within the last hour."""
        now_ms = self._clock.now_ms()
        return sum(now_ms - t < FLAPS_FOR_MS for t in self._flaps.get(peer_id, ()))

    def best_successor(self, replica: Replica) -> PeerId | None:
        return handover_target(self._view(replica))

    def successor(self) -> PeerId | None:
        """Whom to hand leadership to on the way out."""
        replica = self._quorum.replica
        return None if replica is None else self.best_successor(replica)

    def _set_priority(self, replica: Replica, view: View) -> None:
        scores = {row.peer: row.score for row in view.members if row.peer in view.voters}
        own = self._peer.peer_id
        if own in scores:
            replica.set_priority(priority_delay_ms(scores[own], ranks_of(scores)[own]))


def _is_alive(member: Member) -> bool:
    return member.state in (MemberState.ALIVE, MemberState.SUSPECT)


def _allowed(wanted: int) -> int:
    return max(count for count in VOTER_COUNTS if count <= max(1, wanted))

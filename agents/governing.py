"""Who votes: people's wishes, carried to the leader and through the log; and who is how far.

A person's wish is asked of the leader, wherever the person sits, which judges the node that it
comes from; a new voter first listens until it has caught up. A change by hand keeps the autopilot
(`steering`) from undoing it. Whose answer was lost asks again, also of another leader, and hears
what came of it: that a member is to go is in the log before it goes.

What this module does not know: how a change is decided, what the autopilot wants.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from agents.auditing import Audit
from agents.auditing_kinds import Kind
from agents.tasking import Asking, wire
from consensus import (
    AppliedTimeout,
    ChangeRefused,
    Membership,
    NotLeader,
    OutcomeUnknown,
    ProposalsFull,
    Stopped,
    TransferFailed,
)
from keys import Action, AuditUnwritable, PeerId, Permission
from p2p import (
    Incoming,
    P2PError,
    PayloadError,
    Peer,
    World,
    decode_payload,
    encode_payload,
)

if TYPE_CHECKING:
    from agents.quorum import Quorum
    from agents.replica import Replica
    from agents.steering import Steering

log = logging.getLogger("conclave.agents.governing")

CHANGE_S = 10.0
CATCH_UP_S = 60.0
TRANSFER_S = 3.0
PAUSE_S = 0.1  # before the members are looked at again

ADD_VOTER = "consensus.add"
REMOVE_VOTER = "consensus.remove"
TRANSFER = "consensus.transfer"
STATUS = "consensus.status"
STATUS_S = 1.0
AUTOPILOT = "consensus.autopilot"


class Governing:
    """This node's part in keeping the voters in order.

    Args:
        may_vote: whether a peer's certificate lets it vote.
    """

    def __init__(
        self,
        peer: Peer,
        world: World,
        quorum: Quorum,
        asking: Asking,
        steering: Steering,
        *,
        may_vote: Callable[[PeerId], bool],
        audit: Audit,
    ) -> None:
        self._peer = peer
        self._clock = world.clock
        self._quorum = quorum
        self._asking = asking
        self._steering = steering
        self._may_vote = may_vote
        self._audit = audit
        admin, change = Permission.RAFT_ADMIN, Permission.CONFIG_CHANGE
        peer.serve(ADD_VOTER, self._on_add_voter, permission=admin)
        peer.serve(REMOVE_VOTER, self._on_remove_voter, permission=admin)
        peer.serve(TRANSFER, self._on_transfer, permission=admin)
        peer.serve(AUTOPILOT, self._on_autopilot, permission=change)
        peer.serve(STATUS, self._on_status, permission=Permission.STATUS_READ)

    async def statuses(self) -> list[dict[str, Any]]:
        """What every member says of its part in the log, by name; little of the silent ones."""
        members = [PeerId(name) for name in self._quorum.electorate.membership.members]
        rows = await asyncio.gather(*(self._status_of(peer_id) for peer_id in members))
        return sorted(rows, key=lambda row: str(row["name"]))

    async def _status_of(self, peer_id: PeerId) -> dict[str, Any]:
        row: dict[str, Any] = {"peer": peer_id, "name": self._peer.label(peer_id), "role": None}
        row["votes"] = self._quorum.is_voter(peer_id)
        if peer_id == self._peer.peer_id:
            return row | self.own_status()
        try:
            said = await self._peer.request(peer_id, STATUS, b"", timeout_s=STATUS_S)
            fields = decode_payload(said)
        except (P2PError, PayloadError):
            return row
        return row | fields if isinstance(fields, dict) else row

    def own_status(self) -> dict[str, Any]:
        """This node's part in the log, as plain data."""
        replica = self._quorum.own_replica()
        if replica is None:
            return {"role": "client"}
        status = replica.status
        return {
            "role": status.role.value,
            "term": status.term,
            "leader": status.leader,
            "commit": status.commit,
            "applied": replica.applied,
            "last_index": status.last_index,
            "stored": status.stored,
            "log_from": status.base_index + 1,
            "snapshot": status.snapshot_index,
            "storage_full": status.storage_full,
            "dropped": replica.counters(),
        }

    async def _on_status(self, incoming: Incoming, payload: bytes) -> bytes:
        return encode_payload(self.own_status())

    # -- people's wishes -----------------------------------------------------------------------

    async def add_voter(self, peer_id: PeerId, timeout_s: float = CATCH_UP_S) -> list[Any]:
        """Have a peer listen, and vote once it has caught up; return who votes and who listens.

        Raises:
            NoQuorum, OutcomeUnknown, ChangeRefused.
        """
        return _members(await self._ask(ADD_VOTER, [peer_id], timeout_s))

    async def remove_voter(self, peer_id: PeerId) -> list[Any]:
        """Have a peer vote and listen no more; return who votes and who listens.

        Raises:
            NoQuorum, OutcomeUnknown, ChangeRefused.
        """
        return _members(await self._ask(REMOVE_VOTER, [peer_id], CHANGE_S))

    async def autopilot(self, *, on: bool) -> None:
        """Let the autopilot change the voters, or keep it from that.

        Raises:
            NoQuorum, OutcomeUnknown.
        """
        await self._ask(AUTOPILOT, [on], CHANGE_S)

    async def transfer(self, peer_id: PeerId | None) -> None:
        """Have a voter lead: this one, or the best.

        Raises:
            NoQuorum, OutcomeUnknown, ChangeRefused.
        """
        await self._ask(TRANSFER, [peer_id], TRANSFER_S)

    async def _ask(self, method: str, value: list[Any], timeout_s: float) -> Any:
        said = await self._asking.ask(method, value, timeout_s, attempt_s=timeout_s)
        if isinstance(said, str):
            leader = self._quorum.leader()
            raise ChangeRefused(self._peer.label(leader) if leader else "the leader", said)
        return said

    # -- on the leader -------------------------------------------------------------------------

    async def _on_add_voter(self, incoming: Incoming, payload: bytes) -> bytes:
        self._peer.check(incoming.caller, Action.GOVERN, "voters")
        fields = wire.read_list(payload, 1)
        return await self._as_leader(
            incoming,
            fields,
            lambda replica: self._bring_in(replica, PeerId(str(fields[0])) if fields else None),
        )

    async def _on_remove_voter(self, incoming: Incoming, payload: bytes) -> bytes:
        self._peer.check(incoming.caller, Action.GOVERN, "voters")
        fields = wire.read_list(payload, 1)

        async def remove(replica: Replica) -> str | None:
            name = PeerId(str(fields[0])) if fields else PeerId("")
            now = await self._settled(replica)
            if name not in now.members:
                # One that a person wanted removed before: the answer of then was lost.
                is_gone = self._steering.was_to_be_removed(name)
                return None if is_gone else "it neither votes nor listens"
            await self._steering.set_automatic(replica, on=False, removing=name)
            voters = [PeerId(v) for v in now.voters if v != name]
            learners = [PeerId(one) for one in now.learners if one != name]
            await replica.change_members(voters, learners, CHANGE_S)
            return None

        return await self._as_leader(incoming, fields, remove)

    async def _on_transfer(self, incoming: Incoming, payload: bytes) -> bytes:
        self._peer.check(incoming.caller, Action.GOVERN, "leader")
        fields = wire.read_list(payload, 1)

        async def transfer(replica: Replica) -> str | None:
            wanted = fields[0] if fields else None
            target = (
                PeerId(wanted)
                if isinstance(wanted, str)
                else self._steering.best_successor(replica)
            )
            if target == self._peer.peer_id:
                return None
            await replica.hand_over(TRANSFER_S, target)
            return None

        return await self._as_leader(incoming, fields, transfer)

    async def _on_autopilot(self, incoming: Incoming, payload: bytes) -> bytes:
        self._peer.check(incoming.caller, Action.CONFIGURE, "autopilot")
        fields = wire.read_list(payload, 1)

        async def switch(replica: Replica) -> None:
            await self._steering.set_automatic(replica, on=bool(fields and fields[0]))

        return await self._as_leader(incoming, fields, switch)

    async def _as_leader(
        self,
        incoming: Incoming,
        fields: list[Any] | None,
        work: Callable[[Replica], Awaitable[str | None]],
    ) -> bytes:
        replica = self._quorum.replica
        if replica is None or not replica.is_leader:
            hint = self._quorum.leader()
            return wire.answer(wire.Tag.NOT_LEADER, None if hint == self._peer.peer_id else hint)
        wish, by = str(fields[0]) if fields else "", incoming.caller.peer_id
        detail: dict[str, str | int] = {"method": incoming.method, "name": incoming.caller.name}
        try:
            await self._audit.record(Kind.VOTERS_ASKED, wish, by=by, detail=detail)
        except AuditUnwritable as error:
            return wire.answer(wire.Tag.OK, str(error))
        answer = await self._work(replica, work)
        tag, said = wire.read_answer(answer)
        why = said if isinstance(said, str) else ""
        outcome = tag.value if not why or tag is not wire.Tag.OK else "refused"
        self._audit.note(Kind.VOTERS_ASKED, wish, by=by, outcome=outcome, why=why, detail=detail)
        return answer

    async def _work(
        self, replica: Replica, work: Callable[[Replica], Awaitable[str | None]]
    ) -> bytes:
        try:
            refused = await work(replica)
        except NotLeader as error:
            return wire.answer(wire.Tag.NOT_LEADER, error.leader_hint)
        except OutcomeUnknown:
            return wire.answer(wire.Tag.UNDECIDED, False)
        except (ProposalsFull, Stopped):
            return wire.answer(wire.Tag.BUSY, None)
        except (ChangeRefused, TransferFailed, AppliedTimeout) as error:
            refused = str(error)
        if refused is not None:
            return wire.answer(wire.Tag.OK, refused)
        now = replica.status.membership
        return wire.answer(wire.Tag.OK, [list(now.voters), list(now.learners)])

    async def _settled(self, replica: Replica) -> Membership:
        """Who votes and listens, once all that earlier leaders decided or began is in force.

        Raises:
            NotLeader, Stopped, AppliedTimeout: nothing has been changed.
        """
        until_ms = self._clock.now_ms() + int(CHANGE_S * 1000)
        while True:
            await replica.read_index(CHANGE_S)
            status = replica.status
            if not status.is_changing or self._clock.now_ms() >= until_ms:
                return status.membership
            await asyncio.sleep(PAUSE_S)

    async def _bring_in(self, replica: Replica, peer_id: PeerId | None) -> str | None:
        if peer_id is None:
            return "it names no peer"
        # One that votes already is what was asked for: the answer of an earlier leader was lost.
        if peer_id not in replica.status.membership.voters and not self._may_vote(peer_id):
            return "its certificate does not let it vote, or it is not here"
        await self._steering.set_automatic(replica, on=False)
        now = replica.status.membership
        if peer_id not in now.members:
            voters = [PeerId(voter) for voter in now.voters]
            learners = [*(PeerId(one) for one in now.learners), peer_id]
            await replica.change_members(voters, learners, CHANGE_S)
        until_ms = self._clock.now_ms() + int(CATCH_UP_S * 1000)
        while True:
            now = replica.status.membership  # another change may have been made meanwhile
            if peer_id in now.voters and not now.is_joint:
                return None
            voters = [PeerId(voter) for voter in now.voters if voter != peer_id]
            learners = [PeerId(one) for one in now.learners if one != peer_id]
            try:
                await replica.change_members([*voters, peer_id], learners, CHANGE_S)
            except ChangeRefused as error:
                if self._clock.now_ms() >= until_ms or not replica.is_leader:
                    return str(error)
                await asyncio.sleep(PAUSE_S)  # it has not caught up yet
            else:
                return None


def _members(said: Any) -> list[Any]:
    return list(said) if isinstance(said, list) else []

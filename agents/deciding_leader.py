"""Decisions at the leader: opens questions, records what came of them, ends those that are due.

Every voter of the log has one of these; it answers only while it leads. What is recorded was
verified here, so that rubbish does not fill the log, and is verified by every replica again.

What this module does not know: ballots under way, agents, people.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from agents.deciding import SCHEME, Candidate, Wish, is_repeated, propose
from agents.deciding import wire as deciding_wire
from agents.errors import QuestionRefused
from agents.ledger import is_task_question
from agents.quorum import Quorum
from agents.replicated import DECISIONS_TAG, command_for
from agents.tasking import wire
from consensus import AppliedTimeout, NotLeader, ProposalError, Stopped, ballots
from consensus.ballots import (
    MAX_CERTIFICATE_BYTES,
    BallotsError,
    Blocking,
    Evidence,
    Malformed,
    Proposal,
    QuorumCertificate,
    Reply,
    ReplyCode,
    blocked_command,
    closed_command,
    evidence_command,
    expired_command,
    forgotten_command,
    opened_command,
)
from keys import Action, PeerId, Permission
from p2p import Incoming, Peer, World

log = logging.getLogger("conclave.agents.deciding")

MAX_WAIT_MS: Final = 10_000
ASKED_OF_PEOPLE: Final = "people"  # what policies call a question without a kind
MAX_LISTED: Final = 500
READ_S: Final = 2.0
EXPIRED_AT_ONCE: Final = 16
FORGOTTEN_AT_ONCE: Final = 64


class DecidingLeader:
    """The leader's part.

    Args:
        candidates: whose key this node knows.
    """

    def __init__(
        self,
        peer: Peer,
        world: World,
        quorum: Quorum,
        candidates: Callable[[], Mapping[PeerId, Candidate]],
    ) -> None:
        self._peer = peer
        self._clock = world.clock
        self._quorum = quorum
        self._decisions = quorum.decisions
        self._candidates = candidates
        decide, read = Permission.DECIDE, Permission.TASK_READ
        peer.serve(deciding_wire.OPEN, self._on_open, permission=decide)
        peer.serve(deciding_wire.RECORD, self._on_record, permission=decide)
        peer.serve(deciding_wire.WAIT, self._on_wait, permission=read)
        peer.serve(deciding_wire.LIST, self._on_list, permission=read)

    async def expire_due(self) -> None:
        """Have the log end those whose time is over, in ledger time (V7)."""
        leading = self._quorum.leading
        if leading is None or not self._quorum.leads:
            return
        for due in self._decisions.register.due(leading.reading_ms(), EXPIRED_AT_ONCE):
            proposal = due.proposal
            try:
                await self._decide(expired_command(proposal.proposal_id, proposal.round))
            except ProposalError as error:
                log.info("an expiry is not decided: %s", error)
                return

    # -- requests ------------------------------------------------------------------------------

    async def _on_open(self, incoming: Incoming, payload: bytes) -> bytes:
        if not self._quorum.leads:
            return self._not_leader()
        wish = Wish.from_wire(wire.read_list(payload))
        if wish is None:
            return wire.answer(wire.Tag.OK, ["it is malformed", None])
        if is_task_question(wish.proposal_id):
            return wire.answer(wire.Tag.OK, ["ids of this kind belong to tasks' questions", None])
        self._peer.check(incoming.caller, Action.DECIDE, wish.kind or ASKED_OF_PEOPLE)
        proposer = incoming.caller.peer_id
        known = self._decisions.register.get(wish.proposal_id)
        try:
            if known is None:
                await self._open(wish, proposer)
        except QuestionRefused as error:
            return wire.answer(wire.Tag.OK, [error.why, None])
        except ProposalError as error:
            return self._undecided(error)
        known = self._decisions.register.get(wish.proposal_id)
        if known is None or not is_repeated(wish, known.proposal, proposer):
            why = "another question was put to a vote under the same key"
            return wire.answer(wire.Tag.OK, [why, None])
        return wire.answer(wire.Tag.OK, [None, self._view(wish.proposal_id)])

    async def _open(self, wish: Wish, proposer: PeerId) -> None:
        replica = self._quorum.replica
        assert replica is not None
        status = replica.status
        if status.is_changing:
            raise QuestionRefused(wish.question, "the voters change just now; ask again")
        proposal = propose(
            wish,
            network_id=self._decisions.network_id,
            epoch=status.membership_index,
            members=[PeerId(name) for name in status.membership.voters],
            candidates=self._candidates(),
            proposer=proposer,
        )
        await self.open_question(proposal)

    async def open_question(self, proposal: Proposal) -> None:
        """Put it into the log, as long as this node leads.

        Raises:
            QuestionRefused: the register does not take it.
            ProposalError: it is not there, or nobody knows.
        """
        reply = await self._decide(opened_command(proposal))
        if reply.code is ReplyCode.FULL:
            oldest = self._decisions.register.oldest_closed(FORGOTTEN_AT_ONCE)
            await self._decide(forgotten_command(oldest))
            reply = await self._decide(opened_command(proposal))
        if reply.code not in {ReplyCode.DONE, ReplyCode.REPEATED, ReplyCode.KNOWN_ID}:
            raise QuestionRefused(proposal.question, reply.code.value)

    async def _on_record(self, incoming: Incoming, payload: bytes) -> bytes:
        if not self._quorum.leads:
            return self._not_leader()
        fields = wire.read_list(payload, 2)
        data = fields[1] if fields and isinstance(fields[1], bytes) else b""
        what = fields[0] if fields else None
        try:
            if what == deciding_wire.CLOSED:
                key, command = self._certificate(data)
            elif what == deciding_wire.BLOCKED:
                key, command = self._blocking(data)
            else:
                key, command = self._evidence(data)
        except BallotsError as error:
            return wire.answer(wire.Tag.OK, [str(error), None])
        try:
            reply = await self._decide(command)
        except ProposalError as error:
            return self._undecided(error)
        if reply.accused:
            log.error("two certificates contradict each other", extra={"accused": reply.accused})
        return wire.answer(wire.Tag.OK, [reply.code.value, self._view(key)])

    def _certificate(self, data: bytes) -> tuple[str, bytes]:
        """
        Raises:
            BallotsError: it proves nothing.
        """
        proposal = QuorumCertificate.from_bytes(data[: MAX_CERTIFICATE_BYTES + 1]).proposal
        known = self._decisions.register.get(proposal.proposal_id)
        if known is None:
            raise Malformed("certificate", "nothing was put to a vote here under its id")
        ballots.verify(data, SCHEME, known.proposal.electors)
        return proposal.proposal_id, closed_command(data)

    def _blocking(self, data: bytes) -> tuple[str, bytes]:
        """
        Raises:
            BallotsError: it can be approved still.
        """
        blocking = Blocking.from_bytes(data)
        known = self._decisions.register.get(blocking.proposal_id)
        if known is None:
            raise Malformed("blocking", "nothing was put to a vote here under its id")
        blocking.check(known.proposal, SCHEME)
        return blocking.proposal_id, blocked_command(data)

    def _evidence(self, data: bytes) -> tuple[str, bytes]:
        """
        Raises:
            BallotsError: it accuses nobody.
        """
        evidence = Evidence.decode(data)
        if self._decisions.register.get(evidence.proposal_id) is None:
            raise Malformed("evidence", "nothing was put to a vote here under its id")
        evidence.check(SCHEME)
        return evidence.proposal_id, evidence_command(evidence)

    async def _on_wait(self, incoming: Incoming, payload: bytes) -> bytes:
        fields = wire.read_list(payload, 2)
        if not self._quorum.leads or not fields or type(fields[1]) is not int:
            return self._not_leader()
        refused = await self._read()
        if refused is not None:
            return refused
        key = str(fields[0])
        until_ms = self._clock.now_ms() + max(0, min(fields[1], MAX_WAIT_MS))
        while True:
            view = self._view(key)
            left_ms = until_ms - self._clock.now_ms()
            if view is None or not deciding_wire.is_open(view) or left_ms <= 0:
                break
            await self._decisions.changed(left_ms / 1000)
            if not self._quorum.leads:
                return self._not_leader()
        return wire.answer(wire.Tag.OK, view)

    async def _on_list(self, incoming: Incoming, payload: bytes) -> bytes:
        fields = wire.read_list(payload, 1)
        if not self._quorum.leads or not fields or type(fields[0]) is not int:
            return self._not_leader()
        refused = await self._read()
        if refused is not None:
            return refused
        register = self._decisions.register
        found = register.list(max(1, min(fields[0], MAX_LISTED)))
        ids = [each.proposal.proposal_id for each in found]
        views = [deciding_wire.view_of(register, key, is_full=False) for key in ids]
        return wire.answer(wire.Tag.OK, views)

    async def _read(self) -> bytes | None:
        """Make sure that what is read now is no older than this; what to answer if it is not."""
        replica = self._quorum.replica
        assert replica is not None
        try:
            await replica.read_index(READ_S)
        except NotLeader:
            return self._not_leader()
        except (AppliedTimeout, Stopped):
            return wire.answer(wire.Tag.UNDECIDED, True)
        return None

    # -- the log -------------------------------------------------------------------------------

    async def _decide(self, command: bytes) -> Reply:
        """
        Raises:
            ProposalError: it is not, or nobody knows.
        """
        replica, leading = self._quorum.replica, self._quorum.leading
        assert replica is not None
        assert leading is not None
        data = command_for(DECISIONS_TAG, leading.reading_ms(), command)
        committed = await replica.propose(data)
        reply = committed.result
        assert isinstance(reply, Reply), reply
        return reply

    def _view(self, key: str) -> dict[str, Any] | None:
        return deciding_wire.view_of(self._decisions.register, key)

    def _undecided(self, error: ProposalError) -> bytes:
        if isinstance(error, NotLeader):
            return self._not_leader()
        return wire.answer(wire.Tag.UNDECIDED, error.definite)

    def _not_leader(self) -> bytes:
        hint = self._quorum.leader()
        return wire.answer(wire.Tag.NOT_LEADER, None if hint == self._peer.peer_id else hint)

"""This node's part in decisions: it asks questions, collects ballots, votes, and reads outcomes.

    decide -> the leader opens the question in the log -> this node asks the electors for ballots
           -> they vote on what the log has open, store, answer -> a certificate goes into the log

A question whose proposer is gone, or is slow, is collected by the leader: any node can, since
ballots and certificates stand alone. Whatever two collectors bring, the log's first counts.

What this module does not know: what a ballot is worth, how agents judge, command lines.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from agents.deciding import (
    Candidate,
    Judges,
    Question,
    Voting,
    Wish,
    id_of_key,
)
from agents.deciding import wire as deciding_wire
from agents.deciding_collectors import Collectors
from agents.deciding_leader import DecidingLeader
from agents.deciding_tasks import TaskPolls
from agents.errors import (
    DecisionUnknown,
    NoQuorum,
    OutcomeUnknown,
    QuestionRefused,
    VoteRefused,
)
from agents.hosting import Context
from agents.ledger import is_task_question
from agents.quorum import Quorum
from agents.tasking import Asking
from consensus import StorageError
from consensus.ballots import (
    Ballot,
    BallotBox,
    Choice,
    Malformed,
    Proposal,
    Reply,
    SqliteBox,
    Status,
)
from keys import Identity, PeerId, Permission, Principal
from p2p import (
    Incoming,
    MemberState,
    P2PError,
    PayloadError,
    Peer,
    World,
    decode_payload,
    encode_payload,
)

log = logging.getLogger("conclave.agents.deciding")

BOX: Final = "ballots.db"
LOOK_S: Final = 0.25
ASK_S: Final = 3.0
APPLIED_S: Final = 1.5  # a member's log may be this much behind who asks it
OPEN_S: Final = 10.0
WAIT_S: Final = 5.0
GRACE_S: Final = 20.0  # after the deadline the expiry has to be decided
TAKE_OVER_MS: Final = 5_000
FORGET_BALLOTS_MS: Final = 30 * 24 * 3600 * 1000  # of ledger time, after the log ended it
FORGET_EVERY_MS: Final = 600_000
LOOKED_AT: Final = 64  # of the latest decisions, for the keys of their electors

MakeContext = Callable[[str, str, str, int], Context]


class Deciding:
    """Decisions on one node.

    Args:
        judges: those of its agents.
        make_context: for a judge, from the proposer, the kind, the agent and the deadline.
    """

    def __init__(
        self,
        peer: Peer,
        world: World,
        identity: Identity,
        home: Path,
        quorum: Quorum,
        asking: Asking,
        judges: Judges,
        make_context: MakeContext,
        on_fatal: Callable[[Exception], None],
    ) -> None:
        self._peer = peer
        self._clock = world.clock
        self._identity = identity
        self._home = home
        self._decisions = quorum.decisions
        self._quorum = quorum
        self._asking = asking
        self._judges = judges
        self._make_context = make_context
        self._leader = DecidingLeader(peer, world, quorum, self._candidates)
        self.voting = Voting(
            identity,
            self._decisions.network_id,
            self._open_box,
            self._judge,
            lambda kind: judges.agent_for(kind) is not None,
            self._send_ballot,
            on_fatal,
        )
        self._collectors = Collectors(
            peer, asking, self._clock.now_ms, self._answer, self._end_if_closed
        )
        quorum.polls = TaskPolls(quorum, self._leader, self._collectors, self._candidates)
        self._open_since_ms: dict[str, int] = {}
        self._keys: dict[PeerId, Candidate] = {}
        self._forget_at_ms = 0
        self._looking: asyncio.Task[None] | None = None
        self._decisions.listeners.append(self._on_applied)
        peer.serve(deciding_wire.ASK, self._on_ask, permission=Permission.DECIDE)

    def start(self) -> None:
        """Begin to look at what is open."""
        self._looking = asyncio.get_running_loop().create_task(self._look())

    async def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        await self._collectors.close()
        await self.voting.close()

    def _open_box(self) -> BallotBox:
        network_id = self._decisions.network_id
        return SqliteBox(self._home / BOX, network_id, self._identity.public_key)

    # -- who asks ------------------------------------------------------------------------------

    async def decide(self, wish: Wish, key: str | None) -> dict[str, Any]:
        """Have a question decided, and return how it ended.

        Raises:
            QuestionRefused, NoQuorum: nobody was asked.
            OutcomeUnknown: it is open still, or nobody can be asked what became of it.
        """
        if key is not None:
            own = self._peer.peer_id
            proposal_id = id_of_key(self._decisions.network_id, own, key)
            wish = replace(wish, proposal_id=proposal_id)
        said = await self._asking.ask(deciding_wire.OPEN, wish.to_wire(), OPEN_S)
        why, view = deciding_wire.pair(said)
        if not isinstance(view, dict):
            raise QuestionRefused(wish.question, str(why))
        if not deciding_wire.is_open(view):
            return view
        self._collectors.begin(Proposal.decode(view["proposal"]))
        try:
            view = await self._until_closed(wish.proposal_id, view["left_ms"] / 1000 + GRACE_S)
        except (NoQuorum, DecisionUnknown) as error:
            raise OutcomeUnknown("decide", str(error)) from error
        finally:
            self._end_if_closed(wish.proposal_id, view)
        return view

    async def _until_closed(self, proposal_id: str, limit_s: float) -> dict[str, Any]:
        until_ms = self._clock.now_ms() + int(limit_s * 1000)
        while True:
            left_s = (until_ms - self._clock.now_ms()) / 1000
            if left_s <= 0:
                raise OutcomeUnknown("decide", f"{proposal_id[:12]} is still open")
            view = await self.view(proposal_id, wait_s=min(left_s, WAIT_S), timeout_s=left_s + 1)
            if not deciding_wire.is_open(view):
                return view

    async def view(
        self, proposal_id: str, *, wait_s: float = 0.0, timeout_s: float = OPEN_S
    ) -> dict[str, Any]:
        """How a decision stands, as the leader knows it.

        Raises:
            DecisionUnknown, NoQuorum, OutcomeUnknown.
        """
        value = [proposal_id, int(wait_s * 1000)]
        attempt_s = wait_s + ASK_S
        said = await self._asking.ask(deciding_wire.WAIT, value, timeout_s, attempt_s=attempt_s)
        if not isinstance(said, dict):
            raise DecisionUnknown(proposal_id)
        return said

    async def list(self, limit: int) -> list[dict[str, Any]]:
        """Open and recent decisions, the latest first, with this node's ballot on each.

        Raises:
            NoQuorum, OutcomeUnknown.
        """
        said = await self._asking.ask(deciding_wire.LIST, [limit], OPEN_S)
        views = [view for view in said if isinstance(view, dict)] if isinstance(said, list) else []
        return [view | {"own": self._own(view)} for view in views]

    def _own(self, view: Mapping[str, Any]) -> str | None:
        """This node's choice; "may vote" if it is asked for one; None if it has no say."""
        own = self._peer.peer_id
        if not any(voter["peer"] == own for voter in view["voters"]):
            return None
        ballot = self.voting.ballot_on(str(view["id"]), int(view["round"]))
        return ballot.choice.name.lower() if ballot is not None else "may vote"

    # -- who votes -----------------------------------------------------------------------------

    async def cast(self, proposal_id: str, choice: Choice, reason: str) -> dict[str, Any]:
        """This node's ballot, by a person.

        Raises:
            VoteRefused: it is over, not this node's to vote on, or was voted on otherwise.
            DecisionUnknown, NoQuorum, OutcomeUnknown: nothing was cast.
        """
        view = await self.view(await self._whole_id(proposal_id))
        if not deciding_wire.is_open(view):
            raise VoteRefused(str(view["id"]), f"it is over: {view['status']}")
        try:
            ballot = self.voting.cast(view["proposal"], choice, reason)
        except StorageError as error:
            raise VoteRefused(str(view["id"]), str(error)) from error
        return {"id": ballot.proposal_id, "choice": ballot.choice.name.lower(), "reason": reason}

    async def _whole_id(self, start: str) -> str:
        """The one open decision whose id begins so.

        Raises:
            DecisionUnknown: none, or several.
        """
        if len(start) == 2 * 16:
            return start
        views = await self.list(500)
        found = [str(view["id"]) for view in views if str(view["id"]).startswith(start)]
        if len(found) != 1 or not start:
            raise DecisionUnknown(start)
        return found[0]

    async def _on_ask(self, incoming: Incoming, payload: bytes) -> bytes:
        try:
            proposal = decode_payload(payload)
        except PayloadError:
            proposal = None
        raw = proposal if isinstance(proposal, bytes) else b""
        return encode_payload(list(await self._answer(incoming.caller.peer_id, raw)))

    async def _answer(self, sender: PeerId, raw: bytes) -> tuple[bytes | None, str | None]:
        """This node's ballot, or why there is none; neither while it is still to be decided on."""
        try:
            key = Proposal.decode(raw).proposal_id
            opened, status = await self._opened(key)
        except (Malformed, DecisionUnknown, NoQuorum, OutcomeUnknown) as error:
            return None, str(error)
        try:
            if status != Status.OPEN:
                proposal = Proposal.decode(opened)
                said = self.voting.ballot_on(key, proposal.round)
                return (None, "it is over") if said is None else (said.raw, None)
            ballot, why = self.voting.asked(sender, raw, opened)
        except StorageError as error:
            return None, str(error)
        return (ballot.raw if ballot is not None else None), why or None

    async def _opened(self, proposal_id: str) -> tuple[bytes, str]:
        """What the log holds under that id, and how it stands: as our replica says, or the leader.

        Raises:
            DecisionUnknown, NoQuorum, OutcomeUnknown.
        """
        until_ms = self._clock.now_ms() + int(APPLIED_S * 1000)
        while self._quorum.own_replica() is not None:
            decision = self._decisions.register.get(proposal_id)
            if decision is not None:
                return decision.proposal.raw, decision.status
            left_ms = until_ms - self._clock.now_ms()
            if left_ms <= 0:
                raise DecisionUnknown(proposal_id)
            await self._decisions.changed(left_ms / 1000)
        view = await self.view(proposal_id, timeout_s=APPLIED_S)
        return bytes(view["proposal"]), str(view["status"])

    async def _judge(self, proposal: Proposal) -> tuple[Choice, str]:
        elector = proposal.elector(self._identity.public_key)
        question = Question(
            id=proposal.proposal_id,
            question=proposal.question,
            subject=proposal.subject,
            kind=proposal.kind,
            proposer=proposal.proposer,
            proposer_name=self._peer.label(PeerId(proposal.proposer)),
            voters=tuple(each.peer_id for each in proposal.electors),
            may_veto=elector is not None and elector.may_veto,
        )
        agent = self._judges.agent_for(proposal.kind) or ""
        deadline_ms = self._clock.now_ms() + proposal.deadline_ms
        context = self._make_context(proposal.proposer, proposal.kind, agent, deadline_ms)
        return await self._judges.judge(context, question)

    def _send_ballot(self, to: str, ballot: Ballot) -> None:
        if to == self._peer.peer_id:
            self._collectors.receive(to, ballot.proposal_id, ballot.raw)
            return
        payload = encode_payload([ballot.proposal_id, ballot.raw])
        try:
            self._peer.notify(PeerId(to), deciding_wire.BALLOT, payload)
        except P2PError as error:
            log.debug("a ballot is not sent: %s", error)  # whoever wants it asks again

    # -- what the log says ---------------------------------------------------------------------

    def _end_if_closed(self, key: str, view: Any) -> None:
        if isinstance(view, dict) and not deciding_wire.is_open(view):
            self._ended(key)

    def _ended(self, key: str) -> None:
        self._open_since_ms.pop(key, None)
        self.voting.closed(key)
        self._collectors.end(key)

    def _on_applied(self, index: int, reply: Reply) -> None:
        if not reply.proposal_id:
            return
        if self._quorum.leading is not None:
            self._quorum.leading.decision_moved()
        decision = self._decisions.register.get(reply.proposal_id)
        if decision is None or decision.status is not Status.OPEN:
            self._ended(reply.proposal_id)
        if reply.accused:
            log.error("voters signed both outcomes", extra={"accused": list(reply.accused)})

    # -- looking around ------------------------------------------------------------------------

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            self._forget_old()
            self._learn_keys()
            if self._quorum.leads:
                await self._leader.expire_due()
                self._take_over()

    def _forget_old(self) -> None:
        """Ballots on what the log has ended long ago, now and then. It is asked of a replica only:
        who has none cannot know that the log holds the end."""
        now_ms = self._clock.now_ms()
        if now_ms < self._forget_at_ms or self._quorum.own_replica() is None:
            return
        self._forget_at_ms = now_ms + FORGET_EVERY_MS
        register, ledger_ms = self._decisions.register, self._quorum.ledger.time_ms

        def is_over(key: str, round_number: int) -> bool:
            known = register.get(key)
            return (
                known is not None
                and known.status is not Status.OPEN
                and known.proposal.round >= round_number
                and ledger_ms - known.closed_ms >= FORGET_BALLOTS_MS
            )

        try:
            if count := self.voting.forget(is_over):
                log.info("%d old ballots are let go", count)
        except StorageError as error:
            log.warning("old ballots are not let go: %s", error)

    def _take_over(self) -> None:
        """Collect what nobody else does, or does quickly enough."""
        now_ms = self._clock.now_ms()
        for decision in self._decisions.register.open():
            proposal = decision.proposal
            since_ms = self._open_since_ms.setdefault(proposal.proposal_id, now_ms)
            is_late = now_ms - since_ms >= TAKE_OVER_MS
            is_ours = is_task_question(proposal.proposal_id)  # whoever led when it was opened
            if is_late or is_ours or self._is_gone(PeerId(proposal.proposer)):
                self._collectors.begin(proposal)

    def _is_gone(self, proposer: PeerId) -> bool:
        if proposer == self._peer.peer_id:
            return True  # and what it collects itself is not begun twice
        state = self._peer.presence.state_of(proposer)
        return state not in (MemberState.ALIVE, MemberState.SUSPECT)

    def _learn_keys(self) -> None:
        """Who is dead when the electorate is frozen counts all the same, so keys are kept."""
        for peer_id in self._peer.presence.present():
            session = None if peer_id in self._keys else self._peer.session_of(peer_id)
            if session is not None:
                self._keys[peer_id] = _candidate(session.principal)

    def _present(self) -> Iterator[Candidate]:
        principals = [self._peer.principal]
        for peer_id in self._peer.presence.present():
            session = self._peer.session_of(peer_id)
            if session is not None:
                principals.append(session.principal)
        return map(_candidate, principals)

    def _candidates(self) -> Mapping[PeerId, Candidate]:
        """Whose key is known: of the living, of those seen before, of electors of the past."""
        found: dict[PeerId, Candidate] = {}
        for decision in self._decisions.register.list(LOOKED_AT):
            for each in decision.proposal.electors:
                peer_id = PeerId(each.peer_id)
                found.setdefault(peer_id, Candidate(peer_id, each.public_key, each.name, False))
        for known in self._keys.values():
            found[known.peer_id] = Candidate(known.peer_id, known.public_key, known.name, False)
        return found | {each.peer_id: each for each in self._present()}


def _candidate(principal: Principal) -> Candidate:
    may_vote = principal.may(Permission.CONSENSUS)
    return Candidate(principal.peer_id, principal.public_key, principal.name, may_vote)

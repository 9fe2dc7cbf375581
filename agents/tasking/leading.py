"""The leader's part of the task ledger on a voter: the shell around `LeaderCore`.

Every voter has one and feeds it every applied entry; while this voter leads, it proposes, tells
workers, and answers those who ask.

What this module does not know: handlers, how a task runs, how the log replicates.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any

from agents.errors import QuestionRefused
from agents.ledger import (
    VOTE,
    Ledger,
    Outcome,
    State,
    TaskId,
    TaskSpec,
    VotedSpec,
    parse_spec,
)
from agents.names import peer_meant
from agents.replica import Replica
from agents.scheduling import (
    AnswerRenewal,
    AnswerReports,
    AnswerRequest,
    CancelReceived,
    DecisionMoved,
    Deposed,
    Elected,
    EntryApplied,
    Failing,
    FailRequest,
    LeaderCore,
    LeaderEvent,
    LeaderSettings,
    LeaderTick,
    OpenQuestion,
    PeerDied,
    ProposalDecided,
    ProposalFailed,
    Propose,
    QuestionOpened,
    RenewalReceived,
    ReportsReceived,
    RetryReceived,
    Scheduler,
    SchedulerSettings,
    SubmissionReceived,
    TellRevoked,
    TellWork,
    VotedSubmissionReceived,
    WorkAcknowledged,
    WorkersChanged,
    WorkerView,
    report_from_wire,
)
from agents.tasking import wire
from agents.tasking.results import Results
from agents.tasking.rights import TaskRights
from agents.tasking.voted import Polls, VoteWish
from consensus import Entry, ProposalError, Status
from consensus.ballots import Proposal
from keys import Action, PeerId, Permission, Principal
from p2p import Alarm, Incoming, P2PError, Peer, World, encode_payload

log = logging.getLogger("conclave.agents.leading")

MAX_WAIT_MS = 30_000


class Leading:
    """Scheduling on one voter. `replica` is set before the log runs.

    Args:
        on_outcome: hears of every command that was applied.
        polls: how tasks are voted on, once the node is whole.
    """

    def __init__(
        self,
        peer: Peer,
        world: World,
        ledger: Ledger,
        on_outcome: Callable[[Outcome], None],
        polls: Callable[[], Polls | None] = lambda: None,
    ) -> None:
        self._peer = peer
        self._clock = world.clock
        self._ledger = ledger
        self._on_outcome = on_outcome
        self._polls = polls
        self.scheduler = Scheduler(SchedulerSettings(), world.rng)
        self._core = LeaderCore(LeaderSettings(), ledger, self.scheduler)
        self._results = Results(ledger)
        self._rights = TaskRights(peer, ledger)
        self._replica: Replica | None = None
        self._term = 0
        self._leads_term: int | None = None
        self._events: list[LeaderEvent] = []
        self._flush_wanted = False
        self._alarm = Alarm(world.clock, lambda: self._post(LeaderTick()))
        self._asked: dict[int, asyncio.Future[bytes]] = {}
        self._last_request = 0
        self._proposals: set[asyncio.Task[None]] = set()
        self._serve()

    def _serve(self) -> None:
        peer, submit, work = self._peer, Permission.TASK_SUBMIT, Permission.TASK_WORK
        read = Permission.TASK_READ
        peer.serve(wire.SUBMIT, self._on_submit, permission=submit)
        peer.serve(wire.SUBMIT_VOTED, self._on_submit_voted, permission=submit)
        peer.serve(wire.CANCEL, self._on_cancel, permission=submit)
        peer.serve(wire.RETRY, self._on_retry, permission=submit)
        peer.serve(wire.WAIT, self._on_wait, permission=read)
        peer.serve(wire.LIST, self._on_list, permission=read)
        peer.serve(wire.VIEW, self._on_view, permission=read)
        peer.serve_notice(wire.TAKEN, self._on_taken, permission=work)
        peer.serve_notice(wire.REPORT, self._on_report, permission=work)
        peer.serve_notice(wire.RENEW, self._on_renew, permission=work)

    def attach(self, replica: Replica) -> None:
        self._replica = replica

    @property
    def leads(self) -> bool:
        """Whether this node leads and has caught up with its own election."""
        return self._core.leading

    def reading_ms(self) -> int:
        """Ledger time, as this node reads it now; everything that it proposes carries this."""
        return self._core.reading_ms(self._clock.now_ms())

    @property
    def results(self) -> Results:
        return self._results

    async def close(self) -> None:
        self._alarm.off()
        for task in self._proposals:
            task.cancel()
        await asyncio.gather(*self._proposals, return_exceptions=True)
        for future in self._asked.values():
            future.cancel()

    # -- what happens --------------------------------------------------------------------------

    def on_applied(self, entry: Entry, outcome: Outcome | None) -> None:
        """The log applied an entry here."""
        self._term = entry.term
        if outcome is not None:
            self._post(EntryApplied(outcome))
            self._results.on_outcome(outcome)
            self._on_outcome(outcome)
        elif self._replica is not None:
            self.on_status(self._replica.status)

    def on_status(self, status: Status) -> None:
        """Role, term or leader changed, or an entry of the log's own was applied."""
        leads = status.term if status.role.value == "leader" else None
        if self._leads_term is not None and self._leads_term != leads:
            self._leads_term = None
            self._post(Deposed())
            self._results.wake()
        if leads is not None and self._leads_term is None and self._term == leads:
            self._leads_term = leads
            self._post(Elected())

    def workers_changed(self, workers: tuple[WorkerView, ...]) -> None:
        self._post(WorkersChanged(workers))

    def peer_died(self, peer_id: PeerId, incarnation: int) -> None:
        self._post(PeerDied(peer_id, incarnation))

    def decision_moved(self) -> None:
        """The register of decisions opened or closed something."""
        if self._ledger.counts_to_vote():
            self._post(DecisionMoved())

    def _post(self, event: LeaderEvent) -> None:
        """Events of one turn of the loop share their batches."""
        self._events.append(event)
        if not self._flush_wanted:
            self._flush_wanted = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_wanted = False
        events, self._events = self._events, []
        effects = self._core.step(*events, now_ms=self._clock.now_ms())
        for effect in effects:
            self._perform(effect)
        self._alarm.set(self._core.deadline_ms)

    def _perform(self, effect: object) -> None:
        match effect:
            case Propose(proposal, command):
                task = asyncio.get_running_loop().create_task(self._propose(proposal, command))
                self._proposals.add(task)
                task.add_done_callback(self._proposals.discard)
            case OpenQuestion(question):
                task = asyncio.get_running_loop().create_task(self._open(question))
                self._proposals.add(task)
                task.add_done_callback(self._proposals.discard)
            case TellWork(peer, incarnation, work):
                self._tell(peer, wire.WORK, [incarnation, [each.to_wire() for each in work]])
            case TellRevoked(peer, leases):
                self._tell(peer, wire.REVOKED, wire.lease_list(leases))
            case AnswerReports(peer, answers):
                heard = [[a.task_id, a.token, a.refusal and a.refusal.value] for a in answers]
                self._tell(peer, wire.HEARD, heard)
            case AnswerRenewal(peer, number, renewed, lost):
                both = [wire.lease_list(renewed), wire.lease_list(lost)]
                self._tell(peer, wire.RENEWED, [number, *both])
            case AnswerRequest(request, verdicts):
                done = [[v.task_id, None if v.accepted else v.refusal] for v in verdicts]
                self._answer(request, wire.answer(wire.Tag.OK, done))
            case FailRequest(request, reason, definite):
                self._answer(request, self._failing(reason, definite))

    async def _propose(self, proposal: int, command: bytes) -> None:
        assert self._replica is not None
        try:
            committed = await self._replica.propose(command)
        except ProposalError as error:
            log.debug("proposal failed: %s", error)
            self._post(ProposalFailed(proposal, error.definite))
        else:
            self._post(ProposalDecided(proposal, committed.result))  # type: ignore[arg-type]

    async def _open(self, question: Proposal) -> None:
        polls = self._polls()
        try:
            if polls is not None:
                await polls.open(question)
        finally:
            self._post(QuestionOpened(question.proposal_id))

    def _tell(self, peer_id: PeerId, method: str, value: Any) -> None:
        try:
            self._peer.notify(peer_id, method, encode_payload(value))
        except P2PError as error:
            log.debug("not told: %s", error)  # the core tells it again

    # -- who asks ------------------------------------------------------------------------------

    async def _on_submit(self, incoming: Incoming, payload: bytes) -> bytes:
        specs: list[TaskSpec] = []
        for raw in wire.read_list(payload):
            spec = parse_spec(raw)
            if spec is None:
                return wire.answer(wire.Tag.OK, [["", "malformed"]])
            # Who submits is whom the connection proves, whatever the request says.
            specs.append(spec._replace(submitter=incoming.caller.peer_id))
            self._peer.check(incoming.caller, Action.SUBMIT, peer_meant(spec.skill)[0])
        return await self._ask(lambda n: SubmissionReceived(n, tuple(specs)))

    async def _on_submit_voted(self, incoming: Incoming, payload: bytes) -> bytes:
        polls = self._polls()
        if not self.leads or polls is None:
            return self._not_leader()
        tasks: list[VotedSpec] = []
        for raw in wire.read_list(payload):
            row = raw if isinstance(raw, list) and len(raw) == 2 else [None, None]
            spec, wish = parse_spec(row[0]), VoteWish.from_wire(row[1])
            if spec is None or wish is None:
                return wire.answer(wire.Tag.OK, [["", "malformed"]])
            spec = spec._replace(submitter=incoming.caller.peer_id, policy=VOTE)
            self._peer.check(incoming.caller, Action.SUBMIT, peer_meant(spec.skill)[0])
            try:
                voted = polls.freeze(spec, wish)
            except QuestionRefused as error:
                return wire.answer(wire.Tag.OK, [["", error.why]])
            if voted is None:
                return wire.answer(wire.Tag.UNDECIDED, True)  # the voters change; ask again
            tasks.append(voted)
        return await self._ask(lambda n: VotedSubmissionReceived(n, tuple(tasks)))

    async def _on_cancel(self, incoming: Incoming, payload: bytes) -> bytes:
        ids = wire.read_ids(wire.read_list(payload))
        self._check(incoming.caller, Action.CONTROL, ids)
        return await self._ask(lambda n: CancelReceived(n, ids))

    async def _on_retry(self, incoming: Incoming, payload: bytes) -> bytes:
        ids = wire.read_ids(wire.read_list(payload))
        self._check(incoming.caller, Action.CONTROL, ids)
        return await self._ask(lambda n: RetryReceived(n, ids))

    async def _on_wait(self, incoming: Incoming, payload: bytes) -> bytes:
        fields = wire.read_list(payload, 2)
        if not self.leads or not fields or type(fields[1]) is not int:
            return self._not_leader()
        wait_ms = max(0, min(fields[1], MAX_WAIT_MS))
        ids = wire.read_ids(fields[0])
        self._check(incoming.caller, Action.INSPECT, ids)
        found = await self._results.wait(ids, wait_ms / 1000)
        if not self.leads:
            return self._not_leader()
        return wire.answer(wire.Tag.OK, found)

    async def _on_list(self, incoming: Incoming, payload: bytes) -> bytes:
        fields = wire.read_list(payload, 3)
        if not self.leads or not fields:
            return self._not_leader()
        state, job, limit = fields
        wanted = [s for s in State if s.value == state] or None
        most = max(0, min(limit, 1000)) if type(limit) is int else 100
        tasks = self._rights.shown(incoming.caller, wanted, job, most)
        counts = {s.value: n for s, n in self._ledger.counts().items()}
        waiting = self._rights.counts(incoming.caller, self._ledger.pending_counts())
        said = {
            "counts": counts,
            "waiting": waiting,
            "to_vote": self._rights.counts(incoming.caller, self._ledger.counts_to_vote()),
            "tasks": [self._with_question(t.to_wire()) for t in tasks],
        }
        return wire.answer(wire.Tag.OK, said)

    async def _on_view(self, incoming: Incoming, payload: bytes) -> bytes:
        fields = wire.read_list(payload, 1)
        if not self.leads or not fields:
            return self._not_leader()
        task_id = TaskId(str(fields[0]))
        self._check(incoming.caller, Action.INSPECT, (task_id,))
        view = self._ledger.get(task_id)
        said = None if view is None else self._with_votes(self._with_question(view.to_wire()))
        return wire.answer(wire.Tag.OK, said)

    def _with_question(self, view: dict[str, Any]) -> dict[str, Any]:
        """Add what the voters are asked about it now."""
        asked = self._core.votes.asked(view["task_id"])
        if asked is not None and "vote" in view:
            question, worker = asked
            status = self._ledger.vote_on(view["task_id"], worker)
            word = "not open yet" if status is None else status.value
            now = {"question": question, "worker": worker, "status": word}
            view["vote"] = {**view["vote"], **now}
        return view

    def _check(self, caller: Principal, action: Action, ids: Iterable[TaskId]) -> None:
        if self.leads:  # otherwise the one that does will judge
            self._rights.check(caller, action, ids)

    def _with_votes(self, view: dict[str, Any]) -> dict[str, Any]:
        """Add which voters hold the decision of the latest assignment on their disks, or, of a task
        that is voted on, approved it."""
        assert self._replica is not None
        status = self._replica.status
        token = view["token"]
        votes = sorted(v for v in status.voters if status.match.get(v, 0) >= token > 0)
        voters = list(status.voters)
        if "vote" in view:
            votes = self._ledger.approved_by(view["task_id"]) if token else []
            voters = [each["peer"] for each in view["vote"]["voters"]]
        view["decision"] = {
            "policy": view["policy"],
            "index": token,
            "votes": votes,
            "voters": voters,
        }
        return view

    def _on_taken(self, peer_id: PeerId, payload: bytes) -> None:
        self._post(WorkAcknowledged(peer_id, wire.read_leases(wire.read_list(payload))))

    def _on_report(self, peer_id: PeerId, payload: bytes) -> None:
        reports = [report_from_wire(raw) for raw in wire.read_list(payload)]
        known = tuple(r for r in reports if r is not None)
        if known:
            self._post(ReportsReceived(peer_id, known))

    def _on_renew(self, peer_id: PeerId, payload: bytes) -> None:
        fields = wire.read_list(payload, 3)
        if fields and type(fields[0]) is int and type(fields[1]) is int:
            leases = wire.read_leases(fields[2])
            self._post(RenewalReceived(peer_id, fields[1], fields[0], leases))

    async def _ask(self, event_of: Callable[[int], LeaderEvent]) -> bytes:
        if not self.leads:
            return self._not_leader()
        self._last_request += 1
        number = self._last_request
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._asked[number] = future
        try:
            self._post(event_of(number))
            return await future
        finally:
            self._asked.pop(number, None)

    def _answer(self, request: int, said: bytes) -> None:
        future = self._asked.get(request)
        if future is not None and not future.done():
            future.set_result(said)

    def _failing(self, reason: Failing, definite: bool) -> bytes:
        if reason is Failing.NOT_LEADER:
            return self._not_leader()
        if reason is Failing.OVERLOADED:
            return wire.answer(wire.Tag.BUSY, None)
        return wire.answer(wire.Tag.UNDECIDED, definite)

    def _not_leader(self) -> bytes:
        hint = self._replica.status.leader if self._replica is not None else None
        return wire.answer(wire.Tag.NOT_LEADER, None if hint == self._peer.peer_id else hint)

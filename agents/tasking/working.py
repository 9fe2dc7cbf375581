"""The worker's part on every node: the shell around `WorkerCore` that runs handlers.

A task is the submitter's: it runs if the submitter may still submit it and holds what the handler
asks for. Of one that is not here now the leader's word must do, given when it was submitted; a
handler that asks for more than `CALL` waits for it, as a failure that is tried again. Work that was
voted on runs if this node finds it approved; the leader's word does not do there.

What this module does not know: the log, the ledger, how work is chosen.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Callable
from typing import Any

from agents.errors import ApprovalRefused, ApproverUnknown, GiveUp, NoSealingKey
from agents.hosting import Context, TaskGrant
from agents.hosting.host import AgentHost
from agents.ledger import ErrorText, LeaseRef, TaskId, Token, Work
from agents.names import peer_meant
from agents.scheduling import (
    AcknowledgeWork,
    AgentsChanged,
    Cancel,
    Drained,
    DrainRequested,
    ExecutionFailed,
    ExecutionFinished,
    ExecutionStopped,
    LeaderChanged,
    LeasesRevoked,
    RenewalAnswered,
    ReportAnswer,
    ReportsAnswered,
    SendRenewal,
    SendReports,
    Start,
    WorkerCore,
    WorkerEvent,
    WorkerSettings,
    WorkerTick,
    WorkTold,
    report_to_wire,
)
from agents.sealing import SealedTasks, hidden
from agents.tasking import wire
from agents.tasking.approving import Approvals
from keys import Action, PeerId, Permission, lacking
from keys.sealing import SealedRefused, SealingKeyRefused
from p2p import (
    Alarm,
    BadRequest,
    NoSuchMethod,
    P2PError,
    PayloadTooLarge,
    Peer,
    PeerUnreachable,
    PermissionDenied,
    World,
    encode_payload,
)

log = logging.getLogger("conclave.agents.working")

MEET_S = 2.0
LOOK_AGAIN_S = 0.02

MakeContext = Callable[[Work, TaskGrant], Context]


class Working:
    """Takes work from the leader, runs it, reports.

    Args:
        is_voter: whether a peer may lead; only such a peer's work is taken.
        sealed: opens tasks that are meant for this node alone, and seals their results.
        approvals: looks at the votes on work.

    Attributes:
        on_unapproved: hears of work that was not begun, for it was not approved, and who sent it.
    """

    def __init__(
        self,
        peer: Peer,
        world: World,
        host: AgentHost,
        make_context: MakeContext,
        is_voter: Callable[[PeerId], bool],
        sealed: SealedTasks,
        approvals: Approvals,
    ) -> None:
        self._peer = peer
        self._clock = world.clock
        self._host = host
        self._make_context = make_context
        self._is_voter = is_voter
        self._sealed = sealed
        self._approvals = approvals
        self.on_unapproved: Callable[[PeerId | None, ApprovalRefused], None] = lambda who, why: None
        self._core = WorkerCore(WorkerSettings(), peer.peer_id, peer.incarnation)
        self._leader: PeerId | None = None
        self._running: dict[LeaseRef, asyncio.Task[None]] = {}
        self._alarm = Alarm(world.clock, lambda: self._step(WorkerTick()))
        self._drained = asyncio.Event()
        work = Permission.TASK_WORK
        peer.serve_notice(wire.WORK, self._on_work, permission=work)
        peer.serve_notice(wire.REVOKED, self._on_revoked, permission=work)
        peer.serve_notice(wire.HEARD, self._on_heard, permission=work)
        peer.serve_notice(wire.RENEWED, self._on_renewed, permission=work)

    def start(self) -> None:
        """Say what this node can run."""
        self._step(AgentsChanged({offer.name: offer.capacity for offer in self._host.offers}))

    @property
    def held(self) -> int:
        """How many leases this node holds."""
        return self._core.held

    @property
    def running(self) -> int:
        return len(self._running)

    def leader_changed(self, leader: PeerId | None) -> None:
        if leader != self._leader:
            self._leader = leader
            self._step(LeaderChanged(leader))

    async def drain(self, timeout_s: float) -> bool:
        """Give back what was not started, finish and report the rest; False when time ran out."""
        if not self._core.held:
            return True
        self._step(DrainRequested())
        try:
            async with asyncio.timeout(timeout_s):
                await self._drained.wait()
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        self._alarm.off()
        for task in self._running.values():
            task.cancel()
        if self._running:
            await asyncio.wait(self._running.values(), timeout=0.2)

    # -- what happens --------------------------------------------------------------------------

    def _step(self, *events: WorkerEvent) -> None:
        for effect in self._core.step(*events, now_ms=self._clock.now_ms()):
            self._perform(effect)
        self._alarm.set(self._core.deadline_ms)

    def _perform(self, effect: object) -> None:
        match effect:
            case Start(work):
                ref = LeaseRef(work.task_id, work.token)
                task = asyncio.get_running_loop().create_task(self._execute(work))
                self._running[ref] = task
                task.add_done_callback(lambda done: self._ended(ref, done))
            case Cancel(task_id, token, reason):
                running = self._running.get(LeaseRef(task_id, token))
                log.info("a task is stopped", extra={"task": task_id, "reason": reason.value})
                if running is not None:
                    running.cancel()
            case AcknowledgeWork(leases):
                self._tell(wire.TAKEN, wire.lease_list(leases))
            case SendReports(reports):
                self._tell(wire.REPORT, [report_to_wire(r) for r in reports])
            case SendRenewal(number, incarnation, leases):
                self._tell(wire.RENEW, [number, incarnation, wire.lease_list(leases)])
            case Drained():
                self._drained.set()

    def _tell(self, method: str, value: Any) -> None:
        if self._leader is None:
            return
        try:
            self._peer.notify(self._leader, method, encode_payload(value))
        except P2PError as error:
            log.debug("not told: %s", error)  # the core tells it again

    async def _execute(self, work: Work) -> None:
        grant = TaskGrant(work.task_id, work.token, work.attempt)
        ref = (work.task_id, work.token)
        is_sealed = peer_meant(work.skill)[1] is not None
        try:
            await self._look_at_approval(work)
            opened = self._sealed.open_work(work)
            work = opened.work
            await self._check(work)
            result = await self._host.run_task(
                work.skill, work.payload, self._make_context(work, grant)
            )
            result = await self._sealed.seal_result(opened, result)
        except (
            BadRequest,
            NoSuchMethod,
            PermissionDenied,
            SealedRefused,
            SealingKeyRefused,
        ) as error:
            self._failed(work, error, "", is_sealed=is_sealed, retryable=False)
        except ApprovalRefused as error:
            self.on_unapproved(self._leader, error)
            may_help = isinstance(error, ApproverUnknown)
            self._failed(work, error, "", is_sealed=False, retryable=may_help)
        except GiveUp as error:
            self._failed(work, error, "", is_sealed=is_sealed, retryable=False)
        except Exception as error:  # noqa: BLE001 - a handler is not ours: all it raises is reported
            told = "".join(traceback.format_exception(error))
            self._failed(work, error, told, is_sealed=is_sealed, retryable=True)
        else:
            self._step(ExecutionFinished(*ref, result))

    async def _look_at_approval(self, work: Work) -> None:
        """
        Raises:
            ApprovalRefused: it was to be voted on, and is not approved as far as this node can see.
            KeystoreError: this node cannot write down that the approval has served.
        """
        demand = self._host.demand_of(peer_meant(work.skill)[0])
        found = self._approvals.read(work, demand)
        if found is None:
            return
        await asyncio.gather(*map(self._meet, self._approvals.strangers(found)))
        self._approvals.check(found, work, demand)
        await self._approvals.use(found, work)

    async def _check(self, work: Work) -> None:
        """
        Raises:
            PermissionDenied: it is not the submitter's to have done.
            PeerUnreachable: nobody knows, because the submitter is not here.
        """
        needed = self._host.permission_of(work.skill)
        guard = self._peer.guard
        asks_more = bool(needed & ~Permission.CALL) or guard.file is not None
        if asks_more or guard.replicated is not None:
            await self._meet(work.submitter)
        submitter = self._peer.principal_of(work.submitter)
        if submitter is None:
            if asks_more or guard.replicated is not None:
                said = "what its certificate allows is not known, and that is asked for here"
                raise PeerUnreachable(self._peer.label(work.submitter), said)
            return
        self._peer.check(submitter, Action.SUBMIT, work.skill)
        missing = needed & ~submitter.permissions
        if missing:
            raise PermissionDenied(self._peer.name, work.skill, lacking(submitter.name, missing))

    async def _meet(self, submitter: PeerId) -> None:
        """A node that has just come up has work before it has met everybody: wait a little."""
        for _ in range(round(MEET_S / LOOK_AGAIN_S)):
            if self._peer.principal_of(submitter) is not None:
                return
            await asyncio.sleep(LOOK_AGAIN_S)

    def _failed(
        self, work: Work, error: Exception, told: str, *, is_sealed: bool, retryable: bool
    ) -> None:
        text = ErrorText(type(error).__name__, str(error), told).clipped()
        if is_sealed and isinstance(error, NoSealingKey | PayloadTooLarge):
            retryable = False  # of a result that cannot go into the log sealed
        elif is_sealed and not isinstance(error, SealedRefused | SealingKeyRefused):
            # What is raised may quote what was sealed: it goes no further than our own log.
            log.info("a sealed task failed: %s", error, extra={"task": work.task_id})
            text = hidden(text)
        self._step(ExecutionFailed(work.task_id, work.token, text, retryable=retryable))

    def _ended(self, ref: LeaseRef, task: asyncio.Task[None]) -> None:
        self._running.pop(ref, None)
        if task.cancelled():
            self._step(ExecutionStopped(TaskId(ref.task_id), Token(ref.token)))

    # -- what the leader says ------------------------------------------------------------------

    def _on_work(self, peer_id: PeerId, payload: bytes) -> None:
        fields = wire.read_list(payload, 2)
        if not fields or type(fields[0]) is not int or not self._is_voter(peer_id):
            return
        work: list[Work] = []
        for raw in fields[1] if isinstance(fields[1], list) else ():
            try:
                work.append(Work.from_wire(raw))
            except ValueError:
                continue
        # Whoever tells us of decided work leads, or did a moment ago: it is told what became of it.
        self.leader_changed(peer_id)
        self._step(WorkTold(fields[0], tuple(work)))

    def _on_revoked(self, peer_id: PeerId, payload: bytes) -> None:
        if self._is_voter(peer_id):
            self._step(LeasesRevoked(wire.read_leases(wire.read_list(payload))))

    def _on_heard(self, peer_id: PeerId, payload: bytes) -> None:
        if self._is_voter(peer_id):
            answers = (ReportAnswer.from_wire(raw) for raw in wire.read_list(payload))
            self._step(ReportsAnswered(tuple(a for a in answers if a is not None)))

    def _on_renewed(self, peer_id: PeerId, payload: bytes) -> None:
        fields = wire.read_list(payload, 3)
        if fields and type(fields[0]) is int and self._is_voter(peer_id):
            renewed, lost = wire.read_leases(fields[1]), wire.read_leases(fields[2])
            self._step(RenewalAnswered(fields[0], renewed, lost))

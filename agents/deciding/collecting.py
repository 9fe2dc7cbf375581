"""Collecting the ballots on one proposal. The shell around `Collector`.

Every elector is asked directly, again and again until it has answered or the log has ended it. What
decides becomes a certificate and is handed to the log; ballots after which nothing can be approved
are handed to it when the others had a moment to make it a rejection, which can be proved. Whoever
is seen to contradict itself is reported with both ballots, also after the decision.

What this module does not know: how electors are reached, who leads, what the log makes of it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

from agents.deciding.signing import SCHEME
from agents.deciding.wire import BLOCKED, CLOSED, EVIDENCE
from consensus.ballots import (
    ApprovalImpossible,
    AskVoter,
    BallotReceived,
    BallotRefused,
    Collector,
    CollectorEffect,
    CollectorEvent,
    Decided,
    EvidenceFound,
    Opened,
    Proposal,
    Tick,
)

log = logging.getLogger("conclave.agents.collecting")

BLOCK_AFTER_S: Final = 1.0  # agents that judge have answered by then

Ask = Callable[[str, bytes], Awaitable[bytes | None]]
Record = Callable[[str, bytes], Awaitable[None]]


class Collecting:
    """The ballots on one proposal; `run` until it is over, `receive` also later.

    Args:
        ask: one elector for its ballot; None while it has none, or cannot be reached.
        record: have the log keep a certificate or evidence; it tries until the log has it.
    """

    def __init__(
        self, proposal: Proposal, ask: Ask, record: Record, now_ms: Callable[[], int]
    ) -> None:
        self.proposal = proposal
        self._ask = ask
        self._record = record
        self._now_ms = now_ms
        self._core = Collector(SCHEME)
        self._woken = asyncio.Event()
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._blocking: asyncio.Task[None] | None = None
        self._recording: set[asyncio.Task[None]] = set()
        self._is_over = False

    async def run(self) -> None:
        """Collect until it is decided and recorded, or `end` was called."""
        try:
            self._step(Opened(self.proposal))
            while not self._is_over and (deadline_ms := self._core.deadline_ms) is not None:
                self._woken.clear()
                try:
                    async with asyncio.timeout(max(0, deadline_ms - self._now_ms()) / 1000):
                        await self._woken.wait()
                except TimeoutError:
                    self._step(Tick())
            while self._recording and not self._is_over:
                await asyncio.wait(set(self._recording))
        finally:
            await self._stop_asking()

    def receive(self, sender: str, ballot: bytes) -> None:
        """A ballot that came, from whomever."""
        self._step(BallotReceived(sender, ballot))

    def end(self) -> None:
        """The log has ended it."""
        self._is_over = True
        self._woken.set()

    async def close(self) -> None:
        """Let go of everything."""
        self.end()
        tasks = list(self._recording)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._stop_asking()

    async def _stop_asking(self) -> None:
        tasks = list(self._asking.values())
        if self._blocking is not None:
            tasks.append(self._blocking)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _step(self, event: CollectorEvent) -> None:
        for effect in self._core.step(event, now_ms=self._now_ms()):
            self._perform(effect)
        self._woken.set()

    def _perform(self, effect: CollectorEffect) -> None:
        match effect:
            case AskVoter(peer_id, raw):
                if peer_id not in self._asking:
                    self._asking[peer_id] = self._begin(self._ask_one(peer_id, raw))
            case Decided(_, certificate):
                assert certificate is not None, "nobody but the log ends it without one"
                self._keep(CLOSED, certificate.to_bytes())
            case ApprovalImpossible():
                self._begin_blocking()
            case EvidenceFound(evidence):
                who = SCHEME.peer_id_of(evidence.voter)
                log.warning(
                    "a voter signed two different ballots",
                    extra={"peer": who, "decision": evidence.proposal_id},
                )
                self._keep(EVIDENCE, evidence.encode())
            case BallotRefused(sender, fault):
                log.info("a ballot of %s is not counted: %s", sender, fault.value)

    def _begin_blocking(self) -> None:
        """Others may make it a rejection yet, or a veto, of which there is a proof."""
        self._blocking = self._begin(self._block_later())

    async def _block_later(self) -> None:
        await asyncio.sleep(BLOCK_AFTER_S)
        blocking = self._core.blocking()
        if blocking is not None and not self._is_over:
            log.info("nobody can approve %s any more", blocking.proposal_id[:12])
            self._keep(BLOCKED, blocking.to_bytes())

    async def _ask_one(self, peer_id: str, raw: bytes) -> None:
        try:
            ballot = await self._ask(peer_id, raw)
        finally:
            self._asking.pop(peer_id, None)
        if ballot is not None and not self._is_over:
            self.receive(peer_id, ballot)

    def _keep(self, what: str, data: bytes) -> None:
        task = self._begin(self._record(what, data))
        self._recording.add(task)
        task.add_done_callback(self._recording.discard)

    @staticmethod
    def _begin(work: Any) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(work)

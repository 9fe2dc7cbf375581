"""The audit of one node: what happened to it, by whom, and how it ended.

`note` costs microseconds, never waits and never raises. A second later, or when a hundred wait,
they are written in a thread of their own; until then a crash loses them. Where the settings say
`required`, `record` returns only when its entry is durable, and refuses what cannot be written.

On a full disk notes wait in memory; those for which there is no room there are counted, and an
entry says how many were lost once the disk takes entries again.

What this module does not know: the format, what is worth an entry, other peers.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from agents.auditing_kinds import REPEATED, Kind
from agents.auditing_repeats import Repeats
from keys import AuditUnwritable, Identity, InvalidValue, PeerId
from keys.auditing import AuditLog, AuditNote, Checkpoint
from p2p import Clock, current_trace

log = logging.getLogger("conclave.agents.auditing")

PERIOD_S = 1.0
BATCH = 100
MAX_WAITING = 4096

Detail = Mapping[str, str | int]
OnHead = Callable[[Checkpoint], None]


class AuditSettings(NamedTuple):
    """How a node keeps its audit log.

    Attributes:
        mode: `required` refuses what administrators do when it cannot be written down.
        configuration: the settings of this start in words; a change of them is an entry.
    """

    mode: Literal["best-effort", "required"] = "best-effort"
    limit_mb: int = 64
    configuration: Mapping[str, str] = MappingProxyType({})


DEFAULT = AuditSettings()


class Audit:
    """Takes notes, and writes them.

    Args:
        on_head: told of each checkpoint once it is durable.
    """

    def __init__(
        self,
        home: Path,
        signer: Identity,
        clock: Clock,
        settings: AuditSettings = DEFAULT,
        on_head: OnHead = lambda checkpoint: None,
    ) -> None:
        self.home = home
        self.lost = 0  # since the log could last be written
        self.written = 0
        self.problem: str | None = None  # why it cannot be written just now
        self.head: Checkpoint | None = None
        self.on_head = on_head
        self._own: PeerId = signer.peer_id
        self._clock = clock
        self._required = settings.mode == "required"
        self._log = AuditLog(home, signer, limit_bytes=settings.limit_mb << 20)
        self._repeats = Repeats()
        self._waiting: list[AuditNote] = []
        self._waiters: list[asyncio.Future[None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread_id = 0
        self._timer: asyncio.TimerHandle | None = None
        self._counting: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[None] | None = None
        self._thread: ThreadPoolExecutor | None = None

    def start(self) -> None:
        """Begin to write what is noted, also what was noted before."""
        self._loop = asyncio.get_running_loop()
        self._thread_id = threading.get_ident()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="audit")
        self._wake()

    async def close(self) -> None:
        """Write what there is, and stop."""
        if self._loop is None:
            return
        for timer in (self._timer, self._counting):
            if timer is not None:
                timer.cancel()
        self._put(*self._repeats.close(self._clock.now_ms(), self._clock.wall_ms()))
        if self._writing is not None:
            await asyncio.gather(self._writing, return_exceptions=True)
        await self._write()
        self._loop = None
        if self._thread is not None:
            self._thread.shutdown(wait=False)

    # -- taking notes --------------------------------------------------------------------------

    def note(
        self,
        kind: Kind,
        subject: str = "",
        *,
        by: str = "",
        outcome: str = "ok",
        why: str = "",
        detail: Detail | None = None,
        trace: bytes = b"",
    ) -> None:
        """Take a note; from any thread.

        Args:
            subject: to whom or what it was done.
            by: who did it; this node unless said.
            why: in words; what is counted together has the same ones.
            trace: the trace id; the running one unless said.
        """
        if self._loop is not None and threading.get_ident() != self._thread_id:
            said: dict[str, Any] = {"by": by, "outcome": outcome, "why": why, "detail": detail}
            self._loop.call_soon_threadsafe(lambda: self.note(kind, subject, trace=trace, **said))
            return
        if not trace and (running := current_trace()) is not None:
            trace = running.trace_id
        fields: dict[str, str | int] = dict(detail) if detail else {}
        if why:
            fields["why"] = why
        clock = self._clock
        note = AuditNote(
            kind.value,
            clock.wall_ms(),
            clock.now_ms(),
            by or self._own,
            subject,
            outcome,
            fields,
            1,
            trace,
        )
        if kind in REPEATED:
            first = self._repeats.take(note)
            self._count_later()
            if first is None:
                return
            note = first
        self._put(note)

    async def record(
        self,
        kind: Kind,
        subject: str = "",
        *,
        by: str = "",
        outcome: str = "begun",
        detail: Detail | None = None,
    ) -> None:
        """Take a note of what is about to be done, and wait for the disk where that is required.

        Raises:
            AuditUnwritable: it must not be done, because it cannot be written down.
        """
        self.note(kind, subject, by=by, outcome=outcome, detail=detail)
        if self._required:
            await self.flush()

    async def flush(self) -> None:
        """Return when all that was noted is durable.

        Raises:
            AuditUnwritable: it is not.
        """
        if self._loop is None:
            raise AuditUnwritable(self.home, "this node is stopping")
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
        self._wake(at_once=True)
        await waiter

    # -- writing them --------------------------------------------------------------------------

    def _put(self, *notes: AuditNote) -> None:
        for note in notes:
            if len(self._waiting) >= MAX_WAITING:
                self.lost += 1
            else:
                self._waiting.append(note)
        if notes and (self._timer is None or len(self._waiting) == BATCH):
            self._wake(at_once=len(self._waiting) >= BATCH and self.problem is None)

    def _wake(self, *, at_once: bool = False) -> None:
        if self._loop is None:
            return
        if self._timer is not None:
            if not at_once:
                return
            self._timer.cancel()
        self._timer = self._loop.call_later(0 if at_once else PERIOD_S, self._begin)

    def _begin(self) -> None:
        self._timer = None
        if self._loop is None:
            return
        if self._writing is None or self._writing.done():
            self._writing = self._loop.create_task(self._write())

    def _count_later(self) -> None:
        due_ms = self._repeats.due_ms
        if self._counting is None and due_ms is not None and self._loop is not None:
            wait_s = max(0, due_ms - self._clock.now_ms()) / 1000
            self._counting = self._loop.call_later(wait_s, self._count)

    def _count(self) -> None:
        self._counting = None
        self._put(*self._repeats.due(self._clock.now_ms(), self._clock.wall_ms()))
        self._count_later()

    async def _write(self) -> None:
        assert self._loop is not None
        notes, self._waiting = self._waiting, []
        waiters, self._waiters = self._waiters, []
        lost = self.lost
        if lost:
            now = (self._clock.wall_ms(), self._clock.now_ms())
            note = AuditNote(Kind.LOG_LOST.value, *now, by=self._own, detail={"entries": lost})
            notes.insert(0, note)
        error: AuditUnwritable | None = None
        try:
            head = await self._loop.run_in_executor(self._thread, self._append, notes)
        except AuditUnwritable as failed:
            error = failed
            self._not_written(notes[1:] if lost else notes, failed)
        else:
            self.lost -= lost
            self.written += len(notes)
            self.problem = None
            if head is not None:
                self.head = head
                self.on_head(head)
        for waiter in waiters:
            if not waiter.done():
                if error is None:
                    waiter.set_result(None)
                else:
                    waiter.set_exception(error)
        if self._waiting or self._waiters:
            self._wake(at_once=bool(self._waiters))

    def _append(self, notes: list[AuditNote]) -> Checkpoint | None:
        now = {"wall_ms": self._clock.wall_ms(), "monotonic_ms": self._clock.now_ms()}
        try:
            return self._log.append(notes, **now)
        except InvalidValue:  # one of them cannot be written; it must not take the others along
            last = None
            for note in notes:
                try:
                    last = self._log.append([note], **now)
                except InvalidValue as error:
                    log.error("an audit entry cannot be written: %s", error)
            return last

    def _not_written(self, notes: list[AuditNote], error: AuditUnwritable) -> None:
        if self.problem is None:
            log.error("%s", error)
        self.problem = error.reason
        room = MAX_WAITING - len(self._waiting)
        self.lost += max(0, len(notes) - room)
        self._waiting[:0] = notes[: max(0, room)]


class NoAudit(Audit):
    """Takes notes of nothing: for parts that are tried alone."""

    def __init__(self) -> None:
        self.lost = self.written = 0
        self.problem = None
        self.head = None

    def start(self) -> None:
        return

    async def close(self) -> None:
        return

    def note(self, kind: Kind, subject: str = "", **said: Any) -> None:
        return

    async def record(self, kind: Kind, subject: str = "", **said: Any) -> None:
        return

    async def flush(self) -> None:
        return

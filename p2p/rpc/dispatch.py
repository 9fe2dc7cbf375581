"""The serving side: which method runs for a request, for whom, and for how long.

Deny by default: a method is registered with the permission that it needs, and the caller's
permission bits come from our own session table. Every request ends in exactly one answer, unless
its caller has cancelled it or its deadline has passed.

A method has a number of places. Those of low priority may take half of them, normal ones nine
tenths, those of high priority all. When three quarters are taken, no peer may hold more than its
share of them while others ask: one member's flood leaves room for the rest.

What this module does not know: sockets, envelopes, how a payload is encoded, agents.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Protocol

from keys import PeerId, Permission, Principal, lacking
from p2p.alarm import Alarm
from p2p.clock import Clock
from p2p.errors import (
    Cancelled,
    NoSuchMethod,
    Overloaded,
    P2PError,
    PermissionDenied,
    RemoteError,
)
from p2p.links import Lane
from p2p.rpc.deadlines import FirstDue
from p2p.rpc.workers import Workers
from p2p.wire import Envelope, Priority, TraceContext, running_trace

log = logging.getLogger("conclave.p2p.rpc")

HUNGRY_MS = 1000  # so long a refused peer counts among those that share a method's places


class Incoming:
    """Who asks, for what, and until when.

    Attributes:
        deadline_ms: on our own monotonic clock, or None.
        priority: a `Priority`.
    """

    __slots__ = ("caller", "deadline_ms", "method", "priority", "raw_trace")

    def __init__(
        self,
        caller: Principal,
        method: str,
        deadline_ms: int | None,
        raw_trace: bytes,
        priority: int = Priority.NORMAL,
    ) -> None:
        self.caller = caller
        self.method = method
        self.deadline_ms = deadline_ms
        self.raw_trace = raw_trace
        self.priority = priority

    @property
    def trace(self) -> TraceContext | None:
        """The trace that the caller is in, if any."""
        return TraceContext.from_bytes(self.raw_trace)


RequestHandler = Callable[[Incoming, bytes], Awaitable[bytes]]
NoticeHandler = Callable[[PeerId, bytes], None]
JobKey = tuple[PeerId, Lane, int]  # of the request, by its sender


class Job(Incoming):
    """A request on its way through here; the handler sees it as `Incoming`."""

    __slots__ = ("is_over", "key", "payload", "served", "task")

    served: Served

    def __init__(
        self, caller: Principal, peer: PeerId, lane: Lane, asked: Envelope, now_ms: int
    ) -> None:
        self.caller = caller
        self.method = asked.target
        budget_ms = asked.budget_ms
        self.deadline_ms = now_ms + budget_ms if budget_ms else None
        self.raw_trace = asked.trace
        self.priority = asked.priority
        self.key = (peer, lane, asked.id)
        self.payload = asked.payload
        self.task: asyncio.Task[None] | None = None
        self.is_over = False


class Answer(Protocol):
    """Where results go; called once a job at most."""

    def __call__(self, job: Job, result: bytes | Exception, remote_traceback: str) -> None: ...


class Served:
    """One method, and who is at it."""

    __slots__ = (
        "handler",
        "holders",
        "hungry",
        "limit",
        "mask",
        "permission",
        "places",
        "running",
        "shared_from",
    )

    def __init__(self, handler: RequestHandler, permission: Permission, limit: int) -> None:
        self.handler = handler
        self.permission = permission
        self.mask = int(permission)
        self.limit = limit
        self.places = (max(1, limit // 2), max(1, limit - limit // 10), limit)
        self.shared_from = max(1, limit * 3 // 4)
        self.running = 0
        self.holders: dict[PeerId, int] = {}
        self.hungry: dict[PeerId, int] = {}

    def has_place_for(self, job: Job, now_ms: int) -> bool:
        """Whether a request may begin; a peer that is refused is remembered for its share."""
        peer = job.key[0]
        priority = job.priority if 0 <= job.priority <= Priority.HIGH else Priority.NORMAL
        if self.running < self.places[priority]:
            if self.running < self.shared_from:
                return True
            self.hungry = {p: t for p, t in self.hungry.items() if now_ms - t < HUNGRY_MS}
            sharers = len(self.holders.keys() | self.hungry.keys() | {peer})
            if self.holders.get(peer, 0) < max(1, self.limit // sharers):
                return True
        self.hungry[peer] = now_ms
        return False


class _ServedNotice:
    __slots__ = ("handler", "mask", "permission")

    def __init__(self, handler: NoticeHandler, permission: Permission) -> None:
        self.handler = handler
        self.permission = permission
        self.mask = int(permission)


class Dispatcher:
    """Runs handlers for requests and notices.

    Args:
        clock: for deadlines.
        own_name: what errors call this peer.
        answer: gets every result.
        denied: hears whose roles did not include what a method asks for.
    """

    def __init__(
        self,
        clock: Clock,
        own_name: str,
        answer: Answer,
        denied: Callable[[PeerId, str], None] = lambda peer, method: None,
    ) -> None:
        self._clock = clock
        self._own_name = own_name
        self._answer = answer
        self._denied = denied
        self._requests: dict[str, Served] = {}
        self._notices: dict[str, _ServedNotice] = {}
        self._running: dict[JobKey, Job] = {}
        self._first = FirstDue()
        self._alarm = Alarm(clock, self._expire)
        self._workers: Workers[Job] = Workers(self._run)
        self.counts: Counter[str] = Counter()

    def serve(
        self, method: str, handler: RequestHandler, permission: Permission, limit: int = 1024
    ) -> None:
        """Answer requests for `method`; at most `limit` at once, others get `Overloaded`."""
        assert method not in self._requests, f"{method} is served already"
        assert permission, f"{method} declares no permission"
        assert limit > 0
        self._requests[method] = Served(handler, permission, limit)

    def serve_notice(self, method: str, handler: NoticeHandler, permission: Permission) -> None:
        """Pass notices of `method` to a function that neither blocks nor raises."""
        assert method not in self._notices, f"{method} is served already"
        assert permission, f"{method} declares no permission"
        self._notices[method] = _ServedNotice(handler, permission)

    def declared(self) -> dict[str, Permission]:
        """Return every served method and the permission that it asks for."""
        served = {name: s.permission for name, s in self._requests.items()}
        return served | {name: s.permission for name, s in self._notices.items()}

    def notice(self, peer: PeerId, mask: int, method: str, payload: bytes) -> None:
        """Run the notice's handler, or count why not. `mask`: the sender's permission bits."""
        served = self._notices.get(method)
        if served is None:
            self.counts["notice_unknown"] += 1
        elif served.mask & ~mask:
            self.counts["notice_denied"] += 1
            self._denied(peer, method)
        else:
            served.handler(peer, payload)

    def start(self, job: Job, mask: int) -> None:
        """Run a request; its answer is given later. `mask`: the caller's permission bits."""
        key = job.key
        if key in self._running:
            self.counts["request_repeated"] += 1
            return
        served = self._requests.get(job.method)
        if (
            served is None
            or served.mask & ~mask
            or not (
                (served.running < served.shared_from and job.priority)
                or served.has_place_for(job, self._clock.now_ms())
            )
        ):
            self.counts["request_refused"] += 1
            self._answer(job, self._refusal(served, job, mask), "")
            return
        served.running += 1
        peer = key[0]
        served.holders[peer] = served.holders.get(peer, 0) + 1
        job.served = served
        self._running[key] = job
        deadline_ms = job.deadline_ms
        if deadline_ms is not None:
            due_ms = self._first.due_ms
            if (due_ms is None or deadline_ms < due_ms) and self._first.entered(deadline_ms):
                self._alarm.set(self._first.due_ms)
        self._workers.put(job)

    def cancel(self, key: JobKey) -> None:
        """Cancel a running request whose caller no longer waits."""
        job = self._running.get(key)
        if job is not None:
            self.counts["request_cancelled"] += 1
            self._stop(job)

    def runs_for(self, peer: str) -> bool:
        """Whether a request of this peer runs."""
        return any(key[0] == peer for key in self._running)

    def forget(self, peer: str) -> None:
        """Cancel what runs for a peer that is gone."""
        for key in [k for k in self._running if k[0] == peer]:
            self.cancel(key)

    async def close(self) -> None:
        """Cancel what runs and wait until it has ended."""
        self._alarm.off()
        await self._workers.close()

    @property
    def running(self) -> int:
        return len(self._running)

    def _refusal(self, served: Served | None, job: Job, mask: int) -> RemoteError:
        name, method = self._own_name, job.method
        if served is None:
            return NoSuchMethod(name, method, "no such method is served here")
        if served.mask & ~mask:
            self._denied(job.key[0], method)
            missing = Permission(served.mask & ~mask)
            return PermissionDenied(
                name, method, lacking(job.caller.name, missing, job.caller.roles)
            )
        return Overloaded(
            name, method, f"{served.running} of {served.limit} places for it are taken"
        )

    def _stop(self, job: Job) -> None:
        """Nobody waits for this job any more."""
        if job.task is not None:
            job.task.cancel()
        else:
            self._over(job)

    def _over(self, job: Job) -> None:
        job.is_over = True
        job.task = None
        served, peer = job.served, job.key[0]
        served.running -= 1
        held = served.holders[peer] - 1
        if held:
            served.holders[peer] = held
        else:
            del served.holders[peer]
        del self._running[job.key]

    def _expire(self) -> None:
        now_ms = self._clock.now_ms()
        first_ms: int | None = None
        for job in list(self._running.values()):
            deadline_ms = job.deadline_ms
            if deadline_ms is None:
                continue
            if deadline_ms <= now_ms:
                self.counts["request_out_of_time"] += 1
                self._stop(job)
            elif first_ms is None or deadline_ms < first_ms:
                first_ms = deadline_ms
        self._first.looked(first_ms, len(self._running), now_ms)
        self._alarm.set(self._first.due_ms)

    async def _run(self, job: Job, task: asyncio.Task[None]) -> None:
        if job.is_over:
            return
        job.task = task
        token = running_trace.set(job.raw_trace)
        try:
            result = await job.served.handler(job, job.payload)
        except P2PError as error:
            self._answer(job, error, "")
        except asyncio.CancelledError:
            if not task.cancelling():  # otherwise it was us, and nobody waits for an answer
                said = "something that the handler waited for was cancelled"
                self._answer(job, Cancelled(self._own_name, job.method, said), "")
        except Exception as error:  # noqa: BLE001 - a handler is not ours: all it raises travels
            self.counts["handler_failed"] += 1
            self._answer(job, error, "".join(traceback.format_exception(error)))
        else:
            self._answer(job, result, "")
        finally:
            running_trace.reset(token)
            self._over(job)

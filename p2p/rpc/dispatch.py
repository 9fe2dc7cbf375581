"""The serving side: which method runs for a request, for whom, and for how long.

Deny by default: a method is registered with the permission that it needs, and the caller's
permission bits come from our own session table. Every request ends in exactly one answer, unless
its caller has cancelled it or its deadline has passed.

What this module does not know: sockets, how a payload is encoded, agents.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from keys import PeerId, Permission, Principal
from p2p.clock import Clock
from p2p.errors import (
    Cancelled,
    NoSuchMethod,
    Overloaded,
    P2PError,
    PermissionDenied,
    RemoteError,
)
from p2p.wire import TraceContext, use_trace

log = logging.getLogger("conclave.p2p.rpc")


@dataclass(frozen=True, slots=True)
class Incoming:
    """Who asks, for what, and until when.

    Attributes:
        deadline_ms: on our own monotonic clock, or None.
    """

    caller: Principal
    method: str
    deadline_ms: int | None
    trace: TraceContext | None


RequestHandler = Callable[[Incoming, bytes], Awaitable[bytes]]
NoticeHandler = Callable[[PeerId, bytes], None]


@dataclass(slots=True)
class _Served:
    handler: RequestHandler
    permission: Permission
    limit: int
    running: int = 0


@dataclass(frozen=True, slots=True)
class _ServedNotice:
    handler: NoticeHandler
    permission: Permission


class Dispatcher:
    """Runs handlers for requests and notices.

    Args:
        clock: for deadlines.
        own_name: what errors call this peer.
    """

    def __init__(self, clock: Clock, own_name: str) -> None:
        self._clock = clock
        self._own_name = own_name
        self._requests: dict[str, _Served] = {}
        self._notices: dict[str, _ServedNotice] = {}
        self._running: dict[tuple[str, int, int], asyncio.Task[None]] = {}
        self.counts: Counter[str] = Counter()

    def serve(
        self, method: str, handler: RequestHandler, permission: Permission, limit: int = 1024
    ) -> None:
        """Answer requests for `method`; at most `limit` at once, others get `Overloaded`."""
        assert method not in self._requests, f"{method} is served already"
        assert permission, f"{method} declares no permission"
        self._requests[method] = _Served(handler, permission, limit)

    def serve_notice(self, method: str, handler: NoticeHandler, permission: Permission) -> None:
        """Pass notices of `method` to a function that neither blocks nor raises."""
        assert method not in self._notices, f"{method} is served already"
        assert permission, f"{method} declares no permission"
        self._notices[method] = _ServedNotice(handler, permission)

    def declared(self) -> dict[str, Permission]:
        """Return every served method and the permission that it asks for."""
        served = {name: s.permission for name, s in self._requests.items()}
        return served | {name: s.permission for name, s in self._notices.items()}

    def notice(self, caller: Principal, method: str, payload: bytes) -> None:
        """Run the notice's handler, or count why not."""
        served = self._notices.get(method)
        if served is None:
            self.counts["notice_unknown"] += 1
        elif served.permission & ~caller.permissions:
            self.counts["notice_denied"] += 1
        else:
            served.handler(caller.peer_id, payload)

    def start(
        self,
        key: tuple[str, int, int],
        incoming: Incoming,
        payload: bytes,
        answer: Callable[[bytes | Exception, str], None],
    ) -> None:
        """Run a request as a task of its own; `answer(result or error, traceback)` is called once.

        Args:
            key: (peer, lane, request id), for `cancel`.
        """
        if key in self._running:
            self.counts["request_repeated"] += 1
            return
        try:
            served = self._admit(incoming)
        except RemoteError as error:
            self.counts["request_refused"] += 1
            answer(error, "")
            return
        served.running += 1
        task = asyncio.get_running_loop().create_task(self._run(served, incoming, payload, answer))
        self._running[key] = task
        task.add_done_callback(lambda _: self._finished(key, served))
        if incoming.deadline_ms is not None:
            left_s = max(0, incoming.deadline_ms - self._clock.now_ms()) / 1000
            timer = asyncio.get_running_loop().call_later(left_s, task.cancel)
            task.add_done_callback(lambda _: timer.cancel())

    def cancel(self, key: tuple[str, int, int]) -> None:
        """Cancel a running request whose caller no longer waits."""
        task = self._running.get(key)
        if task is not None:
            self.counts["request_cancelled"] += 1
            task.cancel()

    def forget(self, peer: str) -> None:
        """Cancel what runs for a peer that is gone."""
        for key in [k for k in self._running if k[0] == peer]:
            self.cancel(key)

    async def close(self) -> None:
        """Cancel what runs and wait until it has ended."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def running(self) -> int:
        return len(self._running)

    def _admit(self, incoming: Incoming) -> _Served:
        served = self._requests.get(incoming.method)
        if served is None:
            raise NoSuchMethod(self._own_name, incoming.method, "no such method is served here")
        if served.permission & ~incoming.caller.permissions:
            raise PermissionDenied(
                self._own_name,
                incoming.method,
                f"{incoming.caller.name} lacks the permission {served.permission.name}",
            )
        if served.running >= served.limit:
            raise Overloaded(
                self._own_name, incoming.method, f"{served.limit} requests already run here"
            )
        return served

    def _finished(self, key: tuple[str, int, int], served: _Served) -> None:
        served.running -= 1
        del self._running[key]

    async def _run(
        self,
        served: _Served,
        incoming: Incoming,
        payload: bytes,
        answer: Callable[[bytes | Exception, str], None],
    ) -> None:
        with use_trace(incoming.trace):
            try:
                result = await served.handler(incoming, payload)
            except P2PError as error:
                answer(error, "")
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise  # by us: nobody waits for an answer
                said = "something that the handler waited for was cancelled"
                answer(Cancelled(self._own_name, incoming.method, said), "")
            except Exception as error:  # noqa: BLE001 - a handler is not ours: all it raises travels
                self.counts["handler_failed"] += 1
                answer(error, "".join(traceback.format_exception(error)))
            else:
                answer(result, "")

"""Handlers of streams: who may open what, how many at once, and what becomes of them.

A handler whose stream ends badly gets the error where it waits for the stream; one that waits for
something else is cancelled. A handler that returns has finished its direction.

What this module does not know: how streams travel.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable

from keys import Guard, Permission, Principal, lacking
from p2p.clock import Clock
from p2p.errors import (
    Cancelled,
    DeadlineExceeded,
    NoSuchMethod,
    Overloaded,
    PermissionDenied,
    RemoteError,
)
from p2p.rpc import Incoming
from p2p.streams.stream import Stream
from p2p.wire import running_trace

StreamHandler = Callable[[Incoming, bytes, Stream], Awaitable[None]]
Handled = Callable[[Stream, Exception | None, str], None]


class _Served:
    __slots__ = ("handler", "limit", "mask", "permission", "running")

    def __init__(self, handler: StreamHandler, permission: Permission, limit: int) -> None:
        self.handler = handler
        self.permission = permission
        self.mask = int(permission)
        self.limit = limit
        self.running = 0


class Desk:
    """Runs the handlers of one peer's streams. Deny by default.

    Args:
        handled: called with the stream when its handler has ended by itself, with what it raised.
        guard: hears who was denied a method.
    """

    def __init__(
        self, clock: Clock, own_name: str, handled: Handled, guard: Guard | None = None
    ) -> None:
        self._guard = guard
        self._clock = clock
        self._own_name = own_name
        self._handled = handled
        self._served: dict[str, _Served] = {}
        self._tasks: dict[Stream, asyncio.Task[None]] = {}

    def serve(
        self, method: str, handler: StreamHandler, permission: Permission, limit: int
    ) -> None:
        assert method not in self._served, f"{method} is served already"
        assert permission, f"{method} declares no permission"
        assert limit > 0
        self._served[method] = _Served(handler, permission, limit)

    def declared(self) -> dict[str, Permission]:
        return {name: served.permission for name, served in self._served.items()}

    @property
    def running(self) -> int:
        return len(self._tasks)

    def refusal(self, method: str, caller: Principal) -> RemoteError | None:
        """Return why this caller may not open this, or None."""
        served = self._served.get(method)
        if served is None:
            return NoSuchMethod(self._own_name, method, "no such stream is served here")
        if served.mask & ~int(caller.permissions):
            if self._guard is not None:
                self._guard.deny(caller, "use", method, "role")
            lacks = lacking(caller.name, served.permission & ~caller.permissions, caller.roles)
            return PermissionDenied(self._own_name, method, lacks)
        if served.running >= served.limit:
            detail = f"all {served.limit} places for it are taken"
            return Overloaded(self._own_name, method, detail)
        return None

    def start(self, incoming: Incoming, payload: bytes, stream: Stream) -> None:
        """Run the handler; there must be no refusal."""
        served = self._served[incoming.method]
        served.running += 1
        task = asyncio.get_running_loop().create_task(self._run(served, incoming, payload, stream))
        self._tasks[stream] = task

        def ended(task: asyncio.Task[None]) -> None:
            served.running -= 1
            del self._tasks[stream]

        task.add_done_callback(ended)

    def stop(self, stream: Stream) -> None:
        """Cancel the handler of a stream, unless it is the one that asks."""
        task = self._tasks.get(stream)
        if task is not None and task is not asyncio.current_task():
            task.cancel()

    async def close(self) -> None:
        """Cancel all handlers, and return when they have ended."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(
        self, served: _Served, incoming: Incoming, payload: bytes, stream: Stream
    ) -> None:
        running_trace.set(incoming.raw_trace)
        task = asyncio.current_task()
        assert task is not None
        left_s = None
        if incoming.deadline_ms is not None:
            left_s = max(0, incoming.deadline_ms - self._clock.now_ms()) / 1000
        error: Exception | None = None
        trace = ""
        try:
            async with asyncio.timeout(left_s) as limit:
                await served.handler(incoming, payload, stream)
        except asyncio.CancelledError:
            if task.cancelling():  # by us: its stream is over, and nobody waits for a word
                raise
            said = "something that the handler waited for was cancelled"
            error = Cancelled(self._own_name, incoming.method, said)
        except Exception as raised:  # noqa: BLE001 - a handler is not ours: all it raises travels
            error, trace = raised, "".join(traceback.format_exception(raised))
            if limit.expired() and left_s is not None:
                error, trace = DeadlineExceeded(self._own_name, incoming.method, left_s), ""
        self._handled(stream, error, trace)

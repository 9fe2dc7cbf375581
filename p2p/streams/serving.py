"""Handlers of streams: who may open what, how many at once, and what becomes of them.

What this module does not know: how streams travel.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable

from keys import Permission, Principal
from p2p.clock import Clock
from p2p.errors import DeadlineExceeded, NoSuchMethod, Overloaded, PermissionDenied, RemoteError
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
    """Runs the handlers of one peer's streams. Deny by default."""

    def __init__(self, clock: Clock, own_name: str) -> None:
        self._clock = clock
        self._own_name = own_name
        self._served: dict[str, _Served] = {}
        self._tasks: dict[Stream, asyncio.Task[None]] = {}
        self._unread: set[Stream] = set()

    def serve(
        self, method: str, handler: StreamHandler, permission: Permission, limit: int
    ) -> None:
        assert method not in self._served, f"{method} is served already"
        assert permission, f"{method} declares no permission"
        self._served[method] = _Served(handler, permission, limit)

    def declared(self) -> dict[str, Permission]:
        return {name: served.permission for name, served in self._served.items()}

    def refusal(self, method: str, caller: Principal) -> RemoteError | None:
        """Return why this caller may not open this, or None."""
        served = self._served.get(method)
        if served is None:
            return NoSuchMethod(self._own_name, method, "no such stream is served here")
        if served.mask & ~int(caller.permissions):
            lacks = f"{caller.name} lacks the permission {served.permission.name}"
            return PermissionDenied(self._own_name, method, lacks)
        if served.running >= served.limit:
            detail = f"all {served.limit} places for it are taken"
            return Overloaded(self._own_name, method, detail)
        return None

    def start(self, incoming: Incoming, payload: bytes, stream: Stream, handled: Handled) -> None:
        """Run the handler; `handled` is called when it ends by itself."""
        served = self._served[incoming.method]
        served.running += 1
        task = asyncio.get_running_loop().create_task(
            self._run(served, incoming, payload, stream, handled)
        )
        self._tasks[stream] = task

        def ended(task: asyncio.Task[None]) -> None:
            served.running -= 1
            self._tasks.pop(stream, None)

        task.add_done_callback(ended)

    def stop(self, stream: Stream) -> None:
        """The stream has ended badly: its handler is cancelled."""
        self.forget(stream)
        task = self._tasks.get(stream)
        if task is not None and task is not asyncio.current_task():
            task.cancel()

    def forget(self, stream: Stream) -> None:
        self._unread.discard(stream)

    def nobody_reads(self, stream: Stream) -> None:
        """The handler has ended before the stream: throw away what still comes."""
        if not stream.is_over:
            self._unread.add(stream)

    def is_unread(self, stream: Stream) -> bool:
        return stream in self._unread

    async def close(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(
        self,
        served: _Served,
        incoming: Incoming,
        payload: bytes,
        stream: Stream,
        handled: Handled,
    ) -> None:
        running_trace.set(incoming.raw_trace)
        left_s = None
        if incoming.deadline_ms is not None:
            left_s = max(0, incoming.deadline_ms - self._clock.now_ms()) / 1000
        try:
            async with asyncio.timeout(left_s) as limit:
                await served.handler(incoming, payload, stream)
        except Exception as error:  # noqa: BLE001 - a handler is not ours: all it raises travels
            if limit.expired() and left_s is not None:
                late = DeadlineExceeded(self._own_name, incoming.method, left_s)
                handled(stream, late, "")
                return
            handled(stream, error, "".join(traceback.format_exception(error)))
        else:
            handled(stream, None, "")

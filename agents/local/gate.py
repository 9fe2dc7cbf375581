"""What stands between the `Net` that a program holds and the node that does the work.

There are two: the node itself, in the same process, and a connection to the node that runs on
this machine. Either way an operation has a name, plain parameters, and a plain answer.

What this module does not know: which operations there are.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, NamedTuple, Protocol

from agents.errors import ChannelClosed
from agents.local.channel import Duplex, GateChannel, Tag, run_duplex

Operation = Callable[[Mapping[str, Any]], Awaitable[Any]]
Stream = Callable[[Mapping[str, Any]], AsyncIterator[Any]]


class Table(NamedTuple):
    """Everything that a node does for programs, by name."""

    requests: Mapping[str, Operation]
    streams: Mapping[str, Stream]
    channels: Mapping[str, Duplex]


class Gate(Protocol):
    """Reaches a node's operations."""

    async def request(self, operation: str, params: Mapping[str, Any]) -> Any:
        """Run an operation to its end and return its answer; its errors are raised as they are."""

    def stream(self, operation: str, params: Mapping[str, Any]) -> AsyncIterator[Any]:
        """Yield what an operation reports until it ends or the iterator is closed."""

    async def open(self, operation: str, params: Mapping[str, Any]) -> GateChannel:
        """Begin an operation that takes and gives bytes; whoever opened it must close it."""


class DirectGate:
    """A node in this very process."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._running: set[asyncio.Task[Exception | None]] = set()

    async def request(self, operation: str, params: Mapping[str, Any]) -> Any:
        return await self._table.requests[operation](params)

    def stream(self, operation: str, params: Mapping[str, Any]) -> AsyncIterator[Any]:
        return self._table.streams[operation](params)

    async def open(self, operation: str, params: Mapping[str, Any]) -> GateChannel:
        def to_node(tag: Tag, body: bytes) -> None:
            far.take(tag, body)
            if tag is Tag.ABORT:
                task.cancel()

        def to_program(tag: Tag, body: bytes) -> None:
            near.take(tag, body)

        def ended(task: asyncio.Task[Exception | None]) -> None:
            self._running.discard(task)
            error = None if task.cancelled() else task.result()
            near.fail(error or ChannelClosed(operation, "the operation has ended"))
            far.fail(ChannelClosed(operation, "the operation has ended"))

        async def closed() -> None:
            await asyncio.wait([task])

        near = GateChannel(operation, to_node)
        far = GateChannel(operation, to_program)
        run = self._table.channels[operation]
        task = asyncio.get_running_loop().create_task(run_duplex(run, params, far))
        self._running.add(task)
        task.add_done_callback(ended)
        near.when_closed(closed)
        return near

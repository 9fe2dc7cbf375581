"""What stands between the `Net` that a program holds and the node that does the work.

There are two: the node itself, in the same process, and a connection to the node that runs on
this machine. Either way an operation has a name, plain parameters, and a plain answer.

What this module does not know: which operations there are.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Protocol

Operation = Callable[[Mapping[str, Any]], Awaitable[Any]]
Stream = Callable[[Mapping[str, Any]], AsyncIterator[Any]]


class Gate(Protocol):
    """Reaches a node's operations."""

    async def request(self, operation: str, params: Mapping[str, Any]) -> Any:
        """Run an operation to its end and return its answer; its errors are raised as they are."""

    def stream(self, operation: str, params: Mapping[str, Any]) -> AsyncIterator[Any]:
        """Yield what an operation reports until it ends or the iterator is closed."""


class DirectGate:
    """A node in this very process."""

    def __init__(self, operations: Mapping[str, Operation], streams: Mapping[str, Stream]) -> None:
        self._operations = operations
        self._streams = streams

    async def request(self, operation: str, params: Mapping[str, Any]) -> Any:
        return await self._operations[operation](params)

    def stream(self, operation: str, params: Mapping[str, Any]) -> AsyncIterator[Any]:
        return self._streams[operation](params)

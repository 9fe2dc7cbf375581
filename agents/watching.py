"""What happens on this node, as a stream for those who watch: the command line and the demo.

A watcher that reads too slowly loses the oldest events and is told how many.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

LIMIT = 1000


class Watching:
    """Hands events to every watcher."""

    def __init__(self) -> None:
        self._watchers: set[_Watcher] = set()

    def tell(self, event: dict[str, Any]) -> None:
        for watcher in self._watchers:
            watcher.offer(event)

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """Yield events from now on."""
        watcher = _Watcher()
        self._watchers.add(watcher)
        try:
            while True:
                yield await watcher.next()
        finally:
            self._watchers.discard(watcher)


class _Watcher:
    def __init__(self) -> None:
        self._events: deque[dict[str, Any]] = deque()
        self._arrived = asyncio.Event()
        self._lost = 0

    def offer(self, event: dict[str, Any]) -> None:
        if len(self._events) >= LIMIT:
            self._events.popleft()
            self._lost += 1
        self._events.append(event)
        self._arrived.set()

    async def next(self) -> dict[str, Any]:
        while not self._events:
            self._arrived.clear()
            await self._arrived.wait()
        event = dict(self._events.popleft())
        if self._lost:
            event["lost_before"], self._lost = self._lost, 0
        return event

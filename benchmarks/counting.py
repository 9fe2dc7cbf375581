"""A receiver that counts: how many came, and when the last of those that were expected did.

What this module does not know: what it counts.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

SILENCE_S = 5.0


class Count:
    """Call `one` for each that comes; `take` waits for so many and begins anew."""

    def __init__(self) -> None:
        self._got = 0
        self._wanted = sys.maxsize
        self._done: asyncio.Future[None] | None = None

    def one(self) -> None:
        self._got += 1
        if self._got == self._wanted and self._done is not None and not self._done.done():
            self._done.set_result(None)

    async def take(self, count: int) -> dict[str, Any]:
        """Wait for so many, or until nothing more comes."""
        self._done = asyncio.get_running_loop().create_future()
        self._wanted = count
        seen = -1
        while self._got < count and seen != self._got:
            seen = self._got
            await asyncio.wait({self._done}, timeout=SILENCE_S)
        got, self._got, self._wanted = self._got, 0, sys.maxsize
        return {"got": got, "lost": count - got, "ended_s": time.monotonic()}

"""A stream that was asked for and is not answered yet.

What this module does not know: what becomes of it.
"""

from __future__ import annotations

import asyncio

from p2p.streams.carrier import Carrier, Key
from p2p.streams.core import Verb


class Opening:
    """The question, to be asked again where it or its answer was lost, and its answer.

    Attributes:
        answered: done when the other side accepts; failed when it does not.
    """

    def __init__(self, payload: bytes, budget_ms: int, trace: bytes) -> None:
        self._payload = payload
        self._budget_ms = budget_ms
        self._trace = trace
        self.answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def ask(self, carrier: Carrier, key: Key) -> None:
        """Ask, under the same number each time.

        Raises:
            PeerUnreachable, QueueFull, PayloadTooLarge: it was not sent.
        """
        carrier.send(key, Verb.OPEN, self._payload, budget_ms=self._budget_ms, trace=self._trace)

    def settle(self, error: Exception | None) -> None:
        """The answer is here; the first one counts."""
        if self.answered.done():
            return
        if error is None:
            self.answered.set_result(None)
        else:
            self.answered.set_exception(error)
            self.answered.exception()  # seen, also where nobody waits any more

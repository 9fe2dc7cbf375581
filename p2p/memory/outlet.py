"""Everything on its way to one peer on one lane of the in-memory network, and its connection.

It tells what the real one tells, in the same order: a connection that was up is reported down
before anything else; what waits for a connection is given up after a while, and only then reported
unreachable; a refusal is news and not an end, because being admitted again lets what waits pass.

What this module does not know: who is admitted, where the peer's transport is; it is handed both.

Invariants: frames leave in the order of `push`; a frame is handed over once, so what is reported
unreachable was never handed over.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from enum import Enum, auto

from p2p.links import LinkState

CONNECT_TIMEOUT_S = 2.0
REDIAL_S = 0.1


class Carried(Enum):
    """What a connection made of a frame, or of an attempt to connect."""

    YES = auto()
    CUT = auto()  # nobody is reached
    REFUSED = auto()  # the other side does not know our key


class Outlet:
    """States, by what there is: up; waiting under a window of `CONNECT_TIMEOUT_S`; idle.

    Args:
        connect: tries to reach the other side.
        carry: hands one frame over.
        tell: hears of every change.
    """

    def __init__(
        self,
        connect: Callable[[], Carried],
        carry: Callable[[bytes], Carried],
        tell: Callable[[LinkState, str], None],
    ) -> None:
        self._connect = connect
        self._carry = carry
        self._tell = tell
        self._waiting: deque[bytes] = deque()
        self._window: asyncio.TimerHandle | None = None
        self._redial: asyncio.TimerHandle | None = None
        self._is_refused = False
        self.is_up = False
        self.waiting_bytes = 0

    def push(self, frame: bytes) -> None:
        """Take a frame; it leaves at once when there is a connection."""
        self._waiting.append(frame)
        self.waiting_bytes += len(frame)
        self.flush()

    def flush(self) -> None:
        """Hand over what waits, or dial."""
        if not self._waiting:
            return
        if not self.is_up and not self._dial():
            return
        while self._waiting:
            frame = self._waiting.popleft()
            self.waiting_bytes -= len(frame)
            carried = self._carry(frame)
            if carried is not Carried.YES:
                self.lose("the connection broke")
                self.flush()
                return

    def lose(self, reason: str) -> None:
        """The connection ended; what was handed over may be lost."""
        if self.is_up:
            self.is_up = False
            self._tell(LinkState.DOWN, reason)

    def close(self) -> int:
        """End everything without a word; returns how many frames still waited."""
        self._stop_dialling()
        count = len(self._waiting)
        self._waiting.clear()
        self.waiting_bytes = 0
        self.is_up = False
        return count

    def _dial(self) -> bool:
        answer = self._connect()
        if answer is Carried.YES:
            self._stop_dialling()
            self.is_up = True
            self._tell(LinkState.UP, "")
            return True
        loop = asyncio.get_running_loop()
        if self._window is None:
            self._window = loop.call_later(CONNECT_TIMEOUT_S, self._give_up)
        if self._redial is None:
            self._redial = loop.call_later(REDIAL_S, self._try_again)
        if answer is Carried.REFUSED and not self._is_refused:
            self._is_refused = True
            self._tell(LinkState.REFUSED, "it does not know our key")
        return False

    def _try_again(self) -> None:
        self._redial = None
        self.flush()

    def _give_up(self) -> None:
        self._window = None
        self.close()
        self._tell(LinkState.UNREACHABLE, "no answer")

    def _stop_dialling(self) -> None:
        for timer in (self._window, self._redial):
            if timer is not None:
                timer.cancel()
        self._window = self._redial = None
        self._is_refused = False

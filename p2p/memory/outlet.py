"""Everything on its way to one peer on one lane of the in-memory network, and its connection.

It tells what the real one tells, in the same order: a connection that was up is reported down
before anything else; what waits for a connection is given up after a while, and only then reported
unreachable; a refusal is news and not an end, because being admitted again lets what waits pass.

What this module does not know: who is admitted, where the peer's transport is; it is handed both.

Invariants: frames of one priority leave in the order of `push`, those of a higher one first; a
frame is handed over once, so what is reported unreachable was never handed over.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from enum import Enum, auto

from p2p.links import LaneFigures, LinkState

CONNECT_TIMEOUT_S = 2.0
REDIAL_S = 0.1
Frame = tuple[bytes, bytes | None]  # an envelope, and its body


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
        carry: Callable[[Frame], Carried],
        tell: Callable[[LinkState, str], None],
    ) -> None:
        self._connect = connect
        self._carry = carry
        self._tell = tell
        self._waiting: tuple[deque[Frame], ...] = (deque(), deque(), deque())  # by priority
        self._window: asyncio.TimerHandle | None = None
        self._redial: asyncio.TimerHandle | None = None
        self._is_refused = False
        self._frames_out = 0
        self._bytes_out = 0
        self._frames_in = 0
        self._bytes_in = 0
        self._dropped = 0
        self.refused = 0
        self.is_up = False
        self.waiting_bytes = 0

    def push(self, frame: Frame, priority: int) -> None:
        """Take a frame; it leaves at once when there is a connection."""
        self._waiting[priority].append(frame)
        self.waiting_bytes += bytes_of(frame)
        self.flush()

    def flush(self) -> None:
        """Hand over what waits, or dial."""
        if not any(self._waiting):
            return
        if not self.is_up and not self._dial():
            return
        for waiting in reversed(self._waiting):
            while waiting:
                frame = waiting.popleft()
                self.waiting_bytes -= bytes_of(frame)
                if self._carry(frame) is not Carried.YES:
                    self.lose("the connection broke")
                    self.flush()
                    return
                self._frames_out += 1
                self._bytes_out += bytes_of(frame)

    def heard(self, frame: Frame) -> None:
        """One came in from the same peer."""
        self._frames_in += 1
        self._bytes_in += bytes_of(frame)

    def lose(self, reason: str) -> None:
        """The connection ended; what was handed over may be lost."""
        if self.is_up:
            self.is_up = False
            self._tell(LinkState.DOWN, reason)

    def figures(self, under_way_bytes: int) -> LaneFigures:
        """What went on so far; every envelope is a frame of its own here."""
        return LaneFigures(
            state="up" if self.is_up else "dialling" if self._window is not None else "idle",
            queued_bytes=self.waiting_bytes + under_way_bytes,
            frames_out=self._frames_out,
            bytes_out=self._bytes_out,
            envelopes_out=self._frames_out,
            frames_in=self._frames_in,
            bytes_in=self._bytes_in,
            refused=self.refused,
            dropped=self._dropped,
        )

    def close(self) -> int:
        """End everything without a word; returns how many frames still waited."""
        self._stop_dialling()
        count = sum(map(len, self._waiting))
        for waiting in self._waiting:
            waiting.clear()
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
        self._dropped += self.close()
        self._tell(LinkState.UNREACHABLE, "no answer")

    def _stop_dialling(self) -> None:
        for timer in (self._window, self._redial):
            if timer is not None:
                timer.cancel()
        self._window = self._redial = None
        self._is_refused = False


def bytes_of(frame: Frame) -> int:
    envelope, body = frame
    return len(envelope) if body is None else len(envelope) + len(body)

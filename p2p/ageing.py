"""Papers grow old: our own record is renewed in time, and sessions end with the papers of others.

Looked at when the next session ends, and now and then, since wall clocks jump.

What this module does not know: how a session ends, what papers say.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from keys import PeerId
from p2p.clock import Clock
from p2p.gathering import Gathering
from p2p.own_papers import OwnPapers

LOOK_EVERY_S = 30.0


class Ageing:
    """
    Args:
        renewed: our record is a new one; show it.
        expire: end everything with this peer.
        look: others look, too.
    """

    def __init__(
        self,
        own: OwnPapers,
        gathering: Gathering,
        clock: Clock,
        renewed: Callable[[], None],
        expire: Callable[[PeerId], None],
        look: Callable[[], None],
    ) -> None:
        self._own = own
        self._gathering = gathering
        self._clock = clock
        self._renewed = renewed
        self._expire = expire
        self._others_look = look
        self._timer: asyncio.TimerHandle | None = None

    def look(self) -> None:
        """Look now, and then again and again."""
        if self._own.is_record_old:
            self._own.make_record()
            self._renewed()
        self._gathering.save_good()
        for peer_id in self._gathering.expired():
            self._expire(peer_id)
        self._others_look()
        self._look_soon()

    def sessions_changed(self) -> None:
        """Another session may be the next to end."""
        if self._timer is not None:
            self._look_soon()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _look_soon(self) -> None:
        end_ms = self._gathering.sessions.next_end_ms()
        delay_s = LOOK_EVERY_S
        if end_ms is not None:
            delay_s = min(delay_s, max(0, end_ms - self._clock.wall_ms()) / 1000)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(delay_s, self.look)

"""A machine that moves: another address, a cable pulled and plugged in, a lid closed and opened.

Once a second the machine is asked where it is. When that is another place, a record with the new
addresses is signed and shown to all who are present, those who are absent are dialled at once, and
connections from an address that is gone are given up: both ends would wait for heartbeats in vain.
After a nap everybody is knocked at, since we may be dead to them. mDNS follows by itself.

A knock may fail, and who is dead for a moment is not knocked at. So whoever is here and knows an
older record than ours is shown it again, until it knows: it would dial us where we are no more.

Nothing is written down: a node that dies in between signs a newer record when it starts.

What this module does not know: interfaces, sockets, what made the machine move.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence

from keys import PeerId
from p2p.discovery import LOOK_EVERY_S, Moved, NetworkWatch, Place
from p2p.gathering import Gathering
from p2p.links import Transport
from p2p.own_papers import OwnPapers
from p2p.world import World

log = logging.getLogger("conclave.p2p.roaming")

AGAIN_MS = 2_000  # the first pause before papers are shown again; each is twice as long
AGAIN_MOST_MS = 60_000


class Roaming:
    """
    Args:
        present: whom to show our papers to.
    """

    def __init__(
        self,
        world: World,
        own: OwnPapers,
        transport: Transport,
        gathering: Gathering,
        present: Callable[[], Sequence[PeerId]],
    ) -> None:
        self._world = world
        self._own = own
        self._transport = transport
        self._gathering = gathering
        self._present = present
        self._watch: NetworkWatch | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._known_to_all = 0  # the number of a record
        self._again: dict[PeerId, tuple[int, int]] = {}  # when at the earliest, and the pause then
        self.counts: Counter[str] = Counter()

    def start(self) -> None:
        """Begin to look; others know our first record."""
        self._watch = NetworkWatch(self._place(), self._world.clock.now_ms())
        self._look_soon()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def show_papers(self) -> None:
        """Introduce ourselves again to all who are present: introductions carry our papers."""
        for peer_id in self._present():
            self._gathering.knock(peer_id)

    def _place(self) -> Place:
        return Place(self._world.hosts(), self._world.networks())

    def _look_soon(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(LOOK_EVERY_S, self._look)

    def _look(self) -> None:
        self._look_soon()
        assert self._watch is not None
        change = self._watch.look(self._place(), self._world.clock.now_ms())
        if isinstance(change, Moved):
            self._move(change)
        elif change is not None:
            log.info("this node was stopped for %.1f s", change.nap_ms / 1000)
            self.counts["woken"] += 1
            self._gathering.network_changed(self._world.networks())
            self.show_papers()
        self._show_again()

    def _show_again(self) -> None:
        """Knock at those who are present and do not know our record."""
        number = self._own.record().sequence
        if number == self._known_to_all:
            return
        sessions = self._gathering.sessions
        unaware = {each.peer_id for each in sessions if each.knows_record < number}
        if not unaware:
            self._known_to_all = number
        self._again = {peer_id: at for peer_id, at in self._again.items() if peer_id in unaware}
        now_ms = self._world.clock.now_ms()
        for peer_id in sorted(unaware.intersection(self._present())):
            next_ms, pause_ms = self._again.get(peer_id, (now_ms + AGAIN_MS, AGAIN_MS))
            if now_ms >= next_ms:
                self.counts["shown_again"] += 1
                self._gathering.knock(peer_id)
                pause_ms = min(2 * pause_ms, AGAIN_MOST_MS)
                next_ms = now_ms + pause_ms
            self._again[peer_id] = (next_ms, pause_ms)

    def _move(self, moved: Moved) -> None:
        log.info("this node is at %s now", ", ".join(moved.place.hosts))
        self.counts["moved"] += 1
        self._own.make_record()
        if moved.lost:
            for peer_id in self._present():
                self._transport.redial(peer_id)
        self._gathering.network_changed(moved.place.networks)
        self.show_papers()

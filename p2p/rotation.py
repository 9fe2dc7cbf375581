"""Our CURVE key changes while we run: make before break, and nobody is asked for leave.

    1. listen under the new key, at new ports, where a stranger must be refused first
    2. sign a record with the next sequence number that names them
    3. introduce ourselves again to all who are present; their lanes and ours move over
    4. end the former key, when all know the new one and nothing is left under it, or after
       `OVERLAP_S`; but when nobody could reach the new ports, go back to the old ones and say so:
       a firewall that does not know them must not make an island of us

Nothing is written down: a process that dies anywhere between two steps starts with a fresh key and
a higher incarnation, as ever. Who was away meets the new record at the next introduction.

What this module does not know: sockets, how a lane moves, sessions' rules.

Invariant: one rotation at a time; a step that fails before the record is made changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from keys import PeerId, TransportKey
from p2p.errors import NotRunning, P2PError, RotationFailed
from p2p.gathering import Gathering
from p2p.links import Transport
from p2p.own_papers import OwnPapers
from p2p.world import World

log = logging.getLogger("conclave.p2p.rotation")

OVERLAP_S = 60.0  # peers let a former key in for a little longer, so that there is a way back
KNOCK_AGAIN_S = 1.0
LOOK_EVERY_S = 0.05
LOOKS = 2  # in a row that find nothing: a connection may be there before we hear of it
# A rotation that is due comes up to so much earlier, or nodes that were started together would
# all rotate together for ever.
JITTER = 0.2
AFTER_FAILURE = 1 / 12  # of the interval


@dataclass(frozen=True, slots=True)
class Rotated:
    """What a rotation came to.

    Attributes:
        key: the public half of the key that we have now.
        present: how many peers there were.
        missed: those who did not come over in time; they were cut and will introduce themselves.
    """

    key: bytes
    present: int
    missed: tuple[PeerId, ...]
    took_ms: int


class Rotation:
    """
    Args:
        present: who has to come over.
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
        self._clock = world.clock
        self._own = own
        self._transport = transport
        self._gathering = gathering
        self._present = present
        self._running: asyncio.Task[Rotated] | None = None
        self._schedule: asyncio.Task[None] | None = None
        self._is_open = True
        self.on_rotated: Callable[[Rotated], None] = lambda done: None
        self.count = 0

    async def rotate(self) -> Rotated:
        """Change the key; two who ask at the same time get the same change.

        Raises:
            RotationFailed: the keys are what they were.
            NotRunning: this peer is closing.
        """
        if not self._is_open:
            raise NotRunning("this peer")
        if self._running is None:
            self._running = asyncio.get_running_loop().create_task(self._rotate())
            self._running.add_done_callback(self._done)
        # Whoever asks may stop waiting; half a rotation would cut those who have not come over.
        return await asyncio.shield(self._running)

    def every(self, interval_s: float) -> None:
        """Rotate again and again from now on; never for 0."""
        if self._schedule is not None:
            self._schedule.cancel()
            self._schedule = None
        if interval_s > 0:
            self._schedule = asyncio.get_running_loop().create_task(self._repeat(interval_s))

    async def close(self) -> None:
        self._is_open = False
        tasks = [task for task in (self._schedule, self._running) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _done(self, task: asyncio.Task[Rotated]) -> None:
        self._running = None
        if not task.cancelled():
            task.exception()  # whoever waits gets it; and maybe nobody waits any more

    async def _repeat(self, interval_s: float) -> None:
        pause_s = interval_s
        while True:
            await asyncio.sleep(pause_s * (1 - JITTER * self._world.rng.random()))
            pause_s = interval_s
            try:
                await self.rotate()
            except P2PError as error:
                log.warning("%s", error)
                pause_s = interval_s * AFTER_FAILURE

    async def _rotate(self) -> Rotated:
        began_ms = self._clock.now_ms()
        key = self._world.new_key()
        ports = await self._transport.begin_rotation(key)
        former = self._own.keys()[0]
        try:
            self._tell(key, ports)
            missed = await self._until_all_know(key.public)
            if self._is_in_vain(missed):
                self._tell(former, self._transport.undo_rotation())
                await self._until_all_know(former.public)
                raise RotationFailed(
                    f"nobody came to the new ports {sorted(ports.values())}; does a firewall "
                    "let them pass?"
                )
        finally:
            if self._is_open:
                self._transport.end_rotation()
                self._own.forget_old_key()
        self.count += 1
        took_ms = self._clock.now_ms() - began_ms
        present = len(self._present())
        log.info("the transport key was changed in %d ms", took_ms, extra={"missed": len(missed)})
        done = Rotated(key.public, present, tuple(missed), took_ms)
        self.on_rotated(done)
        return done

    def _tell(self, key: TransportKey, ports: Mapping[str, int]) -> None:
        self._own.make_record(key, {**self._own.record().ports, **ports})
        for peer_id in self._present():
            self._gathering.knock(peer_id)

    def _is_in_vain(self, missed: Sequence[PeerId]) -> bool:
        """Whether there are some who know the new ports, stay at the old ones, and none came."""
        aware = len(self._present()) > len(missed)
        stay = self._transport.left_behind() > 0
        return aware and stay and self._transport.come_over() == 0

    async def _until_all_know(self, key: bytes) -> list[PeerId]:
        """Introduce ourselves to all, and wait until nothing is left under the former key; returns
        who still does not know the new one."""
        deadline_ms = self._clock.now_ms() + int(OVERLAP_S * 1000)
        knocked_ms = dict.fromkeys(self._present(), self._clock.now_ms())
        looks = 0
        while True:
            now_ms = self._clock.now_ms()
            unaware = [peer_id for peer_id in self._present() if not self._knows(peer_id, key)]
            looks = 0 if unaware or self._transport.left_behind() else looks + 1
            if now_ms >= deadline_ms or looks == LOOKS:
                return unaware
            for peer_id in unaware:
                if now_ms - knocked_ms.get(peer_id, -1 << 62) >= KNOCK_AGAIN_S * 1000:
                    knocked_ms[peer_id] = now_ms
                    self._gathering.knock(peer_id)
            await asyncio.sleep(LOOK_EVERY_S)

    def _knows(self, peer_id: PeerId, key: bytes) -> bool:
        session = self._gathering.sessions.get(peer_id)
        return session is not None and session.knows_key == key

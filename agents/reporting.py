"""Tells others how busy our agents are and how our machine is, once that has changed for seconds.

An agent's load is told in its own entry, so it costs the bytes of that agent; an idle one's entry
says nothing of it. How the machine is has an entry of its own.

What this module does not know: how figures become steps, how adverts travel, what others make of
it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from agents.busy import Loads, MachineLevel
from p2p import World

if TYPE_CHECKING:
    from agents.advertising import Advertising
    from agents.hosting.host import AgentHost

LOOK_S: Final = 1.0
MACHINE_EVERY: Final = 5  # looks


class Reporting:
    """Looks while it is started."""

    def __init__(self, world: World, host: AgentHost, advertising: Advertising) -> None:
        self._world = world
        self._host = host
        self._advertising = advertising
        self._loads = Loads()
        self._machine = MachineLevel(world.machine())
        self._before = host.occupied_ms()
        self._since_ms = world.clock.now_ms()
        self._looks = 0
        self._looking: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Tell how the machine is, and look from now on."""
        self._advertising.machine(self._machine.steps)
        self._looking = asyncio.get_running_loop().create_task(self._look())

    async def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    def told_of(self, agent: str) -> int:
        """Return what is told of one of our agents."""
        return self._loads.told(agent)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            for agent in self._loads.look(self._busy()):
                self._advertising.one(agent, is_urgent=False)
            self._looks += 1
            if self._looks % MACHINE_EVERY == 0:
                self._machine.look(self._world.machine())
                self._advertising.machine(self._machine.steps)

    def _busy(self) -> dict[str, int]:
        """How much of each agent's capacity was in use since the last look; without the idle."""
        before, now, now_ms = self._before, self._host.occupied_ms(), self._world.clock.now_ms()
        span_ms = max(1, now_ms - self._since_ms)
        self._before, self._since_ms = now, now_ms
        rooms = ((offer.name, max(1, offer.capacity)) for offer in self._host.offers)
        return {
            name: min(1000, 1000 * (now[name] - before[name]) // (span_ms * room))
            for name, room in rooms
            if now[name] != before[name]
        }

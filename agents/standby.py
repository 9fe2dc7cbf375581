"""Agents that several nodes host and one at a time serves: the others stand by.

Who serves is decided by a lock of the network, one for each agent's name; its token is the fencing
token that handlers see as `Context.fence`.

    stands by --(the lock is ours)--> starts, serves --(lost, failed, leaving)--> stops, stands by

The order of one takeover: the old one runs nothing new, is stopped, gives the lock back; only then
can the new one be granted it, start and serve. An old one that cannot give it back, because it is
dead, cut off or stands still, loses the lock when its lease has run out, and takes that for true by
its own clock at least an eighth of a lease before the log does; then it closes itself at once, and
is stopped while the new one may already start.

What is promised: terms have growing tokens and do not overlap by the holders' own clocks, as long
as these differ in speed by less than an eighth. What is not: a call that was begun is not
interrupted, and a process that stands still between looking and acting notices afterwards. So what
must not be done by two writes with the token, to something that refuses lower ones (`Fence`,
`FencedFile`, `fenced_update`).

Nothing here is kept on disk: the lock is in the log before anybody is told of it.

What this module does not know: how the lock is decided, what the agent does.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from agents.errors import AgentsError
from agents.health import Health, HealthCore, restart_delay_ms
from agents.health.keeping import CLOSED_BY, STOP_S, AgentKeeper
from agents.keeping.locks import Leadership
from p2p import P2PError

log = logging.getLogger("conclave.agents.standby")

STANDBY: Final = "standby"
LEASE_S: Final = 5.0
AGAIN_S: Final = 1.0
GIVE_BACK_S: Final = 0.5


class StandbyKeeper(AgentKeeper):
    """Keeps one agent that others may serve instead."""

    _term: Leadership | None = None
    _why_not = ""

    @property
    def fence(self) -> int | None:
        return self._term.token if self._term is not None else None

    @property
    def note(self) -> str:
        if self._term is None:
            return f"stands by{self._why_not}"
        return f"active, token {self._term.token}"

    def start(self, net: object) -> None:
        super().start(net)
        self._on_change(self.offer.name, self.core.now.state, self.core.now)

    def stand_aside(self) -> None:
        """Run nothing from now on."""
        self._host.close_agent(self.offer.name, STANDBY, "it stands by here; another node serves")

    async def close(self) -> None:
        """Stop it, and let another one have it."""
        self.stand_aside()
        self._is_leaving = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=STOP_S + GIVE_BACK_S)
        await super().close()

    async def _keep(self) -> None:
        while True:
            try:
                async with self._net.leadership(self.offer.life.role, lease=LEASE_S) as term:
                    await self._lead(term)
            except (AgentsError, P2PError) as error:
                self._say_why_not(f"; it cannot take over: {error}")
                await asyncio.sleep(AGAIN_S)
                continue
            self._say_why_not("")
            if self.core.now.state is Health.FAILED:
                await self._rest()

    async def _lead(self, term: Leadership) -> None:
        """Serve until the term or the agent's health ends, and be stopped then."""
        self._term, self._why_not = term, ""
        log.info("agent %s serves here now, token %d", self.offer.name, term.token)
        serving = asyncio.ensure_future(self._serve())
        losing = asyncio.ensure_future(term.lost.wait())
        try:
            await asyncio.wait({serving, losing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.stand_aside()  # before anything is awaited
            self._term = None
            losing.cancel()
            serving.cancel()
            await asyncio.gather(serving, losing, return_exceptions=True)
            log.info("agent %s serves here no more", self.offer.name)
            if self.core.now.state is not Health.FAILED:
                self.core = HealthCore(self._clock.now_ms())  # nobody looks at it now
            self._on_change(self.offer.name, self.core.now.state, self.core.now)
            await self._stop(STOP_S if self._is_leaving else self.offer.life.hook_limit_s)

    async def _serve(self) -> None:
        if await self._begin():
            self._host.open_agent(self.offer.name, STANDBY)
            self._on_change(self.offer.name, self.core.now.state, self.core.now)
            await self._fail(await self._look_until_failed())

    async def _rest(self) -> None:
        """It has failed, and others have their turn first; what comes then is a new beginning."""
        attempt, before = self._note_restart(), self.core.now.state
        await asyncio.sleep(AGAIN_S + restart_delay_ms(attempt, self._rng.random()) / 1000)
        self._host.renew_threads(self.offer)
        self._host.open_agent(self.offer.name, CLOSED_BY)
        self.core = HealthCore(self._clock.now_ms())
        self._tell(before)

    def _say_why_not(self, why: str) -> None:
        if why != self._why_not:
            self._why_not = why
            if why:
                log.warning("agent %s stands by%s", self.offer.name, why)
            self._on_change(self.offer.name, self.core.now.state, self.core.now)

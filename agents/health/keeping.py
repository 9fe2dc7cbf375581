"""One agent's life on its node: started, looked at, restarted in place when it fails, stopped.

A failed agent is closed first, so that nothing new is sent to it, and told to everybody; then it is
stopped, waits, gets new threads, is started and has to show that it is well. What it was running is
not interrupted. After `MAX_RESTARTS` within ten minutes `on_hopeless` hears of it; whoever
supervises this process may begin it anew. Without a supervisor it goes on, once a minute.

What this module does not know: how conditions travel, who else is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from agents.errors import AgentHopeless
from agents.health.judging import (
    Condition,
    Health,
    HealthCore,
    Verdict,
    restart_delay_ms,
    said_of,
)
from agents.health.life import run_hook
from agents.observe import one_line
from p2p import Clock

if TYPE_CHECKING:
    from agents.hosting import Offer
    from agents.hosting.host import AgentHost

log = logging.getLogger("conclave.agents.health")

CLOSED_BY: Final = "health"
MAX_RESTARTS: Final = 5
RESTARTS_WITHIN_MS: Final = 600_000
STOP_S: Final = 0.5
OWN_FAULT_MS: Final = 200  # a loop that is so late excuses a check that was not in time

Restarts = Callable[[AgentHopeless], None]


class AgentKeeper:
    """Keeps one agent while it is started.

    Args:
        net: what hooks are given, once it is there.
        lag_ms: how late the loop is.
        on_change: hears of every other state of it.
    """

    def __init__(
        self,
        offer: Offer,
        host: AgentHost,
        clock: Clock,
        rng: random.Random,
        lag_ms: Callable[[], int],
        on_change: Callable[[str, Health, Condition], None],
        on_hopeless: Restarts,
    ) -> None:
        self.offer = offer
        self._host = host
        self._clock = clock
        self._rng = rng
        self._lag_ms = lag_ms
        self._on_change = on_change
        self._on_hopeless = on_hopeless
        self.core = HealthCore(clock.now_ms())
        self._restarts: deque[int] = deque(maxlen=MAX_RESTARTS + 1)
        self._is_started = self._is_leaving = False
        self._net: Any = None
        self._task: asyncio.Task[None] | None = None
        if offer.life.on_start is not None:
            host.close_agent(offer.name, CLOSED_BY, "it has not been started yet")
        self.stand_aside()

    def start(self, net: Any) -> None:
        """Begin."""
        self._net = net
        self._task = asyncio.get_running_loop().create_task(self._keep())

    def stand_aside(self) -> None:
        """Run nothing, where another one's turn it is."""

    @property
    def fence(self) -> int | None:
        """The token under which it is active, where others take over from it."""
        return None

    @property
    def note(self) -> str:
        """What people should know of it beside its health."""
        return ""

    async def close(self) -> None:
        """Look no more, and stop the agent, if it was started."""
        self._is_leaving = True
        self._host.close_agent(self.offer.name, "leaving", "its node is leaving")
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._stop(STOP_S)

    async def _keep(self) -> None:
        if not await self._begin():
            await self._restart()
        while True:
            before = await self._look_until_failed()
            await self._fail(before)
            await self._restart()

    async def _look_until_failed(self) -> Health:
        """Return in which state it was before."""
        while True:
            await asyncio.sleep(self.offer.life.every_s)
            before = self.core.now.state
            now = self.core.look(
                self._host.sample(self.offer, self._clock.now_ms(), self._lag_ms()),
                await self._said(),
                self._clock.now_ms(),
            )
            if now is None:
                continue
            if now.state is Health.FAILED:
                return before
            self._tell(before)

    async def _said(self) -> Verdict | None:
        """The word of the agent's own check, if it has one."""
        life = self.offer.life
        if life.check is None:
            return None
        try:
            return said_of(await run_hook(life, life.check, self._net, life.limit_s))
        except TimeoutError:
            reason = f"its health check has not answered in {life.limit_s:g} s"
            is_ours = self._lag_ms() >= OWN_FAULT_MS
            return Verdict(Health.DEGRADED if is_ours else Health.FAILED, reason)
        except Exception as error:  # noqa: BLE001 - the check is not ours: all it raises is its word
            said = one_line(f"{type(error).__name__}: {error}")
            return Verdict(Health.FAILED, f"its health check raised {said}")

    # -- restarts ------------------------------------------------------------------------------

    async def _fail(self, before: Health) -> None:
        self._host.close_agent(self.offer.name, CLOSED_BY, f"it has failed: {self._reason}")
        self._tell(before)
        await self._stop(self.offer.life.hook_limit_s)

    async def _restart(self) -> None:
        """Try until it has begun again."""
        while True:
            attempt = self._note_restart()
            await asyncio.sleep(restart_delay_ms(attempt, self._rng.random()) / 1000)
            self._host.renew_threads(self.offer)
            log.info("agent %s is restarted after: %s", self.offer.name, self._reason)
            if await self._begin():
                return

    def _note_restart(self) -> int:
        """Return how many came before within the window."""
        now_ms = self._clock.now_ms()
        while self._restarts and now_ms - self._restarts[0] > RESTARTS_WITHIN_MS:
            self._restarts.popleft()
        before = len(self._restarts)
        self._restarts.append(now_ms)
        if before >= MAX_RESTARTS:
            self._on_hopeless(AgentHopeless(self.offer.name, before, self._reason))
        return before

    async def _begin(self) -> bool:
        """Start it; whether that worked."""
        life, before = self.offer.life, self.core.now.state
        try:
            self._is_started = True  # also where it fails half-way: its end tidies up
            if life.on_start is not None:
                await run_hook(life, life.on_start, self._net, life.hook_limit_s)
        except Exception as error:  # noqa: BLE001 - the hook is not ours: all it raises is a failure
            said = one_line(f"{type(error).__name__}: {error}") or "TimeoutError"
            self.core.failed(f"its start raised {said}", self._clock.now_ms())
            await self._fail(before)
            return False
        if before is Health.FAILED:
            self.core.restarted(self._clock.now_ms())
        was_closed = bool(self._host.why_closed(self.offer.name))
        self._host.open_agent(self.offer.name, CLOSED_BY)
        if was_closed or before is not self.core.now.state:
            self._tell(before)
        return True

    async def _stop(self, limit_s: float) -> None:
        life, was_started = self.offer.life, self._is_started
        self._is_started = False
        if life.on_stop is None or not was_started:
            return
        try:
            await run_hook(life, life.on_stop, self._net, limit_s)
        except TimeoutError:
            log.warning("agent %s: its end took more than %g s", self.offer.name, limit_s)
        except Exception as error:  # noqa: BLE001 - the hook is not ours, and the agent ends anyway
            said = one_line(f"{type(error).__name__}: {error}")
            log.warning("agent %s: its end raised %s", self.offer.name, said)

    @property
    def _reason(self) -> str:
        return self.core.now.reason

    def _tell(self, before: Health) -> None:
        now = self.core.now
        if now.state is not before:
            log.log(
                logging.INFO if now.state is Health.HEALTHY else logging.WARNING,
                "agent %s is %s%s",
                self.offer.name,
                now.state,
                f": {now.reason}" if now.reason else "",
            )
        with contextlib.suppress(RuntimeError):  # the node goes down just now
            self._on_change(self.offer.name, before, now)

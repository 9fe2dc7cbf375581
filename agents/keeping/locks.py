"""Locks and terms of leadership as a program holds them: `net.lock` and `net.leadership`.

    async with net.lock("printer", lease=10) as lock:
        while lock.is_valid():
            printer.print(next_page(), token=lock.token)

A lease is counted from before the claim was sent, an eighth is taken off for clocks of different
speed, and it is renewed when a third of it is gone (L5). Nobody else can be granted the lock before
our own deadline, as long as clocks differ in speed by less than that. A process may stand still
between looking and acting, so what must never be done twice checks the token (L2): `Fence`,
`FencedFile`, `fenced_update`.

What this module does not know: how the log decides, who the other holders are.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from types import TracebackType
from typing import Any, Final, Self

from agents.amounts import millis, seconds_if_any
from agents.errors import (
    AgentsError,
    InvalidArguments,
    LockHeld,
    LockLost,
    NetworkError,
    NoQuorum,
    OutcomeUnknown,
)
from agents.local import Gate
from consensus.kv import HeldLease
from p2p import Clock, P2PError

MIN_LEASE_S: Final = 0.1
CLAIM_S: Final = 5.0
WAIT_S: Final = 5.0
RETRY_S: Final = 0.1
RELEASE_S: Final = 2.0
LATE: Final = "its lease was not renewed in time"
LEADERSHIP: Final = "leadership/"  # before the names of locks that stand for a lead


class Lock:
    """One lock, held for as long as the block lasts or until it is lost.

    Attributes:
        lost: set when it is lost or was given back.
    """

    def __init__(
        self, gate: Gate, clock: Clock, name: str, lease_s: float, timeout_s: float | None
    ) -> None:
        lease_ms = millis(name, "lease", lease_s)
        if lease_s < MIN_LEASE_S:
            raise InvalidArguments(name, f"a lease is at least {MIN_LEASE_S:g} s")
        self.name = name
        self.lost = asyncio.Event()
        self._gate = gate
        self._clock = clock
        self._lease_ms = lease_ms
        self._timeout_s = seconds_if_any(name, "timeout", timeout_s)
        self._mark = secrets.token_hex(8)
        self._held: HeldLease | None = None
        self._why = ""
        self._renewing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Wait for the lock.

        Raises:
            LockHeld: another one holds it until the timeout.
            NoQuorum: nothing could be decided until the timeout.
        """
        self._held = await self._acquired()
        self._renewing = asyncio.get_running_loop().create_task(self._renew())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give it back.

        Raises:
            LockLost: the block ended well, but at its end the lock was ours no more.
        """
        assert self._renewing is not None
        self._renewing.cancel()
        await asyncio.gather(self._renewing, return_exceptions=True)
        why, was_valid = self._why, self.is_valid()
        self._lose("it was given back")  # before anybody else can get it
        if not why:
            await self._release()
        if error is None and not was_valid:
            self._say_lost(why or LATE)

    # -- while it is held ----------------------------------------------------------------------

    @property
    def token(self) -> int:
        """Greater than every token of this lock before. Hand it to whatever you write to."""
        assert self._held is not None, "the lock was never entered"
        return self._held.token

    def is_valid(self) -> bool:
        """Whether nobody else can hold the lock now."""
        held = self._held
        return held is not None and not self._why and held.is_valid(self._clock.now_ms())

    def check(self) -> None:
        """To be called just before each side effect.

        Raises:
            LockLost: the work must stop.
        """
        if not self.is_valid():
            raise LockLost(self.name, self.token, self._why or LATE)

    @property
    def remaining(self) -> float:
        """Seconds for which it is valid without another renewal."""
        if self._held is None or self._why:
            return 0.0
        return self._held.remaining_ms(self._clock.now_ms()) / 1000

    def _say_lost(self, why: str) -> None:
        raise LockLost(self.name, self.token, why)

    def _lose(self, why: str) -> None:
        self._why = self._why or why
        self.lost.set()

    # -- asking --------------------------------------------------------------------------------

    async def _ask(self, operation: str, timeout_s: float, **params: Any) -> Any:
        params |= {"name": self.name, "timeout_s": timeout_s}
        return await self._gate.request(operation, params)

    async def _acquired(self) -> HeldLease:
        began_ms = self._clock.now_ms()
        may_be_ours = False  # a claim was made whose outcome is not known (L7)
        while True:
            left_s = self._left_s(began_ms)
            sent_ms = self._clock.now_ms()
            try:
                limit_s = CLAIM_S if left_s is None else max(RETRY_S, min(CLAIM_S, left_s))
                is_granted, token = await self._ask(
                    "lock.claim", limit_s, mark=self._mark, lease_ms=self._lease_ms
                )
                if is_granted:
                    return self._granted(token, sent_ms)
                if may_be_ours:
                    held = await self._claimed_before()
                    if held is not None:
                        return held
                    may_be_ours = False
                holder = await self._when_free(token, WAIT_S if left_s is None else left_s)
            except OutcomeUnknown:
                may_be_ours = True
                continue
            except NoQuorum:
                if self._left_s(began_ms) == 0:
                    raise
                await asyncio.sleep(RETRY_S)
                continue
            if holder is not None and self._left_s(began_ms) == 0:
                raise LockHeld(self.name, holder, self._timeout_s or 0.0)

    async def _view(self, token: int, wait_s: float) -> Any:
        params = {"name": self.name, "token": token, "wait_s": wait_s}
        return await self._gate.request("lock.view", params)

    async def _claimed_before(self) -> HeldLease | None:
        """The lease, if a claim of ours was granted of which we did not hear."""
        view = await self._view(0, 0.0)
        if view is None or view[2] != self._mark:
            return None
        token, sent_ms = view[0], self._clock.now_ms()
        lease_s = self._lease_ms / 1000
        is_ours = await self._ask("lock.renew", lease_s, token=token, lease_ms=self._lease_ms)
        return self._granted(token, sent_ms) if is_ours else None

    async def _when_free(self, token: int, wait_s: float) -> str | None:
        """Wait until nobody holds it under this token; who holds it then, if anybody."""
        view = await self._view(token, min(wait_s, WAIT_S))
        return None if view is None else view[1]

    def _granted(self, token: int, sent_ms: int) -> HeldLease:
        return HeldLease.granted(self.name, token, sent_ms=sent_ms, lease_ms=self._lease_ms)

    def _left_s(self, began_ms: int) -> float | None:
        if self._timeout_s is None:
            return None
        return max(0.0, self._timeout_s - (self._clock.now_ms() - began_ms) / 1000)

    async def _renew(self) -> None:
        """Renew until it is lost."""
        assert self._held is not None
        while True:
            held = self._held
            now_ms = self._clock.now_ms()
            if not held.is_valid(now_ms):
                self._lose(LATE)
                return
            if not held.renew_due(now_ms):
                await asyncio.sleep(held.look_in_ms(now_ms) / 1000)
                continue
            left_s = held.remaining_ms(now_ms) / 1000
            try:
                async with asyncio.timeout(left_s):
                    is_held = await self._ask(
                        "lock.renew", left_s, token=held.token, lease_ms=self._lease_ms
                    )
            except (TimeoutError, NetworkError, P2PError):
                await asyncio.sleep(min(RETRY_S, left_s / 8))
                continue
            except AgentsError as error:
                self._lose(f"it cannot be renewed: {error}")
                return
            if not is_held:
                self._lose("its lease has ended")
                return
            self._held = held.renewed(sent_ms=now_ms, lease_ms=self._lease_ms)

    async def _release(self) -> None:
        """Give it back at once, if somebody can be told; or else its lease ends."""
        assert self._held is not None
        with contextlib.suppress(AgentsError, P2PError):
            await self._ask("lock.release", RELEASE_S, token=self._held.token)


class Leadership(Lock):
    """A term in which this program leads a group that has chosen a name.

    It lasts as long as the block, or until it is lost: `term.lost` says so to whoever waits. Terms
    of one name have growing tokens and never overlap, as long as each holder stops in time.
    """

    def __init__(
        self, gate: Gate, clock: Clock, name: str, lease_s: float, timeout_s: float | None
    ) -> None:
        super().__init__(gate, clock, LEADERSHIP + name, lease_s, timeout_s)

    def _say_lost(self, why: str) -> None:
        """The end of a term is no surprise: whoever leads waits for it."""

"""A node's way to the store: one session, so that no write runs twice however often it is sent.

The session is opened with the first write and kept alive while the node is up. A request whose
answer is lost is sent again as the same bytes until its deadline (R17); only then does the caller
hear that the outcome is unknown. If the session is gone, which takes a minute without a word or ten
thousand newer ones, a request of which no copy can have run goes on in a new one.

What this module does not know: how the leader decides, programs, locks beyond their operations.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any

from agents.errors import (
    AgentsError,
    CompareFailed,
    InvalidArguments,
    KeyInvalid,
    NetworkError,
    NoQuorum,
    OutcomeUnknown,
    StoreFull,
    ValueTooLarge,
)
from agents.keeping import wire
from agents.keeping.wire import MAX_KEY_BYTES, MAX_VALUE_BYTES, READ, RESERVED, WRITE, Found, What
from agents.tasking import Asking
from consensus.kv import (
    ClientId,
    ClientSession,
    Done,
    Operation,
    Outcome,
    Refusal,
    Refused,
    Reply,
    Result,
    Sent,
    SessionNotOpen,
    Unknown,
    WindowFull,
)
from p2p import Cancelled, P2PError, PermissionDenied, World

log = logging.getLogger("conclave.agents.keeping")

SESSION_MS = 60_000
KEEP_ALIVE_S = 15.0
END_S = 0.3
ATTEMPT_S = 3.0
LEAST_ATTEMPT_S = 0.2
PAUSE_S = 0.05
READ_BEFORE = "it ran once or not at all; read before you go on"


class Client:
    """One node's session with the store, and its reads of the leader."""

    def __init__(self, asking: Asking, world: World) -> None:
        self._asking = asking
        self._clock = world.clock
        self._rng = world.rng
        self._session: ClientSession | None = None
        self._opening = asyncio.Lock()
        self._room = asyncio.Event()
        self._used_ms = 0
        self._keeping: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """End the session, if there is one and somebody to tell."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        session, self._session = self._session, None
        if session is not None and session.number is not None and not session.gone:
            with contextlib.suppress(AgentsError, P2PError):
                await self._asking.ask(WRITE, [session.end()], END_S)

    # -- writes --------------------------------------------------------------------------------

    async def write(self, op: Operation, what: str, timeout_s: float) -> Result:
        """Have an operation decided, once, and return what it did or what stood in its way.

        Raises:
            NoQuorum: it did not happen.
            OutcomeUnknown: it happened once or not at all, or still may.
        """
        deadline_ms = self._clock.now_ms() + int(timeout_s * 1000)
        while True:
            session = await self._opened(deadline_ms)
            try:
                sent = session.request(op)
            except WindowFull:
                await self._until_room(what, deadline_ms)
                continue
            match await self._settled(session, sent, what, deadline_ms):
                case Done(_, results):
                    return results[0]
                case Refused(_, Refusal.SESSION_GONE):
                    self._forget(session)  # no copy of it ran
                case Refused(_, refusal, results):
                    return results[0] if results else Result(refusal)
                case Unknown(_, refusal):
                    if refusal is Refusal.SESSION_GONE:
                        self._forget(session)
                    detail = "the session has ended meanwhile" if refusal else "no answer came"
                    raise OutcomeUnknown(what, detail, READ_BEFORE)

    async def _settled(
        self, session: ClientSession, sent: Sent, what: str, deadline_ms: int
    ) -> Outcome:
        """Send a request, again if need be, until its outcome is known or the time is over."""

        is_maybe_done = False

        def lost() -> None:
            nonlocal is_maybe_done
            is_maybe_done = True
            session.lost(sent.sequence)
            session.to_resend()  # it is this one alone: each takes its own at once

        try:
            while True:
                reply = await self._ask(sent.command, deadline_ms, lost)
                self._used_ms = self._clock.now_ms()
                outcome = session.replied(sent.sequence, reply)
                if outcome is not None:
                    return outcome
                lost()
                await asyncio.sleep(PAUSE_S)
        except OutcomeUnknown as error:
            raise OutcomeUnknown(what, error.detail, READ_BEFORE) from None
        except PermissionDenied as error:
            if is_maybe_done:
                raise OutcomeUnknown(what, f"then {error}", READ_BEFORE) from None
            raise
        finally:
            if sent.sequence in session.in_flight:
                session.abandon(sent.sequence)
            self._room.set()

    async def _ask(
        self, command: bytes, deadline_ms: int, lost: Callable[[], None] = lambda: None
    ) -> Reply:
        """
        Raises:
            NoQuorum, OutcomeUnknown: nobody has answered by the deadline.
        """
        left_s = (deadline_ms - self._clock.now_ms()) / 1000
        attempt_s = max(LEAST_ATTEMPT_S, min(ATTEMPT_S, left_s / 3))
        said = await self._answer(WRITE, [command], deadline_ms, lost, attempt_s)
        reply = wire.read_reply(said)
        if reply is None:
            raise OutcomeUnknown(WRITE, "the leader's answer cannot be read")
        return reply

    async def _answer(
        self,
        method: str,
        value: list[Any],
        deadline_ms: int,
        lost: Callable[[], None] = lambda: None,
        attempt_s: float = ATTEMPT_S,
    ) -> Any:
        is_cancelled = False
        while True:
            left_s = max(0, deadline_ms - self._clock.now_ms()) / 1000
            try:
                return await self._asking.ask(
                    method, value, left_s, attempt_s=attempt_s, on_lost=lost
                )
            except Cancelled:  # the leader stopped while it was at it
                is_cancelled = True
                lost()
                await asyncio.sleep(PAUSE_S)
            except NoQuorum as error:
                if is_cancelled:
                    raise OutcomeUnknown(method, f"the leader stopped; {error.detail}") from None
                raise

    async def _until_room(self, what: str, deadline_ms: int) -> None:
        self._room.clear()
        left_s = (deadline_ms - self._clock.now_ms()) / 1000
        try:
            async with asyncio.timeout(left_s):
                await self._room.wait()
        except TimeoutError:
            raise NoQuorum(f"{what}: too many writes of this node wait for an answer") from None

    # -- the session ---------------------------------------------------------------------------

    async def _opened(self, deadline_ms: int) -> ClientSession:
        """The session, registered.

        Raises:
            NoQuorum: it cannot be opened now.
        """
        left_s = max(0, deadline_ms - self._clock.now_ms()) / 1000
        try:
            async with asyncio.timeout(left_s), self._opening:
                if self._session is None or self._session.gone:
                    client = ClientId(self._rng.randbytes(16).hex())
                    self._session = ClientSession(client, SESSION_MS)
                session = self._session
                if session.number is None:
                    session.registered(await self._ask(session.register(), deadline_ms))
                    self._used_ms = self._clock.now_ms()
                if self._keeping is None:
                    self._keeping = asyncio.get_running_loop().create_task(self._keep())
                return session
        except (OutcomeUnknown, SessionNotOpen, TimeoutError) as error:
            # Nothing was asked yet but to open a session, so nothing happened.
            raise NoQuorum(f"no session could be opened in time ({error})") from None

    def _forget(self, session: ClientSession) -> None:
        session.gone = True
        if self._session is session:
            log.info("the session with the store has ended; the next write opens another")
            self._session = None

    async def _keep(self) -> None:
        """Keep an idle session alive."""
        while True:
            idle_s = (self._clock.now_ms() - self._used_ms) / 1000
            if idle_s < KEEP_ALIVE_S:
                await asyncio.sleep(KEEP_ALIVE_S - idle_s)
                continue
            self._used_ms = self._clock.now_ms()
            session = self._session
            if session is None or session.gone or session.number is None:
                continue
            try:
                reply = await self._ask(session.keep_alive(), self._used_ms + 5000)
            except (AgentsError, P2PError) as error:
                log.debug("the session was not kept alive: %s", error)
                continue
            if reply.refusal is Refusal.SESSION_GONE:
                self._forget(session)

    # -- reads ---------------------------------------------------------------------------------

    async def read(
        self, what: What, arguments: list[Any], timeout_s: float, *, attempt_s: float = ATTEMPT_S
    ) -> Found:
        """What the leader's state says, no older than this call.

        Raises:
            NoQuorum: nobody could say in time.
        """
        try:
            deadline_ms = self._clock.now_ms() + int(timeout_s * 1000)
            value = [what.value, False, arguments]
            said = await self._answer(READ, value, deadline_ms, attempt_s=attempt_s)
        except OutcomeUnknown as error:
            raise NoQuorum(f"no answer came in time: {error.detail}") from None
        found = wire.read_found(said)
        if found is None:
            raise NetworkError(f"the leader does not understand how {what} is asked; upgrade it")
        return found


def check_key(key: str) -> None:
    """
    Raises:
        KeyInvalid: the store takes none like that.
    """
    try:
        size_bytes = len(key.encode())
    except UnicodeEncodeError:
        raise KeyInvalid(key, "it is no text that can be encoded") from None
    if not 0 < size_bytes <= MAX_KEY_BYTES:
        raise KeyInvalid(key, f"it must have 1 to {MAX_KEY_BYTES} bytes, and has {size_bytes:,}")


def check_write(key: str, value: bytes) -> None:
    """
    Raises:
        KeyInvalid, ValueTooLarge: the store would refuse it.
    """
    check_key(key)
    if key.startswith(RESERVED):
        raise KeyInvalid(key, f"what begins with {RESERVED!r} is the network's own")
    if len(value) > MAX_VALUE_BYTES:
        raise ValueTooLarge(key, len(value), MAX_VALUE_BYTES)


def raise_refusal(key: str, result: Result) -> None:
    """
    Raises:
        KeyInvalid, StoreFull, CompareFailed, InvalidArguments: if the operation was refused.
    """
    match result.refusal:
        case None:
            return
        case Refusal.KEY_INVALID:
            raise KeyInvalid(key, "the store takes no such key")
        case Refusal.STORE_FULL:
            raise StoreFull(key, "no room for so many bytes")
        case Refusal.TOO_MANY_KEYS:
            raise StoreFull(key, "as many keys as it may have")
        case Refusal.TOO_MANY_LOCKS:
            raise StoreFull(key, "as many locks as it may have")
        case Refusal.VERSION_MISMATCH | Refusal.VALUE_MISMATCH | Refusal.EXISTS | Refusal.NOT_FOUND:
            raise CompareFailed(key, result.version or None)
    raise InvalidArguments(key, f"the store refuses it: {result.refusal}")

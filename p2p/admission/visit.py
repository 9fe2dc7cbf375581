"""One conversation at the door: the asyncio protocol around a door's handshake.

What this module does not know: how many may come (`door`), what is said (`handshake`).

Invariants: a visit leaves its place exactly once; nothing is written after its end; the deadline
holds also for a visitor that never reads.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Protocol, cast

from keys import (
    JoinRefused,
    TicketExpired,
    TicketRefused,
    TicketUnknown,
    TicketUsed,
    TicketWrongSecret,
)
from p2p.admission.door_side import DoorHandshake
from p2p.admission.handshake import Admit, Close, Effect, Redeem, Send
from p2p.admission.refusals import Refusal, RefusalCode
from p2p.admission.sessions import Session

_log = logging.getLogger(__name__)

OnAnswer = Callable[[asyncio.Future[bytes]], None]

_TICKET_CODES: dict[type[TicketRefused], RefusalCode] = {
    TicketUnknown: RefusalCode.TICKET_UNKNOWN,
    TicketExpired: RefusalCode.TICKET_EXPIRED,
    TicketUsed: RefusalCode.TICKET_USED,
    TicketWrongSecret: RefusalCode.TICKET_WRONG_SECRET,
}


class Desk(Protocol):
    """What a visit needs of the door it came to. Nothing here raises or blocks."""

    deadline_s: float
    linger_s: float

    def now_ms(self) -> int: ...

    def handshake(self, host: str) -> DoorHandshake: ...

    def arrived(self, visit: Visit, host: str) -> RefusalCode | None:
        """Give a newcomer a place, or say why it has none."""

    def may_linger(self, visit: Visit) -> bool:
        """Whether one that was turned away may stay to read why."""

    def left(self, visit: Visit) -> None:
        """Free its place. Saying so twice is no harm."""

    def admit(self, session: Session) -> None: ...

    def joined(self) -> None: ...

    def ended(self, host: str, refusal: Refusal | None) -> None:
        """Count how a conversation ended."""

    def redeem(self, asked: Redeem, on_done: OnAnswer) -> bool:
        """Have the issuer answer, off the loop. False when too many wait already."""


class Visit(asyncio.Protocol):
    """A fault in a callback of the door's owner ends the visit through the loop's own exception
    handler; the visitor is then not welcomed."""

    def __init__(self, door: Desk) -> None:
        self._door = door
        self.place: int | None = None
        self._host = ""
        self._transport: asyncio.Transport
        self._timer: asyncio.TimerHandle | None = None
        self._turned_away = False
        self._over = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's TCP transports are no subclass of asyncio's, so this is not an isinstance check.
        transport = cast(asyncio.Transport, transport)
        self._transport = transport
        self._host = _host_of(transport)
        self._handshake = self._door.handshake(self._host)
        refusal = self._door.arrived(self, self._host)
        if refusal is None:
            self._arm(self._door.deadline_s)
            return
        self._turned_away = True
        self._perform(self._handshake.turn_away(refusal, "too many knocks; try again later"))
        if self._door.may_linger(self):
            self._arm(self._door.linger_s)
        else:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._turned_away:
            self._transport.close()
        elif not self._over:
            self._perform(self._handshake.receive(data, self._door.now_ms()))

    def eof_received(self) -> bool:
        self._perform(self._handshake.closed())
        return False  # and the transport closes itself

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._perform(self._handshake.closed())
        self._door.left(self)

    def cut(self) -> None:
        """End at once, without a word."""
        self._perform(self._handshake.abandon(RefusalCode.DISCONNECTED, "the door was closed"))
        self._transport.abort()

    def evict(self) -> None:
        """Make room for somebody whose source holds less."""
        self._perform(self._handshake.turn_away(RefusalCode.BUSY, "others wait too"))
        self._transport.abort()
        self._door.left(self)

    def _arm(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(seconds, self._too_late)

    def _too_late(self) -> None:
        self._perform(self._handshake.abandon(RefusalCode.DEADLINE, "it took too long"))
        self._transport.abort()

    def _perform(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(data):
                    self._transport.write(data)
                case Admit(session):
                    self._door.admit(session)
                case Redeem():
                    if not self._door.redeem(effect, self._on_redeemed):
                        self._perform(self._handshake.declined(RefusalCode.BUSY, "try again"))
                case Close(refusal):
                    self._end(refusal)
                    if not self._turned_away:
                        self._transport.close()
                case _:
                    raise AssertionError(f"a door has no {type(effect).__name__}")

    def _end(self, refusal: Refusal | None) -> None:
        assert not self._over, "an end each"
        self._over = True
        self._door.ended(self._host, refusal)

    def _on_redeemed(self, answer: asyncio.Future[bytes]) -> None:
        error = answer.exception()
        if error is None:
            self._door.joined()
            self._perform(self._handshake.granted(answer.result()))
            return
        code, text = _reason_of(error)
        if code is RefusalCode.INTERNAL:
            _log.error("the issuer could not answer a join request", exc_info=error)
        self._perform(self._handshake.declined(code, text))


def _reason_of(error: BaseException) -> tuple[RefusalCode, str]:
    match error:
        case TicketRefused():
            return _TICKET_CODES.get(type(error), RefusalCode.JOIN_REFUSED), str(error)
        case JoinRefused():
            return RefusalCode.JOIN_REFUSED, str(error)
        case _:
            # What failed is on the issuer's disk: its paths are for its own log.
            return RefusalCode.INTERNAL, "the issuer could not use its ticket book; see its log"


def _host_of(transport: asyncio.BaseTransport) -> str:
    """The remote address in its shortest form: an IPv4 address that came over IPv6 is one."""
    peername = transport.get_extra_info("peername")
    host = str(peername[0]) if peername else ""
    return host.removeprefix("::ffff:") if "." in host else host

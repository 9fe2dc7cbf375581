"""Knocking at a door over TCP: the asyncio shell around the dialer's handshake.

`converse` runs any handshake of this side over one connection; `p2p.admission.joining` uses it too.

What this module does not know: which addresses exist, how often to try, what a session is used for.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress

from keys import PeerId
from p2p.admission.credentials import Credentials
from p2p.admission.dialer import DialerHandshake
from p2p.admission.errors import failure_of
from p2p.admission.handshake import (
    Admit,
    Close,
    Effect,
    Handshake,
    Learn,
    Send,
    State,
    Told,
    Verified,
)
from p2p.admission.joiner import JoinerHandshake
from p2p.admission.messages import NONCE_BYTES, Hint
from p2p.admission.refusals import Refusal, RefusalCode
from p2p.admission.sessions import Session, SessionTable

_READ_BYTES = 4096

OnSession = Callable[[Session], None]
OnHints = Callable[[Sequence[Hint]], None]
OnTold = Callable[[bytes], None]


async def introduce(
    host: str,
    port: int,
    credentials: Credentials,
    *,
    timeout_s: float,
    sessions: SessionTable | None = None,
    expected: PeerId | None = None,
    on_verified: OnSession | None = None,
    on_session: OnSession | None = None,
    on_hints: OnHints | None = None,
    on_told: OnTold | None = None,
) -> Session:
    """Introduce ourselves at a door and return the session with whoever is behind it.

    `sessions` says which records are too old or taken. `on_session` runs when the door has
    welcomed us, in the same turn of the loop as its bytes; `on_verified` runs earlier, when only
    the papers are checked: let the key in there, so that nothing that the door sends right after
    its welcome is turned away, and start to speak in `on_session`. `on_told` gets the revocation
    list that a door shows when it refuses us; whether it is one remains to be seen.

    Raises:
        WrongNetwork: that door belongs to another network.
        IntroductionFailed: any other reason; `reason` is a word of `RefusalCode`.
    """
    address = address_text(host, port)
    handshake = DialerHandshake(
        credentials,
        sessions if sessions is not None else SessionTable(),
        secrets.token_bytes(NONCE_BYTES),
        dialled_host=host,
        expected=expected,
    )
    admitted: list[Session] = []

    def on_effect(effect: Effect) -> None:
        match effect:
            case Verified(session) if on_verified is not None:
                on_verified(session)
            case Admit(session):
                admitted.append(session)
                if on_session is not None:
                    on_session(session)
            case Learn(hints) if on_hints is not None:
                on_hints(hints)
            case Told(packed) if on_told is not None:
                on_told(packed)

    refusal = await knock(host, port, handshake, credentials.now_ms, timeout_s, on_effect)
    if refusal is not None:
        raise failure_of(address, refusal)
    return admitted[0]


def address_text(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def knock(
    host: str,
    port: int,
    handshake: DialerHandshake | JoinerHandshake,
    now_ms: Callable[[], int],
    timeout_s: float,
    on_effect: Callable[[Effect], None],
) -> Refusal | None:
    """One connection from its beginning to its end, within the time; why it failed, or None."""
    try:
        async with asyncio.timeout(timeout_s):
            async with Conversation(host, port, handshake, now_ms, on_effect) as conversation:
                conversation.perform(handshake.start())
                return await conversation.until_over()
    except TimeoutError:
        return deadline_passed(timeout_s, is_connected=handshake.state is not State.OPENING)
    except OSError as error:
        return unreachable(error)


def deadline_passed(timeout_s: float, *, is_connected: bool) -> Refusal:
    """Who takes the connection and says nothing is there, and busy or no door of ours."""
    if is_connected:
        return Refusal(RefusalCode.DEADLINE, f"no answer within {timeout_s:g} s")
    return Refusal(RefusalCode.UNREACHABLE, f"no connection within {timeout_s:g} s")


def unreachable(error: OSError) -> Refusal:
    """In the words of the operating system; asyncio's own repeat the address instead."""
    number = error.errno or 0
    # Errors of name resolution have negative numbers, and several failures at once have none.
    words = os.strerror(number) if number > 0 else error.strerror or str(error)
    return Refusal(RefusalCode.UNREACHABLE, words or type(error).__name__)


class Conversation:
    """A connection to a door and the handshake that runs over it.

    Raises OSError on entering when nothing listens there. Effects other than `Send` and `Close`
    go to `on_effect`, in order.
    """

    def __init__(
        self,
        host: str,
        port: int,
        handshake: Handshake,
        now_ms: Callable[[], int],
        on_effect: Callable[[Effect], None],
    ) -> None:
        self._address = (host, port)
        self._handshake = handshake
        self._now_ms = now_ms
        self._on_effect = on_effect
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter

    async def __aenter__(self) -> Conversation:
        host, port = self._address
        self._reader, self._writer = await asyncio.open_connection(host, port)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if not self._handshake.is_over:
            self._writer.transport.abort()
        self._writer.close()
        # Nothing is owed to us any more, so how the other side ends the connection is all the same.
        with suppress(OSError):
            await self._writer.wait_closed()

    def perform(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(data):
                    self._writer.write(data)
                case Close():
                    pass  # the loop in `until_over` ends
                case _:
                    self._on_effect(effect)

    async def until_over(self) -> Refusal | None:
        """Feed the handshake until it is over; its refusal, or None when it ended well."""
        while not self._handshake.is_over:
            await self.listen_once()
        return self._handshake.refusal

    async def listen_once(self) -> None:
        try:
            data = await self._reader.read(_READ_BYTES)
        except ConnectionError:
            data = b""
        if data:
            self.perform(self._handshake.receive(data, self._now_ms()))
        else:
            self.perform(self._handshake.closed())

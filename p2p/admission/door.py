"""The introduction door: a TCP listener for strangers, in front of everything else.

It is plain text on purpose. What is said here are public facts, signed, and a proof that the
speaker holds the key they name; the CURVE sockets behind the allow-list carry everything else.
Nothing of a stranger is stored but a bounded buffer, for a bounded time, by a bounded number.

What this module does not know: the protocol (`handshake`), what a session leads to (`on_session`),
how a ticket is redeemed (`keys.Issuer`, or whatever has its `redeem`).

Invariants: a conversation ends within `deadline_s`; at most `max_open` are open, and as many again
are being told that they are too many; no input makes a traceback; every ending is counted.
"""

from __future__ import annotations

import asyncio
import errno
import secrets
import socket
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from keys import PeerId
from p2p.admission.credentials import Credentials
from p2p.admission.door_side import DoorHandshake, HintSource
from p2p.admission.handshake import Redeem
from p2p.admission.introduce import OnSession
from p2p.admission.limits import RateLimit, Shares, source_of
from p2p.admission.messages import NONCE_BYTES, Hint
from p2p.admission.refusals import Refusal, RefusalCode
from p2p.admission.sessions import Session, SessionTable
from p2p.admission.visit import OnAnswer, Visit
from p2p.errors import NotRunning, PortInUse

BACKLOG = 128
# One that was revoked is told by which list, of up to 70 KiB, so often.
TELL_PER_S = 0.1
TELL_BURST = 2


@dataclass(frozen=True, slots=True)
class DoorSettings:
    host: str = "0.0.0.0"
    port: int = 4747  # 0 takes a free one
    deadline_s: float = 5.0  # for a whole conversation
    max_open: int = 64
    rate_per_s: float = 16.0  # knocks of one source, in the long run
    burst: int = 64  # and at once: a machine may run dozens of nodes
    linger_s: float = 1.0  # for one that was turned away to read why


class Redeemer(Protocol):
    """What the door needs of `keys.Issuer`. Called in a thread of its own, one call at a time."""

    def redeem(self, request: bytes, door_transcript: bytes, now_ms: int) -> bytes: ...


BOTH_FAMILIES = frozenset({"::", "*"})

OnRefused = Callable[[str, Refusal], None]


class Door:
    """Use it as `async with`, or `start` and `close`.

    `on_session` runs before the newcomer is welcomed, on the loop; `on_refused` gets the remote
    host and the reason of every conversation that ended badly, for the audit and the doctor.
    """

    def __init__(
        self,
        settings: DoorSettings,
        credentials: Credentials,
        sessions: SessionTable,
        *,
        on_session: OnSession,
        hints: HintSource | None = None,
        issuer: Redeemer | None = None,
        on_refused: OnRefused | None = None,
    ) -> None:
        self._settings = settings
        self.deadline_s = settings.deadline_s
        self.linger_s = settings.linger_s
        self._credentials = credentials
        self._sessions = sessions
        self._on_session = on_session
        self._hints = hints if hints is not None else self._hints_of_sessions
        self._issuer = issuer
        self._on_refused = on_refused
        self._rate = RateLimit(settings.rate_per_s, settings.burst)
        self._telling = RateLimit(TELL_PER_S, TELL_BURST)
        self._shares = Shares(settings.max_open)
        self._visits: dict[int, Visit] = {}  # by place
        self._lingering: set[Visit] = set()
        self._redeeming: set[asyncio.Future[bytes]] = set()
        self._counts: Counter[str] = Counter()
        self._server: asyncio.Server | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._closing = False

    async def __aenter__(self) -> Door:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def start(self) -> int:
        """Listen, and return the port.

        Raises:
            PortInUse: another process has it.
        """
        assert self._server is None, "a door is opened once"
        settings = self._settings
        loop = asyncio.get_running_loop()
        try:
            if settings.host in BOTH_FAMILIES:
                self._server = await loop.create_server(
                    lambda: Visit(self), sock=_both_families(settings.port), backlog=BACKLOG
                )
            else:
                self._server = await loop.create_server(
                    lambda: Visit(self), settings.host, settings.port, backlog=BACKLOG
                )
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortInUse(settings.host, settings.port) from error
            raise
        return self.port

    @property
    def port(self) -> int:
        """
        Raises:
            NotRunning: the door is not open.
        """
        if self._server is None or not self._server.sockets:
            raise NotRunning("the introduction door")
        port = self._server.sockets[0].getsockname()[1]
        assert isinstance(port, int)
        return port

    def issue(self, issuer: Redeemer) -> None:
        """Redeem tickets from now on."""
        self._issuer = issuer

    async def close(self) -> None:
        """Stop listening, cut every conversation, let a redemption that began reach the disk."""
        if self._server is None or self._closing:
            return
        self._closing = True
        self._server.close()
        for visit in (*self._visits.values(), *self._lingering):
            visit.cut()
        if self._redeeming:
            await asyncio.wait(self._redeeming, timeout=self._settings.deadline_s)
        if self._thread is not None:
            self._thread.shutdown(wait=False)
        await self._server.wait_closed()

    def counters(self) -> Mapping[str, int]:
        """By name: knocks, admitted, joined, evicted, open, refused_<code>, refused_us_<code>."""
        return {**self._counts, "open": len(self._shares)}

    def check_invariants(self) -> None:
        self._shares.check_invariants()
        assert len(self._visits) == len(self._shares), "a place each"
        assert len(self._lingering) <= self._settings.max_open, "bounded"

    # What a visit asks of its door: `visit.Desk`.

    def now_ms(self) -> int:
        return self._credentials.now_ms()

    def handshake(self, host: str) -> DoorHandshake:
        return DoorHandshake(
            self._credentials,
            self._sessions,
            secrets.token_bytes(NONCE_BYTES),
            hints=self._hints,
            may_tell=self._may_tell,
            issues=self._issuer is not None,
            observed_host=host,
        )

    def _may_tell(self, peer_id: PeerId) -> bool:
        now_ms = round(asyncio.get_running_loop().time() * 1000)
        may = self._telling.take(peer_id, now_ms)
        self._counts["revoked_told"] += may
        return may

    def arrived(self, visit: Visit, host: str) -> RefusalCode | None:
        self._counts["knocks"] += 1
        if self._closing:
            return RefusalCode.BUSY
        source = source_of(host)
        now_ms = round(asyncio.get_running_loop().time() * 1000)
        if not self._rate.take(source, now_ms):
            return RefusalCode.RATE_LIMITED
        if self._shares.is_full:
            oldest = self._shares.to_evict(source)
            if oldest is None:
                return RefusalCode.BUSY
            self._counts["evicted"] += 1
            self._visits[oldest].evict()
            assert not self._shares.is_full, "an evicted visit has left"
        visit.place = self._shares.take(source)
        self._visits[visit.place] = visit
        return None

    def may_linger(self, visit: Visit) -> bool:
        if len(self._lingering) >= self._settings.max_open or self._closing:
            return False
        self._lingering.add(visit)
        return True

    def left(self, visit: Visit) -> None:
        self._lingering.discard(visit)
        if visit.place is not None:
            del self._visits[visit.place]
            self._shares.give_up(visit.place)
            visit.place = None

    def admit(self, session: Session) -> None:
        self._on_session(session)
        self._counts["admitted"] += 1

    def ended(self, host: str, refusal: Refusal | None) -> None:
        if refusal is None:
            return
        who = "refused_us" if refusal.theirs else "refused"
        self._counts[f"{who}_{refusal.code.value}"] += 1
        if self._on_refused is not None:
            self._on_refused(host, refusal)

    def joined(self) -> None:
        self._counts["joined"] += 1

    def redeem(self, asked: Redeem, on_done: OnAnswer) -> bool:
        assert self._issuer is not None, "the handshake asks an issuer only"
        if len(self._redeeming) >= self._settings.max_open or self._closing:
            return False
        if self._thread is None:
            self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="redeem")
        answer = asyncio.get_running_loop().run_in_executor(
            self._thread, self._issuer.redeem, asked.request, asked.transcript, self.now_ms()
        )
        self._redeeming.add(answer)
        answer.add_done_callback(self._redeeming.discard)
        answer.add_done_callback(on_done)
        return True

    def _hints_of_sessions(self, peer_id: PeerId | None) -> Sequence[Hint]:
        return self._sessions.hints(but_for=peer_id)


def _both_families(port: int) -> socket.socket:
    """Bind IPv6 and IPv4 at one port, as libzmq does; by itself asyncio binds IPv6 alone."""
    made = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        made.bind(("::", port))
    except BaseException:
        made.close()
        raise
    return made

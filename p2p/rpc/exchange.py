"""Requests and notices over a transport: the shell around the table and the dispatcher.

Sends are at most once: a request is never repeated here. A deadline travels as what is left of it,
and the remote handler is cancelled when it passes or when the caller stops waiting.

What this module does not know: discovery, certificates, what a payload means.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from keys import PeerId, Permission, Principal
from p2p.clock import Clock
from p2p.errors import ConnectionLost, DeadlineExceeded, Overloaded, P2PError, PeerUnreachable
from p2p.links import Lane, LinkChanged, LinkState, Transport
from p2p.rpc.dispatch import Dispatcher, Incoming, NoticeHandler, RequestHandler
from p2p.rpc.requests import Pending, RequestTable
from p2p.wire import (
    MAX_ENVELOPE_BYTES,
    Envelope,
    Kind,
    Priority,
    TraceContext,
    current_trace,
    decode_fault,
    encode_envelope,
    encode_fault,
)

SWEEP_MS = 5


@dataclass(frozen=True, slots=True)
class ExchangeSettings:
    max_pending: int = 65_536
    default_timeout_s: float = 10.0


class Exchange:
    """The requests of one peer, in both directions.

    Args:
        own: our own id; requests to it are served without the network.
        transport: carries the envelopes.
        principal_of: the session table's view of a peer, or None for a stranger.
        label: how errors and logs name a peer.
    """

    def __init__(
        self,
        own: Principal,
        transport: Transport,
        clock: Clock,
        rng: random.Random,
        principal_of: Callable[[PeerId], Principal | None],
        label: Callable[[PeerId], str],
        settings: ExchangeSettings | None = None,
    ) -> None:
        self._own = own
        self._transport = transport
        self._clock = clock
        self._rng = rng
        self._principal_of = principal_of
        self._label = label
        self._settings = settings or ExchangeSettings()
        self._dispatcher = Dispatcher(clock, own.name)
        self._tables: dict[Lane, RequestTable[asyncio.Future[bytes]]] = {
            lane: RequestTable(self._settings.max_pending) for lane in Lane
        }
        self._sequences: Counter[tuple[PeerId, Lane]] = Counter()
        self._sweeper: asyncio.TimerHandle | None = None
        self._sweep_at_ms = 0

    @property
    def counts(self) -> Counter[str]:
        return self._dispatcher.counts

    @property
    def pending(self) -> int:
        return sum(len(table) for table in self._tables.values())

    @property
    def running(self) -> int:
        return self._dispatcher.running

    def serve(
        self, method: str, handler: RequestHandler, permission: Permission, limit: int = 1024
    ) -> None:
        """See `Dispatcher.serve`."""
        self._dispatcher.serve(method, handler, permission, limit)

    def serve_notice(self, method: str, handler: NoticeHandler, permission: Permission) -> None:
        """See `Dispatcher.serve_notice`."""
        self._dispatcher.serve_notice(method, handler, permission)

    def declared(self) -> dict[str, Permission]:
        return self._dispatcher.declared()

    async def request(
        self,
        to: PeerId,
        method: str,
        payload: bytes,
        *,
        timeout_s: float | None = None,
        lane: Lane = Lane.DATA,
        what: str = "",
    ) -> bytes:
        """Ask a peer and return its answer.

        Args:
            what: how errors call this request; the method's name unless said.

        Raises:
            PeerUnreachable, QueueFull, PayloadTooLarge, Overloaded: definitely not done.
            DeadlineExceeded, ConnectionLost: it may have been done.
            RemoteError: the other side's answer is a failure.
        """
        limit_s = self._settings.default_timeout_s if timeout_s is None else timeout_s
        budget_ms = max(1, int(limit_s * 1000))
        now_ms = self._clock.now_ms()
        deadline_ms = now_ms + budget_ms
        table = self._tables[lane]
        if table.is_full:
            raise Overloaded(
                self._own.name, method, f"{self._settings.max_pending} requests already wait here"
            )
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        request_id = table.open(to, what or method, now_ms, budget_ms, future)
        trace = self._trace()
        try:
            if to == self._own.peer_id:
                self._serve_own(request_id, lane, method, deadline_ms, trace, payload)
            else:
                self._send(
                    to, lane, Kind.REQUEST, request_id, method, budget_ms, trace.to_bytes(), payload
                )
            self._arm(deadline_ms)
            return await future
        except (P2PError, asyncio.CancelledError) as error:
            abandoned = table.abandon(request_id)
            if abandoned is not None and isinstance(error, asyncio.CancelledError):
                self._send_cancel(to, lane, request_id)
            raise

    def notify(self, to: PeerId, method: str, payload: bytes, *, lane: Lane = Lane.DATA) -> None:
        """Send without waiting for anything; it arrives at most once.

        Raises:
            PeerUnreachable, QueueFull, PayloadTooLarge: definitely not sent.
        """
        if to == self._own.peer_id:
            self._dispatcher.notice(self._own, method, payload)
            return
        trace = current_trace()
        self._send(to, lane, Kind.NOTIFY, 0, method, 0, trace.to_bytes() if trace else b"", payload)

    def on_envelope(self, peer: PeerId, lane: Lane, envelope: Envelope) -> None:
        """Take one envelope of an admitted peer."""
        kind = envelope.kind
        if kind == Kind.REPLY or kind == Kind.FAULT:
            found = self._tables[lane].settle(envelope.id, peer)
            if found is not None and not found.token.done():
                if kind == Kind.REPLY:
                    found.token.set_result(envelope.payload)
                else:
                    found.token.set_exception(
                        decode_fault(envelope.payload, self._label(peer), found.what)
                    )
            return
        caller = self._principal_of(peer)
        if caller is None:
            self.counts["caller_unknown"] += 1
        elif kind == Kind.NOTIFY:
            self._dispatcher.notice(caller, envelope.target, envelope.payload)
        elif kind == Kind.REQUEST:
            self._serve(caller, peer, lane, envelope)
        elif kind == Kind.CANCEL:
            self._dispatcher.cancel((peer, lane, envelope.id))

    def on_link(self, change: LinkChanged) -> None:
        """End what a broken connection still owed.

        A refusal ends nothing yet: what waits leaves after the next introduction, or the
        transport gives it up and says unreachable.
        """
        if change.state is LinkState.UP or change.state is LinkState.REFUSED:
            return
        for _, pending in self._tables[change.lane].lose(change.peer_id):
            label = self._label(change.peer_id)
            if change.state is LinkState.UNREACHABLE:
                self._fail(pending, PeerUnreachable(label, change.reason or change.state))
            else:
                reason = change.reason or "the connection broke"
                self._fail(pending, ConnectionLost(label, pending.what, reason))

    def lose(self, peer: PeerId, reason: str) -> None:
        """End everything with a peer that is gone."""
        for table in self._tables.values():
            for _, pending in table.lose(peer):
                self._fail(pending, ConnectionLost(self._label(peer), pending.what, reason))
        self._dispatcher.forget(peer)
        for lane in Lane:
            self._sequences.pop((peer, lane), None)

    async def close(self) -> None:
        """End all requests in both directions."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        await self._dispatcher.close()
        for table in self._tables.values():
            for _, pending in table.expire(2**62):
                label = self._label(PeerId(pending.peer))
                self._fail(pending, ConnectionLost(label, pending.what, "this peer is stopping"))

    def _trace(self) -> TraceContext:
        trace = current_trace()
        return trace.child(self._rng) if trace else TraceContext.begin(self._rng)

    def _send(
        self,
        to: PeerId,
        lane: Lane,
        kind: Kind,
        request_id: int,
        target: str,
        budget_ms: int,
        trace: bytes,
        payload: bytes,
    ) -> None:
        self._sequences[to, lane] += 1
        envelope = Envelope(
            kind,
            request_id,
            self._sequences[to, lane],
            target,
            budget_ms,
            Priority.NORMAL,
            trace,
            payload,
        )
        self._transport.send(to, lane, encode_envelope(envelope))

    def _send_cancel(self, to: PeerId, lane: Lane, request_id: int) -> None:
        if to == self._own.peer_id:
            self._dispatcher.cancel((to, lane, request_id))
            return
        try:
            self._send(to, lane, Kind.CANCEL, request_id, "", 0, b"", b"")
        except P2PError:
            self.counts["cancel_unsent"] += 1

    def _serve_own(
        self,
        request_id: int,
        lane: Lane,
        method: str,
        deadline_ms: int,
        trace: TraceContext,
        payload: bytes,
    ) -> None:
        def answer(result: bytes | Exception, remote_traceback: str) -> None:
            found = self._tables[lane].settle(request_id, self._own.peer_id)
            if found is None or found.token.done():
                return
            if isinstance(result, bytes):
                found.token.set_result(result)
            else:
                fault = encode_fault(result, remote_traceback)
                found.token.set_exception(decode_fault(fault, self._own.name, found.what))

        incoming = Incoming(self._own, method, deadline_ms, trace)
        self._dispatcher.start((self._own.peer_id, lane, request_id), incoming, payload, answer)

    def _serve(self, caller: Principal, peer: PeerId, lane: Lane, envelope: Envelope) -> None:
        def answer(result: bytes | Exception, remote_traceback: str) -> None:
            kind, payload = Kind.REPLY, result
            if isinstance(payload, bytes) and len(payload) > MAX_ENVELOPE_BYTES:
                payload = ValueError(
                    f"the result has {len(payload):,} bytes; the limit is {MAX_ENVELOPE_BYTES:,}"
                )
            if isinstance(payload, Exception):
                kind, payload = Kind.FAULT, encode_fault(payload, remote_traceback)
            try:
                self._send(peer, lane, kind, envelope.id, "", 0, b"", payload)
            except P2PError:
                self.counts["answer_unsent"] += 1

        deadline_ms = self._clock.now_ms() + envelope.budget_ms if envelope.budget_ms else None
        trace = TraceContext.from_bytes(envelope.trace)
        incoming = Incoming(caller, envelope.target, deadline_ms, trace)
        self._dispatcher.start((peer, lane, envelope.id), incoming, envelope.payload, answer)

    def _arm(self, deadline_ms: int) -> None:
        if self._sweeper is not None and self._sweep_at_ms <= deadline_ms + SWEEP_MS:
            return
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._sweep_at_ms = deadline_ms + SWEEP_MS
        delay_s = max(0, self._sweep_at_ms - self._clock.now_ms()) / 1000
        self._sweeper = asyncio.get_running_loop().call_later(delay_s, self._sweep)

    def _sweep(self) -> None:
        self._sweeper = None
        now_ms = self._clock.now_ms()
        for lane, table in self._tables.items():
            for request_id, pending in table.expire(now_ms):
                peer = PeerId(pending.peer)
                waited_s = pending.budget_ms / 1000
                self._fail(pending, DeadlineExceeded(self._label(peer), pending.what, waited_s))
                self._send_cancel(peer, lane, request_id)
        deadlines = [t.deadline_ms for t in self._tables.values() if t.deadline_ms is not None]
        if deadlines:
            self._arm(min(deadlines))

    @staticmethod
    def _fail(pending: Pending[asyncio.Future[bytes]], error: P2PError) -> None:
        if not pending.token.done():
            pending.token.set_exception(error)

"""Requests and notices over a transport: the shell around the table and the dispatcher.

Sends are at most once: a request is never repeated here. A deadline travels as what is left of it,
and the remote handler is cancelled when it passes or when the caller stops waiting.

Whatever can be done once a frame is not done once an envelope: who the sender is and what it may
do is looked up when its frame arrives.

What this module does not know: discovery, certificates, what a payload means.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from keys import Guard, PeerId, Permission, Principal
from p2p.alarm import Alarm
from p2p.clock import Clock
from p2p.errors import (
    Cancelled,
    ConnectionLost,
    DeadlineExceeded,
    MisuseError,
    Overloaded,
    P2PError,
    PeerUnreachable,
)
from p2p.links import Lane, LinkChanged, LinkState, Transport
from p2p.rpc.dispatch import Dispatcher, Job, NoticeHandler, RequestHandler
from p2p.rpc.requests import RequestTable
from p2p.wire import (
    MAX_ENVELOPE_BYTES,
    Envelope,
    Kind,
    Priority,
    Spans,
    decode_fault,
    encode_envelope,
    encode_fault,
    running_trace,
)

# As plain integers: the members of an enum are looked up and compared at ten times the price.
_REQUEST, _REPLY, _FAULT = int(Kind.REQUEST), int(Kind.REPLY), int(Kind.FAULT)
_CANCEL, _NOTIFY = int(Kind.CANCEL), int(Kind.NOTIFY)
_NORMAL = int(Priority.NORMAL)
ABOUT_MS = 50


class Reaching(Protocol):
    """Makes links to members that have none."""

    async def reach(self, peer_id: PeerId, timeout_s: float) -> None: ...

    def later(self, peer_id: PeerId, size_bytes: int, resend: Callable[[], None]) -> bool: ...


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
        guard: hears who was denied a method.
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
        guard: Guard | None = None,
    ) -> None:
        self._guard = guard
        self.reaching: Reaching | None = None  # makes links to those who have none
        self._own = own
        self._own_id = own.peer_id
        self._own_mask = int(own.permissions)
        self._transport = transport
        self._now_ms = clock.now_ms
        self._spans = Spans(random.Random(rng.getrandbits(64)))  # the quick kind
        self._principal_of = principal_of
        self._label = label
        self._settings = settings or ExchangeSettings()
        self._dispatcher = Dispatcher(clock, own.name, self._answer, self._on_denied)
        self._new_future: Callable[[], asyncio.Future[bytes]] | None = None  # asked for once
        self._alarms = {lane: Alarm(clock, partial(self._expire, lane)) for lane in Lane}
        self._tables: dict[Lane, RequestTable[asyncio.Future[bytes]]] = {
            lane: RequestTable(self._settings.max_pending, alarm.set)
            for lane, alarm in self._alarms.items()
        }

    def become(self, own: Principal) -> None:
        """Our own papers have changed."""
        self._own = own
        self._own_mask = int(own.permissions)

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
        priority: int = _NORMAL,
        is_again: bool = False,
    ) -> bytes:
        """Ask a peer and return its answer.

        Args:
            what: how errors call this request; the method's name unless said.
            priority: a `Priority`; decides what leaves first and what is refused last.
            is_again: it was asked before, and not sent for want of a link.

        Raises:
            PeerUnreachable, QueueFull, PayloadTooLarge, Overloaded: definitely not done.
            DeadlineExceeded, ConnectionLost: it may have been done.
            RemoteError: the other side's answer is a failure.
        """
        limit_s = self._settings.default_timeout_s if timeout_s is None else timeout_s
        budget_ms = int(limit_s * 1000) or 1
        if type(payload) is not bytes:
            payload = _as_bytes(payload)
        table = self._tables[lane]
        if table.is_full:
            raise Overloaded(
                self._own.name, method, f"{self._settings.max_pending} requests already wait here"
            )
        if self._new_future is None:
            self._new_future = asyncio.get_running_loop().create_future
        future: asyncio.Future[bytes] = self._new_future()
        now_ms = self._now_ms()
        request_id = table.open(to, what or method, now_ms, budget_ms, future)
        trace = self._spans.next(running_trace.get())
        asked = Envelope(_REQUEST, request_id, 0, method, budget_ms, priority, trace, payload)
        try:
            if to == self._own_id:
                self._dispatcher.start(Job(self._own, to, lane, asked, now_ms), self._own_mask)
            else:
                self._transport.send(to, lane, encode_envelope(asked), priority)
            return await future
        except BaseException as error:
            is_unsent = isinstance(error, PeerUnreachable) and not future.done()
            if table.abandon(request_id) and isinstance(error, asyncio.CancelledError):
                self._send_cancel(to, lane, request_id, priority)
            if not is_unsent or is_again or self.reaching is None:
                raise
        await self.reaching.reach(to, limit_s)
        left_s = limit_s - (self._now_ms() - now_ms) / 1000
        if left_s <= 0:
            raise PeerUnreachable(self._label(to), "the introduction took all the time there was")
        return await self.request(
            to,
            method,
            payload,
            timeout_s=left_s,
            lane=lane,
            what=what,
            priority=priority,
            is_again=True,
        )

    def notify(
        self,
        to: PeerId,
        method: str,
        payload: bytes,
        *,
        lane: Lane = Lane.DATA,
        priority: int = _NORMAL,
    ) -> None:
        """Send without waiting for anything; it arrives at most once.

        Raises:
            PeerUnreachable, QueueFull, PayloadTooLarge: definitely not sent.
        """
        if type(payload) is not bytes:
            payload = _as_bytes(payload)
        if to == self._own_id:
            self._dispatcher.notice(to, self._own_mask, method, payload)
            return
        fields = Envelope(_NOTIFY, 0, 0, method, 0, priority, running_trace.get(), payload)
        data = encode_envelope(fields)
        try:
            self._transport.send(to, lane, data, priority)
        except PeerUnreachable:
            again = partial(self._send_late, to, lane, data, priority)
            if self.reaching is None or not self.reaching.later(to, len(data), again):
                raise

    def _send_late(self, to: PeerId, lane: Lane, data: bytes, priority: int) -> None:
        """What has waited for an introduction."""
        try:
            self._transport.send(to, lane, data, priority)
        except P2PError:
            self.counts["late_unsent"] += 1

    def on_envelopes(self, peer: PeerId, lane: Lane, envelopes: Sequence[Envelope]) -> None:
        """Take what an admitted peer sent in one frame."""
        caller = self._principal_of(peer)
        if caller is None:
            self.counts["caller_unknown"] += len(envelopes)
            return
        mask = int(caller.permissions)
        table = self._tables[lane]
        dispatcher = self._dispatcher
        now_ms = 0
        for envelope in envelopes:
            kind = envelope.kind
            if kind == _REPLY:
                future = table.settle(envelope.id, peer)
                if future is not None and not future.done():
                    future.set_result(envelope.payload)
            elif kind == _REQUEST:
                now_ms = now_ms or self._now_ms()
                dispatcher.start(Job(caller, peer, lane, envelope, now_ms), mask)
            elif kind == _NOTIFY:
                dispatcher.notice(peer, mask, envelope.target, envelope.payload)
            elif kind == _CANCEL:
                dispatcher.cancel((peer, lane, envelope.id))
            elif kind == _FAULT:
                self._take_fault(table, peer, envelope.id, envelope.payload)
            else:
                self.counts["misplaced_kind"] += 1

    def on_link(self, change: LinkChanged) -> None:
        """End what a broken connection still owed.

        A refusal ends nothing yet: what waits leaves after the next introduction, or the
        transport gives it up and says unreachable.
        """
        if change.state is LinkState.UP or change.state is LinkState.REFUSED:
            return
        for pending in self._tables[change.lane].lose(change.peer_id):
            label = self._label(change.peer_id)
            if change.state is LinkState.UNREACHABLE:
                self._fail(pending.token, PeerUnreachable(label, change.reason or change.state))
            else:
                reason = change.reason or "the connection broke"
                self._fail(pending.token, ConnectionLost(label, pending.what, reason))

    def lose(self, peer: PeerId, reason: str) -> None:
        """End everything with a peer that is gone."""
        for table in self._tables.values():
            for pending in table.lose(peer):
                self._fail(pending.token, ConnectionLost(self._label(peer), pending.what, reason))
        self._dispatcher.forget(peer)

    def is_busy_with(self, peer: PeerId) -> bool:
        """Whether a request of either side is under way."""
        waits = any(table.waits_for(peer) for table in self._tables.values())
        return waits or self._dispatcher.runs_for(peer)

    async def close(self) -> None:
        """End all requests in both directions."""
        for alarm in self._alarms.values():
            alarm.off()
        await self._dispatcher.close()
        for table in self._tables.values():
            for pending in table.take_all():
                label = self._label(PeerId(pending.peer))
                error = ConnectionLost(label, pending.what, "this peer is stopping")
                self._fail(pending.token, error)

    def _on_denied(self, peer: PeerId, method: str) -> None:
        caller = self._own if peer == self._own_id else self._principal_of(peer)
        if caller is not None and self._guard is not None:
            self._guard.deny(caller, "use", method, "role")

    def _answer(self, job: Job, result: bytes | Exception, remote_traceback: str) -> None:
        """Send what came of a job, or hand it over where the caller is ourselves."""
        peer, lane, ident = job.key
        kind = _REPLY
        if not isinstance(result, bytes) or len(result) > MAX_ENVELOPE_BYTES:
            kind, result = _FAULT, encode_fault(_failure_of(result), remote_traceback)
        if peer == self._own_id:
            self._take_own(lane, ident, kind, result)
            return
        fields = Envelope(kind, ident, 0, "", 0, job.priority, b"", result)
        try:
            self._transport.send(peer, lane, encode_envelope(fields), job.priority)
        except P2PError:
            self.counts["answer_unsent"] += 1

    def _take_own(self, lane: Lane, ident: int, kind: int, result: bytes) -> None:
        if kind != _REPLY:
            self._take_fault(self._tables[lane], self._own_id, ident, result)
            return
        future = self._tables[lane].settle(ident, self._own_id)
        if future is not None and not future.done():
            future.set_result(result)

    def _take_fault(
        self, table: RequestTable[asyncio.Future[bytes]], peer: PeerId, ident: int, fault: bytes
    ) -> None:
        pending = table.look(ident)
        if table.settle(ident, peer) is None or pending is None:
            return
        label = self._label(peer)
        error: P2PError = decode_fault(fault, label, pending.what)
        # The other side counts the same milliseconds, and may stop the handler before we notice.
        if isinstance(error, Cancelled) and self._now_ms() + ABOUT_MS >= pending.deadline_ms:
            error = DeadlineExceeded(label, pending.what, pending.budget_ms / 1000)
        self._fail(pending.token, error)

    def _send_cancel(self, to: PeerId, lane: Lane, request_id: int, priority: int) -> None:
        """As urgent as the request, which it must not overtake."""
        if to == self._own_id:
            self._dispatcher.cancel((to, lane, request_id))
            return
        fields = Envelope(_CANCEL, request_id, 0, "", 0, priority, b"", b"")
        try:
            self._transport.send(to, lane, encode_envelope(fields), priority)
        except P2PError:
            self.counts["cancel_unsent"] += 1

    def _expire(self, lane: Lane) -> None:
        """Tell the callers; the other side counts the same milliseconds and stops by itself."""
        table = self._tables[lane]
        for pending in table.expire(self._now_ms()):
            label = self._label(PeerId(pending.peer))
            error = DeadlineExceeded(label, pending.what, pending.budget_ms / 1000)
            self._fail(pending.token, error)
        self._alarms[lane].set(table.due_ms)

    @staticmethod
    def _fail(future: asyncio.Future[bytes], error: P2PError) -> None:
        if not future.done():
            future.set_exception(error)


def _as_bytes(payload: object) -> bytes:
    """Return a buffer's bytes.

    Raises:
        MisuseError: it is none.
    """
    if isinstance(payload, (bytes, bytearray, memoryview)):
        return bytes(payload)
    raise MisuseError(f"a payload is bytes, and not {type(payload).__name__}")


def _failure_of(result: bytes | Exception) -> Exception:
    """Return why this is no answer that can travel."""
    if isinstance(result, bytes):
        return ValueError(
            f"the result has {len(result):,} bytes; the limit is {MAX_ENVELOPE_BYTES:,}"
        )
    if isinstance(result, Exception):
        return result
    return TypeError(f"the handler returned {type(result).__name__} and not bytes")

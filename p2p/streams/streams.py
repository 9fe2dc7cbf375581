"""All streams of one peer: the shell around the cores, on the bulk lane.

Opening is at most once: an `open` is repeated under its number until it is answered, and who has
answered remembers how for a while, also when the stream has ended meanwhile. A peer that was
declared dead may come back; a peer that was started again has forgotten its streams.

One timer looks at all streams ten times a second while there are any; nothing is set per chunk.

What this module does not know: requests, what chunks hold, why a connection broke.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from keys import Guard, PeerId, Permission, Principal
from p2p.clock import Clock
from p2p.errors import (
    ConnectionLost,
    DeadlineExceeded,
    Overloaded,
    P2PError,
    PayloadTooLarge,
    PeerUnreachable,
    StreamAborted,
)
from p2p.links import MAX_BODY_BYTES, Lane, LinkChanged, LinkState, Transport
from p2p.rpc import Incoming
from p2p.streams.arriving import Taken
from p2p.streams.carrier import STREAM, Carrier
from p2p.streams.core import End, State, StreamCore, StreamSettings
from p2p.streams.messages import (
    MAX_OPEN_BYTES,
    open_payload,
    read_open,
    read_say,
    split_chunks,
)
from p2p.streams.outgoing import MAX_KEPT, cost_of
from p2p.streams.past import Ended
from p2p.streams.serving import Desk, StreamHandler
from p2p.streams.stream import Stream, StreamCalls
from p2p.streams.table import Table
from p2p.streams.verbs import Verb
from p2p.wire import Envelope, Spans, decode_fault, encode_fault, running_trace

PER_PEER = 256  # streams that one side opens to the other
MIN_WINDOW = cost_of(MAX_BODY_BYTES) + 64 * 1024  # a chunk of the largest size must fit
# So many streams of one peer get so much of a window each; later ones get the least.
WINDOWS = ((8, None), (32, 2 * 1024 * 1024))
TICK_S = 0.1
VERBS = {verb.value: verb for verb in Verb}
CHUNKS = Verb.CHUNKS.value


class Streams:
    """The streams of one peer, in both directions.

    Args:
        own: who we are; streams to ourselves do without the network.
        first_number: of the streams that this start opens; an earlier start's were lower.
    """

    def __init__(
        self,
        own: Principal,
        transport: Transport,
        clock: Clock,
        rng: random.Random,
        principal_of: Callable[[PeerId], Principal | None],
        label: Callable[[PeerId], str],
        first_number: int,
        settings: StreamSettings | None = None,
        guard: Guard | None = None,
    ) -> None:
        self._own = own
        self._now_ms = clock.now_ms
        self._spans = Spans(random.Random(rng.getrandbits(64)))
        self._principal_of = principal_of
        self._label = label
        self._last_number = first_number
        self._settings = settings or StreamSettings()
        self._desk = Desk(clock, own.name, self._handled, guard)
        self._table = Table(own.name)
        self.is_busy_with = self._table.has_any
        self._ticking: asyncio.TimerHandle | None = None
        self.counts: Counter[str] = Counter()
        self._carrier = Carrier(own.peer_id, transport, clock, self.on_envelopes, self.counts)
        self._calls = StreamCalls(label, self._pump, self._carrier.pump_soon, self._abort)

    def become(self, own: Principal) -> None:
        """Our own papers have changed."""
        self._own = own

    def serve(
        self, method: str, handler: StreamHandler, permission: Permission, limit: int = 256
    ) -> None:
        """Take streams for `method`: `async handler(incoming, payload, stream)`."""
        self._desk.serve(method, handler, permission, limit)

    def declared(self) -> dict[str, Permission]:
        """Return every served method and the permission that it asks for."""
        return self._desk.declared()

    def figures(self) -> dict[str, int]:
        """Return plain counters."""
        return {
            "open": 0,
            **self.counts,
            **self._table.figures(),
            "handlers": self._desk.running,
            "waiting_to_send": self._carrier.stalled,
        }

    async def open(
        self,
        to: PeerId,
        method: str,
        payload: bytes,
        *,
        timeout_s: float,
        deadline_s: float | None = None,
        window_bytes: int | None = None,
        what: str = "",
    ) -> Stream:
        """Open a stream and return it once the other side has accepted it.

        Args:
            timeout_s: for the answer.
            deadline_s: for the whole stream; the handler is cancelled then.
            window_bytes: how much may wait here unread, from 1.1 to 64 MiB; 8 MiB unless said.

        Raises:
            PeerUnreachable, QueueFull, PayloadTooLarge, Overloaded: definitely not opened.
            RemoteError: the other side refused.
            DeadlineExceeded, ConnectionLost: it may have been opened, and was aborted since.
        """
        if len(payload) > MAX_OPEN_BYTES:
            raise PayloadTooLarge(len(payload), MAX_OPEN_BYTES, "payload that opens a stream")
        if self._table.of(to).opened_by_us() >= PER_PEER:
            raise Overloaded(self._own.name, method, f"{PER_PEER} streams to {self._label(to)}")
        window = min(MAX_KEPT, max(MIN_WINDOW, window_bytes or self._settings.window))
        self._last_number += 1
        stream = self._add(to, 2 * self._last_number + 1, what or method, window)
        budget_ms = 0 if deadline_s is None else max(1, int(deadline_s * 1000))
        trace = self._spans.next(running_trace.get())
        stream.asks = (open_payload(method, payload, window), budget_ms, trace)
        loop = asyncio.get_running_loop()
        stream.opened = loop.create_future()
        try:
            self._carrier.open(stream)
            async with asyncio.timeout(timeout_s):
                await stream.opened
        except TimeoutError:
            error = DeadlineExceeded(self._label(to), stream.what, timeout_s)
            self._abort(stream, error)
            raise error from None
        except BaseException as error:
            reason = error if isinstance(error, P2PError) else None
            given_up = StreamAborted(self._own.name, stream.what, "it was given up")
            self._abort(stream, reason or given_up)
            raise
        if deadline_s is not None and not stream.is_over:
            stream.limit = loop.call_later(deadline_s, self._out_of_time, stream, deadline_s)
        return stream

    def on_envelopes(self, peer: PeerId, envelopes: Iterable[Envelope]) -> None:
        """Take what an admitted peer sent in one frame of the bulk lane."""
        now_ms = self._now_ms()
        streams = self._table.of(peer).streams
        for one in envelopes:
            stream = streams.get(one.id)
            if one.kind != STREAM:
                self.counts["misplaced_kind"] += 1
            elif stream is None:
                self._on_stray(peer, one)
            elif one.target == CHUNKS:
                self._on_chunks(stream, one.sequence, split_chunks(one.payload), now_ms)
            elif one.target:
                self._on_verb(stream, one, now_ms)
            else:
                self._on_chunks(stream, one.sequence, (one.payload,), now_ms)

    def on_link(self, change: LinkChanged) -> None:
        """A connection of the bulk lane came or went."""
        is_unreachable = change.state is LinkState.UNREACHABLE
        if change.lane is not Lane.BULK or not (is_unreachable or change.state is LinkState.DOWN):
            return
        for stream in self._of(change.peer_id):
            core = stream.core
            if is_unreachable and core.state is State.OPENING:
                reason = change.reason or "no connection could be made"
                self._end(stream, self._never_opened(stream, reason))
            else:
                core.link_down(self._now_ms(), wait=is_unreachable)
                self._pump(stream)

    def doubt(self, peer: PeerId) -> None:
        """A peer is called dead: its streams end unless it answers in time."""
        for stream in self._of(peer):
            stream.core.ask(self._now_ms())
            self._pump(stream)

    def lose(self, peer: PeerId, reason: str) -> None:
        """A peer is gone for good: it was started again, has left, or was cut off."""
        for stream in self._of(peer):
            self._end(stream, ConnectionLost(self._label(peer), stream.what, reason))
        self._table.forget(peer)

    async def close(self) -> None:
        """Abort everything, and return when the handlers have ended."""
        for stream in self._table:
            self._abort(stream, StreamAborted(self._own.name, stream.what, "it is stopping"))
        self._carrier.close()
        if self._ticking is not None:
            self._ticking.cancel()
        await self._desk.close()

    # -- opening -------------------------------------------------------------------------------

    def _on_open(self, peer: PeerId, one: Envelope) -> None:
        """Somebody asks for a stream, for the first time."""
        asked, ident = read_open(one.payload), one.id
        caller = self._own if peer == self._own.peer_id else self._principal_of(peer)
        if asked is None or caller is None or not ident & 1:
            self.counts["malformed"] += 1
            return
        method, data, credit = asked
        with_them = self._table.of(peer)
        theirs = with_them.opened_by_them()
        refusal = self._desk.refusal(method, caller)
        if refusal is None and theirs >= PER_PEER:
            refusal = Overloaded(self._own.name, method, f"{PER_PEER} streams of one peer are open")
        if refusal is not None:
            self.counts["refused"] += 1
            fault = encode_fault(refusal)
            with_them.past.note(ident, Ended(fault, is_refused=True))
            self._carrier.answer((peer, ident ^ 1, Verb.REFUSE, fault, 0))
            return
        stream = self._add(peer, ident ^ 1, method, self._window_for(theirs))
        stream.core.outgoing.acknowledge(0, credit)
        self._pump(stream)
        deadline_ms = self._now_ms() + one.budget_ms if one.budget_ms else None
        self._desk.start(Incoming(caller, method, deadline_ms, one.trace), data, stream)

    def _window_for(self, theirs: int) -> int:
        for count, window in WINDOWS:
            if theirs < count:
                return min(self._settings.window, window or self._settings.window)
        return MIN_WINDOW

    def _never_opened(self, stream: Stream, reason: str) -> P2PError:
        """The first `open` has not left, or may have been heard."""
        if stream.core.was_down:
            return ConnectionLost(stream.peer, stream.what, reason)
        return PeerUnreachable(stream.peer, reason)

    def _handled(self, stream: Stream, error: Exception | None, remote_traceback: str) -> None:
        """The handler has ended: what it left unread is thrown away, what it wrote arrives."""
        if stream.is_over:
            return
        if error is not None:
            self._abort(stream, error, remote_traceback)
            return
        stream.core.outgoing.finish()
        stream.is_unread = True
        self._drop_unread(stream)
        self._pump(stream)

    # -- what arrives --------------------------------------------------------------------------

    def _on_chunks(
        self, stream: Stream, number: int, chunks: Sequence[bytes] | None, now_ms: int
    ) -> None:
        """One chunk or several, the first of which has this number; None is garbage."""
        if chunks is None:
            self._violated(stream, "its chunks do not fit into what holds them")
            return
        core, has_more = stream.core, False
        for chunk in chunks:
            if core.on_chunk(number, chunk, now_ms) is Taken.YES:
                has_more = True
            else:
                self._check_chunk(stream, number)
                if stream.is_over:
                    return
            number += 1
        if has_more and stream.is_unread:
            self._drop_unread(stream)
        elif has_more:
            stream.arrived()

    def _on_verb(self, stream: Stream, one: Envelope, now_ms: int) -> None:
        core = stream.core
        verb, sequence, payload = VERBS.get(one.target), one.sequence, one.payload
        good = True
        if verb is Verb.END:
            good = core.on_end(sequence, now_ms) is not Taken.AFTER_END
        elif verb is Verb.OPEN:
            core.on_open()
        elif verb is Verb.ABORT or verb is Verb.REFUSE:
            self.counts["aborted_by_peer"] += 1
            self._end(stream, decode_fault(payload, stream.peer, stream.what))
            return
        elif verb is None:
            self.counts["unknown_verb"] += 1
        else:
            said = read_say(verb, sequence, payload)
            if said is None:
                good = False
            elif verb is Verb.ACCEPT:
                core.on_accept(said.credit, now_ms)
                if stream.opened is not None and not stream.opened.done():
                    stream.opened.set_result(None)
            elif verb is Verb.CREDIT:
                good = core.on_credit(sequence, said.credit, now_ms)
            elif verb is Verb.RESUME:
                good = core.on_resume(said, now_ms)
            else:
                good = core.on_resumed(said, now_ms)
        if not good:
            self._violated(stream, f"its {one.target!r} does not fit what was said before")
            return
        self._pump(stream)
        stream.changed()

    def _check_chunk(self, stream: Stream, number: int) -> None:
        """This chunk was not taken."""
        arriving = stream.core.arriving
        if number < arriving.expected:
            self.counts["chunks_repeated"] += 1
        elif number > arriving.expected and not arriving.has_end:
            self.counts["chunks_too_early"] += 1
            self._pump(stream)
        else:
            self._violated(stream, "it sent more than it was granted, or after its end")

    def _on_stray(self, peer: PeerId, one: Envelope) -> None:
        """Something for a stream that is over here, or is not here yet."""
        verb = VERBS.get(one.target)
        answer = None
        if verb is not None:
            answer = self._table.of(peer).past.answer(one.id, verb, one.sequence, one.payload)
        if answer is not None:
            self._carrier.answer((peer, one.id ^ 1, *answer))
        elif verb is Verb.OPEN:
            self._on_open(peer, one)
        else:
            self.counts["stray"] += 1

    def _drop_unread(self, stream: Stream) -> None:
        arriving = stream.core.arriving
        while arriving.waiting:
            self.counts["chunks_unread"] += 1
            if arriving.read()[1]:
                stream.core.tell()
                self._pump(stream)

    # -- the end -------------------------------------------------------------------------------

    def _pump(self, stream: Stream) -> None:
        """Say what there is to say; the last word may be among it."""
        self._carrier.pump(stream)
        if stream.core.end is End.DONE:
            self._end(stream, None)

    def _abort(self, stream: Stream, error: Exception, remote_traceback: str = "") -> None:
        """End it from this side, and tell the other."""
        if stream.core.state is State.ENDED:
            return
        self.counts["aborted"] += 1
        self._carrier.pump_written(stream)  # what was written before is worth something
        fault = encode_fault(error, remote_traceback)
        failure = error if isinstance(error, P2PError) else None
        stream.core.arriving.forget()
        self._end(
            stream,
            failure or StreamAborted(self._own.name, stream.what, "its handler failed"),
            fault,
        )
        self._carrier.answer((stream.peer_id, stream.ident, Verb.ABORT, fault, 0))

    def _violated(self, stream: Stream, detail: str) -> None:
        self.counts["violations"] += 1
        self._abort(stream, StreamAborted(stream.peer, stream.what, detail))

    def _out_of_time(self, stream: Stream, deadline_s: float) -> None:
        self._abort(stream, DeadlineExceeded(stream.peer, stream.what, deadline_s))

    def _end(self, stream: Stream, error: P2PError | None, fault: bytes | None = None) -> None:
        """Forget a stream; `error` is None when both sides have everything.

        Args:
            fault: what the other side is told when it asks; made of the error unless said.
        """
        core = stream.core
        if not self._table.remove(stream):
            return
        self._carrier.forget(stream)
        if stream.limit is not None:
            stream.limit.cancel()
        if error is None:
            stream.changed()
        else:
            core.abort()
            fault = fault or encode_fault(StreamAborted(self._own.name, stream.what, str(error)))
            if stream.opened is not None and not stream.opened.done():
                stream.opened.set_exception(error)
            if not stream.fail(error):
                self._desk.stop(stream)
        ended = Ended(fault, False, core.arriving.expected, core.outgoing.sent)
        self._table.of(stream.peer_id).past.note(stream.ident ^ 1, ended)

    # -- all of them ---------------------------------------------------------------------------

    def _of(self, peer: PeerId) -> list[Stream]:
        return list(self._table.of(peer).streams.values())

    def _add(self, peer: PeerId, ident: int, what: str, window: int) -> Stream:
        own = self._settings
        settings = own if own.window == window else replace(own, window=window)
        core = StreamCore(settings, self._now_ms(), is_opener=bool(ident & 1))
        stream = Stream(peer, ident, what, core, self._calls)
        self._table.add(stream)
        self.counts["opened"] += 1
        if self._ticking is None:
            self._ticking = asyncio.get_running_loop().call_later(TICK_S, self._tick)
        return stream

    def _tick(self) -> None:
        self._ticking = None
        now_ms = self._now_ms()
        live = list(self._table)
        for stream in live:
            core = stream.core
            if now_ms < core.deadline_ms:
                continue
            core.tick(now_ms)
            if core.end is End.LOST:
                silent_s = self._settings.resume_ms / 1000
                reason = f"it did not come back within {silent_s:g} s"
                self._end(stream, ConnectionLost(stream.peer, stream.what, reason))
            elif core.has_says:
                self._pump(stream)
        if live:
            self._ticking = asyncio.get_running_loop().call_later(TICK_S, self._tick)

"""All streams of one peer: the shell around the cores, on the bulk lane.

Opening is at most once: an `open` is repeated under its number until it is answered, and who has
answered remembers how for a while, also when the stream has ended meanwhile. A peer that was
declared dead may come back; a peer that was started again has forgotten its streams.

What this module does not know: requests, what chunks hold, why a connection broke.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from keys import PeerId, Permission, Principal
from p2p.clock import Clock
from p2p.errors import (
    ConnectionLost,
    DeadlineExceeded,
    Overloaded,
    P2PError,
    PeerUnreachable,
    QueueFull,
    StreamAborted,
)
from p2p.links import Lane, LinkChanged, LinkState, Transport
from p2p.rpc import Incoming
from p2p.streams.arriving import Taken
from p2p.streams.carrier import Carrier, Key
from p2p.streams.core import End, Say, State, StreamCore, StreamSettings, Verb
from p2p.streams.messages import (
    BODY_FROM_BYTES,
    open_payload,
    read_credit,
    read_open,
)
from p2p.streams.opening import Opening
from p2p.streams.past import Past
from p2p.streams.serving import Desk, StreamHandler
from p2p.streams.stream import Stream, StreamCalls
from p2p.streams.table import Table
from p2p.streams.timers import Timers
from p2p.wire import Envelope, decode_fault, encode_fault, encode_payload, next_span, running_trace

PER_PEER = 64
MIN_WINDOW = 2 * 1024 * 1024  # a chunk of the largest size must fit
SMALL_WINDOW_FROM = 8  # streams of one peer, from which on each gets the least
TICK_S = 0.1
STALLED_S = 0.005


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
    ) -> None:
        self._own = own
        self._clock = clock
        self._rng = random.Random(rng.getrandbits(64))
        self._principal_of = principal_of
        self._label = label
        self._last_number = first_number
        self._settings = settings or StreamSettings()
        self._desk = Desk(clock, own.name)
        self._table = Table()
        self._opening: dict[Key, Opening] = {}
        self._past = Past(own.name)
        self._stalled: dict[Stream, None] = {}
        self._timers = Timers()
        self.counts: Counter[str] = Counter()
        self._carrier = Carrier(own.peer_id, transport, self.on_envelopes, self.counts)

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
        waiting = {"waiting_to_send": len(self._stalled)}
        return {**self.counts, **self._table.figures(), **waiting}

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
            window_bytes: how much may wait here unread; at least 2 MiB.

        Raises:
            PeerUnreachable, PayloadTooLarge: definitely not opened.
            RemoteError: the other side refused.
            DeadlineExceeded, ConnectionLost: it may have been opened, and was aborted since.
        """
        self._last_number += 1
        key = Key(to, self._last_number, True)
        if self._table.count(to, is_opener=True) >= PER_PEER:
            raise Overloaded(self._own.name, method, f"{PER_PEER} streams to {self._label(to)}")
        window = max(MIN_WINDOW, window_bytes or self._settings.window)
        core = StreamCore(
            replace(self._settings, window=window), self._clock.now_ms(), is_opener=True
        )
        stream = self._add(key, what or method, core)
        opening = self._opening[key] = Opening(
            open_payload(method, payload, core.arriving.credit),
            0 if deadline_s is None else max(1, int(deadline_s * 1000)),
            next_span(running_trace.get(), self._rng),
        )
        try:
            opening.ask(self._carrier, key)
            async with asyncio.timeout(timeout_s):
                await opening.answered
        except TimeoutError:
            error = DeadlineExceeded(self._label(to), stream.what, timeout_s)
            self._abort(stream, error)
            raise error from None
        except BaseException as error:
            gone = StreamAborted(self._own.name, stream.what, "it was given up")
            self._abort(stream, error if isinstance(error, P2PError) else gone)
            raise
        finally:
            del self._opening[key]
        if deadline_s is not None:
            self._limit(stream, deadline_s)
        return stream

    def on_envelopes(self, peer: PeerId, envelopes: list[Envelope]) -> None:
        """Take what an admitted peer sent in one frame of the bulk lane."""
        now_ms = self._clock.now_ms()
        for one in envelopes:
            key = Key(peer, one.id >> 1, not one.id & 1)
            stream = self._table.get(key)
            if one.target == Verb.OPEN:
                self._on_open(key, stream, one.budget_ms, one.trace, one.payload)
            elif stream is None:
                self._on_stray(key, one.target)
            elif one.target == Verb.CHUNK:
                self._on_chunk(key, stream, one.sequence, one.payload, now_ms)
            else:
                self._on_verb(key, stream, one.target, one.sequence, one.payload, now_ms)

    def on_link(self, change: LinkChanged) -> None:
        """A connection of the bulk lane came or went."""
        if change.lane is not Lane.BULK or change.state is LinkState.REFUSED:
            return
        now_ms = self._clock.now_ms()
        for key, stream in self._table.of(change.peer_id):
            if change.state is LinkState.UP:
                self._say(key, stream, stream.core.link_up(now_ms))
            elif change.state is LinkState.UNREACHABLE and stream.core.state is State.OPENING:
                reason = change.reason or "no connection could be made"
                self._end(key, stream, PeerUnreachable(stream.peer, reason))
            else:
                stream.core.link_down(now_ms)

    def doubt(self, peer: PeerId) -> None:
        """A peer is called dead: its streams end unless it answers in time."""
        for _, stream in self._table.of(peer):
            stream.core.link_down(self._clock.now_ms())

    def lose(self, peer: PeerId, reason: str) -> None:
        """A peer is gone for good: it was started again, or cut off."""
        for key, stream in self._table.of(peer):
            self._end(key, stream, ConnectionLost(self._label(peer), stream.what, reason))
        self._past.forget(peer)

    async def close(self) -> None:
        """Abort everything, and return when the handlers have ended."""
        for _, stream in self._table:
            stream.abort("this peer is stopping")
        self._timers.close()
        await self._desk.close()

    # -- opening -------------------------------------------------------------------------------

    def _on_open(
        self, key: Key, stream: Stream | None, budget_ms: int, trace: bytes, payload: bytes
    ) -> None:
        if key.is_opener:
            self.counts["malformed"] += 1
            return
        if stream is not None:  # our answer was lost
            self._carrier.say(key, Verb.ACCEPT, encode_payload(stream.core.arriving.grant()))
            return
        ended = self._past.answer(key, Verb.OPEN)
        if ended is not None:
            self._carrier.say(key, ended.verb, ended.payload)
            return
        asked = read_open(payload)
        caller = self._own if key.peer_id == self._own.peer_id else self._principal_of(key.peer_id)
        if asked is None or caller is None:
            self.counts["malformed"] += 1
            return
        method, data, credit = asked
        theirs = self._table.count(key.peer_id, is_opener=False)
        refusal = self._desk.refusal(method, caller)
        if refusal is None and theirs >= PER_PEER:
            refusal = Overloaded(self._own.name, method, f"{PER_PEER} streams of one peer are open")
        if refusal is not None:
            self.counts["refused"] += 1
            self._carrier.say(key, Verb.REFUSE, encode_fault(refusal))
            return
        window = self._settings.window if theirs < SMALL_WINDOW_FROM else MIN_WINDOW
        core = StreamCore(
            replace(self._settings, window=window), self._clock.now_ms(), is_opener=False
        )
        core.outgoing.acknowledge(0, credit)
        opened = self._add(key, method, core)
        self._carrier.say(key, Verb.ACCEPT, encode_payload(core.arriving.credit))
        deadline_ms = self._clock.now_ms() + budget_ms if budget_ms else None
        incoming = Incoming(caller, method, deadline_ms, trace)
        self._desk.start(incoming, data, opened, self._handled)

    def _handled(self, stream: Stream, error: Exception | None, remote_traceback: str) -> None:
        """The handler has ended: what it left unread is thrown away, what it wrote arrives."""
        key = self._table.key_of(stream)
        if key is None:
            return
        if error is not None:
            self._abort(stream, error, remote_traceback)
            return
        stream.core.outgoing.finish()
        self._pump(stream)
        self._desk.nobody_reads(stream)
        self._drop_unread(key, stream)

    # -- what arrives --------------------------------------------------------------------------

    def _on_chunk(self, key: Key, stream: Stream, number: int, chunk: bytes, now_ms: int) -> None:
        taken, says = stream.core.on_chunk(number, chunk, now_ms)
        if taken is Taken.YES:
            if self._desk.is_unread(stream):
                self._drop_unread(key, stream)
            else:
                stream.changed()
        elif taken is Taken.AGAIN:
            self.counts["chunks_repeated"] += 1
        elif taken is Taken.GAP:
            self._say(key, stream, says)
        else:
            self._violated(stream, "it sent more than it was granted")

    def _on_verb(
        self, key: Key, stream: Stream, verb: str, number: int, payload: bytes, now_ms: int
    ) -> None:
        core = stream.core
        if verb == Verb.END:
            taken, says = core.on_end(number, now_ms)
            self._say(key, stream, says)
            if taken is Taken.AFTER_END:
                self._violated(stream, "it ended twice")
        elif verb in (Verb.ABORT, Verb.REFUSE):
            self.counts["aborted_by_peer"] += 1
            self._end(key, stream, decode_fault(payload, self._label(key.peer_id), stream.what))
            return
        elif verb in (Verb.CREDIT, Verb.ACCEPT, Verb.RESUME, Verb.RESUMED):
            credit = read_credit(payload)
            if credit is None or not self._granted(key, stream, verb, number, credit, now_ms):
                self._violated(stream, "it acknowledged what was never sent")
                return
            self._pump(stream)
        else:
            self.counts["unknown_verb"] += 1
            return
        if core.state is State.ENDED:
            self._end(key, stream, None)
        stream.changed()

    def _granted(
        self, key: Key, stream: Stream, verb: str, number: int, credit: int, now_ms: int
    ) -> bool:
        core = stream.core
        if verb == Verb.CREDIT:
            return core.on_credit(number, credit, now_ms)
        if verb == Verb.ACCEPT:
            core.on_accept(credit, now_ms)
            opening = self._opening.get(key)
            if opening is not None:
                opening.settle(None)
            return True
        good, says = core.on_resume(number, credit, now_ms, is_answer=verb == Verb.RESUMED)
        self._say(key, stream, says)
        return good

    def _on_stray(self, key: Key, verb: str) -> None:
        """Something for a stream that is over here, or never was."""
        answer = self._past.answer(key, verb)
        if answer is None:
            self.counts["stray"] += 1
        else:
            self._carrier.say(key, answer.verb, answer.payload, sequence=answer.sequence)

    # -- what is sent --------------------------------------------------------------------------

    def _pump(self, stream: Stream) -> None:
        """Hand over what may be sent."""
        core = stream.core
        key = self._table.key_of(stream)
        if key is None:
            return
        outgoing = core.outgoing
        while core.may_send and (item := outgoing.first_unsent()) is not None:
            number, chunk = item
            try:
                if chunk is None:
                    self._carrier.send(key, Verb.END, sequence=number)
                elif len(chunk) < BODY_FROM_BYTES:
                    self._carrier.send(key, Verb.CHUNK, bytes(chunk), sequence=number)
                else:
                    self._carrier.send(key, Verb.CHUNK, sequence=number, body=chunk)
            except QueueFull:
                self._stalled[stream] = None
                self._timers.within("stalled", STALLED_S, self._unstall)
                return
            except PeerUnreachable:
                core.link_down(self._clock.now_ms())
                return
            outgoing.sent()
        self._stalled.pop(stream, None)

    def _tell(self, stream: Stream) -> None:
        """The program has read a good part: let the other side go on."""
        key = self._table.key_of(stream)
        if key is not None:
            arriving = stream.core.arriving
            says = [Say(Verb.CREDIT, arriving.expected, arriving.grant())]
            self._say(key, stream, says)

    def _say(self, key: Key, stream: Stream, says: list[Say]) -> None:
        for say in says:
            if say.verb is Verb.OPEN:
                with contextlib.suppress(KeyError, P2PError):  # it is said again later
                    self._opening[key].ask(self._carrier, key)
            else:
                credit = encode_payload(say.credit)
                if not self._carrier.say(key, say.verb, credit, sequence=say.number):
                    stream.core.link_down(self._clock.now_ms())  # it is said again later

    # -- the end -------------------------------------------------------------------------------

    def _abort(self, stream: Stream, error: Exception, remote_traceback: str = "") -> None:
        """End it from this side, and tell the other."""
        key = self._table.key_of(stream)
        if key is None:
            return
        self.counts["aborted"] += 1
        fault = encode_fault(error, remote_traceback)
        self._carrier.say(key, Verb.ABORT, fault)
        failure = error if isinstance(error, P2PError) else None
        gone = failure or StreamAborted(self._own.name, stream.what, "its handler failed")
        self._end(key, stream, gone, fault)

    def _violated(self, stream: Stream, detail: str) -> None:
        self.counts["violations"] += 1
        self._abort(stream, StreamAborted(stream.peer, stream.what, detail))

    def _end(
        self, key: Key, stream: Stream, error: P2PError | None, fault: bytes | None = None
    ) -> None:
        """Forget a stream; `error` is None when it was done."""
        if not self._table.remove(key):
            return
        self._stalled.pop(stream, None)
        core = stream.core
        if error is not None:
            fault = fault or encode_fault(StreamAborted(self._own.name, stream.what, str(error)))
            core.abort()
            opening = self._opening.get(key)
            if opening is not None:
                opening.settle(error)
            stream.fail(error)
            self._desk.stop(stream)
        else:
            stream.changed()
            self._desk.forget(stream)
        self._past.note(key, core.arriving.expected, fault)

    # -- time ----------------------------------------------------------------------------------

    def _add(self, key: Key, what: str, core: StreamCore) -> Stream:
        calls = StreamCalls(self._label, self._pump, self._tell, self._abort)
        stream = Stream(key.peer_id, key.number, key.is_opener, what, core, calls)
        self._table.add(key, stream)
        self.counts["opened"] += 1
        self._timers.within("tick", TICK_S, self._tick)
        return stream

    def _tick(self) -> None:
        now_ms = self._clock.now_ms()
        for key, stream in self._table:
            self._say(key, stream, stream.core.tick(now_ms))
            if stream.core.end is End.LOST:
                away_s = self._settings.resume_ms / 1000
                reason = f"it did not come back within {away_s:g} s"
                self._end(key, stream, ConnectionLost(stream.peer, stream.what, reason))
        if self._table:
            self._timers.within("tick", TICK_S, self._tick)

    def _unstall(self) -> None:
        for stream in list(self._stalled):
            self._pump(stream)

    def _limit(self, stream: Stream, deadline_s: float) -> None:
        def late() -> None:
            if not stream.is_over:
                self._abort(stream, DeadlineExceeded(stream.peer, stream.what, deadline_s))

        asyncio.get_running_loop().call_later(deadline_s, late)

    def _drop_unread(self, key: Key, stream: Stream) -> None:
        arriving = stream.core.arriving
        while len(arriving):
            arriving.read()
            self.counts["chunks_unread"] += 1
        if arriving.credit_is_due():
            self._tell(stream)

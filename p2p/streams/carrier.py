"""Puts what streams say on the bulk lane, and tries again when the lane has no room.

What programs write in one turn of the loop leaves at its end, several chunks in one payload: a
message costs as much as the encryption of many kilobytes. A large chunk travels alone, beside its
envelope and without being copied. What the lane has no room for stays in its stream; one timer
tries again for all of them, in turn. What a peer says to itself does without the network.

What this module does not know: what is said, and why.

Invariants: of one stream, what is handed over keeps its order, but for credit; a stream that has
something to say and cannot is on the list of the timer.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable

from keys import PeerId
from p2p.clock import Clock
from p2p.errors import P2PError, QueueFull
from p2p.links import Lane, Transport
from p2p.streams.messages import MAX_JOINED, join_chunks, say_payload
from p2p.streams.outgoing import Chunk
from p2p.streams.stream import Stream
from p2p.streams.verbs import Say, Verb
from p2p.wire import Envelope, Kind, Priority, encode_envelope

STREAM = int(Kind.STREAM)
NORMAL, HIGH = int(Priority.NORMAL), int(Priority.HIGH)
BODY_FROM_BYTES = 8 * 1024  # from this size on a chunk travels beside its envelope
ALONE_FROM_BYTES = 256 * 1024  # from this size on joining it costs more than a message
JOINED_BYTES = 512 * 1024  # of chunks that travel together
AGAIN_S = 0.005
MAX_UNSAID = 1024

Answer = tuple[PeerId, int, Verb, bytes, int]  # to whom, id, verb, payload, sequence


class Carrier:
    """
    Args:
        arrives: takes what we say to ourselves.
        counts: where is counted what could not be sent.
    """

    def __init__(
        self,
        own_id: PeerId,
        transport: Transport,
        clock: Clock,
        arrives: Callable[[PeerId, list[Envelope]], None],
        counts: Counter[str],
    ) -> None:
        self._own_id = own_id
        self._transport = transport
        self._now_ms = clock.now_ms
        self._arrives = arrives
        self._counts = counts
        self._stalled: dict[Stream, None] = {}
        self._written: dict[Stream, None] = {}  # in this turn of the loop
        self._unsaid: deque[Answer] = deque()  # of streams that are not here any more
        self._timer: asyncio.TimerHandle | None = None

    @property
    def stalled(self) -> int:
        """How many streams wait for room on the lane."""
        return len(self._stalled)

    def pump(self, stream: Stream) -> None:
        """Hand over all that this stream has to say."""
        core = stream.core
        outgoing = core.outgoing
        try:
            while True:
                if core.has_says:
                    say = core.next_say()
                    self._say(stream, say)
                    core.said(say.verb, self._now_ms())
                elif core.may_send and outgoing.has_unsent():
                    for _ in range(self._send_chunks(stream)):
                        outgoing.handed_over()
                else:
                    break
        except QueueFull:
            self._stall(stream)
            return
        except P2PError:  # it is not admitted just now
            self._counts["unsent"] += 1
            core.link_down(self._now_ms(), wait=True)
        if self._stalled:
            self._stalled.pop(stream, None)

    def pump_soon(self, stream: Stream) -> None:
        """Do so at the end of this turn of the loop, with what else is written until then."""
        if not self._written:
            asyncio.get_running_loop().call_soon(self._turn)
        self._written[stream] = None

    def pump_written(self, stream: Stream) -> None:
        """Do so now, if anything was written in this turn: no more turns come for it."""
        if stream in self._written:
            self.pump(stream)

    def answer(self, answer: Answer) -> None:
        """Say something on behalf of a stream that is not here; when there is room."""
        if self._unsaid or not self._try(answer):
            if len(self._unsaid) >= MAX_UNSAID:
                self._unsaid.popleft()
                self._counts["unsent"] += 1
            self._unsaid.append(answer)
            self._again_soon()

    def open(self, stream: Stream) -> None:
        """Ask for a stream, for the first time.

        Raises:
            PeerUnreachable, QueueFull: it was not asked for.
        """
        core = stream.core
        say = core.next_say()
        self._say(stream, say)
        core.said(say.verb, self._now_ms())

    def forget(self, stream: Stream) -> None:
        self._stalled.pop(stream, None)

    def close(self) -> None:
        """Try what is left once more, and never again."""
        while self._unsaid and self._try(self._unsaid[0]):
            self._unsaid.popleft()
        if self._timer is not None:
            self._timer.cancel()

    def _say(self, stream: Stream, say: Say) -> None:
        verb = say.verb
        budget_ms, trace = 0, b""
        if verb is Verb.OPEN:
            payload, budget_ms, trace = stream.asks
        else:
            payload = say_payload(say)
        # Credit speaks of the other direction, and may overtake what waits in this one.
        priority = HIGH if verb is Verb.CREDIT else NORMAL
        number = say.expected
        ident = stream.ident
        one = Envelope(STREAM, ident, number, verb.value, budget_ms, priority, trace, payload)
        self._send(stream.peer_id, one, priority)

    def _send_chunks(self, stream: Stream) -> int:
        """Send the chunk to hand over next, and those that may travel with it; returns how many
        these were."""
        outgoing = stream.core.outgoing
        run = outgoing.unsent_run(ALONE_FROM_BYTES, JOINED_BYTES, MAX_JOINED)
        if not run:
            self._send_chunk(stream, outgoing.next, outgoing.first_unsent())
            return 1
        joined = join_chunks(run)
        beside = len(joined) >= BODY_FROM_BYTES
        payload, body = (b"", joined) if beside else (joined, None)
        verb = Verb.CHUNKS.value
        one = Envelope(STREAM, stream.ident, outgoing.next, verb, 0, NORMAL, b"", payload)
        self._send(stream.peer_id, one, NORMAL, body)
        return len(run)

    def _send_chunk(self, stream: Stream, number: int, chunk: Chunk | None) -> None:
        ident = stream.ident
        if chunk is None:
            end = Envelope(STREAM, ident, number, Verb.END.value, 0, NORMAL, b"", b"")
            self._send(stream.peer_id, end, NORMAL)
        elif len(chunk) < BODY_FROM_BYTES:
            one = Envelope(STREAM, ident, number, "", 0, NORMAL, b"", bytes(chunk))
            self._send(stream.peer_id, one, NORMAL)
        else:
            one = Envelope(STREAM, ident, number, "", 0, NORMAL, b"", b"")
            self._send(stream.peer_id, one, NORMAL, chunk)

    def _send(
        self,
        to: PeerId,
        envelope: Envelope,
        priority: int,
        body: Chunk | None = None,
    ) -> None:
        if to != self._own_id:
            self._transport.send(to, Lane.BULK, encode_envelope(envelope), priority, body)
            return
        if body is not None:
            envelope.payload = bytes(body)
        asyncio.get_running_loop().call_soon(self._arrives, to, [envelope])

    def _try(self, answer: Answer) -> bool:
        """False when there is no room; whoever cannot be reached asks again when it is back."""
        to, ident, verb, payload, sequence = answer
        try:
            one = Envelope(STREAM, ident, sequence, verb.value, 0, NORMAL, b"", payload)
            self._send(to, one, NORMAL)
        except QueueFull:
            return False
        except P2PError:
            self._counts["unsent"] += 1
        return True

    def _stall(self, stream: Stream) -> None:
        self._stalled.setdefault(stream)
        self._again_soon()

    def _turn(self) -> None:
        written, self._written = self._written, {}
        for stream in written:
            self.pump(stream)

    def _again_soon(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(AGAIN_S, self._again)

    def _again(self) -> None:
        self._timer = None
        while self._unsaid and self._try(self._unsaid[0]):
            self._unsaid.popleft()
        if self._unsaid:
            self._again_soon()
        # Whoever stalls again goes to the end, so that all of them get on.
        waiting, self._stalled = self._stalled, {}
        for stream in waiting:
            self.pump(stream)

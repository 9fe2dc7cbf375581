"""Puts what streams say on the bulk lane; what a peer says to itself does without the network.

What this module does not know: streams, what is said.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from keys import PeerId
from p2p.errors import P2PError
from p2p.links import Lane, Transport
from p2p.streams.core import Verb
from p2p.streams.messages import HIGH, NORMAL, STREAM, URGENT
from p2p.streams.outgoing import Chunk
from p2p.wire import Envelope, encode_envelope


class Key(NamedTuple):
    """One stream at this side; the same number may be ours and theirs."""

    peer_id: PeerId
    number: int
    is_opener: bool


class Carrier:
    """Sends for all streams of one peer.

    Args:
        arrives: takes what we say to ourselves.
        counts: where is counted what could not be sent.
    """

    def __init__(
        self,
        own_id: PeerId,
        transport: Transport,
        arrives: Callable[[PeerId, list[Envelope]], None],
        counts: Counter[str],
    ) -> None:
        self._own_id = own_id
        self._transport = transport
        self._arrives = arrives
        self._counts = counts

    def send(
        self,
        key: Key,
        verb: Verb,
        payload: bytes = b"",
        *,
        sequence: int = 0,
        budget_ms: int = 0,
        trace: bytes = b"",
        body: Chunk | None = None,
    ) -> None:
        """Send one message.

        Raises:
            PeerUnreachable, QueueFull, PayloadTooLarge: it was not sent.
        """
        priority = HIGH if verb in URGENT else NORMAL
        ident = 2 * key.number + key.is_opener
        said = Envelope(STREAM, ident, sequence, verb.value, budget_ms, priority, trace, payload)
        if key.peer_id == self._own_id:
            if body is not None:
                said.payload = bytes(body)
            asyncio.get_running_loop().call_soon(self._arrives, key.peer_id, [said])
            return
        if isinstance(body, bytearray):
            body = memoryview(body)
        self._transport.send(key.peer_id, Lane.BULK, encode_envelope(said), priority, body)

    def say(
        self,
        key: Key,
        verb: Verb,
        payload: bytes = b"",
        *,
        sequence: int = 0,
        budget_ms: int = 0,
        trace: bytes = b"",
    ) -> bool:
        """Send what will be said again if need be; False when it was not sent."""
        try:
            self.send(key, verb, payload, sequence=sequence, budget_ms=budget_ms, trace=trace)
        except P2PError:
            self._counts["unsent"] += 1
            return False
        return True

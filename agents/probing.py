"""What every node serves so that others can measure the way to it, and how to ping one.

    probe.ping    an empty request, on both lanes
    probe.echo    a request: its payload comes back
    probe.count   notices, counted by sender; a request of the same name reads the count
    probe.sink    a stream: what is written is thrown away
    probe.reach   a request: which addresses of the caller are reached, see `network_check_service`

Anybody who may call may probe. Each is bounded: payloads, how many run at once, how many senders
are counted.

What this module does not know: who measures what, and when.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from agents.network_check_service import ReachService
from keys import PeerId, Permission
from p2p import (
    BadRequest,
    Clock,
    Incoming,
    Lane,
    P2PError,
    Peer,
    Stream,
    decode_payload,
    encode_payload,
)

PING, ECHO, COUNT, SINK = "probe.ping", "probe.echo", "probe.count", "probe.sink"
MAX_ECHO_BYTES = 64 * 1024
MAX_RUNNING = 1024
MAX_SINKS = 8
MAX_COUNTED = 1024
PING_TIMEOUT_S = 1.0
PING_LANES = {"control": Lane.CONTROL, "data": Lane.DATA}


class Probing:
    """The probes of one node."""

    def __init__(self, peer: Peer, clock: Clock) -> None:
        self._peer = peer
        self.reach = ReachService(peer, clock)
        self._counted: dict[PeerId, int] = {}
        call = Permission.CALL
        peer.serve(PING, self._ping, permission=call, limit=MAX_RUNNING)
        peer.serve(ECHO, self._echo, permission=call, limit=MAX_RUNNING)
        peer.serve(COUNT, self._count, permission=call, limit=MAX_RUNNING)
        peer.serve_notice(COUNT, self._noticed, permission=call)
        peer.serve_stream(SINK, self._sink, permission=call, limit=MAX_SINKS)

    async def _ping(self, incoming: Incoming, payload: bytes) -> bytes:
        return b""

    async def _echo(self, incoming: Incoming, payload: bytes) -> bytes:
        if len(payload) > MAX_ECHO_BYTES:
            said = f"{len(payload):,} bytes are over the limit of {MAX_ECHO_BYTES:,} for an echo"
            raise BadRequest(self._peer.name, ECHO, said)
        return payload

    async def _count(self, incoming: Incoming, payload: bytes) -> bytes:
        return encode_payload(self._counted.get(incoming.caller.peer_id, 0))

    def _noticed(self, sender: PeerId, payload: bytes) -> None:
        counted = self._counted
        if sender not in counted and len(counted) >= MAX_COUNTED:
            counted.clear()
        counted[sender] = counted.get(sender, 0) + 1

    async def _sink(self, incoming: Incoming, payload: bytes, stream: Stream) -> None:
        async for _ in stream:
            pass


async def noticed_by(peer: Peer, to: PeerId, timeout_s: float) -> int:
    """Return how many notices of ours another peer has counted.

    Raises:
        P2PError: as `Peer.request`.
        BadRequest: it answers something else.
    """
    answer = await peer.request(to, COUNT, b"", timeout_s=timeout_s)
    count = decode_payload(answer)
    if type(count) is not int:
        raise BadRequest(peer.label(to), COUNT, "the answer is no number")
    return count


async def ping(peer: Peer, to: PeerId) -> dict[str, Any]:
    """Return the round trip to a peer on each lane, in milliseconds; what fails is said instead."""
    names = list(PING_LANES)
    said = await asyncio.gather(*(_ping_once(peer, to, PING_LANES[name]) for name in names))
    return {
        f"{name}_{'ms' if isinstance(one, float) else 'error'}": one
        for name, one in zip(names, said, strict=True)
    }


async def _ping_once(peer: Peer, to: PeerId, lane: Lane) -> float | str:
    began = time.perf_counter()
    try:
        await peer.request(to, PING, b"", timeout_s=PING_TIMEOUT_S, lane=lane)
    except P2PError as error:
        return str(error)
    return round((time.perf_counter() - began) * 1000, 3)

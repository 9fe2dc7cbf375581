"""Measures the way from this node to another: requests, notices and a stream, each for a while.

What is measured is the whole path: encoding, encryption, sockets and the loops of both processes.
It loads both machines, and whatever else they do is slower meanwhile and makes this slower.

What this module does not know: who asked, how it is shown.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from array import array
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from typing import Any

from agents.errors import InvalidArguments
from agents.probing import COUNT, ECHO, SINK, noticed_by
from keys import PeerId
from p2p import BadRequest, DeadlineExceeded, Overloaded, Peer, QueueFull

IN_FLIGHT = (1, 16, 256)
PAYLOAD = bytes(64)
CHUNK = bytes(256 * 1024)
MIN_SECONDS, MAX_SECONDS = 0.05, 60.0
TIMEOUT_S = 30.0
NOTICES_AT_ONCE = 64
PAUSE_S = 0.001


class Measuring:
    """Measures from one node, once at a time."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._is_busy = False

    async def measure(self, to: PeerId, seconds: float) -> AsyncIterator[dict[str, Any]]:
        """Yield what begins and what was found, one after the other.

        Raises:
            InvalidArguments: so long is not measured.
            Overloaded: this node measures already.
            P2PError: the other side is gone, refuses, or answers too late.
        """
        if not MIN_SECONDS <= seconds <= MAX_SECONDS:
            said = f"{seconds:g} seconds are not between {MIN_SECONDS:g} and {MAX_SECONDS:g}"
            raise InvalidArguments("bench", said)
        if self._is_busy:
            raise Overloaded(self._peer.name, "bench", "it measures already; wait for its end")
        self._is_busy = True
        try:
            async with contextlib.aclosing(_measured(self._peer, to, seconds)) as events:
                async for event in events:
                    yield event
        finally:
            self._is_busy = False


async def _measured(peer: Peer, to: PeerId, seconds: float) -> AsyncGenerator[dict[str, Any], None]:
    yield {"event": "peer", "peer": to, "name": peer.label(to), "seconds": seconds}
    for in_flight in IN_FLIGHT:
        yield {"event": "begins", "what": "requests", "in_flight": in_flight}
        yield await _found(_requests(peer, to, in_flight, seconds))
    yield {"event": "begins", "what": "notices"}
    yield await _found(_notices(peer, to, seconds))
    yield {"event": "begins", "what": "stream"}
    yield await _found(_stream(peer, to, seconds))


async def _found(work: Coroutine[Any, Any, dict[str, Any]]) -> dict[str, Any]:
    """Measure, and how much of a processor this process got meanwhile: little of one, and a low
    rate, is a machine that was busy with other things."""
    began, began_cpu = time.perf_counter(), time.process_time()
    found = await work
    busy = (time.process_time() - began_cpu) / (time.perf_counter() - began)
    return {"event": "found", **found, "cpu_percent": round(100 * busy)}


async def _requests(peer: Peer, to: PeerId, in_flight: int, seconds: float) -> dict[str, Any]:
    """So many asking at once, each again as soon as it has its answer."""
    took_s = array("d")
    refused = 0
    began = time.perf_counter()
    until = began + seconds

    async def ask() -> None:
        nonlocal refused
        while (sent := time.perf_counter()) < until:
            try:
                answer = await peer.request(to, ECHO, PAYLOAD, timeout_s=TIMEOUT_S)
            except (Overloaded, QueueFull):
                refused += 1
                await asyncio.sleep(PAUSE_S)
            else:
                if answer != PAYLOAD:
                    raise BadRequest(peer.label(to), ECHO, "the echo is not what was sent")
                took_s.append(time.perf_counter() - sent)

    await _together([ask() for _ in range(in_flight)])
    elapsed_s = time.perf_counter() - began
    ordered = sorted(took_s)
    return {
        "what": "requests",
        "in_flight": in_flight,
        "per_s": round(len(ordered) / elapsed_s, 1),
        "p50_ms": _quantile_ms(ordered, 0.5),
        "p99_ms": _quantile_ms(ordered, 0.99),
        "refused": refused,
    }


async def _together(work: list[Any]) -> None:
    """Run all of it; when one fails, the others end and the failure is raised."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _notices(peer: Peer, to: PeerId, seconds: float) -> dict[str, Any]:
    """As many as go out; the request for their number travels behind the last one."""
    before = await noticed_by(peer, to, TIMEOUT_S)
    sent = 0
    began = time.perf_counter()
    until = began + seconds
    while time.perf_counter() < until:
        try:
            for _ in range(NOTICES_AT_ONCE):
                peer.notify(to, COUNT, PAYLOAD)
                sent += 1
        except QueueFull:
            await asyncio.sleep(PAUSE_S)
        else:
            await asyncio.sleep(0)
    arrived = max(0, await _counted(peer, to) - before)
    elapsed_s = time.perf_counter() - began
    return {
        "what": "notices",
        "per_s": round(arrived / elapsed_s, 1),
        "sent": sent,
        "lost": max(0, sent - arrived),
    }


async def _counted(peer: Peer, to: PeerId) -> int:
    """Ask behind a queue that may be full just now."""
    until = time.perf_counter() + TIMEOUT_S
    while True:
        try:
            return await noticed_by(peer, to, TIMEOUT_S)
        except QueueFull:
            if time.perf_counter() > until:
                raise
            await asyncio.sleep(PAUSE_S)


async def _stream(peer: Peer, to: PeerId, seconds: float) -> dict[str, Any]:
    """Write as fast as the other side reads, and wait until it has everything."""
    stream = await peer.open_stream(to, SINK)
    try:
        async with asyncio.timeout(seconds + TIMEOUT_S):
            began = time.perf_counter()
            until = began + seconds
            while time.perf_counter() < until:
                await stream.write(CHUNK)
            await stream.finish()
            elapsed_s = time.perf_counter() - began
    except TimeoutError:
        raise DeadlineExceeded(peer.label(to), SINK, seconds + TIMEOUT_S) from None
    finally:
        await stream.aclose()
    sent = stream.sent_bytes
    return {"what": "stream", "bytes": sent, "mb_per_s": round(sent / elapsed_s / 1e6, 1)}


def _quantile_ms(ordered: list[float], share: float) -> float | None:
    if not ordered:
        return None
    return round(1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 3)

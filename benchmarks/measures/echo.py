"""Requests a second between two peers, beside the plainest sockets with the same encryption."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from agents.running import run_loop
from benchmarks.echo_servers import peer_at, plain_rate
from benchmarks.figures import Figure, measures, median_of
from benchmarks.nodes import TIMEOUT_S, environment, network
from keys import PeerId
from p2p import Peer

PAYLOAD = bytes(64)
IN_FLIGHT = (1, 16, 256)
RUNS = 3
RUN_S = 1.0
WARM_UP_S = 0.3

_Rates = dict[int, list[float]]


@measures("echo")
def echo() -> Iterator[Figure]:
    """64 bytes there and back, with 1, 16 and 256 requests on the way."""
    rates, floors = run_loop(_measure())
    for in_flight in IN_FLIGHT:
        yield median_of(
            f"echo of 64 B, {in_flight} in flight",
            rates[in_flight],
            "/s",
            "requests between two peers in two processes; the floor is a blocking pyzmq DEALER "
            "and ROUTER under CURVE, in two processes too, without envelopes or checks",
            floor=sorted(floors[in_flight])[RUNS // 2],
            more_is_better=True,
        )


async def _measure() -> tuple[_Rates, _Rates]:
    """Alternate between peers and plain sockets, so that both see the same machine."""
    rates: _Rates = {n: [] for n in IN_FLIGHT}
    floors: _Rates = {n: [] for n in IN_FLIGHT}
    async with network(2) as members:
        server, client = members.nodes
        with _process("peer", str(server.home)) as said, _process("plain") as plain:
            async with peer_at(client.home, said[0]) as peer:
                await _until_met(peer)
                gc.freeze()
                for in_flight in IN_FLIGHT:
                    for _ in range(RUNS):
                        rates[in_flight].append(await _rate(peer, PeerId(server.peer), in_flight))
                        floors[in_flight].append(
                            await asyncio.to_thread(
                                plain_rate, int(plain[0]), plain[1], PAYLOAD, in_flight, RUN_S
                            )
                        )
    return rates, floors


async def _until_met(peer: Peer) -> None:
    until = time.monotonic() + TIMEOUT_S
    while not peer.presence.present():
        assert time.monotonic() < until, "the two peers do not find each other"
        await asyncio.sleep(0.01)


async def _rate(peer: Peer, to: PeerId, in_flight: int) -> float:
    await _ask_for(WARM_UP_S, peer, to, in_flight)
    began = time.perf_counter()
    done = await _ask_for(RUN_S, peer, to, in_flight)
    return done / (time.perf_counter() - began)


async def _ask_for(seconds: float, peer: Peer, to: PeerId, in_flight: int) -> int:
    until = time.perf_counter() + seconds

    async def ask() -> int:
        done = 0
        while time.perf_counter() < until:
            assert await peer.request(to, "bench.echo", PAYLOAD, timeout_s=10.0) == PAYLOAD
            done += 1
        return done

    return sum(await asyncio.gather(*(ask() for _ in range(in_flight))))


@contextmanager
def _process(*words: str) -> Iterator[Sequence[str]]:
    """Run a server in a process of its own, and yield the words of its first line."""
    command = [sys.executable, "-m", "benchmarks.echo_servers", *words]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment()
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()
        finally:
            process.stdin.close()
            process.wait(10)

"""The processes at the other end of the echo: a whole peer, or plain pyzmq under CURVE.

`python -m benchmarks.echo_servers peer HOME` says its door's address on its first line;
`... plain` its port and public key. Both end when their standard input does.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
import time
from pathlib import Path

import zmq

from agents.running import run_loop
from keys import Keystore, Permission
from p2p import Incoming, LanSettings, LanWorld, Papers, Peer

LOOPBACK = "127.0.0.1"


def peer_at(home: Path, *seeds: str) -> Peer:
    """Return the member of a directory as a peer without a node around it; not yet entered."""
    store = Keystore.open(home)
    world = LanWorld(LanSettings(host=LOOPBACK, seeds=seeds, mdns=False))
    incarnation = store.next_incarnation(world.clock.wall_ms())
    papers = Papers(store.identity, store.chain, store.trust, store.name, incarnation, store.issuer)
    return Peer(papers, world)


async def serve_peer(home: Path) -> None:
    """Echo requests until standard input ends."""

    async def echo(incoming: Incoming, payload: bytes) -> bytes:
        return payload

    peer = peer_at(home)
    peer.serve("bench.echo", echo, permission=Permission.CALL)
    async with peer:
        print(f"{LOOPBACK}:{peer.ports['door']}", flush=True)
        gc.freeze()
        await asyncio.to_thread(sys.stdin.read)


def serve_plain() -> None:
    """Echo with a blocking ROUTER, the plainest server there is."""
    public, secret = zmq.curve_keypair()
    socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.ROUTER)
    socket.curve_server = True
    socket.curve_publickey, socket.curve_secretkey = public, secret
    port = socket.bind_to_random_port(f"tcp://{LOOPBACK}")
    print(f"{port} {public.decode()}", flush=True)
    threading.Thread(target=_end_with_input, daemon=True).start()
    while True:
        socket.send_multipart(socket.recv_multipart())


def plain_rate(port: int, public: str, payload: bytes, in_flight: int, seconds: float) -> float:
    """Return the echoes a second of a blocking DEALER that keeps so many on the way."""
    own_public, own_secret = zmq.curve_keypair()
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.linger = 0
        socket.curve_serverkey = public.encode()
        socket.curve_publickey, socket.curve_secretkey = own_public, own_secret
        socket.connect(f"tcp://{LOOPBACK}:{port}")
        for _ in range(in_flight):
            socket.send(payload)
        socket.recv()  # connected now
        socket.send(payload)
        done, began = 0, time.perf_counter()
        until = began + seconds
        while time.perf_counter() < until:
            socket.recv()
            socket.send(payload)
            done += 1
        return done / (time.perf_counter() - began)


def _end_with_input() -> None:
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    if sys.argv[1] == "peer":
        run_loop(serve_peer(Path(sys.argv[2])))
    else:
        serve_plain()

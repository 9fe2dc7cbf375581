"""Two processes: one is stopped, one is killed, one is busy while a connection of it ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import struct
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
from transport_lab import Node, eventually, nodes, run

from keys import PeerId
from p2p.links import Contact, Lane, LinkState

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).parents[3]
NAP, NAP_S = b"sleep", 3.0  # longer than heartbeats of libzmq would be apart

ECHO = """
import asyncio, json, sys, time
from keys import PeerId, TransportKey
from p2p.links import Contact
from p2p.transport import TransportSettings, ZmqTransport

async def main():
    key = TransportKey.generate()
    transport = ZmqTransport(TransportSettings(host="127.0.0.1"), key)
    def answer(peer, lane, payload, body):
        time.sleep(3.0 if payload.endswith(b"sleep") else 0.0)
        transport.send(peer, lane, payload[::-1])

    transport.receive_with(
        answer,
        lambda change: None, lambda *publication: None, lambda failure: sys.exit(1),
    )
    async with transport:
        print(json.dumps([key.public.hex(), dict(transport.ports)]), flush=True)
        public, ports = json.loads(sys.stdin.readline())
        transport.admit(Contact(PeerId("ada"), bytes.fromhex(public), ("127.0.0.1",), ports))
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


@asynccontextmanager
async def echo_process(ada: Node) -> AsyncIterator[asyncio.subprocess.Process]:
    """Another process, admitted by `ada` as "bob", that sends every frame back reversed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        ECHO,
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        public, ports = json.loads(await process.stdout.readline())
        mine = json.dumps([ada.key.public.hex(), dict(ada.transport.ports)])
        process.stdin.write(mine.encode() + b"\n")
        assert await process.stdout.readline() == b"ready\n"
        bob = Contact(PeerId("bob"), bytes.fromhex(public), ("127.0.0.1",), ports)
        ada.transport.admit(bob)
        yield process
    finally:
        process.stdin.close()
        if process.returncode is None and not process.stdout.at_eof():
            process.send_signal(signal.SIGCONT)
        await process.wait()


def test_two_processes_talk_and_part_cleanly() -> None:
    async def main() -> None:
        async with nodes("ada") as (ada,):
            async with echo_process(ada) as process:
                ada.transport.send(PeerId("bob"), Lane.DATA, b"drawer")
                await eventually(lambda: ada.received() == b"reward")
            assert process.returncode == 0
            await eventually(lambda: LinkState.DOWN in ada.states())

    run(main)


def test_a_killed_process_is_noticed_at_once() -> None:
    async def main() -> None:
        async with nodes("ada") as (ada,), echo_process(ada) as process:
            ada.transport.send(PeerId("bob"), Lane.CONTROL, b"x")
            await eventually(lambda: ada.frames)
            process.kill()
            await eventually(lambda: LinkState.DOWN in ada.states(Lane.CONTROL))
            await eventually(lambda: LinkState.UNREACHABLE in ada.states(Lane.CONTROL))

    run(main)


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no SIGSTOP on this system")
def test_what_was_sent_to_a_stopped_process_arrives_when_it_goes_on() -> None:
    async def main() -> None:
        async with nodes("ada") as (ada,), echo_process(ada) as process:
            ada.transport.send(PeerId("bob"), Lane.DATA, b"1")
            await eventually(lambda: ada.frames)
            os.kill(process.pid, signal.SIGSTOP)
            ada.transport.send(PeerId("bob"), Lane.DATA, b"2")
            os.kill(process.pid, signal.SIGCONT)
            await eventually(lambda: ada.received() == b"12")
            assert LinkState.DOWN not in ada.states()

    run(main)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other numbers for these")
def test_the_system_looks_whether_the_other_side_is_there() -> None:
    async def main() -> None:
        async with nodes("ada", "bob") as (ada, bob):
            ada.transport.send(bob.peer_id, Lane.CONTROL, b"1")
            bob.transport.subscribe("news")
            await eventually(lambda: bob.frames and ada.transport.subscribers("news"))
            control, topics = (ada.transport.ports[name] for name in ("control", "topics"))
            to_bob = bob.transport.ports["control"]
            assert watches_on(to_bob, theirs=True) == (1, 2, 2, 2, 6_000)  # dialled
            assert watches_on(to_bob) == (1, 2, 2, 2, 6_000)  # accepted
            assert watches_on(topics, theirs=True) == (1, 2, 2, 2, 0)
            assert watches_on(topics) == (1, 2, 2, 2, 45_000)
            assert control != to_bob

    run(main)


def watches_on(port: int, *, theirs: bool = False) -> tuple[int, ...]:
    """What the one connection with this port at our end, or theirs, is told to look after."""
    for found in psutil.Process().net_connections("tcp"):
        end = found.raddr if theirs else found.laddr
        if found.status == psutil.CONN_ESTABLISHED and end and end.port == port:
            with socket.socket(fileno=os.dup(found.fd)) as held:
                options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
                told = [held.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)]
                told += [held.getsockopt(socket.IPPROTO_TCP, option) for option in options]
                told.append(held.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT))
                return tuple(told)
    raise AssertionError(f"no connection at port {port}")


def test_a_busy_process_outlives_a_connection_that_is_reset_with_much_unread() -> None:
    """It did not, while libzmq was told to send heartbeats: see `p2p.transport.sockets`."""

    async def main() -> None:
        async with nodes("ada") as (ada,), echo_process(ada) as process:
            ada.transport.send(PeerId("bob"), Lane.DATA, b"1")
            await eventually(lambda: ada.frames)
            ada.transport.send(PeerId("bob"), Lane.DATA, NAP)
            await asyncio.sleep(0.2)  # a frame of its own
            for _ in range(400):
                ada.transport.send(PeerId("bob"), Lane.DATA, bytes(32 * 1024))
            await asyncio.sleep(0.5)  # it is asleep, and what fits in between has left
            reset_when_closed()
            ada.transport.redial(PeerId("bob"))
            await asyncio.sleep(NAP_S)
            ada.transport.send(PeerId("bob"), Lane.DATA, b"2")
            await eventually(lambda: ada.received().endswith(b"2"))
            assert process.returncode is None

    run(main)


def reset_when_closed() -> None:
    """Have all connections of this process end as those of one that dies with its buffers full."""
    for found in psutil.Process().net_connections("tcp"):
        if found.status == psutil.CONN_ESTABLISHED:
            with socket.socket(fileno=os.dup(found.fd)) as held:
                held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

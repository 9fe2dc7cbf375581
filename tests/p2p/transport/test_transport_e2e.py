"""Two processes: one is stopped, one is killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from transport_lab import Node, eventually, nodes, run, slower

from keys import PeerId
from p2p.links import Contact, Lane, LinkState

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).parents[3]
WATCHFUL = slower(heartbeat_interval_ms=100, heartbeat_timeout_ms=300)

ECHO = """
import asyncio, json, sys
from keys import PeerId, TransportKey
from p2p.links import Contact
from p2p.transport import TransportSettings, ZmqTransport

async def main():
    key = TransportKey.generate()
    transport = ZmqTransport(TransportSettings(host="127.0.0.1"), key)
    transport.receive_with(
        lambda peer, lane, payload, body: transport.send(peer, lane, payload[::-1]),
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
def test_a_stopped_process_is_noticed_by_its_silence_and_found_again() -> None:
    async def main() -> None:
        async with nodes("ada", settings=WATCHFUL) as (ada,), echo_process(ada) as process:
            ada.transport.send(PeerId("bob"), Lane.DATA, b"1")
            await eventually(lambda: ada.frames)
            os.kill(process.pid, signal.SIGSTOP)
            await eventually(lambda: LinkState.DOWN in ada.states())
            os.kill(process.pid, signal.SIGCONT)
            ada.transport.send(PeerId("bob"), Lane.DATA, b"2")
            await eventually(lambda: ada.received() == b"12")

    run(main)

"""Peers on real sockets that change their keys while they work; and processes that stop or die."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from time import time

import pytest
from peer_lab import Authority
from rotation_lab import Work
from rotation_member import LOOPBACK, echo, papers_of

import p2p.rotation
from keys import Permission, TransportKey
from p2p import LanSettings, LanWorld, MemberState, Peer, RotationFailed

pytestmark = pytest.mark.e2e
DEADLINE_S = 30.0
MEMBER = Path(__file__).with_name("rotation_member.py")


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not holds():
            await asyncio.sleep(0.01)


def run(main: Callable[[], Coroutine[None, None, None]]) -> None:
    asyncio.run(asyncio.wait_for(main(), 3 * DEADLINE_S))


@asynccontextmanager
async def three_at_work() -> AsyncIterator[tuple[list[Peer], Work]]:
    now_ms = int(time() * 1000)
    authority = Authority("lab", wall_ms=now_ms)
    seeds: tuple[str, ...] = ()
    peers = []
    async with AsyncExitStack() as stack:
        for name in "abc":
            settings = LanSettings(host=LOOPBACK, seeds=seeds, mdns=False)
            peer = Peer(authority.papers(name, incarnation=now_ms), LanWorld(settings))
            peers.append(peer)
            await stack.enter_async_context(peer)
            seeds = (f"{LOOPBACK}:{peers[0].ports['door']}",)
        work = Work(peers)
        await until(lambda: all(len(peer.presence.present()) == 2 for peer in peers))
        yield peers, work


@pytest.mark.parametrize("together", [True, False])
def test_everybody_rotates_every_second_and_nothing_is_lost_and_no_call_fails(
    together: bool,
) -> None:
    async def main() -> None:
        async with three_at_work() as (peers, work):
            reading = await work.listen()
            working = asyncio.ensure_future(work.run())
            keys: set[bytes] = set()
            took_ms: list[int] = []

            async def rotate(peer: Peer, wait_s: float) -> None:
                await asyncio.sleep(wait_s)
                loop = asyncio.get_running_loop()
                for _ in range(10):
                    due_s = loop.time() + 1
                    rotated = await peer.rotate_keys()
                    assert rotated.missed == ()
                    keys.add(rotated.key)
                    took_ms.append(rotated.took_ms)
                    await asyncio.sleep(max(0.0, due_s - loop.time()))

            waits = [0.0, 0.0, 0.0] if together else [0.0, 0.3, 0.6]
            rotating = asyncio.gather(*map(rotate, peers, waits))
            await asyncio.wait([rotating, working], return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                await working
            await rotating
            work.going = False
            await working
            await until(work.is_settled)
            work.judge()
            print(f"{work.calls} calls, rotations took {sorted(took_ms)} ms")
            assert len(keys) == 30
            assert max(took_ms) < 5000, "nobody had to be waited for to the end"
            for task in reading:
                task.cancel()

    run(main)


def test_a_firewall_before_the_new_ports_makes_no_island(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(p2p.rotation, "OVERLAP_S", 2.0)

    async def main() -> None:
        async with three_at_work() as (peers, work):
            reading = await work.listen()
            working = asyncio.ensure_future(work.run())
            await asyncio.sleep(0.3)
            begin, ports = peers[0]._transport.begin_rotation, dict(peers[0].ports)

            async def wrong_ports(key: TransportKey) -> Mapping[str, int]:
                return dict.fromkeys(await begin(key), 1)

            monkeypatch.setattr(peers[0]._transport, "begin_rotation", wrong_ports)
            with pytest.raises(RotationFailed, match="firewall"):
                await peers[0].rotate_keys()
            assert peers[0].ports == ports
            monkeypatch.undo()
            assert (await peers[0].rotate_keys()).missed == ()
            assert peers[0].ports != ports
            work.going = False
            await working
            await until(work.is_settled)
            work.judge()
            for task in reading:
                task.cancel()

    run(main)


class There:
    """The other process."""

    def __init__(self, wall_ms: int, seed: str, starts: int = 0) -> None:
        paths = os.pathsep.join(path for path in sys.path if path)
        self.process = subprocess.Popen(
            [sys.executable, str(MEMBER), str(wall_ms), str(starts), seed],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": paths},
        )
        self.peer_id = self.read()

    def read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def begin_rotation(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("rotate\n")
        self.process.stdin.flush()
        assert self.read() == "begins"

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()


@asynccontextmanager
async def here_and_there() -> AsyncIterator[tuple[Peer, There, int]]:
    wall_ms = int(time() * 1000)
    here = Peer(papers_of(wall_ms, "here"), LanWorld(LanSettings(host=LOOPBACK, mdns=False)))
    here.serve("echo", echo, permission=Permission.CALL)
    async with here:
        there = There(wall_ms, f"{LOOPBACK}:{here.ports['door']}")
        try:
            await until(lambda: here.presence.present() == (there.peer_id,))
            yield here, there, wall_ms
        finally:
            there.end()


def test_a_peer_that_is_stopped_while_the_other_rotates_recovers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The overlap ends without it; it knows old keys at old ports only, until it is met again."""
    monkeypatch.setattr(p2p.rotation, "OVERLAP_S", 1.0)  # of two, one is dead after two seconds

    async def main() -> None:
        async with here_and_there() as (here, there, _):
            assert await here.request(there.peer_id, "echo", b"1", timeout_s=5) == b"1"
            there.process.send_signal(signal.SIGSTOP)
            rotated = await here.rotate_keys()
            assert rotated.missed == (there.peer_id,)
            there.process.send_signal(signal.SIGCONT)
            await until(lambda: _knows(here, there.peer_id))
            await until(lambda: here.presence.state_of(there.peer_id) is MemberState.ALIVE)
            assert await here.request(there.peer_id, "echo", b"2", timeout_s=5) == b"2"

    run(main)


def _knows(here: Peer, there: str) -> bool:
    session = here.session_of(there)  # type: ignore[arg-type]
    return session is not None and session.knows_key == here._own.keys()[0].public


@pytest.mark.parametrize("delay_ms", [0, 1, 2, 4, 8, 15, 30, 60])
def test_a_process_that_is_killed_in_the_middle_of_a_rotation_comes_back(delay_ms: int) -> None:
    async def main() -> None:
        async with here_and_there() as (here, there, wall_ms):
            there.begin_rotation()
            await asyncio.sleep(delay_ms / 1000)
            there.end()
            again = There(wall_ms, f"{LOOPBACK}:{here.ports['door']}", starts=1)
            try:

                def is_new() -> bool:
                    session = here.session_of(again.peer_id)  # type: ignore[arg-type]
                    return session is not None and session.incarnation > wall_ms + (1 << 20)

                await until(is_new)
                assert await here.request(again.peer_id, "echo", b"x", timeout_s=5) == b"x"
                again.begin_rotation()
                key, missed = (await asyncio.to_thread(again.read)).split()
                assert missed == "0"
                session = here.session_of(again.peer_id)  # type: ignore[arg-type]
                assert session is not None
                assert session.curve_public.hex() == key
                assert await here.request(again.peer_id, "echo", b"y", timeout_s=5) == b"y"
            finally:
                again.end()

    run(main)

"""Whole peers on the real loopback interface: CURVE sockets, a TCP door, mDNS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from time import time

import pytest
from peer_lab import Authority

from keys import Permission
from p2p import ConnectionLost, Incoming, LanSettings, LanWorld, MemberState, Papers, Peer

pytestmark = pytest.mark.e2e
LOOPBACK = "127.0.0.1"
DEADLINE_S = 15.0


def now_ms() -> int:
    return int(time() * 1000)


async def shout(incoming: Incoming, payload: bytes) -> bytes:
    return payload.upper()


def peer_of(papers: Papers, **settings: object) -> Peer:
    made = LanSettings(host=LOOPBACK, interfaces=(LOOPBACK,), **settings)  # type: ignore[arg-type]
    peer = Peer(papers, LanWorld(made))
    peer.serve("shout", shout, permission=Permission.CALL)
    return peer


@asynccontextmanager
async def up(*peers: Peer) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        for peer in peers:
            await stack.enter_async_context(peer)
        yield


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not holds():
            await asyncio.sleep(0.01)


def heard(peer: Peer) -> bool:
    return all(member.clock_offset_ms is not None for member in peer.presence.members())


def run(main: Callable[[], Coroutine[None, None, None]]) -> None:
    asyncio.run(asyncio.wait_for(main(), 3 * DEADLINE_S))


def test_two_peers_find_each_other_by_mdns_and_talk() -> None:
    async def main() -> None:
        authority = Authority("lab", wall_ms=now_ms())
        a, b = (peer_of(authority.papers(name, incarnation=now_ms())) for name in "ab")
        async with up(a, b):
            if a.gathering.lan_problem is not None:
                pytest.skip(a.gathering.lan_problem)
            await until(lambda: a.presence.present() == (b.peer_id,))
            await until(lambda: b.presence.present() == (a.peer_id,))
            assert await a.request(b.peer_id, "shout", b"hello", timeout_s=5) == b"HELLO"
            assert await b.request(a.peer_id, "shout", b"ahoy", timeout_s=5) == b"AHOY"

    run(main)


def test_a_seed_is_enough_without_mdns_and_is_remembered_for_the_next_start(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        authority = Authority("lab", wall_ms=now_ms())
        a = peer_of(authority.papers("a", incarnation=now_ms()), mdns=False)
        papers = authority.papers("b", incarnation=now_ms())
        async with up(a):
            seed = f"{LOOPBACK}:{a.ports['door']}"
            good = tmp_path / "peers"
            b = peer_of(papers, mdns=False, seeds=(seed,), last_good=good)
            async with up(b):
                await until(lambda: b.presence.present() == (a.peer_id,))
                subscription = b.subscribe("news")
                arriving = asyncio.ensure_future(anext(subscription))
                while not arriving.done():  # who subscribes late has missed what came before
                    a.publish("news", b"here")
                    await asyncio.wait([arriving], timeout=0.02)
                assert arriving.result().sender == a.peer_id
                await until(lambda: heard(a) and heard(b))  # so a goodbye has a way
            await until(lambda: a.presence.state_of(b.peer_id) is MemberState.LEFT)
            later = Papers(
                papers.identity, papers.chain, papers.trust, "b", papers.incarnation + (1 << 21)
            )
            again = peer_of(later, mdns=False, last_good=good)
            async with up(again):
                await until(lambda: a.presence.present() == (again.peer_id,))
                assert await a.request(again.peer_id, "shout", b"x", timeout_s=5) == b"X"

    run(main)


def test_two_networks_on_one_lan_do_not_mix() -> None:
    async def main() -> None:
        ours, theirs = Authority("lab", 1, now_ms()), Authority("lab", 2, now_ms())
        a = peer_of(ours.papers("a", incarnation=now_ms()))
        b = peer_of(ours.papers("b", incarnation=now_ms()))
        async with up(a, b):
            door = f"{LOOPBACK}:{a.ports['door']}"
            x = peer_of(theirs.papers("x", incarnation=now_ms()), seeds=(door,))
            async with up(x):
                await until(lambda: a.presence.present() == (b.peer_id,))
                await until(lambda: x.gathering.counters().get("introduction_wrong_network"))
                if x.gathering.lan_problem is None:
                    await until(lambda: x.gathering.nodes_of_other_networks >= 2)
                assert x.presence.present() == ()
                assert x.peer_id not in (*a.presence.present(), *b.presence.present())

    run(main)


def test_a_request_to_a_peer_that_forgot_us_is_done_once_we_are_introduced_again() -> None:
    async def main() -> None:
        authority = Authority("lab", wall_ms=now_ms())
        a = peer_of(authority.papers("a", incarnation=now_ms()), mdns=False)
        runs: list[bytes] = []

        async def note(incoming: Incoming, payload: bytes) -> bytes:
            runs.append(payload)
            return payload

        async with up(a):
            seed = f"{LOOPBACK}:{a.ports['door']}"
            b = peer_of(authority.papers("b", incarnation=now_ms()), mdns=False, seeds=(seed,))
            b.serve("note", note, permission=Permission.CALL)
            async with up(b):
                await until(lambda: a.presence.present() == (b.peer_id,))
                await a.request(b.peer_id, "note", b"first", timeout_s=5)
                b._expel(a.peer_id, "a test wants it")
                with suppress(ConnectionLost):  # that the connection is cut may come later
                    await a.request(b.peer_id, "note", b"second", timeout_s=10)
                await until(lambda: a.presence.present() == (b.peer_id,))
                assert await a.request(b.peer_id, "note", b"third", timeout_s=10) == b"third"
                assert runs in ([b"first", b"second", b"third"], [b"first", b"third"])

    run(main)

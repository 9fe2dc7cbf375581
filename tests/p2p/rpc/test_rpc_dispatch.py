"""The serving side: who gets a place, in which order, and what everybody is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from keys import Chain, Identity, PeerId, Permission, Principal, Role, Trust, network_id_of, verify
from keys.issuing import make_issuer, make_peer, make_root
from p2p.clock import SystemClock
from p2p.errors import NoSuchMethod, Overloaded, PermissionDenied
from p2p.links import Lane
from p2p.memory import run_virtual
from p2p.rpc import Dispatcher, Incoming
from p2p.rpc.dispatch import Job
from p2p.wire import Envelope, Priority

WALL_MS = 1_700_000_000_000
CALL = int(Permission.CALL)


def principal() -> Principal:
    rng = Random(1)
    root, own = (Identity.from_secret(rng.randbytes(32)) for _ in range(2))
    top = make_root(root, "lab", WALL_MS)
    middle = make_issuer(root, top, root.public_key, "lab-issuer", WALL_MS)
    leaf = make_peer(root, middle, own.public_key, "ada", Role.SERVICE, WALL_MS)
    return verify(Chain((leaf, middle, top)), Trust(network_id_of(root.public_key)), WALL_MS)


CALLER = principal()


class Desk:
    """A dispatcher and what it answered."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, int], bytes | Exception] = {}
        self.dispatcher = Dispatcher(SystemClock(), "here", self._answer)
        self.gate = asyncio.Event()
        self.most_at_once = 0
        self._at_once = 0
        self._last = 0

    def _answer(self, job: Job, result: bytes | Exception, remote_traceback: str) -> None:
        key = (str(job.key[0]), job.key[2])
        assert key not in self.answers, "two answers to one request"
        self.answers[key] = result

    async def wait(self, incoming: Incoming, payload: bytes) -> bytes:
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            await self.gate.wait()
        finally:
            self._at_once -= 1
        return payload

    def ask(
        self,
        peer: str,
        method: str = "wait",
        *,
        priority: int = Priority.NORMAL,
        mask: int = CALL,
        budget_ms: int = 0,
    ) -> tuple[str, int]:
        self._last += 1
        asked = Envelope(1, self._last, 0, method, budget_ms, priority, b"", b"done")
        job = Job(CALLER, PeerId(peer), Lane.DATA, asked, SystemClock().now_ms())
        self.dispatcher.start(job, mask)
        return peer, self._last


def at_desk(scenario: Callable[[Desk], Coroutine[Any, Any, None]], limit: int = 20) -> None:
    async def main() -> None:
        desk = Desk()
        desk.dispatcher.serve("wait", desk.wait, Permission.CALL, limit)
        await scenario(desk)
        await desk.dispatcher.close()

    run_virtual(main())


async def settle(desk: Desk) -> None:
    desk.gate.set()
    async with asyncio.timeout(5):
        while desk.dispatcher.running:
            await asyncio.sleep(0)


def test_an_unknown_method_and_a_missing_permission_are_told() -> None:
    async def scenario(desk: Desk) -> None:
        unknown, denied = desk.ask("ada", "nothing"), desk.ask("ada", mask=0)
        assert isinstance(desk.answers[unknown], NoSuchMethod)
        refusal = desk.answers[denied]
        assert isinstance(refusal, PermissionDenied)
        assert "CALL" in str(refusal)

    at_desk(scenario)


def test_low_priority_gets_half_of_the_places_and_high_priority_all() -> None:
    async def scenario(desk: Desk) -> None:
        low = [desk.ask("ada", priority=Priority.LOW) for _ in range(30)]
        assert desk.dispatcher.running == 10
        normal = [desk.ask("ada") for _ in range(30)]
        assert desk.dispatcher.running == 18
        high = [desk.ask("ada", priority=Priority.HIGH) for _ in range(30)]
        assert desk.dispatcher.running == 20
        await settle(desk)
        for keys, begun in ((low, 10), (normal, 8), (high, 2)):
            assert [desk.answers[key] for key in keys[:begun]] == [b"done"] * begun
            assert all(isinstance(desk.answers[key], Overloaded) for key in keys[begun:])

    at_desk(scenario)


def test_one_peer_alone_may_have_all_places() -> None:
    async def scenario(desk: Desk) -> None:
        for _ in range(20):
            desk.ask("ada", priority=Priority.HIGH)
        assert desk.dispatcher.running == 20
        await settle(desk)

    at_desk(scenario)


def test_a_flood_of_one_member_leaves_room_for_another() -> None:
    async def scenario(desk: Desk) -> None:
        for _ in range(100):
            desk.ask("flood")
        desk.ask("ada")  # refused, and remembered
        got = 0
        for _ in range(50):
            desk.gate.set()
            await asyncio.sleep(0)
            desk.gate.clear()
            for _ in range(20):
                desk.ask("flood")
            key = desk.ask("ada")
            got += not isinstance(desk.answers.get(key), Overloaded)
        assert got >= 45, f"one of 20 places was free for it {got} times of 50"
        await settle(desk)

    at_desk(scenario)


def test_out_of_time_means_cancelled_and_the_place_is_free_again() -> None:
    async def scenario(desk: Desk) -> None:
        key = desk.ask("ada", budget_ms=1)
        async with asyncio.timeout(5):
            while desk.dispatcher.running:
                await asyncio.sleep(0.001)
        assert key not in desk.answers, "nobody waits for it"
        assert desk.dispatcher.counts["request_out_of_time"] == 1

    at_desk(scenario)


def test_cancelling_before_the_start_and_after_it_frees_the_place() -> None:
    async def scenario(desk: Desk) -> None:
        peer, number = desk.ask("ada")
        desk.dispatcher.cancel((PeerId(peer), Lane.DATA, number))  # not begun yet
        assert desk.dispatcher.running == 0
        peer, number = desk.ask("ada")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        desk.dispatcher.cancel((PeerId(peer), Lane.DATA, number))
        await settle(desk)
        assert desk.answers == {}

    at_desk(scenario)


def test_a_repeated_request_id_is_dropped_and_counted() -> None:
    async def scenario(desk: Desk) -> None:
        desk.ask("ada")
        desk._last -= 1
        desk.ask("ada")
        assert desk.dispatcher.running == 1
        assert desk.dispatcher.counts["request_repeated"] == 1
        await settle(desk)

    at_desk(scenario)


@given(
    st.integers(1, 12),
    st.lists(st.tuples(st.sampled_from(["ada", "ben", "cat"]), st.integers(-1, 3)), max_size=40),
)
def test_every_request_is_answered_once_and_never_more_run_than_the_limit(
    limit: int, asks: list[tuple[str, int]]
) -> None:
    async def scenario(desk: Desk) -> None:
        keys = [desk.ask(peer, priority=priority) for peer, priority in asks]
        await asyncio.sleep(0)
        await settle(desk)
        assert set(desk.answers) == set(keys)
        assert desk.most_at_once <= limit

    at_desk(scenario, limit)

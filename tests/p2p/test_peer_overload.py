"""Whole peers under more work than they can do: everybody hears soon, nobody is shut out."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from peer_lab import Lab, in_lab, until

from keys import Permission
from p2p import (
    BadRequest,
    DeadlineExceeded,
    HandlerFailed,
    Incoming,
    P2PError,
    Peer,
    decode_payload,
    encode_payload,
)

WORK_S = 0.01
PLACES = 8


def serve_work(peer: Peer) -> Counter[str]:
    """Serve `work` in eight places of ten milliseconds each; counts what was finished."""
    done: Counter[str] = Counter()

    async def work(incoming: Incoming, payload: bytes) -> bytes:
        await asyncio.sleep(WORK_S)
        done[incoming.caller.name] += 1
        return payload

    peer.serve("work", work, permission=Permission.CALL, limit=PLACES)
    return done


async def load(peer: Peer, to: Peer, rate_hz: float, seconds: float) -> Counter[str]:
    """Ask at a steady pace, whatever comes back; returns how the requests ended."""
    ends: Counter[str] = Counter()

    async def ask() -> None:
        began = asyncio.get_running_loop().time()
        try:
            await peer.request(to.peer_id, "work", b"x", timeout_s=0.5)
            ends["done"] += 1
        except P2PError as error:
            ends[type(error).__name__] += 1
        assert asyncio.get_running_loop().time() - began <= 0.51, "later than its deadline"

    async with asyncio.TaskGroup() as group:
        for _ in range(int(rate_hz * seconds)):
            group.create_task(ask())
            await asyncio.sleep(1 / rate_hz)
    return ends


def test_five_times_the_capacity_is_answered_in_time_and_the_work_goes_on() -> None:
    async def scenario(lab: Lab) -> None:
        lab.peer("ada"), lab.peer("ben")
        done = serve_work(lab.peers["ben"])
        ada, ben = await lab.up("ada", "ben")
        capacity_hz = PLACES / WORK_S
        ends = await load(ada, ben, 5 * capacity_hz, 2.0)
        assert sum(ends.values()) == 10 * capacity_hz, "every caller has heard"
        assert set(ends) <= {"done", "Overloaded"}, ends
        assert ends["done"] == done["ada"] >= 0.8 * 2.0 * capacity_hz
        assert ada.counters()["rpc_pending"] == 0
        assert ben.counters()["rpc_running"] == 0

    in_lab(scenario)


def test_while_one_member_floods_another_is_served() -> None:
    async def scenario(lab: Lab) -> None:
        lab.peer("ben")
        serve_work(lab.peers["ben"])
        ben, flood, ada = await lab.up("ben", "flood", "ada")
        flooding = asyncio.create_task(load(flood, ben, 8000, 2.0))
        await asyncio.sleep(0.2)
        ends = await load(ada, ben, 100, 1.5)
        assert ends["done"] >= 0.9 * sum(ends.values()), ends
        flood_ends = await flooding
        assert flood_ends["Overloaded"] > 0

    in_lab(scenario)


def test_deadlines_shrink_on_the_way_and_end_the_handler() -> None:
    left_s: list[float] = []

    async def scenario(lab: Lab) -> None:
        ben = lab.peer("ben")

        async def forever(incoming: Incoming, payload: bytes) -> bytes:
            assert incoming.deadline_ms is not None
            left_s.append((incoming.deadline_ms - lab.worlds["ben"].clock.now_ms()) / 1000)
            await asyncio.Event().wait()
            return b""

        ben.serve("forever", forever, permission=Permission.CALL)
        ada, _ = await lab.up("ada", "ben")
        with pytest.raises(DeadlineExceeded, match="ben"):
            await ada.request(ben.peer_id, "forever", b"", timeout_s=0.3)
        await until(lambda: ben.counters()["rpc_running"] == 0, 1.0)
        assert 0.2 <= left_s[0] <= 0.3

    in_lab(scenario)


def test_cancelling_the_caller_cancels_the_handler() -> None:
    async def scenario(lab: Lab) -> None:
        ben = lab.peer("ben")
        ended: list[str] = []

        async def forever(incoming: Incoming, payload: bytes) -> bytes:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("cancelled")
            return b""

        ben.serve("forever", forever, permission=Permission.CALL)
        ada, _ = await lab.up("ada", "ben")
        asking = asyncio.create_task(ada.request(ben.peer_id, "forever", b"", timeout_s=60))
        await until(lambda: ben.counters()["rpc_running"] == 1)
        asking.cancel()
        await until(lambda: ended)
        assert ben.counters()["rpc_running"] == 0

    in_lab(scenario)


def test_deeply_nested_payloads_are_an_error_of_their_sender_and_harm_nobody() -> None:
    async def scenario(lab: Lab) -> None:
        ben = lab.peer("ben")

        async def read(incoming: Incoming, payload: bytes) -> bytes:
            try:
                return encode_payload(len(decode_payload(payload)))
            except ValueError as error:
                raise BadRequest("ben", "read", str(error)) from None

        ben.serve("read", read, permission=Permission.CALL)
        ada, _ = await lab.up("ada", "ben")
        deep, long, odd = b"\x91" * 500_000, b"\xdd\xff\xff\xff\xff", b"\xc1"
        for payload in (deep, long, b"\x81" * 100_000, odd, b""):
            with pytest.raises(BadRequest, match="payload"):
                await ada.request(ben.peer_id, "read", payload)
        assert await ada.request(ben.peer_id, "read", encode_payload([1, 2])) == encode_payload(2)

    in_lab(scenario)


def test_a_handler_that_returns_nonsense_or_too_much_fails_alone() -> None:
    async def scenario(lab: Lab) -> None:
        ben = lab.peer("ben")

        async def nonsense(incoming: Incoming, payload: bytes) -> bytes:
            return 5  # type: ignore[return-value]

        async def too_much(incoming: Incoming, payload: bytes) -> bytes:
            return bytes(2_000_000)

        ben.serve("nonsense", nonsense, permission=Permission.CALL)
        ben.serve("too_much", too_much, permission=Permission.CALL)
        ada, _ = await lab.up("ada", "ben")
        for method, words in (("nonsense", "int and not bytes"), ("too_much", "1,000,000")):
            for asker in (ada, ben):
                with pytest.raises(HandlerFailed, match=words):
                    await asker.request(ben.peer_id, method, b"")

    in_lab(scenario)


def test_requests_beyond_what_may_wait_are_refused_at_home() -> None:
    async def scenario(lab: Lab) -> None:
        ben = lab.peer("ben")

        async def forever(incoming: Incoming, payload: bytes) -> bytes:
            await asyncio.Event().wait()
            return b""

        ben.serve("forever", forever, permission=Permission.CALL, limit=200_000)
        ada, _ = await lab.up("ada", "ben")
        ends: Counter[str] = Counter()

        async def ask() -> None:
            try:
                await ada.request(ben.peer_id, "forever", b"", timeout_s=5)
            except P2PError as error:
                ends[type(error).__name__] += 1

        async with asyncio.TaskGroup() as group:
            for _ in range(65_600):
                group.create_task(ask())
        assert ends["Overloaded"] >= 65_600 - 65_536
        assert sum(ends.values()) == 65_600
        assert ada.counters()["rpc_pending"] == 0

    in_lab(scenario)

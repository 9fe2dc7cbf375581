"""Whole peers on virtual time: what goes wrong half-way comes right, and nobody is told a lie."""

from __future__ import annotations

import asyncio

import pytest
from peer_lab import Lab, in_lab, until

from keys import Permission
from p2p import (
    Address,
    Cancelled,
    ConnectionLost,
    HandlerFailed,
    Incoming,
    MemberState,
    Peer,
    PeerUnreachable,
    SwimSettings,
)
from p2p.memory import MemoryWorld, Stuck, run_virtual
from p2p.world import Lan

DAY_S = 86_400


def forget(one: Peer, other: Peer) -> None:
    """Let `one` cut `other` off, as it does with a member that sends garbage."""
    one._expel(other.peer_id, "a test wants it")


def test_a_request_to_a_peer_that_forgot_us_is_done_once_we_are_introduced_again() -> None:
    async def scenario(lab: Lab) -> None:
        runs: list[bytes] = []

        async def note(incoming: Incoming, payload: bytes) -> bytes:
            runs.append(payload)
            return payload

        lab.peer("b").serve("note", note, permission=Permission.CALL)
        a, b = await lab.up("a", "b")
        forget(b, a)
        # Its connections are cut, but nobody has told a. It is refused, and must not be told
        # "definitely not done" while the request still waits for the next introduction.
        assert await a.request(b.peer_id, "note", b"once", timeout_s=5) == b"once"
        assert runs == [b"once"]

    in_lab(scenario)


def test_what_is_reported_unreachable_is_not_done_when_the_network_heals() -> None:
    async def scenario(lab: Lab) -> None:
        runs: list[bytes] = []

        async def note(incoming: Incoming, payload: bytes) -> bytes:
            runs.append(payload)
            return payload

        lab.peer("b").serve("note", note, permission=Permission.CALL)
        a, b = await lab.up("a", "b")
        lab.network.partition([lab.worlds["a"].host], [lab.worlds["b"].host])
        await until(lambda: not a.presence.present(), 10)
        with pytest.raises(PeerUnreachable) as caught:
            await a.request(b.peer_id, "note", b"lost", timeout_s=10)
        assert caught.value.definite
        lab.network.heal()
        await until(lambda: a.presence.present() == (b.peer_id,), 60)
        assert await a.request(b.peer_id, "note", b"kept", timeout_s=5) == b"kept"
        assert runs == [b"kept"]

    in_lab(scenario)


def test_a_request_under_way_when_the_connection_breaks_is_uncertain() -> None:
    async def scenario(lab: Lab) -> None:
        async def never(incoming: Incoming, payload: bytes) -> bytes:
            await asyncio.sleep(1000)
            return b""

        lab.peer("b").serve("never", never, permission=Permission.CALL)
        a, b = await lab.up("a", "b")
        asking = asyncio.create_task(a.request(b.peer_id, "never", b"", timeout_s=100))
        await until(lambda: b.counters()["rpc_running"] == 1)
        forget(b, a)
        with pytest.raises(ConnectionLost) as caught:
            await asking
        assert not caught.value.definite

    in_lab(scenario)


def test_a_handler_that_is_cancelled_from_within_still_answers() -> None:
    async def scenario(lab: Lab) -> None:
        async def gives_up(incoming: Incoming, payload: bytes) -> bytes:
            inner = asyncio.ensure_future(asyncio.sleep(100))
            inner.cancel()
            await inner
            return b""

        lab.peer("b").serve("gives.up", gives_up, permission=Permission.CALL)
        a, b = await lab.up("a", "b")
        with pytest.raises(Cancelled) as caught:
            await a.request(b.peer_id, "gives.up", b"", timeout_s=50)
        assert not caught.value.definite

    in_lab(scenario)


def test_an_exception_that_cannot_be_shown_still_arrives() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("not even this")

    async def scenario(lab: Lab) -> None:
        async def fails(incoming: Incoming, payload: bytes) -> bytes:
            raise Mute

        lab.peer("b").serve("fails", fails, permission=Permission.CALL)
        a, b = await lab.up("a", "b")
        with pytest.raises(HandlerFailed) as caught:
            await a.request(b.peer_id, "fails", b"", timeout_s=5)
        assert caught.value.error_type == "Mute"

    in_lab(scenario)


def test_what_a_peer_offers_is_known_again_as_soon_as_it_is_heard_again() -> None:
    async def scenario(lab: Lab) -> None:
        a, b = await lab.up("a", "b")
        b.presence.adverts.offer({"b": b"sums"})
        await until(lambda: a.presence.adverts.entries_of(b.peer_id) == {"b": b"sums"}, 2)
        for cut_s in (3.0, 4.0, 20.0):
            lab.network.partition([lab.worlds["a"].host], [lab.worlds["b"].host])
            await until(lambda: a.presence.state_of(b.peer_id) is MemberState.DEAD, 10)
            assert a.presence.adverts.entries_of(b.peer_id) == {}
            await asyncio.sleep(cut_s)
            lab.network.heal()
            await until(lambda: a.presence.state_of(b.peer_id) is MemberState.ALIVE, 60)
            await until(lambda: a.presence.adverts.entries_of(b.peer_id) == {"b": b"sums"}, 1)

    in_lab(scenario)


def test_an_advert_that_was_lost_on_the_way_is_asked_for_until_it_comes() -> None:
    async def scenario(lab: Lab) -> None:
        a, b = await lab.up("a", "b")
        lab.network.faults.loss = 0.7
        b.presence.adverts.offer({"b": b"sums"})
        await asyncio.sleep(1)
        lab.network.faults.loss = 0.0
        await until(lambda: a.presence.adverts.entries_of(b.peer_id) == {"b": b"sums"}, 10)

    for seed in range(7, 19):
        in_lab(scenario, seed)


def test_members_renew_their_records_and_stay_together_for_days() -> None:
    slow = SwimSettings(beat_ms=60_000, silence_ms=180_000, probe_ms=60_000, suspicion_ms=60_000)

    async def scenario(lab: Lab) -> None:
        states: list[MemberState] = []
        a = lab.peer("a", settings=slow, multicast=False)
        await a.__aenter__()
        seed = Address(lab.worlds["a"].host, a.ports["door"])
        b = lab.peer("b", settings=slow, multicast=False, seeds=(seed,))
        await b.__aenter__()
        await until(lambda: a.presence.present() and b.presence.present())
        a.watch(lambda event: states.append(getattr(event, "after", MemberState.ALIVE)))
        first = a.session_of(b.peer_id)
        await asyncio.sleep(3 * DAY_S)
        last = a.session_of(b.peer_id)
        assert first is not None
        assert last is not None
        assert last.sequence > first.sequence
        assert set(states) <= {MemberState.ALIVE}

    in_lab(scenario)


def test_a_peer_that_cannot_come_up_leaves_nothing_behind() -> None:
    class Deaf(MemoryWorld):
        async def open_lan(self, *where: object) -> Lan:
            raise OSError("no such device")

    async def main() -> None:
        lab = Lab()
        world = Deaf(lab.network, 1)
        with pytest.raises(OSError, match="no such device"):
            await Peer(lab.authority.papers("a"), world).__aenter__()
        assert [host for host, _ in lab.network.all_listeners()] == []
        await asyncio.get_running_loop().create_future()  # no timer is left: this is for ever

    with pytest.raises(Stuck):
        run_virtual(main())

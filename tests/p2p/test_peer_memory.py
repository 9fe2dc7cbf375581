"""Whole peers on virtual time: found, asked, cut off, lost."""

from __future__ import annotations

import asyncio

import pytest
from peer_lab import Authority, Lab, in_lab, until

from keys import Permission, Role
from p2p import (
    Address,
    ConnectionLost,
    DeadlineExceeded,
    HandlerFailed,
    Incoming,
    Lane,
    MemberChange,
    MemberState,
    NoSuchMethod,
    Overloaded,
    PeerUnreachable,
    PermissionDenied,
    PresenceEvent,
)
from p2p.memory import run_virtual


async def echo(incoming: Incoming, payload: bytes) -> bytes:
    return payload


def test_peers_find_each_other_and_answer() -> None:
    async def scenario(lab: Lab) -> None:
        lab.peer("a")
        lab.peer("b").serve("echo", echo, permission=Permission.CALL)
        a, b = await lab.up("a", "b")
        assert await a.request(b.peer_id, "echo", b"hello", timeout_s=1) == b"hello"

    in_lab(scenario)


def test_a_seed_is_enough_where_multicast_does_not_reach() -> None:
    async def scenario(lab: Lab) -> None:
        a = lab.peer("a", multicast=False)
        await a.__aenter__()
        seed = Address(lab.worlds["a"].host, a.ports["door"])
        b, c = (lab.peer(n, multicast=False, seeds=(seed,)) for n in "bc")
        for peer in (b, c):
            await peer.__aenter__()
        # b and c learn of each other from a, by gossip.
        await until(lambda: all(len(p.presence.present()) == 2 for p in (a, b, c)))

    in_lab(scenario)


def test_two_networks_on_one_lan_do_not_mix() -> None:
    async def scenario(lab: Lab) -> None:
        a, b = await lab.up("a", "b")
        stranger = lab.peer("x", papers=Authority("other", seed=99).papers("x"))
        await stranger.__aenter__()
        await asyncio.sleep(20)
        assert stranger.presence.present() == ()
        assert len(a.presence.present()) == len(b.presence.present()) == 1
        assert a.gathering.nodes_of_other_networks > 0

    in_lab(scenario)


def test_a_member_of_another_network_is_turned_away_at_the_door() -> None:
    async def scenario(lab: Lab) -> None:
        a = lab.peer("a")
        await a.__aenter__()
        seed = Address(lab.worlds["a"].host, a.ports["door"])
        papers = Authority("other", seed=99).papers("x")
        stranger = lab.peer("x", papers=papers, seeds=(seed,))
        await stranger.__aenter__()
        await asyncio.sleep(5)
        assert stranger.gathering.counters()["introduction_wrong_network"] > 0
        assert a.presence.present() == ()

    in_lab(scenario)


def test_a_deadline_that_passes_is_an_indefinite_error_and_cancels_the_handler() -> None:
    async def scenario(lab: Lab) -> None:
        cancelled = asyncio.Event()

        async def slow(incoming: Incoming, payload: bytes) -> bytes:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled.set()
                raise
            return b""

        lab.peer("b").serve("slow", slow, permission=Permission.CALL)
        a, b = await lab.up("a", "b")
        with pytest.raises(DeadlineExceeded, match=r"slow at b .* within 0.5 s") as caught:
            await a.request(b.peer_id, "slow", b"", timeout_s=0.5)
        assert not caught.value.definite
        await until(cancelled.is_set, 1)

    in_lab(scenario)


def test_a_caller_that_stops_waiting_cancels_the_handler() -> None:
    async def scenario(lab: Lab) -> None:
        started, cancelled = asyncio.Event(), asyncio.Event()

        async def slow(incoming: Incoming, payload: bytes) -> bytes:
            started.set()
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled.set()
                raise
            return b""

        lab.peer("b").serve("slow", slow, permission=Permission.CALL)
        a, b = await lab.up("a", "b")
        asking = asyncio.create_task(a.request(b.peer_id, "slow", b"", timeout_s=50))
        await started.wait()
        asking.cancel()
        await until(cancelled.is_set, 1)

    in_lab(scenario)


def test_what_a_handler_raises_arrives_with_its_traceback() -> None:
    async def scenario(lab: Lab) -> None:
        async def fails(incoming: Incoming, payload: bytes) -> bytes:
            raise KeyError("no such thing")

        lab.peer("b").serve("fails", fails, permission=Permission.CALL)
        a, b = await lab.up("a", "b")
        with pytest.raises(HandlerFailed) as caught:
            await a.request(b.peer_id, "fails", b"", timeout_s=1)
        assert caught.value.error_type == "KeyError"
        assert "in fails" in caught.value.remote_traceback
        assert "b (" in str(caught.value)

    in_lab(scenario)


def test_what_is_not_served_not_allowed_or_too_much_is_refused_definitely() -> None:
    async def scenario(lab: Lab) -> None:
        release = asyncio.Event()

        async def waits(incoming: Incoming, payload: bytes) -> bytes:
            await release.wait()
            return b""

        b = lab.peer("b")
        b.serve("admin", echo, permission=Permission.CERT_REVOKE)
        b.serve("one", waits, permission=Permission.CALL, limit=1)
        a, b = await lab.up("a", "b")
        with pytest.raises(NoSuchMethod):
            await a.request(b.peer_id, "nothing", b"", timeout_s=1)
        with pytest.raises(PermissionDenied):
            await a.request(b.peer_id, "admin", b"", timeout_s=1)
        first = asyncio.create_task(a.request(b.peer_id, "one", b"", timeout_s=9))
        await until(lambda: b.counters()["rpc_running"] == 1)
        with pytest.raises(Overloaded) as caught:
            await a.request(b.peer_id, "one", b"", timeout_s=1)
        assert caught.value.definite
        release.set()
        await first

    in_lab(scenario)


def test_a_role_without_the_permission_is_refused_at_the_one_who_serves() -> None:
    async def scenario(lab: Lab) -> None:
        papers = lab.authority.papers("watcher", Role.OBSERVER)
        watcher = lab.peer("watcher", papers=papers)
        lab.peer("b").serve("work", echo, permission=Permission.TASK_SUBMIT)
        watcher, b = await lab.up("watcher", "b")
        with pytest.raises(PermissionDenied, match="watcher lacks"):
            await watcher.request(b.peer_id, "work", b"", timeout_s=1)

    in_lab(scenario)


def test_a_peer_that_was_never_met_is_unreachable_at_once() -> None:
    async def scenario(lab: Lab) -> None:
        (a,) = await lab.up("a")
        nobody = lab.authority.papers("nobody").identity.peer_id
        with pytest.raises(PeerUnreachable) as caught:
            await a.request(nobody, "echo", b"", timeout_s=1)
        assert caught.value.definite

    in_lab(scenario)


def test_a_crash_is_seen_within_three_seconds_and_ends_what_waits() -> None:
    async def scenario(lab: Lab) -> None:
        async def never(incoming: Incoming, payload: bytes) -> bytes:
            await asyncio.sleep(1000)
            return b""

        lab.peer("b").serve("never", never, permission=Permission.CALL)
        a, b = await lab.up("a", "b")
        asking = asyncio.create_task(a.request(b.peer_id, "never", b"", timeout_s=100))
        await asyncio.sleep(1)
        lab.worlds["b"].crash()
        await until(lambda: a.presence.state_of(b.peer_id) is MemberState.DEAD, 3)
        with pytest.raises(ConnectionLost) as caught:
            await asking
        assert not caught.value.definite

    in_lab(scenario)


def test_a_partition_heals() -> None:
    async def scenario(lab: Lab) -> None:
        a, b, c = await lab.up("a", "b", "c")
        hosts = {name: world.host for name, world in lab.worlds.items()}
        lab.network.partition([hosts["a"]], [hosts["b"], hosts["c"]])
        await until(lambda: not a.presence.present(), 15)  # it doubts itself first
        assert set(b.presence.present()) == {c.peer_id}
        lab.network.heal()
        await until(lambda: all(len(p.presence.present()) == 2 for p in (a, b, c)), 60)

    in_lab(scenario)


def test_a_restart_is_a_death_and_a_new_life() -> None:
    async def scenario(lab: Lab) -> None:
        seen: list[MemberChange] = []

        def note(event: PresenceEvent) -> None:
            if isinstance(event, MemberChange):
                seen.append(event)

        a = lab.peer("a")
        a.watch(note)
        papers = lab.authority.papers("b")
        lab.peer("b", papers=papers)
        a, b = await lab.up("a", "b")
        lab.worlds["b"].crash()
        again = papers.__class__(
            papers.identity, papers.chain, papers.trust, "b", papers.incarnation + (1 << 21)
        )
        reborn = lab.peer("b2", papers=again)
        await reborn.__aenter__()
        await until(lambda: reborn.presence.present() == (a.peer_id,))
        await until(lambda: a.presence.state_of(b.peer_id) is MemberState.ALIVE)
        states = [(c.after, c.incarnation) for c in seen if c.peer_id == b.peer_id]
        assert (MemberState.DEAD, b.incarnation) in states
        assert states[-1] == (MemberState.ALIVE, reborn.incarnation)
        assert reborn.incarnation > b.incarnation

    in_lab(scenario)


def test_a_goodbye_is_heard_at_once() -> None:
    async def scenario(lab: Lab) -> None:
        a, b = await lab.up("a", "b")
        await lab.peers.pop("b").__aexit__(None, None, None)
        await until(lambda: a.presence.state_of(b.peer_id) is MemberState.LEFT, 0.5)

    in_lab(scenario)


def test_publications_are_numbered_and_a_slow_reader_sees_the_gap() -> None:
    async def scenario(lab: Lab) -> None:
        a, b = await lab.up("a", "b")
        subscription = b.subscribe("news", buffer=2)
        for n in range(5):
            a.publish("news", b"%d" % n)
        a.publish("newspaper", b"not this")
        await asyncio.sleep(1)
        first = await anext(subscription)
        assert (first.sender, first.sequence, first.payload) == (a.peer_id, 4, b"3")
        assert first.gap == 3
        second = await anext(subscription)
        assert (second.sequence, second.gap) == (5, 0)
        a.publish("news", b"x")
        a.publish("news", b"y")
        a.publish("news", b"z")
        await asyncio.sleep(1)
        assert (await anext(subscription)).gap == 1
        subscription.close()

    in_lab(scenario)


def test_garbage_from_a_member_cuts_it_off_after_some_strikes() -> None:
    async def scenario(lab: Lab) -> None:
        a, b = await lab.up("a", "b")
        for _ in range(20):
            if a.session_of(b.peer_id) is not None:
                b._transport.send(a.peer_id, Lane.DATA, b"\xc1garbage")
            await asyncio.sleep(0.01)
        assert a.counts["bad_frame_not_msgpack"] >= 16
        await until(lambda: a.counters()["admission_admitted"] >= 2)  # it may come again

    in_lab(scenario)


def test_the_same_seed_gives_the_same_run() -> None:
    def run(seed: int) -> list[tuple[float, str, str]]:
        story: list[tuple[float, str, str]] = []

        async def main() -> None:
            lab = Lab(seed)
            loop = asyncio.get_running_loop()

            def note(event: PresenceEvent) -> None:
                if isinstance(event, MemberChange):
                    story.append((loop.time(), event.peer_id, event.after.value))

            lab.peer("a").watch(note)
            await lab.up("a", "b", "c")
            lab.worlds["b"].crash()
            await asyncio.sleep(10)
            await lab.down()

        run_virtual(main())
        return story

    assert run(3) == run(3)
    assert run(3) != run(4)

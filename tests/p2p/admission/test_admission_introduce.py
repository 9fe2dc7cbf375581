"""Introductions over TCP: what both ends learn, and dialers before what is no door."""

from __future__ import annotations

import asyncio

import pytest
from admission_door_lab import NET, QUIET, Host, knock, run, with_host
from admission_lab import curve, framed, network, nonce, seeded

from p2p.admission import Door, RefusalCode, Session, SessionTable, WrongNetwork, introduce
from p2p.admission.messages import Hello, Refusing
from p2p.errors import IntroductionFailed


def test_an_introduction_over_tcp_gives_both_a_session() -> None:
    async def test(host: Host) -> None:
        session = await knock(host.door.port, NET.member(11))
        assert session.peer_id == seeded(10).peer_id
        assert session.hosts[0] == "127.0.0.1"
        assert session.curve_public == curve(10)
        assert [each.peer_id for each in host.admitted] == [seeded(11).peer_id]
        assert host.admitted[0].hosts == ("192.0.2.2", "127.0.0.1")
        assert host.door.counters()["admitted"] == 1

    with_host(test)


def test_the_door_has_let_the_key_in_before_the_dialer_knows() -> None:
    async def test(host: Host) -> None:
        order: list[str] = []
        await introduce(
            "127.0.0.1",
            host.door.port,
            NET.member(11),
            timeout_s=5,
            on_verified=lambda _: order.append(f"verified, {len(host.admitted)} at the door"),
            on_session=lambda _: order.append(f"session, {len(host.admitted)} at the door"),
            on_hints=lambda hints: order.append(f"{len(hints)} hints"),
        )
        assert order == ["verified, 0 at the door", "session, 1 at the door", "0 hints"]

    with_host(test)


def test_the_second_member_is_told_of_the_first() -> None:
    async def test(host: Host) -> None:
        await knock(host.door.port, NET.member(11))
        told: list[str] = []
        await introduce(
            "127.0.0.1",
            host.door.port,
            NET.member(12),
            timeout_s=5,
            on_hints=lambda hints: told.extend(hint.peer_id for hint in hints),
        )
        assert told == [seeded(11).peer_id]

    with_host(test)


def test_two_networks_do_not_mix() -> None:
    async def test(host: Host) -> None:
        with pytest.raises(WrongNetwork) as caught:
            await knock(host.door.port, network(100).member(11))
        assert caught.value.reason == "wrong_network"
        assert caught.value.definite
        assert host.refused == ["wrong_network"]
        assert host.door.counters()["refused_wrong_network"] == 1

    with_host(test)


def test_a_stale_record_is_refused_at_both_ends() -> None:
    async def test(host: Host) -> None:
        await knock(host.door.port, NET.member(11, sequence=9))
        with pytest.raises(IntroductionFailed, match="newer record"):
            await knock(host.door.port, NET.member(11, sequence=8))
        own, member = SessionTable(), NET.member(12)
        own.admit(await knock(host.door.port, member, own))
        again = await knock(host.door.port, member, own)
        assert own.admit(again).outcome == "same"

    with_host(test)


def test_a_fault_of_the_owner_leaves_the_visitor_outside_and_the_door_open() -> None:
    async def main() -> None:
        faults: list[object] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: faults.append(context["exception"]))
        calls: list[Session] = []

        def on_session(session: Session) -> None:
            calls.append(session)
            if len(calls) == 1:
                raise RuntimeError("the owner's fault")

        door = Door(QUIET, NET.member(10), SessionTable(), on_session=on_session)
        async with door:
            with pytest.raises(IntroductionFailed) as caught:
                await knock(door.port, NET.member(11))
            assert caught.value.reason == "disconnected"
            assert [str(each) for each in faults] == ["the owner's fault"]
            await knock(door.port, NET.member(12))
            assert door.counters()["admitted"] == 1

    asyncio.run(main())


def test_a_door_works_on_the_faster_loop_too() -> None:
    uvloop = pytest.importorskip("uvloop")

    async def main() -> None:
        host = Host()
        async with host.door:
            session = await knock(host.door.port, NET.member(11))
            assert host.admitted[0].hosts[-1] == session.hosts[0] == "127.0.0.1"

    uvloop.run(main())


async def _serve(answer: bytes, *, silent: bool = False) -> tuple[asyncio.Server, int]:
    """A door that is none: says these bytes to whoever comes."""

    async def on_visitor(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if silent:
            await reader.read()
        else:
            await reader.readexactly(4)
            writer.write(answer)
        writer.close()

    server = await asyncio.start_server(on_visitor, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "disconnected"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "too_large"),
        (b"\0\0\0\x02\x91\x63", "malformed"),
        (framed(Refusing(RefusalCode.BUSY, "\x1b[31mred")), "busy"),
        (framed(Hello(NET.trust.network_id, nonce(3))), "unexpected"),
    ],
)
def test_a_dialer_is_safe_from_what_is_no_door(answer: bytes, reason: str) -> None:
    async def main() -> None:
        server, port = await _serve(answer)
        async with server:
            with pytest.raises(IntroductionFailed) as caught:
                await knock(port, NET.member(11))
            assert caught.value.reason == reason
            assert "\x1b" not in str(caught.value)

    run(main())


def test_a_dialer_does_not_wait_longer_than_it_was_told() -> None:
    async def main() -> None:
        server, port = await _serve(b"", silent=True)
        async with server:
            with pytest.raises(IntroductionFailed) as caught:
                await introduce("127.0.0.1", port, NET.member(11), timeout_s=0.1)
            assert caught.value.reason == "deadline"

    run(main())


def test_nobody_at_home_is_said_with_the_address() -> None:
    async def main() -> None:
        host = Host()
        port = await host.door.start()
        await host.door.close()
        with pytest.raises(IntroductionFailed, match=f"127.0.0.1:{port}") as caught:
            await knock(port, NET.member(11))
        assert caught.value.reason == "unreachable"

    run(main())


def test_forty_members_of_one_machine_come_at_once() -> None:
    async def test(host: Host) -> None:
        members = [NET.member(seed) for seed in range(60, 100)]
        sessions = await asyncio.gather(*(knock(host.door.port, each) for each in members))
        assert len({each.peer_id for each in sessions}) == 1
        assert len(host.sessions) == 40
        host.sessions.check_invariants()

    with_host(test)

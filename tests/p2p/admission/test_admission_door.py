"""A real door on the loopback: friends, strangers, sleepers and floods."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import replace

import pytest
from admission_lab import NOW_MS, Network, curve, framed, network, nonce, seeded

from p2p.admission import (
    Credentials,
    Door,
    DoorSettings,
    RefusalCode,
    Session,
    SessionTable,
    WrongNetwork,
    introduce,
)
from p2p.admission.frames import FrameReader
from p2p.admission.messages import Hello, Introduction, Message, Refusing, decode
from p2p.errors import IntroductionFailed, NotRunning, PortInUse

NET = network()
QUIET = DoorSettings(host="127.0.0.1", port=0, deadline_s=5.0)


def run(body: Coroutine[object, object, None]) -> None:
    """Under a deadline, and with every fault that only the loop saw made into a failure."""
    faults: list[str] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: faults.append(str(context)))
        async with asyncio.timeout(15):
            await body

    asyncio.run(main())
    assert faults == []


class Host:
    """A door, its table, and what its owner was told."""

    def __init__(
        self, settings: DoorSettings = QUIET, credentials: Credentials | None = None
    ) -> None:
        self.sessions = SessionTable()
        self.admitted: list[Session] = []
        self.refused: list[str] = []
        self.changed = asyncio.Event()
        self.door = Door(
            settings,
            credentials if credentials is not None else NET.member(10),
            self.sessions,
            on_session=self.on_session,
            on_refused=lambda host, refusal: self.on_refused(refusal.code.value),
        )

    def on_session(self, session: Session) -> None:
        self.sessions.admit(session)
        self.admitted.append(session)
        self.changed.set()

    def on_refused(self, code: str) -> None:
        self.refused.append(code)
        self.changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that a refusal, an admission or the loop brings about."""
        while not condition():
            self.changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(0.01):
                    await self.changed.wait()

    async def until_empty(self) -> None:
        await self.until(lambda: self.door.counters()["open"] == 0)
        self.door.check_invariants()


async def knock(port: int, member: Credentials, sessions: SessionTable | None = None) -> Session:
    return await introduce("127.0.0.1", port, member, timeout_s=5, sessions=sessions)


async def say(port: int, data: bytes, *, then_read: bool = True) -> bytes:
    """Write, and read until the door ends it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = b""
    try:
        writer.write(data)
        await writer.drain()
        if then_read:
            answer = await reader.read()
    except ConnectionError:
        pass
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
    return answer


def messages_in(data: bytes) -> list[Message]:
    reader = FrameReader()
    reader.feed(data)
    found = []
    while (body := reader.next_body()) is not None:
        found.append(decode(body))
    return found


def with_host(test: Callable[[Host], Awaitable[None]], settings: DoorSettings = QUIET) -> None:
    async def main() -> None:
        host = Host(settings)
        async with host.door:
            await test(host)
            # Whatever came, an honest member still gets in.
            await knock(host.door.port, NET.member(42))
            await host.until_empty()
            assert host.admitted[-1].peer_id == seeded(42).peer_id

    run(main())


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


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"\0\0\0\0",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\xff\0\0\0\0\0\0\0\x01\x7f\x03\0CURVE",
        b"\xff" * 4,
        b"\0\0\0\x05abc",
        b"\0\0\0\x03\x91\x91\xc1",
        b"\0" * 200_000,
        b"\0\0\x20\0" + b"\x91" * 8192,
        framed(Introduction(b"r", b"c", b"p" * 64)),
        framed(Hello(NET.trust.network_id, nonce(1))) * 2,
        framed(Hello(NET.trust.network_id, nonce(1)))
        + framed(Introduction(b"r" * 4000, b"c" * 4000, b"p" * 64)),
    ],
    ids=range(14),
)
def test_garbage_is_counted_and_closed(data: bytes) -> None:
    async def test(host: Host) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", host.door.port)
        with suppress(ConnectionError):
            writer.write(data)
            writer.write_eof()
            await reader.read()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        await host.until(lambda: len(host.refused) == 1)
        assert host.admitted == []

    with_host(test)


def test_one_who_says_nothing_is_closed_at_the_deadline() -> None:
    async def test(host: Host) -> None:
        assert await say(host.door.port, b"") == b""
        assert host.refused == ["deadline"]

    with_host(test, replace(QUIET, deadline_s=0.1))


def test_one_who_says_it_slowly_has_no_more_time() -> None:
    async def test(host: Host) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", host.door.port)
        dripping = framed(Hello(NET.trust.network_id, nonce(1)))
        ended = asyncio.ensure_future(reader.read())
        for at in range(len(dripping) - 1):
            writer.write(dripping[at : at + 1])
            done, _ = await asyncio.wait([ended], timeout=0.02)
            if done:
                break
        else:
            raise AssertionError("the door waited for every byte")
        await asyncio.gather(ended, return_exceptions=True)
        writer.close()
        assert host.refused == ["deadline"]

    with_host(test, replace(QUIET, deadline_s=0.1))


def test_one_who_stops_after_the_hello_is_closed_at_the_deadline() -> None:
    async def test(host: Host) -> None:
        answer = await say(host.door.port, framed(Hello(NET.trust.network_id, nonce(1))))
        assert len(messages_in(answer)) == 1, "the door's papers"
        assert host.refused == ["deadline"]

    with_host(test, replace(QUIET, deadline_s=0.1))


def test_one_who_resets_the_connection_is_no_trouble() -> None:
    async def test(host: Host) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", host.door.port)
        writer.write(framed(Hello(NET.trust.network_id, nonce(1))))
        await host.until(lambda: host.door.counters()["open"] == 1)
        raw = writer.get_extra_info("socket")
        raw.setsockopt(1, 13, struct.pack("ii", 1, 0))  # SOL_SOCKET, SO_LINGER: a reset
        writer.transport.abort()
        await host.until_empty()
        assert host.refused == ["disconnected"]

    with_host(test)


def test_a_source_that_knocks_too_often_is_told_so() -> None:
    async def main() -> None:
        host = Host(replace(QUIET, burst=3, rate_per_s=0.001))
        async with host.door:
            for seed in (11, 12, 13):
                await knock(host.door.port, NET.member(seed))
            with pytest.raises(IntroductionFailed) as caught:
                await knock(host.door.port, NET.member(14))
            assert caught.value.reason == "rate_limited"
            await host.until(lambda: host.refused == ["rate_limited"])

    run(main())


def test_a_full_door_says_that_it_is_busy_and_opens_again() -> None:
    async def main() -> None:
        host = Host(replace(QUIET, max_open=4))
        async with host.door:
            sleepers = [
                await asyncio.open_connection("127.0.0.1", host.door.port) for _ in range(4)
            ]
            await host.until(lambda: host.door.counters()["open"] == 4)
            with pytest.raises(IntroductionFailed) as caught:
                await knock(host.door.port, NET.member(11))
            assert caught.value.reason == "busy"
            for _, writer in sleepers:
                writer.close()
            await host.until_empty()
            await knock(host.door.port, NET.member(11))

    run(main())


def test_a_source_that_holds_every_place_gives_one_to_another() -> None:
    async def main() -> None:
        host = Host(replace(QUIET, max_open=4))
        async with host.door:
            sleepers = [
                await asyncio.open_connection("127.0.0.1", host.door.port) for _ in range(4)
            ]
            await host.until(lambda: host.door.counters()["open"] == 4)
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", host.door.port, local_addr=("127.0.0.2", 0)
            )
            writer.write(framed(Hello(NET.trust.network_id, nonce(1))))
            assert len(await reader.readexactly(4)) == 4, "it is answered"
            [busy] = messages_in(await sleepers[0][0].read())
            assert isinstance(busy, Refusing)
            assert busy.code is RefusalCode.BUSY
            assert host.door.counters()["evicted"] == 1
            host.door.check_invariants()
            for _, each in (*sleepers, (reader, writer)):
                each.close()
            await host.until_empty()

    run(main())


def test_a_thousand_connections_at_once_leave_the_door_open() -> None:
    async def test(host: Host) -> None:
        async def one() -> None:
            with suppress(OSError):
                await say(host.door.port, b"\xff\xff\xff\xff", then_read=True)

        for _ in range(10):
            await asyncio.gather(*(one() for _ in range(100)))
        await host.until_empty()
        counters = host.door.counters()
        assert counters["knocks"] == 1000
        assert sum(v for k, v in counters.items() if k.startswith("refused_")) == 1000

    with_host(test, replace(QUIET, burst=10_000, rate_per_s=10_000))


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


def test_closing_cuts_whoever_is_there() -> None:
    async def main() -> None:
        host = Host()
        await host.door.start()
        port = host.door.port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await host.until(lambda: host.door.counters()["open"] == 1)
        await host.door.close()
        with suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()
        await host.until_empty()
        with pytest.raises(IntroductionFailed) as caught:
            await knock(port, NET.member(11))
        assert caught.value.reason == "unreachable"
        with pytest.raises(NotRunning):
            _ = host.door.port

    run(main())


def test_a_taken_port_is_named() -> None:
    async def main() -> None:
        host = Host()
        async with host.door:
            second = Host(replace(QUIET, port=host.door.port))
            with pytest.raises(PortInUse, match=str(host.door.port)):
                await second.door.start()

    run(main())


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


def test_the_lab_has_networks_that_differ() -> None:
    assert isinstance(NET, Network)
    assert NET.trust != network(100).trust
    assert NET.member(10).now_ms() == NOW_MS

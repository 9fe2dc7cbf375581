"""A real door: friends, strangers, sleepers and floods."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from dataclasses import replace

import pytest
from admission_door_lab import (
    NET,
    QUIET,
    Host,
    knock,
    messages_in,
    pass_time,
    run,
    say,
    with_host,
)
from admission_lab import framed, nonce

from p2p.admission import RefusalCode
from p2p.admission.messages import Hello, Introduction, Refusing
from p2p.errors import IntroductionFailed, NotRunning, PortInUse


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
        framed(Introduction(b"r", b"c", b"p" * 64, b"t" * 32)),
        framed(Hello(NET.trust.network_id, nonce(1))) * 2,
        framed(Hello(NET.trust.network_id, nonce(1)))
        + framed(Introduction(b"r" * 4000, b"c" * 4000, b"p" * 64, b"t" * 32)),
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
        heard = asyncio.ensure_future(say(host.door.port, b""))
        await host.until(lambda: host.door.counters()["open"] == 1)
        pass_time(QUIET.deadline_s)
        assert await heard == b""
        assert host.refused == ["deadline"]

    with_host(test)


def test_one_who_says_it_slowly_has_no_more_time() -> None:
    async def test(host: Host) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", host.door.port)
        dripping = framed(Hello(NET.trust.network_id, nonce(1)))
        ended = asyncio.ensure_future(reader.read())
        for at in range(len(dripping) - 1):
            writer.write(dripping[at : at + 1])
            pass_time(QUIET.deadline_s / 20)
            done, _ = await asyncio.wait([ended], timeout=0.002)
            if done:
                break
        else:
            raise AssertionError("the door waited for every byte")
        await asyncio.gather(ended, return_exceptions=True)
        writer.close()
        assert host.refused == ["deadline"]

    with_host(test)


def test_one_who_stops_after_the_hello_is_closed_at_the_deadline() -> None:
    async def test(host: Host) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", host.door.port)
        writer.write(framed(Hello(NET.trust.network_id, nonce(1))))
        answer = await reader.readexactly(4)
        pass_time(QUIET.deadline_s)
        answer += await reader.read()
        assert len(messages_in(answer)) == 1, "the door's papers"
        assert host.refused == ["deadline"]
        writer.close()

    with_host(test)


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


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
def test_a_door_at_all_addresses_of_ipv6_is_one_at_those_of_ipv4_too() -> None:
    async def main() -> None:
        host = Host(replace(QUIET, host="::"))
        async with host.door:
            await knock(host.door.port, NET.member(11), host="127.0.0.1")
            await knock(host.door.port, NET.member(12), host="::1")
            taken = Host(replace(QUIET, host="::", port=host.door.port))
            with pytest.raises(PortInUse):
                await taken.door.start()
        assert [session.hosts[-1] for session in host.admitted] == ["127.0.0.1", "::1"]

    run(main())

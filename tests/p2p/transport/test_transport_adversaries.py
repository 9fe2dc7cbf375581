"""Admitted members that play foul on real sockets: what they cost, and whom."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import zmq
from test_transport_e2e import ROOT
from transport_lab import Foul, Node, eventually, foul_contact, nodes, run, slower

from keys import PeerId, TransportKey
from p2p.errors import QueueFull
from p2p.links import MAX_BODY_BYTES, Contact, Lane, LinkState

MIB = 1024 * 1024
FOUL = PeerId("foul")


async def cut_for(lane: str, parts: list[bytes]) -> Node:
    """Bob, after a member has said this to him on that lane and was cut for it."""
    async with nodes("bob") as (bob,):
        key = TransportKey.generate()
        bob.transport.admit(foul_contact("foul", key))
        with Foul(zmq.DEALER, bob, lane, key) as foul:
            monitor = foul.socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
            foul.connect()
            await foul.socket.send_multipart(parts)
            async with asyncio.timeout(5):
                await monitor.poll()
            foul.socket.disable_monitor()
        return bob


@pytest.mark.parametrize(
    ("lane", "parts"),
    [
        ("data", [b"a", b"b"]),
        ("control", [b"a", b"b"]),
        ("bulk", [b"a", b"b", b"c"]),
        ("bulk", [b"a"] + [b"b"] * 1000),
        ("bulk", [b"a", b"x" * (MAX_BODY_BYTES + 1)]),
    ],
    ids=["two on data", "two on control", "three on bulk", "many on bulk", "a body too large"],
)
def test_a_message_of_the_wrong_parts_is_counted_and_its_sender_cut(
    lane: str, parts: list[bytes]
) -> None:
    async def main() -> None:
        bob = await cut_for(lane, parts)
        assert bob.count("dropped_malformed") == bob.count("connections_cut") == 1
        assert not bob.frames

    run(main)


def test_a_body_far_over_the_limit_ends_its_connection_unread() -> None:
    async def main() -> None:
        bob = await cut_for("bulk", [b"a", b"x" * (MAX_BODY_BYTES + 1000)])
        assert not bob.frames

    run(main)


@pytest.mark.parametrize("parts", [[b"a", b"b", b"c"], [b"a", b"x" * (MAX_BODY_BYTES + 1)]])
def test_the_side_that_was_dialled_cannot_say_such_things_either(parts: list[bytes]) -> None:
    async def main() -> None:
        async with nodes("bob") as (bob,):
            key = TransportKey.generate()
            with zmq.Context() as context, context.socket(zmq.ROUTER) as foul:
                foul.setsockopt(zmq.LINGER, 0)
                foul.curve_secretkey = key.export_secret()
                foul.curve_server = True
                port = foul.bind_to_random_port("tcp://127.0.0.1")
                bob.transport.admit(foul_contact("foul", key, {"bulk": port}))
                bob.transport.send(FOUL, Lane.BULK, b"hello")
                await eventually(lambda: foul.poll(0))
                routing_id, _ = foul.recv_multipart()
                foul.send_multipart([routing_id, *parts])
                await eventually(lambda: bob.count("dropped_malformed") == 1)
                foul.send_multipart([routing_id, b"envelope", b"body"])
                await eventually(lambda: bob.bodies == [(FOUL, b"envelope", b"body")])

    run(main)


def test_who_floods_one_lane_takes_nothing_from_those_on_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The bulk thread gives way to whatever else a machine runs, and would be waited for here.
    monkeypatch.setattr("p2p.transport.sockets.gentle_bulk_thread", contextlib.nullcontext)

    async def main() -> None:
        async with nodes("ada", "bob") as (ada, bob):
            key = TransportKey.generate()
            bob.transport.admit(foul_contact("foul", key))
            with Foul(zmq.DEALER, bob, "data", key) as foul:
                foul.connect()
                flooding = True

                async def flood() -> None:
                    while flooding:
                        await foul.socket.send(b"x" * 1000)

                task = asyncio.create_task(flood())
                await eventually(lambda: len(bob.frames) > 1000)
                for lane in Lane:
                    for number in range(20):
                        frame, before = (ada.peer_id, lane, b"%d" % number), len(bob.frames)
                        ada.send(bob, frame[2], lane)
                        await eventually(
                            lambda frame=frame, before=before: frame in bob.frames[before:]
                        )
                flooding = False
                await task

    run(main)


def test_a_hundred_thousand_subscriptions_are_cut_at_the_limit_and_forgotten() -> None:
    async def main() -> None:
        async with nodes("ada", "bob") as (ada, bob):
            key = TransportKey.generate()
            ada.transport.admit(foul_contact("foul", key))
            server = ada.transport._assembly.topics
            limit = ada.transport.settings.subscriptions_per_peer
            with Foul(zmq.SUB, ada, "topics", key) as foul:
                foul.socket.setsockopt(zmq.SNDHWM, 0)
                for number in range(100_000):
                    foul.socket.subscribe(b"%d\0" % number)
                foul.connect()
                await eventually(lambda: ada.count("topics_cut_subscriptions"))
                assert sum(map(server._subscriptions.count, server._subscriptions)) <= limit
                await eventually(lambda: not server._subscriptions)
                assert ada.transport.subscribers("1") == frozenset()
            server._subscriptions.check_invariants()
            bob.transport.subscribe("news")
            await eventually(lambda: ada.transport.subscribers("news") == {bob.peer_id})

    run(main)


def test_a_member_has_only_so_many_connections_to_subscribe_with() -> None:
    async def main() -> None:
        async with nodes("ada", settings=slower(routes_per_peer=2)) as (ada,):
            key = TransportKey.generate()
            ada.transport.admit(foul_contact("foul", key))
            fouls = [Foul(zmq.SUB, ada, "topics", key) for _ in range(5)]
            for foul in fouls:
                foul.socket.subscribe(b"x\0")
                foul.connect()
            await eventually(lambda: ada.count("connections_cut") == 3)
            assert len(ada.transport._assembly.topics._subscriptions) == 2
            assert ada.transport.links()[FOUL].subscriptions == 2
            for foul in fouls:
                foul.context.destroy(linger=0)

    run(main)


READER = """
import asyncio, json, sys
from keys import PeerId, TransportKey
from p2p.links import Contact
from p2p.transport import TransportSettings, ZmqTransport

async def main():
    transport = ZmqTransport(TransportSettings(host="127.0.0.1"), key := TransportKey.generate())
    ignore = lambda *_: None
    transport.receive_with(ignore, ignore, ignore, ignore)
    async with transport:
        print(json.dumps([key.public.hex(), dict(transport.ports)]), flush=True)
        public, ports = json.loads(sys.stdin.readline())
        transport.admit(Contact(PeerId("ada"), bytes.fromhex(public), ("127.0.0.1",), ports))
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


# What a socket may hold: a receive buffer grows to 32 MiB on some systems, a send buffer to 4.
KERNEL_BYTES = 48 * MIB


@contextmanager
def reader_process(ada: Node) -> Iterator[subprocess.Popen[bytes]]:
    """Another process, admitted by `ada` as "foul", that reads and forgets."""
    process = subprocess.Popen(
        [sys.executable, "-c", READER], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        public, ports = json.loads(process.stdout.readline())
        mine = json.dumps([ada.key.public.hex(), dict(ada.transport.ports)])
        process.stdin.write(mine.encode() + b"\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"ready\n"
        ada.transport.admit(Contact(FOUL, bytes.fromhex(public), ("127.0.0.1",), ports))
        try:
            yield process
        finally:
            process.send_signal(signal.SIGCONT)
            process.stdin.close()


@pytest.mark.e2e
@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no SIGSTOP on this system")
def test_a_reader_that_stops_with_bulk_under_way_costs_bounded_memory_and_is_reported() -> None:
    async def main() -> None:
        async with nodes("ada", settings=slower(silence_ms=1_000, keepalive_s=1)) as (ada,):
            with reader_process(ada) as process:
                ada.transport.send(FOUL, Lane.BULK, b"e", body=b"first")
                await eventually(lambda: ada.states(Lane.BULK) == [LinkState.UP])
                process.send_signal(signal.SIGSTOP)
                before_bytes = resident_bytes()
                taken_bytes = 0
                with pytest.raises(QueueFull):
                    while taken_bytes < 1024 * MIB:
                        ada.transport.send(FOUL, Lane.BULK, b"e", body=os.urandom(MIB))
                        taken_bytes += MIB
                        await asyncio.sleep(0)
                budget_bytes = ada.transport.settings.bulk_budget_bytes
                assert ada.transport.queued_bytes(FOUL, Lane.BULK) <= budget_bytes
                zmq_bytes = 2 * ada.transport.settings.bulk_high_water_frames * MIB
                assert taken_bytes < budget_bytes + zmq_bytes + KERNEL_BYTES
                assert resident_bytes() - before_bytes < 160 * MIB
                await eventually(lambda: LinkState.UNREACHABLE in ada.states(Lane.BULK))
                assert ada.states(Lane.BULK)[1] is LinkState.DOWN
                assert ada.transport.queued_bytes(FOUL, Lane.BULK) == 0
                assert ada.count("dropped_unreachable") >= 28

    run(main)


def resident_bytes() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

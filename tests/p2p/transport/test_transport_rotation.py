"""CURVE keys that change under load: nothing lost, doubled or overtaken; the old ones are void."""

from __future__ import annotations

import asyncio
import socket

import pytest
import zmq
from free_ports import free_port
from rotating_lab import (
    PATIENT,
    Load,
    acquaint,
    all_subscribed,
    contact,
    numbered,
    numbers,
    patience,  # noqa: F401 - a fixture
    rotate,
    split,
)
from transport_lab import QUICK, Node, eventually, nodes, run, slower

from keys import TransportKey
from p2p.errors import MisuseError, QueueFull, RotationFailed
from p2p.links import Lane, LinkState


@pytest.mark.parametrize("together", [False, True])
def test_keys_change_under_load_and_nothing_is_lost_doubled_or_overtaken(together: bool) -> None:
    async def main() -> None:
        async with nodes("ada", "bob", "eve", settings=PATIENT) as everyone:
            acquaint(everyone)
            await all_subscribed(everyone)
            load = Load(everyone)
            sending = asyncio.create_task(load.run())
            await asyncio.sleep(0.1)
            keys = {node.key.public for node in everyone}
            for _ in range(4):
                turns = [rotate(node, [o for o in everyone if o is not node]) for node in everyone]
                if together:
                    await asyncio.gather(*turns)
                else:
                    for turn in turns:
                        await turn
                keys |= {node.key.public for node in everyone}
            load.going = False
            await sending
            await load.judge()
            assert len(keys) == 15, "five keys each"
            for node in everyone:
                assert LinkState.DOWN not in [change.state for change in node.links], node.links
                assert not node.failures

    run(main)


def test_the_old_ports_are_closed_and_the_old_key_is_refused() -> None:
    async def main() -> None:
        async with nodes("ada", "bob", settings=slower(former_key_ms=200)) as (ada, bob):
            acquaint((ada, bob))
            ada.send(bob, numbered(0))
            await eventually(lambda: bob.frames)
            old_ports = ada.transport.ports
            old = await rotate(ada, [bob])
            assert not set(old_ports.values()) & set(ada.transport.ports.values())
            await eventually(lambda: all(map(refuses, old_ports.values())), "a thread closes them")
            await eventually(lambda: old.public.hex() not in bob.transport._peers)
            assert await refused_with(bob, old) == 400
            assert await refused_with(bob, ada.key) is None, "and the new one gets in"

    run(main)


def refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return True
    return False


async def refused_with(node: Node, key: TransportKey) -> int | None:
    """The ZAP status with which a bare socket under this key is refused, or None."""
    context = zmq.Context()
    bare = context.socket(zmq.DEALER)
    bare.setsockopt(zmq.LINGER, 0)
    bare.setsockopt(zmq.ROUTING_ID, b"\1bare")
    bare.curve_publickey, bare.curve_secretkey = key.public, key.export_secret()
    bare.curve_serverkey = node.key.public
    monitor = bare.get_monitor_socket(
        zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    )
    try:
        bare.connect(f"tcp://127.0.0.1:{node.transport.ports['data']}")
        assert await asyncio.to_thread(monitor.poll, 3000)
        head = monitor.recv_multipart()[0]
        event, value = int.from_bytes(head[:2], "little"), int.from_bytes(head[2:6], "little")
        return value if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH else None
    finally:
        bare.disable_monitor()
        context.destroy(linger=0)


def test_a_peer_that_never_hears_of_it_is_cut_at_the_end_and_told() -> None:
    async def main() -> None:
        async with nodes("ada", "bob") as (ada, bob):
            acquaint((ada, bob))
            bob.send(ada, numbered(0))
            await eventually(lambda: ada.frames)
            await ada.transport.begin_rotation(TransportKey.generate())
            bob.send(ada, numbered(1))
            await eventually(lambda: numbers(ada, bob, Lane.DATA) == [0, 1])
            assert ada.transport.left_behind() == 1
            ada.transport.end_rotation()
            await eventually(lambda: LinkState.DOWN in bob.states())
            assert ada.transport.left_behind() == 0

    run(main)


def test_a_rotation_whose_ports_are_taken_fails_and_changes_nothing() -> None:
    async def main() -> None:
        async with nodes("ada", "bob") as (ada, bob):
            fixed = slower(
                control_port=ada.transport.ports["control"] + 0,
                other_ports_from=0,
            )
            acquaint((ada, bob))
            ada.transport._assembly._settings = fixed  # the very port that it holds
            ports = ada.transport.ports
            with pytest.raises(RotationFailed, match="in use"):
                await ada.transport.begin_rotation(TransportKey.generate())
            ada.transport._assembly._settings = QUICK
            assert ada.transport.ports == ports
            assert ada.transport.left_behind() == 0
            bob.send(ada, numbered(0))
            ada.send(bob, numbered(0))
            await eventually(lambda: ada.frames and bob.frames)
            await rotate(ada, [bob])
            bob.send(ada, numbered(1))
            await eventually(lambda: numbers(ada, bob, Lane.DATA) == [0, 1])

    run(main)


def test_fixed_ports_alternate_between_two_blocks() -> None:
    async def main() -> None:
        first = free_port()
        settings = slower(
            control_port=first, data_port=first + 1, topics_port=first + 2, bulk_port=first + 3
        )
        async with nodes("ada", settings=settings) as (ada,):
            seen = []
            for _ in range(4):
                seen.append(sorted(ada.transport.ports.values())[0] - first)
                await rotate(ada, [])
            assert seen == [0, 4, 0, 4]

    run(main)


def test_one_rotation_at_a_time() -> None:
    async def main() -> None:
        async with nodes("ada") as (ada,):
            await ada.transport.begin_rotation(TransportKey.generate())
            with pytest.raises(MisuseError):
                await ada.transport.begin_rotation(TransportKey.generate())
            ada.transport.end_rotation()
            ada.transport.end_rotation()
            await ada.transport.begin_rotation(TransportKey.generate())

    run(main)


def test_a_stranger_is_refused_at_the_new_ports_before_anybody_hears_of_them() -> None:
    async def main() -> None:
        async with nodes("ada") as (ada,):
            passed = ada.count("self_tests_passed")
            ports = await ada.transport.begin_rotation(TransportKey.generate())
            assert ada.count("self_tests_passed") == passed + 1
            stranger = TransportKey.generate()
            ada.key = ada.transport._own.now
            assert ada.transport.ports == ports
            assert await refused_with(ada, stranger) == 400

    run(main)


def test_large_bodies_under_pressure_move_over_whole_and_in_order() -> None:
    """The connection is full all the time, so that even the word has to wait for room."""

    async def main() -> None:
        async with nodes("ada", "bob", settings=PATIENT) as (ada, bob):
            acquaint((ada, bob))
            sent, going = [0, 0], True

            async def push(one: Node, other: Node, which: int) -> None:
                body = bytes(200_000)
                while going:
                    try:
                        one.send_body(other, numbered(sent[which]), body)
                        sent[which] += 1
                    except QueueFull:
                        await asyncio.sleep(0.001)
                    await asyncio.sleep(0)

            pushing = [
                asyncio.ensure_future(push(ada, bob, 0)),
                asyncio.ensure_future(push(bob, ada, 1)),
            ]
            for _ in range(3):
                await asyncio.sleep(0.1)
                await rotate(ada, [bob])
                await rotate(bob, [ada])
            going = False
            await asyncio.gather(*pushing)
            for one, other, which in ((ada, bob, 0), (bob, ada, 1)):
                await eventually(lambda: len(other.bodies) == sent[which])  # noqa: B023
                assert numbers(other, one, Lane.BULK) == list(range(sent[which]))
                assert {len(body) for _, _, body in other.bodies} == {200_000}
                assert LinkState.DOWN not in one.states(Lane.BULK)
            assert min(sent) > 100

    run(main)


def test_who_holds_topics_while_keys_change_gets_all_of_them_after_it() -> None:
    async def main() -> None:
        async with nodes("ada", "bob") as (ada, bob):
            acquaint((ada, bob))
            await all_subscribed([ada, bob])
            ada.transport.publish("news", b"%08d" % 0)
            await eventually(lambda: bob.publications)
            bob.transport.hold_topics(True)
            key = TransportKey.generate()
            await ada.transport.begin_rotation(key)
            ada.key = key
            bob.transport.admit(contact(ada))
            ada.transport.admit(contact(bob, key.public))
            for number in range(1, 20):
                ada.transport.publish("news", b"%08d" % number)
                await asyncio.sleep(0.01)
            bob.transport.hold_topics(False)
            await eventually(lambda: ada.transport.left_behind() == 0)
            ada.transport.end_rotation()
            ada.transport.publish("news", b"%08d" % 20)

            def heard() -> list[int]:
                return [int(each) for _, _, frame in bob.publications for each in split(frame)]

            await eventually(lambda: len(heard()) >= 21)
            assert heard() == list(range(21))

    run(main)

"""The bulk lane: bodies beside their envelopes, and what they cost the other lanes."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from transport_lab import Node, eventually, foul_contact, nodes, run, slower

from keys import PeerId, TransportKey
from p2p.errors import MisuseError, PayloadTooLarge, QueueFull
from p2p.links import MAX_BODY_BYTES, Lane, LinkState
from p2p.transport.niceness import NICE

MIB = 1024 * 1024
SEED = 11


def test_a_body_arrives_beside_its_envelope_in_both_directions() -> None:
    async def main() -> None:
        async with nodes("ada", "bob") as (ada, bob):
            ada.send_body(bob, b"there", b"1" * 100_000)
            await eventually(lambda: bob.bodies)
            bob.send_body(ada, b"back", b"2" * 100_000)
            await eventually(lambda: ada.bodies)
            assert bob.bodies == [(ada.peer_id, b"there", b"1" * 100_000)]
            assert ada.bodies == [(bob.peer_id, b"back", b"2" * 100_000)]
            assert (ada.count("dials"), bob.count("dials")) == (1, 0)

    run(main)


def test_the_largest_body_arrives_and_a_larger_one_is_refused() -> None:
    body = os.urandom(MAX_BODY_BYTES)

    async def main() -> None:
        async with nodes("ada", "bob") as (ada, bob):
            envelope = b"e" * ada.transport.settings.frame_limit_bytes
            ada.send_body(bob, envelope, body)
            with pytest.raises(PayloadTooLarge, match="body of 1,048,577 bytes"):
                ada.send_body(bob, b"", body + b"x")
            with pytest.raises(PayloadTooLarge, match="envelope"):
                ada.send_body(bob, envelope + b"e", b"")
            await eventually(lambda: bob.bodies)
            assert bob.bodies == [(ada.peer_id, envelope, body)]

    run(main)


def test_any_bytes_can_be_a_body() -> None:
    numbers = memoryview(bytes(range(240))).cast("Q")

    async def main() -> None:
        async with nodes("ada", "bob") as (ada, bob):
            for body in (b"", bytearray(b"abc"), numbers):
                ada.send_body(bob, b"e", body)
            assert ada.transport.queued_bytes(bob.peer_id, Lane.BULK) == 3 + 3 + 240
            await eventually(lambda: len(bob.bodies) == 3)
            assert [body for _, _, body in bob.bodies] == [b"", b"abc", bytes(range(240))]

    run(main)


@pytest.mark.parametrize("lane", [Lane.CONTROL, Lane.DATA])
def test_the_other_lanes_carry_no_bodies(lane: Lane) -> None:
    async def main() -> None:
        async with nodes("ada", "bob") as (ada, bob):
            with pytest.raises(MisuseError, match="use the bulk lane"):
                ada.transport.send(bob.peer_id, lane, b"e", body=b"x")

    run(main)


def test_a_view_with_holes_is_no_body() -> None:
    async def main() -> None:
        async with nodes("ada", "bob") as (ada, bob):
            with pytest.raises(MisuseError, match="holes"):
                ada.send_body(bob, b"e", memoryview(b"abcdef")[::2])

    run(main)


def test_envelopes_with_bodies_and_without_keep_their_order() -> None:
    print(f"seed {SEED}")
    rng = random.Random(SEED)
    bodies = [rng.choice((None, rng.randbytes(rng.choice((1, 70_000))))) for _ in range(400)]

    async def main() -> None:
        async with nodes("ada", "bob") as (ada, bob):
            expected = b""
            for number, body in enumerate(bodies):
                envelope = b"%04d" % number
                ada.transport.send(bob.peer_id, Lane.BULK, envelope, body=body)
                expected += envelope
                if number % 50 == 0:
                    await asyncio.sleep(0)
            await eventually(lambda: len(bob.received(Lane.BULK)) == len(expected))
            assert bob.received(Lane.BULK) == expected
            found = [(int(envelope), body) for _, envelope, body in bob.bodies]
            assert found == [(n, body) for n, body in enumerate(bodies) if body is not None]

    run(main)


def test_nobody_dials_the_bulk_lane_before_somebody_sends_on_it() -> None:
    async def main() -> None:
        async with nodes("ada", "bob") as (ada, bob):
            ada.send(bob, b"x", Lane.DATA)
            ada.send(bob, b"x", Lane.CONTROL)
            await eventually(lambda: len(bob.frames) == 2)
            assert ada.transport.links()[bob.peer_id].lanes[Lane.BULK].state == "idle"
            assert (ada.count("dials"), ada.count("links_open")) == (2, 2)

    run(main)


def test_a_peer_without_a_bulk_port_is_unreachable_on_that_lane_alone() -> None:
    async def main() -> None:
        async with nodes("ada") as (ada,), nodes("bob") as (bob,):
            ports = {name: port for name, port in bob.transport.ports.items() if name != "bulk"}
            bob.admit(ada)
            ada.transport.admit(replace(bob.contact, ports=ports))
            ada.send(bob, b"works")
            ada.send_body(bob, b"e", b"does not")
            await eventually(lambda: LinkState.UNREACHABLE in ada.states(Lane.BULK))
            await eventually(lambda: bob.received() == b"works")
            assert ada.count("dropped_unreachable") == 1
            assert LinkState.UNREACHABLE not in ada.states()

    run(main)


def test_a_full_bulk_lane_is_an_error_and_the_other_lanes_go_on() -> None:
    async def main() -> None:
        settings = slower(bulk_budget_bytes=8 * MIB)
        async with nodes("ada", "bob", settings=settings) as (ada, bob):
            ada.transport.admit(foul_contact("silent", TransportKey.generate()))
            body = b"x" * MIB
            with pytest.raises(QueueFull, match="silent on the bulk lane"):
                for _ in range(9):
                    ada.transport.send(PeerId("silent"), Lane.BULK, b"", body=body)
            assert ada.transport.queued_bytes(PeerId("silent"), Lane.BULK) <= 8 * MIB
            for lane in Lane:
                ada.send(bob, b"on", lane)
            await eventually(lambda: len(bob.frames) == len(Lane))

    run(main)


def test_heartbeats_pass_a_flood_of_bodies() -> None:
    """Each side has hundreds of megabytes to say; a word on another lane waits for none of it."""
    body = b"x" * MIB

    async def main() -> None:
        async with nodes("ada", "bob") as (ada, bob):
            flooding = True

            async def flood() -> None:
                while flooding:
                    try:
                        ada.send_body(bob, b"e", body)
                    except QueueFull:
                        await asyncio.sleep(0.001)
                    await asyncio.sleep(0)

            task = asyncio.create_task(flood())
            bob.on_frame = lambda *_: bob.bodies.clear()
            await eventually(lambda: ada.count("bulk_frames_out") > 20)
            for number in range(20):
                ada.send(bob, b"%d" % number, Lane.CONTROL)
                await eventually(
                    lambda number=number: bob.received(Lane.CONTROL).endswith(b"%d" % number)
                )
                waiting = ada.transport.queued_bytes(bob.peer_id, Lane.BULK)
                assert waiting <= ada.transport.settings.bulk_budget_bytes
            assert ada.transport.queued_bytes(bob.peer_id, Lane.CONTROL) == 0
            flooding = False
            await task

    run(main)


def test_figures_say_what_went_on_with_each_peer_on_each_lane() -> None:
    async def main() -> None:
        async with nodes("ada", "bob", "cid") as (ada, bob, cid):
            ada.send_body(bob, b"envelope", b"body")
            for _ in range(3):
                ada.send(bob, b"data")
            await eventually(lambda: len(bob.frames) == 2)
            out, there = ada.transport.links()[bob.peer_id], bob.transport.links()[ada.peer_id]
            bulk = out.lanes[Lane.BULK]
            assert (bulk.state, bulk.frames_out, bulk.bytes_out) == ("up", 1, 12)
            assert out.lanes[Lane.DATA].envelopes_out == 3
            assert (there.lanes[Lane.BULK].frames_in, there.lanes[Lane.BULK].bytes_in) == (1, 12)
            assert there.lanes[Lane.DATA].frames_in == 1
            assert ada.transport.links()[cid.peer_id].lanes[Lane.DATA].state == "idle"
            ada.transport.admit(foul_contact("gone", TransportKey.generate()))
            ada.transport.send(PeerId("gone"), Lane.DATA, b"x")
            await asyncio.sleep(0)
            assert ada.transport.links()[PeerId("gone")].lanes[Lane.DATA].state == "dialling"
            await eventually(lambda: ada.count("dropped_unreachable"))
            gone = ada.transport.links()[PeerId("gone")].lanes[Lane.DATA]
            assert (gone.state, gone.dropped, gone.queued_bytes) == ("idle", 1, 0)

    run(main)


def test_the_important_overtakes_what_waits_for_a_peer() -> None:
    async def main() -> None:
        async with nodes("ada") as (ada,):
            bob = Node("bob")
            ada.transport.admit(foul_contact("bob", bob.key))
            for priority in (0, 1, 2):
                ada.transport.send(bob.peer_id, Lane.DATA, b"%d" % priority, priority)
            async with bob.transport:
                bob.admit(ada)
                ada.admit(bob)
                await eventually(lambda: len(bob.received()) == 3)
                assert bob.received() == b"210"

    run(main)


def test_the_last_of_the_budget_is_for_the_important() -> None:
    async def main() -> None:
        async with nodes("ada", settings=slower(data_budget_bytes=10_000)) as (ada,):
            ada.transport.admit(foul_contact("silent", TransportKey.generate()))
            taken = [0, 0, 0]
            for priority in (0, 1, 2):
                with pytest.raises(QueueFull):
                    while True:
                        ada.transport.send(PeerId("silent"), Lane.DATA, b"x" * 100, priority)
                        taken[priority] += 1
            assert taken == [50, 40, 10]
            assert ada.transport.links()[PeerId("silent")].lanes[Lane.DATA].refused == 3

    run(main)


@pytest.mark.skipif(sys.platform != "linux", reason="threads have names and policies on Linux")
def test_the_thread_that_encrypts_bulk_stands_back_and_no_other_does() -> None:
    async def main() -> None:
        before = policies()
        async with nodes("ada"):
            made = {thread: told for thread, told in policies().items() if thread not in before}
        own = os.SCHED_OTHER, os.getpriority(os.PRIO_PROCESS, 0)
        gentle = {name: told for name, *told in made.values() if tuple(told) != own}
        assert gentle == {"ZMQbg/IO/1": [os.SCHED_BATCH, min(own[1] + NICE, 19)]}
        assert "ZMQbg/IO/0" in [name for name, *_ in made.values()]

    run(main)


def policies() -> dict[int, tuple[str, int, int]]:
    """The name, the scheduling policy and the niceness of each thread here, by its id."""
    tasks = Path("/proc/self/task")
    found = {}
    for task in os.listdir(tasks):
        with suppress(FileNotFoundError, ProcessLookupError):  # of an earlier test; it ended
            found[int(task)] = (
                (tasks / task / "comm").read_text().strip(),
                os.sched_getscheduler(int(task)),
                os.getpriority(os.PRIO_PROCESS, int(task)),
            )
    return found

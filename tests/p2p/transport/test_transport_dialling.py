"""Whom transports dial and when: refusals, addresses, and two that dial at once."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from transport_lab import HASTY, eventually, foul_contact, nodes, run, slower

from keys import PeerId, TransportKey
from p2p.links import Lane, LinkState


def test_connections_are_given_up_and_made_anew_when_an_address_is_over() -> None:
    """Bob sends over a connection that Ada made: nobody but she knows that it is dead."""

    async def main() -> None:
        async with nodes("ada", "bob") as (ada, bob):
            ada.send(bob, b"1")
            await eventually(lambda: bob.frames)
            ada.transport.redial(bob.peer_id)
            await eventually(lambda: LinkState.DOWN in ada.states())
            await eventually(lambda: LinkState.DOWN in bob.states())
            bob.send(ada, b"2")
            await eventually(lambda: ada.received() == b"2")
            ada.transport.redial(bob.peer_id)  # now the connection was made by Bob
            ada.send(bob, b"3")
            await eventually(lambda: bob.received() == b"13")
            ada.transport.redial(PeerId("nobody"))

    run(main)


def test_a_refusal_is_reported_and_what_waited_arrives_after_admission() -> None:
    async def main() -> None:
        async with nodes("ada") as (ada,), nodes("bob") as (bob,):
            ada.admit(bob)
            ada.send(bob, b"patience")
            await eventually(lambda: LinkState.REFUSED in ada.states())
            bob.admit(ada)
            ada.admit(bob)
            await eventually(lambda: bob.received() == b"patience")
            assert ada.states()[-1] is LinkState.UP

    run(main)


def test_one_refusal_in_a_race_with_admission_is_no_news() -> None:
    async def main() -> None:
        async with nodes("ada") as (ada,), nodes("bob") as (bob,):
            ada.admit(bob)
            ada.send(bob, b"first")
            await eventually(lambda: ada.count("dials_refused") == 1)
            bob.admit(ada)
            await eventually(lambda: bob.received() == b"first")
            assert ada.states() == [LinkState.UP]

    run(main)


def test_a_new_key_replaces_the_old_and_cuts_its_connections() -> None:
    async def main() -> None:
        async with nodes("ada", "bob") as (ada, bob), nodes("bob") as (reborn,):
            bob.send(ada, b"old")
            await eventually(lambda: ada.frames)
            reborn.admit(ada)
            ada.admit(reborn)
            await eventually(lambda: LinkState.DOWN in bob.states())
            await eventually(lambda: LinkState.REFUSED in bob.states())
            ada.send(reborn, b"to the new one")
            await eventually(lambda: reborn.frames)
            assert ada.received() == b"old"
            assert not bob.frames

    run(main)


def test_what_waits_for_a_peer_that_restarts_goes_to_its_new_address() -> None:
    async def main() -> None:
        async with nodes("ada") as (ada,), nodes("bob") as (bob,):
            ada.transport.admit(foul_contact("bob", TransportKey.generate()))
            ada.send(bob, b"hold on")
            await eventually(lambda: ada.count("dials_failed"))
            bob.admit(ada)
            ada.admit(bob)
            await eventually(lambda: bob.received() == b"hold on")

    run(main)


def test_the_next_address_is_tried_when_one_does_not_answer() -> None:
    async def main() -> None:
        async with nodes("ada") as (ada,), nodes("bob") as (bob,):
            bob.admit(ada)
            hosts = ("127.0.0.77", "127.0.0.1")  # nobody listens on the first
            ada.transport.admit(replace(bob.contact, hosts=hosts))
            ada.send(bob, b"found you")
            await eventually(lambda: bob.frames)
            assert ada.states() == [LinkState.UP]

    run(main)


def test_somebody_else_at_the_address_is_not_taken_for_the_peer() -> None:
    async def main() -> None:
        async with nodes("ada", "cid", settings=HASTY) as (ada, cid):
            ports = dict(cid.transport.ports)
            ada.transport.admit(foul_contact("bob", TransportKey.generate(), ports))
            ada.transport.send(PeerId("bob"), Lane.DATA, b"for bob")
            await eventually(lambda: ada.links)
            assert ada.links[0].state is LinkState.UNREACHABLE
            assert "handshake failed" in ada.links[0].reason
            assert not cid.frames

    run(main)


@pytest.mark.parametrize(
    "host", ["peer.example", "127.0.0.1;127.0.0.1", "*", "", "fe80::1%x;y", "127.0.0.1:80", "eth0"]
)
def test_only_ip_addresses_are_dialled(host: str) -> None:
    async def main() -> None:
        async with nodes("ada", settings=HASTY) as (ada,), nodes("bob") as (bob,):
            ada.transport.admit(replace(bob.contact, hosts=(host,)))
            ada.send(bob, b"x")
            await eventually(lambda: ada.links)
            assert ada.links[0].state is LinkState.UNREACHABLE
            assert "no address" in ada.links[0].reason
            assert ada.count("dropped_bad_address") == 1
            assert ada.count("dials") == 0

    run(main)


def test_a_pair_that_dials_at_the_same_time_hears_everything() -> None:
    async def main() -> None:
        for _ in range(5):
            async with nodes("ada", "bob") as (ada, bob):
                for number in range(200):
                    ada.send(bob, b"a")
                    bob.send(ada, b"b")
                    if number % 5 == 0:
                        await asyncio.sleep(0)
                await eventually(lambda: len(bob.received()) == len(ada.received()) == 200)
                assert ada.states() == bob.states() == [LinkState.UP]

    run(main)


def test_two_that_speak_at_once_on_the_control_lane_keep_one_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Longer than a handshake takes, however busy the machine is.
    monkeypatch.setattr("p2p.transport.terms._YIELD_S", 2.0)

    async def main() -> None:
        for _ in range(5):
            settings = slower(connect_timeout_ms=16_000)
            async with nodes("ada", "bob", settings=settings) as (ada, bob):
                ada.send(bob, b"a", Lane.CONTROL)
                bob.send(ada, b"b", Lane.CONTROL)
                await eventually(lambda: bob.received(Lane.CONTROL) == b"a")
                await eventually(lambda: ada.received(Lane.CONTROL) == b"b")
                for node, other in ((ada, bob), (bob, ada)):
                    outlet = node.transport._outlets[Lane.CONTROL][other.peer_id]
                    assert outlet._dialler._timer is None, "whoever waited will not dial"
                assert ada.count("dials") + bob.count("dials") == 1
                assert ada.states(Lane.CONTROL) == bob.states(Lane.CONTROL) == [LinkState.UP]

    run(main)


def test_each_of_two_reaches_the_other_on_the_control_lane_when_only_it_speaks() -> None:
    async def main() -> None:
        for one, other in ((0, 1), (1, 0)):
            async with nodes("ada", "bob") as pair:
                greater_last = sorted(pair, key=lambda node: node.key.public)
                speaker, listener = greater_last[one], greater_last[other]
                speaker.send(listener, b"hello", Lane.CONTROL)
                await eventually(lambda: listener.received(Lane.CONTROL) == b"hello")  # noqa: B023
                assert (speaker.count("dials"), listener.count("dials")) == (1, 0)

    run(main)

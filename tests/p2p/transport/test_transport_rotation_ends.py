"""CURVE keys that change: refusals, words on the way, and what is left behind."""

from __future__ import annotations

import asyncio
import gc
import itertools
import time

import pytest
from rotating_lab import (
    acquaint,
    all_subscribed,
    contact,
    numbered,
    numbers,
    patience,  # noqa: F401 - a fixture
    rotate,
)
from transport_lab import Node, eventually, nodes, run, slower

from keys import TransportKey
from p2p.errors import MisuseError
from p2p.links import Contact, Lane, LinkState
from p2p.transport.dial import Dial
from p2p.transport.outlet import Outlet
from p2p.transport.words import MARK, Owed, Verb, Word, decode_word


def test_words_of_garbage_are_counted_and_answered_by_nothing() -> None:
    async def main() -> None:
        async with nodes("ada", "bob") as (ada, bob):
            acquaint((ada, bob))
            bob.send(ada, numbered(0))
            await eventually(lambda: ada.frames)
            foul = (MARK, MARK + b"\x09", MARK + b"\x01abc", MARK + b"\x00x", MARK + b"\x02" * 5)
            for message in foul:
                bob.send(ada, message)
                bob.transport._outlets[Lane.DATA][ada.peer_id].flush()
            drained = Word(Verb.DRAINED, 77).encode()
            bob.send(ada, drained)
            bob.transport._outlets[Lane.DATA][ada.peer_id].flush()
            bob.send(ada, numbered(1))
            await eventually(lambda: numbers(ada, bob, Lane.DATA) == [0, 1])
            assert ada.count("dropped_malformed") == 4, "one is a good answer to no question"

    run(main)


def test_words_are_what_they_were() -> None:
    for verb, number in itertools.product(Verb, (0, 7, (1 << 32) - 1)):
        word = Word(verb, number if verb in (Verb.DRAIN, Verb.DRAINED) else 0)
        assert decode_word(word.encode()) == word
    assert Word(Verb.DRAIN, 7).encode().hex() == "c10100000007"
    assert Word(Verb.LAST).encode().hex() == "c103"


def test_words_that_find_no_room_are_kept_one_of_a_kind() -> None:
    owed: Owed[str] = Owed()
    for number in range(1000):
        owed.owe("path", Verb.DRAINED, number)
    owed.owe("other", Verb.LAST)
    said: list[tuple[str, bytes]] = []

    def send(path: str, word: bytes) -> bool:
        if path == "path":
            return False
        said.append((path, word))
        return True

    assert not owed.say(send)
    assert said == [("other", Word(Verb.LAST).encode())]
    owed.forget("path")
    assert owed.say(send)
    assert not owed


async def crossed(ada: Node, bob: Node) -> None:
    """Both dial before they hear of each other, and keep both connections."""
    readers = [node.transport._assembly.lanes[Lane.DATA].reader for node in (ada, bob)]  # type: ignore[union-attr]
    for reader in readers:
        reader.pause()
    ada.send(bob, numbered(0))
    bob.send(ada, numbered(0))
    paths = [outlet_of(ada, bob), outlet_of(bob, ada)]
    await eventually(lambda: all(outlet.up for outlet in paths))
    for reader in readers:
        reader.resume()
    await eventually(lambda: ada.frames and bob.frames)
    assert all(isinstance(outlet._path, Dial) and outlet._routes for outlet in paths)


def outlet_of(node: Node, other: Node) -> Outlet:
    return node.transport._outlets[Lane.DATA][other.peer_id]


def test_what_comes_in_while_a_word_is_said_elsewhere_is_read() -> None:
    """A send swallows its socket's signal, and nobody else speaks here who could bring it back."""

    async def main() -> None:
        async with nodes("ada", "bob") as (ada, bob):
            acquaint((ada, bob))
            await crossed(ada, bob)
            ours, theirs = outlet_of(ada, bob), outlet_of(bob, ada)
            for number in range(1, 4):
                bob.send(ada, numbered(number))
                theirs.flush()
                time.sleep(0.05)  # noqa: ASYNC251 - it is there, and this turn of the loop does not know
                ours._owe(ours._routes[0], Verb.HERE)
                ours._flusher._turn()
                await eventually(lambda: numbers(ada, bob, Lane.DATA) == [*range(number + 1)])  # noqa: B023

    run(main)


def test_a_rotation_can_be_undone_and_those_who_stayed_notice_nothing() -> None:
    async def main() -> None:
        async with nodes("ada", "bob") as (ada, bob):
            acquaint((ada, bob))
            bob.send(ada, numbered(0))
            await eventually(lambda: ada.frames)
            ports, key = ada.transport.ports, TransportKey.generate()
            await ada.transport.begin_rotation(key)
            nowhere = dict.fromkeys(ports, 1)  # a firewall is in front of the new ports
            bob.transport.admit(Contact(ada.peer_id, key.public, ("127.0.0.1",), nowhere, 1))
            bob.send(ada, numbered(1))
            await eventually(lambda: numbers(ada, bob, Lane.DATA) == [0, 1])
            assert (ada.transport.left_behind(), ada.transport.come_over()) == (1, 0)
            assert ada.transport.undo_rotation() == ports
            bob.transport.admit(contact(ada))
            for number in range(2, 50):
                bob.send(ada, numbered(number))
                await asyncio.sleep(0.005)
            await eventually(lambda: numbers(ada, bob, Lane.DATA) == list(range(50)))
            assert LinkState.DOWN not in bob.states()
            ada.transport.end_rotation()
            with pytest.raises(MisuseError):
                ada.transport.undo_rotation()
            await rotate(ada, [bob])
            bob.send(ada, numbered(50))
            await eventually(lambda: numbers(ada, bob, Lane.DATA) == list(range(51)))
            assert LinkState.DOWN not in bob.states()

    run(main)


def test_of_the_former_secret_nothing_is_left_in_our_objects() -> None:
    async def main() -> None:
        async with nodes("ada", "bob") as (ada, bob):
            acquaint((ada, bob))
            await all_subscribed([ada, bob])
            for lane in Lane:
                ada.send(bob, numbered(0), lane)
            await eventually(lambda: len(bob.frames) == 3)
            former = (await rotate(ada, [bob])).public
            gc.collect()
            left = [
                key
                for key in gc.get_objects()
                if isinstance(key, TransportKey) and key.public == former
            ]
            assert left == []

    run(main)


def test_a_seam_costs_a_subscriber_none_of_its_subscriptions() -> None:
    async def main() -> None:
        settings = slower(subscriptions_per_peer=5)
        async with nodes("ada", "bob", settings=settings) as (ada, bob):
            acquaint((ada, bob))
            for number in range(5):
                bob.transport.subscribe(f"topic-{number}")
            await eventually(lambda: ada.transport.subscribers("topic-4"))
            await rotate(ada, [bob])
            await rotate(bob, [ada])
            assert ada.count("topics_cut_subscriptions") == 0
            assert ada.transport.subscribers("topic-4") == {bob.peer_id}

    run(main)

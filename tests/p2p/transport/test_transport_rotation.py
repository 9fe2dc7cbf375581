"""CURVE keys that change under load: nothing lost, doubled or overtaken; the old ones are void."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import socket
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack, suppress

import pytest
import transport_lab
import zmq
from transport_lab import QUICK, Node, eventually, nodes, run, slower

from keys import TransportKey
from p2p.errors import MisuseError, QueueFull, RotationFailed
from p2p.links import Contact, Lane, LinkState
from p2p.transport.words import MARK, Owed, Verb, Word, decode_word
from p2p.wire import Envelope, Kind, decode_frame, encode_envelope


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport_lab, "DEADLINE_S", 20.0)


# On a busy machine a first connection may take longer than the lab's other tests want to wait.
PATIENT = slower(connect_timeout_ms=6000)


def contact(node: Node, knows: bytes = b"") -> Contact:
    return Contact(node.peer_id, node.key.public, ("127.0.0.1",), node.transport.ports, 1, knows)


def acquaint(everyone: Sequence[Node]) -> None:
    """All know the present keys of all."""
    for one, other in itertools.permutations(everyone, 2):
        one.transport.admit(contact(other, one.key.public))


async def rotate(node: Node, others: Sequence[Node]) -> TransportKey:
    """One whole rotation as a peer does it; returns the key that is gone."""
    before = node.key
    key = TransportKey.generate()
    await node.transport.begin_rotation(key)
    node.key = key
    for other in others:
        known = other.transport._contacts[node.peer_id].knows_key
        other.transport.admit(contact(node, known))
        node.transport.admit(contact(other, key.public))
    for _ in range(2):  # a connection may be there before its event
        await eventually(lambda: node.transport.left_behind() == 0, "all have come over")
        await asyncio.sleep(0.05)
    node.transport.end_rotation()
    return before


def numbered(number: int) -> bytes:
    return encode_envelope(Envelope(int(Kind.NOTIFY), 0, 0, "n", 0, 1, b"", b"%d" % number))


def numbers(node: Node, source: Node, lane: Lane) -> list[int]:
    found = []
    for peer_id, one, payload in node.frames:
        if peer_id == source.peer_id and one is lane:
            found += [int(each.payload) for each in decode_frame(payload)[0]]
    return found


class Load:
    """Everybody sends to everybody on every lane, and publishes, with numbers."""

    def __init__(self, everyone: Sequence[Node]) -> None:
        self.everyone = everyone
        self.sent: dict[tuple[str, str, Lane], int] = defaultdict(int)
        self.published: dict[str, int] = defaultdict(int)
        self.going = True

    async def run(self) -> None:
        while self.going:
            for one, other in itertools.permutations(self.everyone, 2):
                for lane in Lane:
                    way = (one.peer_id, other.peer_id, lane)
                    with suppress(QueueFull):
                        one.send(other, numbered(self.sent[way]), lane)
                        self.sent[way] += 1
            for one in self.everyone:
                one.transport.publish("news", b"%08d" % self.published[one.peer_id])
                self.published[one.peer_id] += 1
            await asyncio.sleep(0.001)

    async def judge(self) -> None:
        for one, other in itertools.permutations(self.everyone, 2):
            for lane in Lane:
                wanted = list(range(self.sent[one.peer_id, other.peer_id, lane]))
                await eventually(lambda: len(numbers(other, one, lane)) >= len(wanted))  # noqa: B023
                assert numbers(other, one, lane) == wanted, (one.peer_id, other.peer_id, lane)
        for one, other in itertools.permutations(self.everyone, 2):
            wanted = list(range(self.published[one.peer_id]))

            def heard() -> list[int]:
                mine = [b for peer, _, b in other.publications if peer == one.peer_id]  # noqa: B023
                return [int(each[-8:]) for frame in mine for each in split(frame)]

            await eventually(lambda: len(heard()) >= len(wanted))  # noqa: B023
            assert heard() == wanted, (one.peer_id, other.peer_id)


def split(frame: bytes) -> list[bytes]:
    """The envelopes of eight digits in a frame."""
    digits = frame[5:] if frame[:1] == b"\xdd" else frame
    return [digits[at : at + 8] for at in range(0, len(digits), 8)]


async def all_subscribed(everyone: Sequence[Node]) -> None:
    for node in everyone:
        node.transport.subscribe("news")
    for node in everyone:
        await eventually(lambda: len(node.transport.subscribers("news")) == len(everyone) - 1)  # noqa: B023


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


def block_of_free_ports(count: int) -> int:
    """Below those that the system gives away by itself."""
    for first in range(21_000 + os.getpid() % 1000 * 10, 32_000, count):
        with ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    taken = stack.enter_context(socket.socket())
                    taken.bind(("127.0.0.1", port))
            except OSError:
                continue
            return first
    raise AssertionError("no free ports")


def test_fixed_ports_alternate_between_two_blocks() -> None:
    async def main() -> None:
        first = block_of_free_ports(8)
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

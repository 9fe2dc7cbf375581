"""Nodes whose CURVE keys change while all of them send and publish with numbers."""

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress

import pytest
import transport_lab
from transport_lab import Node, eventually, slower

from keys import TransportKey
from p2p.errors import QueueFull
from p2p.links import Contact, Lane
from p2p.wire import Envelope, Kind, decode_frame, encode_envelope


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport_lab, "DEADLINE_S", 20.0)


# On a busy machine a first connection may take longer than the lab's other tests want to wait. And
# there nobody is left behind: what `p2p.pubsub` repairs then would be missing here.
PATIENT = slower(connect_timeout_ms=6000, topics_patience_ms=60_000)


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

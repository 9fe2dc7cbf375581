"""Nodes on loopback that remember what they received, and strangers that play foul."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import zmq
import zmq.asyncio

from keys import PeerId, TransportKey
from p2p.links import JOIN_BYTES, Contact, Lane, LinkChanged, LinkState
from p2p.transport import TransportSettings, ZmqTransport

QUICK = TransportSettings(
    host="127.0.0.1",
    connect_timeout_ms=2000,  # a handshake takes its time where everybody wants the processor
    redial_min_ms=20,
    redial_max_ms=100,
    topics_redial_max_ms=100,
    linger_ms=50,
)
HASTY = replace(QUICK, connect_timeout_ms=600)  # for those who wait for an end in vain
DEADLINE_S = 5.0


def run(main: Callable[[], Awaitable[None]]) -> None:
    """Run one test on a fresh loop; nothing may hang, and nothing may fail unseen."""
    unseen: list[object] = []

    async def guarded() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, what: unseen.append(what))
        async with asyncio.timeout(4 * DEADLINE_S):
            await main()

    asyncio.run(guarded())
    assert not unseen, unseen


async def eventually(holds: Callable[[], object], what: str = "") -> None:
    """Wait for a condition, under a deadline."""
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not holds():
                await asyncio.sleep(0.002)
    except TimeoutError:
        raise AssertionError(f"never came true: {what or holds}") from None


class Node:
    """A transport that keeps what it is told."""

    def __init__(
        self,
        name: str,
        settings: TransportSettings = QUICK,
        key: TransportKey | None = None,
    ) -> None:
        self.peer_id = PeerId(name)
        self.key = key or TransportKey.generate()
        self.transport = ZmqTransport(settings, self.key)
        self.frames: list[tuple[PeerId, Lane, bytes]] = []
        self.bodies: list[tuple[PeerId, bytes, bytes]] = []
        self.links: list[LinkChanged] = []
        self.publications: list[tuple[PeerId, str, bytes]] = []
        self.failures: list[Exception] = []
        self.on_frame: Callable[[PeerId, Lane, bytes], None] = lambda *_: None
        self.transport.receive_with(
            self._frame, self.links.append, self._publication, self.failures.append
        )

    def _frame(self, peer_id: PeerId, lane: Lane, payload: bytes, body: bytes | None) -> None:
        if body is not None:
            self.bodies.append((peer_id, payload, body))
        self.frames.append((peer_id, lane, payload))
        self.on_frame(peer_id, lane, payload)

    def _publication(self, peer_id: PeerId, topic: str, payload: bytes | memoryview) -> None:
        self.publications.append((peer_id, topic, bytes(payload)))

    @property
    def contact(self) -> Contact:
        return Contact(self.peer_id, self.key.public, ("127.0.0.1",), self.transport.ports)

    def admit(self, other: Node) -> None:
        self.transport.admit(other.contact)

    def send(self, to: Node, payload: bytes, lane: Lane = Lane.DATA) -> None:
        self.transport.send(to.peer_id, lane, payload)

    def send_body(self, to: Node, payload: bytes, body: bytes | memoryview) -> None:
        self.transport.send(to.peer_id, Lane.BULK, payload, body=body)

    def received(self, lane: Lane = Lane.DATA) -> bytes:
        """Everything that came in on a lane, frames joined."""
        return b"".join(apart(payload) for _, one, payload in self.frames if one is lane)

    def states(self, lane: Lane = Lane.DATA) -> list[LinkState]:
        return [change.state for change in self.links if change.lane is lane]

    def count(self, name: str) -> int:
        return self.transport.counters()[name]


def apart(frame: bytes) -> bytes:
    """The envelopes of a frame, one behind the other."""
    return frame[JOIN_BYTES:] if frame[:1] == b"\xdd" else frame


@asynccontextmanager
async def nodes(*names: str, settings: TransportSettings = QUICK) -> AsyncIterator[list[Node]]:
    """Running nodes that have all admitted one another."""
    everyone = [Node(name, settings) for name in names]
    async with AsyncExitStack() as stack:
        for node in everyone:
            await stack.enter_async_context(node.transport)
        for one, other in itertools.permutations(everyone, 2):
            one.admit(other)
        yield everyone


class Foul:
    """A peer with a bare ZeroMQ socket that follows no rule of ours."""

    def __init__(self, kind: int, target: Node, lane: str, key: TransportKey) -> None:
        self.context = zmq.asyncio.Context()
        self.socket = self.context.socket(kind)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.RECONNECT_IVL, -1)  # or what is counted is counted again
        self.socket.curve_publickey = key.public
        self.socket.curve_secretkey = key.export_secret()
        self.socket.curve_serverkey = target.key.public
        self.address = f"tcp://127.0.0.1:{target.transport.ports[lane]}"

    def connect(self, routing_id: bytes = b"") -> Foul:
        if self.socket.type == zmq.DEALER:
            self.socket.setsockopt(zmq.ROUTING_ID, routing_id or b"\1" + secrets.token_bytes(15))
        self.socket.connect(self.address)
        return self

    def __enter__(self) -> Foul:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.destroy(linger=0)


def foul_contact(name: str, key: TransportKey, ports: dict[str, int] | None = None) -> Contact:
    """A contact for a peer that is no `Node`."""
    nowhere = {"control": 1, "data": 1, "bulk": 1, "topics": 1}
    return Contact(PeerId(name), key.public, ("127.0.0.1",), ports or nowhere)


def slower(**changes: int) -> TransportSettings:
    return replace(QUICK, **changes)

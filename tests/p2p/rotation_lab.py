"""Everything that peers may do to each other at once, numbered, to be judged when it is over."""

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict
from collections.abc import Sequence

from keys import PeerId, Permission
from p2p import Incoming, MemberChange, MemberState, Peer, PresenceEvent, Stream

SLOW_S = 1.3  # longer than between two rotations
PAUSE_S = 0.004
LATE_S = 0.5  # a machine that lets us wait so long may make us suspect anybody


class Work:
    """Calls, slow calls, notices, streams in both directions and publications, of all to all.

    A call that fails ends the test by its own error; `judge` says what else went wrong.
    """

    def __init__(self, peers: Sequence[Peer]) -> None:
        self.peers = peers
        self.going = True
        self.calls = 0
        self.ran: dict[bytes, int] = defaultdict(int)
        self.noticed: dict[tuple[PeerId, PeerId], list[int]] = defaultdict(list)
        self.sent: dict[tuple[PeerId, PeerId], int] = defaultdict(int)
        self.streamed: dict[tuple[PeerId, PeerId], list[int]] = defaultdict(list)
        self.written: dict[tuple[PeerId, PeerId], int] = defaultdict(int)
        self.heard: dict[tuple[PeerId, PeerId], list[tuple[int, int]]] = defaultdict(list)
        self.published: dict[PeerId, int] = defaultdict(int)
        self.changes: list[MemberChange] = []
        self.late_s = 0.0  # how late this process was run, at worst
        for peer in peers:
            self._serve(peer)

    def _serve(self, peer: Peer) -> None:
        own = peer.peer_id

        async def slow(incoming: Incoming, payload: bytes) -> bytes:
            self.ran[payload] += 1
            await asyncio.sleep(SLOW_S)
            return payload

        async def quick(incoming: Incoming, payload: bytes) -> bytes:
            self.ran[payload] += 1
            return payload

        def note(sender: PeerId, payload: bytes) -> None:
            self.noticed[sender, own].append(int(payload))

        async def take(incoming: Incoming, payload: bytes, stream: Stream) -> None:
            async for chunk in stream:
                self.streamed[PeerId(payload.decode()), own].append(int(chunk))
                await stream.write(chunk)

        def watch(event: PresenceEvent) -> None:
            if isinstance(event, MemberChange) and event.after is not MemberState.ALIVE:
                self.changes.append(event)

        peer.serve("slow", slow, permission=Permission.CALL)
        peer.serve("quick", quick, permission=Permission.CALL)
        peer.serve_notice("note", note, permission=Permission.CALL)
        peer.serve_stream("take", take, permission=Permission.CALL)
        peer.watch(watch)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._look_at_the_machine())
            for one, other in itertools.permutations(self.peers, 2):
                group.create_task(self._call(one, other, "quick"))
                group.create_task(self._call(one, other, "slow"))
                group.create_task(self._notify(one, other))
                group.create_task(self._stream(one, other))
            for peer in self.peers:
                group.create_task(self._publish(peer))

    async def listen(self) -> list[asyncio.Task[None]]:
        """Subscribe all to all, before anything is published."""
        tasks = []
        for peer in self.peers:
            subscription = peer.subscribe("news", buffer=100_000)

            async def read(peer: Peer = peer, subscription: object = subscription) -> None:
                async for one in subscription:  # type: ignore[attr-defined]
                    way = (one.sender, peer.peer_id)
                    self.heard[way].append((int(one.payload), one.gap))

            tasks.append(asyncio.ensure_future(read()))
        for peer in self.peers:
            await peer.wait_subscribers("news", len(self.peers) - 1, 10)
        return tasks

    async def _look_at_the_machine(self) -> None:
        loop = asyncio.get_running_loop()
        while self.going:
            due_s = loop.time() + PAUSE_S
            await asyncio.sleep(PAUSE_S)
            self.late_s = max(self.late_s, loop.time() - due_s)

    async def _call(self, one: Peer, other: Peer, method: str) -> None:
        for number in itertools.count():
            if not self.going:
                return
            payload = f"{method} {one.name} {other.name} {number}".encode()
            assert await one.request(other.peer_id, method, payload, timeout_s=10) == payload
            assert self.ran[payload] == 1, payload
            self.calls += 1
            await asyncio.sleep(PAUSE_S)

    async def _notify(self, one: Peer, other: Peer) -> None:
        way = (one.peer_id, other.peer_id)
        while self.going:
            one.notify(other.peer_id, "note", b"%d" % self.sent[way])
            self.sent[way] += 1
            await asyncio.sleep(PAUSE_S)

    async def _stream(self, one: Peer, other: Peer) -> None:
        way = (one.peer_id, other.peer_id)
        stream = await one.open_stream(other.peer_id, "take", one.peer_id.encode())
        echoed: list[int] = []

        async def read() -> None:
            async for chunk in stream:
                echoed.append(int(chunk))

        reading = asyncio.ensure_future(read())
        while self.going:
            await stream.write(b"%d" % self.written[way])
            self.written[way] += 1
            await asyncio.sleep(PAUSE_S)
        await stream.finish()
        await reading
        assert echoed == list(range(self.written[way]))

    async def _publish(self, peer: Peer) -> None:
        while self.going:
            peer.publish("news", b"%d" % self.published[peer.peer_id])
            self.published[peer.peer_id] += 1
            await asyncio.sleep(PAUSE_S)

    def is_settled(self) -> bool:
        """Whether as much has arrived as was sent."""
        ways = itertools.permutations([peer.peer_id for peer in self.peers], 2)
        return all(
            len(self.noticed[way]) >= self.sent[way]
            and len(self.heard[way]) >= self.published[way[0]]
            for way in ways
        )

    def judge(self) -> None:
        """Nothing lost, nothing twice, nothing overtaken, nobody suspected."""
        for way in itertools.permutations([peer.peer_id for peer in self.peers], 2):
            assert self.noticed[way] == list(range(self.sent[way]))
            assert self.streamed[way] == list(range(self.written[way]))
            assert self.heard[way] == [(n, 0) for n in range(self.published[way[0]])]
        assert self.late_s > LATE_S or self.changes == [], "nobody was suspected"
        assert all(change.after is not MemberState.DEAD for change in self.changes)
        assert set(self.ran.values()) == {1}

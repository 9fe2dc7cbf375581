"""Members that say on the bulk lane what no stream of ours would: counted, and bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random

import pytest
from peer_lab import Lab, in_lab, until

from keys import Permission, Role
from p2p import Incoming, Lane, Overloaded, Peer, PermissionDenied, Stream, encode_payload
from p2p.streams.messages import join_chunks
from p2p.streams.streams import PER_PEER
from p2p.wire import Envelope, Kind, decode_fault, encode_envelope

MIB = 2**20
VERBS = (
    *("open", "accept", "refuse", "", "chunks", "end"),
    *("credit", "resume", "resumed", "abort", "dance"),
)
CREDIT = 8 * MIB


class Foul:
    """A member that writes its own envelopes, and keeps what it is told."""

    def __init__(self, own: Peer, other: Peer) -> None:
        self._own = own
        self._other = other
        self.heard: list[Envelope] = []
        own._streams.on_envelopes = lambda _, envelopes: self.heard.extend(envelopes)  # type: ignore[method-assign]

    def say(self, ident: int, verb: str, sequence: int = 0, payload: bytes = b"") -> None:
        one = Envelope(Kind.STREAM, ident, sequence, verb, 0, 1, b"", payload)
        self._own._transport.send(self._other.peer_id, Lane.BULK, encode_envelope(one))

    def open(self, number: int, method: str = "hold") -> None:
        self.say(2 * number + 1, "open", 0, encode_payload([method, b"", CREDIT]))

    def said(self, verb: str) -> list[Envelope]:
        return [one for one in self.heard if one.target == verb]


class Holder:
    """Serves `hold`: reads nothing until it may."""

    def __init__(self, peer: Peer, limit: int = 1000) -> None:
        self.gate = asyncio.Event()
        self.begun = 0
        self.ended: list[str] = []
        peer.serve_stream("hold", self.hold, permission=Permission.CALL, limit=limit)

    async def hold(self, incoming: Incoming, payload: bytes, stream: Stream) -> None:
        self.begun += 1
        try:
            await self.gate.wait()
            async for _ in stream:
                pass
            self.ended.append("done")
        except BaseException as error:
            self.ended.append(type(error).__name__)
            raise


def against(scenario: Callable[[Lab, Peer, Holder, Foul], object], limit: int = 1000) -> None:
    """Run a scenario with one foul member; nothing may be raised where nobody sees it."""

    async def whole(lab: Lab) -> None:
        unseen: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, what: unseen.append(what))
        ben = lab.peer("ben")
        holder = Holder(ben, limit)
        ada, _ = await lab.up("ada", "ben")
        await scenario(lab, ben, holder, Foul(ada, ben))  # type: ignore[misc]
        assert not unseen, unseen

    in_lab(whole)


@pytest.mark.parametrize("seed", range(4))
def test_no_garbage_raises_or_stays(seed: int) -> None:
    async def scenario(lab: Lab, ben: Peer, holder: Holder, foul: Foul) -> None:
        rng = Random(seed)
        for _ in range(1500):
            payload = rng.choice(
                (
                    b"",
                    rng.randbytes(rng.randint(0, 40)),
                    encode_payload([rng.randint(0, 2**63) for _ in range(rng.randint(0, 5))]),
                    encode_payload([rng.randint(0, 9), rng.randint(0, 9), 3, True]),
                    encode_payload(["hold", b"", rng.randint(0, 10**6)]),
                )
            )
            number = rng.choice((0, 1, 2, rng.randint(0, 2**60)))
            foul.say(rng.randint(0, 12), rng.choice(VERBS), number, payload)
        await asyncio.sleep(2)
        counters = ben.counters()
        assert counters["streams_stray"] > 0
        assert counters["streams_violations"] > 0
        assert counters["streams_open"] <= 13
        assert len(ben._streams._table.of(ben.presence.present()[0]).past) <= 256
        clara = lab.peer("clara")
        await clara.__aenter__()
        await until(lambda: ben.peer_id in clara.presence.present())
        holder.gate.set()
        stream = await clara.open_stream(ben.peer_id, "hold")
        await stream.write(b"still here")
        await stream.finish()

    against(scenario)


def test_who_sends_more_than_was_granted_is_aborted_and_holds_no_memory() -> None:
    async def scenario(lab: Lab, ben: Peer, holder: Holder, foul: Foul) -> None:
        foul.open(1)
        for n in range(12):
            foul.say(3, "", n, bytes(900_000))
        await until(lambda: foul.said("abort"))
        fault = decode_fault(foul.said("abort")[0].payload, "ben", "hold")
        assert "more than it was granted" in str(fault)
        await until(lambda: holder.ended)
        assert ben.counters()["streams_open"] == 0
        assert ben.counters()["streams_violations"] == 1

    against(scenario)


def test_chunks_that_travel_together_are_held_to_the_same_credit() -> None:
    async def scenario(lab: Lab, ben: Peer, holder: Holder, foul: Foul) -> None:
        foul.open(1)
        for n in range(12):
            foul.say(3, "chunks", 9 * n, join_chunks([bytes(100_000)] * 9))
        await until(lambda: foul.said("abort"))
        fault = decode_fault(foul.said("abort")[0].payload, "ben", "hold")
        assert "more than it was granted" in str(fault)
        await until(lambda: holder.ended)
        assert ben.counters()["streams_open"] == 0
        assert ben.counters()["streams_violations"] == 1

    against(scenario)


def test_chunks_that_nobody_could_have_joined_abort() -> None:
    async def scenario(lab: Lab, ben: Peer, holder: Holder, foul: Foul) -> None:
        foul.open(1)
        foul.say(3, "chunks", 0, join_chunks([b"one", b"two"])[:-1])
        await until(lambda: foul.said("abort"))
        fault = decode_fault(foul.said("abort")[0].payload, "ben", "hold")
        assert "do not fit" in str(fault)
        assert ben.counters()["streams_violations"] == 1

    against(scenario)


def test_an_open_that_is_repeated_is_one_stream() -> None:
    async def scenario(lab: Lab, ben: Peer, holder: Holder, foul: Foul) -> None:
        for _ in range(5):
            foul.open(1)
            await asyncio.sleep(0.1)
        assert holder.begun == 1
        assert len(foul.said("accept")) == 5
        foul.say(3, "abort")
        await until(lambda: holder.ended)
        foul.open(1)
        await until(lambda: foul.said("abort"))
        assert holder.begun == 1

    against(scenario)


def test_an_open_that_was_refused_stays_refused() -> None:
    async def scenario(lab: Lab, ben: Peer, holder: Holder, foul: Foul) -> None:
        foul.open(1)
        foul.open(2)
        await until(lambda: foul.said("refuse"))
        foul.say(3, "abort")
        await until(lambda: holder.ended)
        foul.open(2)  # there is a place now, but its sender was told that nothing was done
        await until(lambda: len(foul.said("refuse")) == 2)
        foul.open(3)
        await until(lambda: holder.begun == 2)

    against(scenario, limit=1)


def test_a_stream_that_nobody_knows_is_said_to_be_over() -> None:
    async def scenario(lab: Lab, ben: Peer, holder: Holder, foul: Foul) -> None:
        foul.say(77, "resume", 0, encode_payload([CREDIT, 1, 0, False]))
        await until(lambda: foul.said("abort"))
        assert foul.heard[0].id == 76
        foul.say(77, "", 0, b"a chunk")
        foul.say(77, "abort")
        await asyncio.sleep(1)
        assert len(foul.heard) == 1, "neither chunks nor aborts are answered"

    against(scenario)


def test_one_peer_opens_so_many_streams_and_no_more() -> None:
    async def scenario(lab: Lab, ben: Peer, holder: Holder, foul: Foul) -> None:
        for n in range(PER_PEER + 10):
            foul.open(n)
        await until(lambda: len(foul.said("refuse")) == 10)
        assert holder.begun == PER_PEER
        streams = ben._streams._table
        assert sum(stream.core.arriving.window for stream in streams) < 400 * MIB
        for n in range(PER_PEER):
            foul.say(2 * n + 1, "abort")
        await until(lambda: ben.counters()["streams_open"] == 0)

    against(scenario)


def test_we_do_not_open_more_than_are_taken() -> None:
    async def scenario(lab: Lab) -> None:
        ben = lab.peer("ben")
        Holder(ben)
        ada, _ = await lab.up("ada", "ben")
        for _ in range(PER_PEER):
            await ada.open_stream(ben.peer_id, "hold")
        with pytest.raises(Overloaded, match=f"{PER_PEER} streams"):
            await ada.open_stream(ben.peer_id, "hold")

    in_lab(scenario)


def test_who_lacks_the_permission_is_refused_and_no_handler_runs() -> None:
    async def scenario(lab: Lab) -> None:
        watcher = lab.peer("watcher", papers=lab.authority.papers("watcher", Role.OBSERVER))
        ben = lab.peer("ben")
        holder = Holder(ben)
        ben.serve_stream("work", holder.hold, permission=Permission.TASK_SUBMIT)
        watcher, ben = await lab.up("watcher", "ben")
        assert ben.declared()["work"] == Permission.TASK_SUBMIT
        with pytest.raises(PermissionDenied, match="watcher lacks"):
            await watcher.open_stream(ben.peer_id, "work")
        assert holder.begun == 0

    in_lab(scenario)


def test_streams_that_find_the_lane_full_take_turns() -> None:
    async def scenario(lab: Lab) -> None:
        ben = lab.peer("ben")
        received: dict[bytes, int] = {}

        async def take(incoming: Incoming, payload: bytes, stream: Stream) -> None:
            async for chunk in stream:
                received[payload] = received.get(payload, 0) + len(chunk)

        ben.serve_stream("take", take, permission=Permission.CALL)
        ada, _ = await lab.up("ada", "ben")
        streams = [await ada.open_stream(ben.peer_id, "take", b"%d" % n) for n in range(7)]
        lab.network.faults.latency_ms = (300, 300)

        async def pour(stream: Stream) -> None:
            while True:
                await stream.write(bytes(MIB))

        pouring = [asyncio.create_task(pour(stream)) for stream in streams]
        await until(lambda: ada.counters()["streams_waiting_to_send"] >= 1)
        await asyncio.sleep(20)
        for task in pouring:
            task.cancel()
        await asyncio.gather(*pouring, return_exceptions=True)
        assert len(received) == 7
        assert min(received.values()) > max(received.values()) / 3

    in_lab(scenario)

"""What trust costs: checks in the path of a call, papers, the door, and strangers at it."""

from __future__ import annotations

import asyncio
import os
import resource
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from benchmarks.figures import Figure, measures, median_of
from benchmarks.pace import pace
from keys import (
    Chain,
    Identity,
    PeerId,
    Permission,
    Role,
    TransportKey,
    TransportRecord,
    Trust,
    network_id_of,
    rootquorum,
    verify,
)
from keys.issuing import make_issuer, make_peer, make_root
from keys.proven import Proven
from p2p.admission import Credentials, Door, DoorSettings, SessionTable, introduce
from p2p.links import Contact, Lane
from p2p.transport import TransportSettings, ZmqTransport

_SETTINGS = TransportSettings(host="127.0.0.1")
_PORTS = {"door": 4747, "control": 4748, "data": 4749, "topics": 4750}


class _Network:
    """A root, an issuer, and members with papers."""

    def __init__(self) -> None:
        self.now_ms = round(time.time() * 1000)
        self.root, self.issuer = Identity.generate(), Identity.generate()
        self.top = make_root(self.root, "bench", self.now_ms)
        self.middle = make_issuer(
            self.root, self.top, self.issuer.public_key, "issuer", self.now_ms
        )
        self.trust = Trust(network_id_of(self.root.public_key))

    def chain(self, own: Identity) -> Chain:
        roles = Role.SERVICE | Role.ADMIN
        leaf = make_peer(self.issuer, self.middle, own.public_key, "member", roles, self.now_ms)
        return Chain((leaf, self.middle, self.top))

    def member(self) -> Credentials:
        own, key = Identity.generate(), TransportKey.generate()
        chain = self.chain(own)
        record = TransportRecord.make(
            own,
            chain,
            sequence=self.now_ms,
            curve_public=key.public,
            hosts=["127.0.0.1"],
            ports=_PORTS,
            now_ms=self.now_ms,
        )
        return Credentials(
            identity=own,
            chain=chain,
            trust=self.trust,
            name="member",
            record=lambda: record,
            transport_keys=lambda: (key,),
            now_ms=lambda: round(time.time() * 1000),
        )


@measures("admission")
def admission() -> Iterator[Figure]:
    """Checks, papers, the door."""
    network = _Network()
    chain = network.chain(Identity.generate())
    principal, raw = verify(chain, network.trust, network.now_ms), chain.encode()
    yield median_of(
        "permission check",
        [_each_us(lambda: principal.may(Permission.CALL), 200_000) for _ in range(3)],
        "us",
        "whether a caller's roles allow a method, in the path of each call",
        target=1.0,
    )
    for name, proven, how in (
        ("read and verified", Proven(limit=0), "three signatures"),
        ("that came before", Proven(), "their signatures are known"),
    ):
        rootquorum._PROVEN = proven  # what it remembers
        yield median_of(
            f"chain {name}",
            [
                _each_us(lambda: verify(Chain.decode(raw), network.trust, network.now_ms), 500)
                for _ in range(3)
            ],
            "us",
            f"three certificates from their bytes; {how}",
        )
    yield median_of(
        "introduction at the door",
        asyncio.run(_introductions(network)),
        "ms",
        "median: connect, papers of both verified, both proofs, on loopback in one process",
        target=10.0,
    )


# Another process, as strangers are: connect, say rubbish, leave; `rate` 0 for as fast as it can.
_STRANGER = """
import os, socket, sys, time
port, rate, seconds = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
begin, made = time.perf_counter(), 0
while (now := time.perf_counter() - begin) < seconds:
    if rate and made > rate * now:
        time.sleep(0.001)
        continue
    made += 1
    one = socket.socket()
    try:
        if rate:
            one.settimeout(1)
            one.connect(("127.0.0.1", port))
            one.send(os.urandom(100))
        else:
            one.setblocking(False)
            one.connect(("127.0.0.1", port))
    except OSError:
        pass
    one.close()
print(made / (time.perf_counter() - begin))
"""


@measures("strangers")
def strangers() -> Iterator[Figure]:
    """What strangers at the ports do to the calls of members, and to memory."""
    runs = [asyncio.run(_beside_strangers()) for _ in range(pace().repeats)]
    rates = [flood for *_, flood in runs]
    yield median_of(
        "round trip, strangers at the door",
        [knocked / calm for calm, knocked, *_ in runs],
        "x",
        "P99 of two members beside 500 strangers/s that say rubbish, against none",
        target=2.0,
    )
    yield median_of(
        "longest wait in a flood",
        [longest * 1000 for _, _, longest, _, _ in runs],
        "ms",
        f"of a round trip of two members beside {min(rates):,.0f} connections/s to their port",
        target=1000.0,
    )
    yield median_of(
        "memory under garbage",
        [grown / 2**20 for _, _, _, grown, _ in runs],
        "MiB",
        f"grown in {2 * _garbage_s():.0f} s of both",
        target=32.0,
    )


def _garbage_s() -> float:
    return 300.0 if os.environ.get("CONCLAVE_BENCH_LONG") else 5.0 * pace().repeats


def _each_us(what: Callable[[], object], times: int) -> float:
    began = time.perf_counter()
    for _ in range(times):
        what()
    return (time.perf_counter() - began) / times * 1e6


async def _introductions(network: _Network) -> list[float]:
    sessions = SessionTable()
    door = Door(
        DoorSettings(host="127.0.0.1", port=0, burst=1000, rate_per_s=1000),
        network.member(),
        sessions,
        on_session=lambda session: None,
    )
    async with door:
        took = []
        for _ in range(60):
            member = network.member()
            began = time.perf_counter()
            await introduce("127.0.0.1", door.port, member, timeout_s=5)
            took.append((time.perf_counter() - began) * 1000)
    return took


async def _beside_strangers() -> tuple[float, float, float, int, float]:
    """P99 in seconds without strangers and with; the longest wait in a flood; the growth of
    memory; connections a second of the flood."""
    keys = [TransportKey.generate() for _ in range(2)]
    names = (PeerId("a" * 52), PeerId("b" * 52))
    pair = [ZmqTransport(_SETTINGS, key) for key in keys]
    waiting: list[asyncio.Future[None]] = []

    def echo(peer: PeerId, lane: Lane, frame: bytes, body: bytes | None) -> None:
        pair[1].send(peer, lane, frame)

    def answered(peer: PeerId, lane: Lane, frame: bytes, body: bytes | None) -> None:
        waiting.pop().set_result(None)

    def ignored(*_: object) -> None:
        return

    pair[0].receive_with(answered, ignored, ignored, ignored)
    pair[1].receive_with(echo, ignored, ignored, ignored)

    async def trip() -> float:
        began = time.perf_counter()
        waiting.append(asyncio.get_running_loop().create_future())
        pair[0].send(names[1], Lane.DATA, b"x" * 64)
        await waiting[-1]
        return time.perf_counter() - began

    door = Door(
        DoorSettings(host="127.0.0.1", port=0),
        _Network().member(),
        SessionTable(),
        on_session=ignored,
    )
    async with pair[0], pair[1], door:
        for one, other in ((0, 1), (1, 0)):
            ports = pair[other].ports
            pair[one].admit(Contact(names[other], keys[other].public, ("127.0.0.1",), ports))
        await trip()
        calm = [await trip() for _ in range(3000)]
        before = _resident()
        knocked, _ = await _while_attacked(trip, door.port, 500)
        flooded, rate = await _while_attacked(trip, pair[1].ports["data"], 0)
        grown = max(0, _resident() - before)
    return _p99(calm), _p99(knocked), max(flooded), grown, rate


async def _while_attacked(
    trip: Callable[[], Awaitable[float]], port: int, rate: float
) -> tuple[list[float], float]:
    words = ("-c", _STRANGER, str(port), str(rate), str(_garbage_s()))
    attack = await asyncio.create_subprocess_exec(sys.executable, *words, stdout=-1)
    ends = time.perf_counter() + _garbage_s()
    took = []
    while time.perf_counter() < ends:
        took.append(await trip())
    said, _ = await attack.communicate()
    return took, float(said)


def _p99(took: list[float]) -> float:
    return sorted(took)[int(len(took) * 0.99)]


def _resident() -> int:
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

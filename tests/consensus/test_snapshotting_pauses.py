"""A follower that refuses every snapshot is sent them with growing pauses, in virtual time."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

from consensus.raft import Config, Membership, SnapshotSent
from consensus.raft.types import SnapshotMeta
from consensus.snapshot_wire import (
    PartStatus,
    SnapshotPart,
    SnapshotPartReply,
    decode_snapshot_frame,
    encode_snapshot_frame,
)
from consensus.snapshotting import RETRY_MS, Snapshotting
from p2p.memory import run_virtual

META = SnapshotMeta(10, 1, Membership(("a", "b")), 0)
CLUSTER = "c"


class Reader:
    size = 3
    digest = b""

    def read(self, offset: int, size: int) -> bytes:
        return b"abc"[offset : offset + size]

    def close(self) -> None:
        return


class Lab:
    """A leader `a` whose core sends another snapshot whenever it hears that one failed."""

    def __init__(self) -> None:
        self.status = PartStatus.REFUSED
        self.shipped_s: list[float] = []
        self.arrived = 0
        self.driver: Any = SimpleNamespace(
            core=SimpleNamespace(term=1), post=self._post, begin_snapshot=lambda: None
        )
        store: Any = SimpleNamespace(open=lambda meta: Reader(), receive=lambda meta, size: None)
        link: Any = SimpleNamespace(send_part=self._send_part)
        config = Config(node_id="a", cluster_id=CLUSTER, voters=("a", "b"))
        loop = asyncio.get_running_loop()
        self.loop = loop
        self.snapshotting = Snapshotting(
            config, store, self.driver, link, lambda: int(loop.time() * 1000)
        )

    def ship(self) -> None:
        self.shipped_s.append(self.loop.time())
        self.snapshotting.ship("b", META)

    def _post(self, event: SnapshotSent) -> None:
        self.arrived += event.ok
        if not event.ok:
            self.loop.call_soon(self.ship)

    def _send_part(self, to: str, data: bytes) -> None:
        part = decode_snapshot_frame(CLUSTER, data, sender="a", recipient="b")
        assert isinstance(part, SnapshotPart)
        reply = SnapshotPartReply("b", "a", part.transfer, part.size, self.status)
        frame = encode_snapshot_frame(CLUSTER, reply)
        self.loop.call_later(0.01, self.snapshotting.receive, "b", frame)


def test_the_pauses_grow_and_begin_anew_after_one_that_arrived() -> None:
    async def main() -> None:
        lab = Lab()
        lab.ship()
        await asyncio.sleep(64)
        times = lab.shipped_s
        pauses = [round(later - earlier) for earlier, later in pairwise(times)]
        assert pauses == [1, 2, 4, 8, 16, 32]
        await asyncio.sleep(200)
        times = lab.shipped_s
        assert round(times[-1] - times[-2]) == 32  # and no longer: it is looked at again
        lab.status = PartStatus.DONE
        await asyncio.sleep(40)
        assert lab.arrived == 1
        lab.status = PartStatus.REFUSED
        began = len(times)
        lab.ship()
        await asyncio.sleep(RETRY_MS / 1000 + 0.5)
        assert len(lab.shipped_s) == began + 2  # this one, and one after it
        await lab.snapshotting.close()
        await asyncio.sleep(100)
        assert len(lab.shipped_s) == began + 2  # who leads no more sends no more

    run_virtual(main())

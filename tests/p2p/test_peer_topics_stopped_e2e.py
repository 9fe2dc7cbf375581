"""A subscriber whose process stands still holds nobody up for long, and learns what it missed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from time import time

import pytest
from topic_member import LOOPBACK, papers_of

from keys import PeerId
from p2p import LanSettings, LanWorld, Peer, decode_payload

pytestmark = pytest.mark.e2e
DEADLINE_S = 30.0
MEMBER = Path(__file__).with_name("topic_member.py")
PAYLOAD = bytes(1000)
COUNT = 40_000  # more than all buffers on the way take


@contextmanager
def member(wall_ms: int, topic: str) -> Iterator[tuple[subprocess.Popen[str], str, PeerId]]:
    paths = os.pathsep.join(path for path in sys.path if path)
    process = subprocess.Popen(
        [sys.executable, str(MEMBER), str(wall_ms), topic],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
    )
    try:
        assert process.stdout is not None
        port, peer_id = process.stdout.readline().split()
        yield process, f"{LOOPBACK}:{port}", PeerId(peer_id)
    finally:
        process.kill()
        process.communicate()


async def take(reader: Peer, count: int) -> None:
    """Read so many, and fail at the first gap: what is lost never comes."""
    subscription = reader.subscribe("load", buffer=1000, policy="block")
    due = 1
    while due <= count:
        for one in await subscription.next_batch(1000):
            assert (one.sequence, one.gap) == (due, 0)
            due += 1


def test_a_process_that_is_stopped_is_left_behind_and_the_others_lose_nothing() -> None:
    async def main() -> None:
        wall_ms = int(time() * 1000)
        async with AsyncExitStack() as stack, asyncio.timeout(2 * DEADLINE_S):
            process, door, far = stack.enter_context(member(wall_ms, "load"))
            settings = LanSettings(host=LOOPBACK, mdns=False, seeds=(door,))
            publisher, healthy = [
                await stack.enter_async_context(Peer(papers_of(wall_ms, name), LanWorld(settings)))
                for name in ("publisher", "healthy")
            ]
            # What somebody says who is hardly known is kept within bounds, until it is present.
            while any(len(peer.presence.present()) < 2 for peer in (publisher, healthy)):
                await asyncio.sleep(0.01)
            # Who reads is a part of this process, and as slow as it where others compute.
            topics = publisher._transport._assembly.topics  # type: ignore[attr-defined]
            topics._settings = replace(topics._settings, topics_patience_ms=500)
            taking = asyncio.ensure_future(take(healthy, COUNT))
            await publisher.wait_subscribers("load", 2, DEADLINE_S)
            process.send_signal(signal.SIGSTOP)
            waiting_bytes = 0
            for _ in range(COUNT):
                publisher.publish("load", PAYLOAD)
                await publisher.room_to_publish()
                waiting_bytes = max(waiting_bytes, publisher._transport.topics_queued_bytes)
                if taking.done():  # it has failed, and nobody reads any more
                    break
            assert waiting_bytes < 8 * 1024 * 1024
            await taking
            counts = publisher.counters()  # a machine that has no time finds it dead before
            assert counts["transport_topics_lossy_frames"] or counts["membership_became dead"]
            process.send_signal(signal.SIGCONT)
            await publisher.wait_subscribers("load", 2, DEADLINE_S)
            number = publisher.publish("load", b"later")
            read = lost = last = 0
            while last < number:  # this one, too, may be among those that it has no room for
                publisher.publish("load", b"later still")
                read, lost, last = decode_payload(await publisher.request(far, "seen", b""))
                await asyncio.sleep(0.01)
            assert read + lost == last
            assert lost > 0

    asyncio.run(main())

"""Some of a hundred peers, in one process, under orders.

    python -m benchmarks.ours.hundreds HOME ...

They begin when that is ordered, so that what processes cost to start is not counted.

What this module does not know: when its turn is, and where the others are.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import resource
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks.orders import obey, run_loop
from benchmarks.ours.lookouts import Lookout
from benchmarks.ours.members import LOOPBACK, peer_at
from p2p import Peer

Words = dict[str, Any]


async def main(homes: list[Path]) -> None:
    """Be these peers until the orders end."""
    peers: list[Peer] = []
    lookouts: list[Lookout] = []
    async with contextlib.AsyncExitStack() as stack:

        async def begin(seeds: list[str]) -> Words:
            began_s = time.time()
            for home in homes:
                peer = peer_at(home, *seeds)
                peers.append(peer)
                lookouts.append(Lookout(peer))
                await stack.enter_async_context(peer)
                seeds = seeds or [f"{LOOPBACK}:{peer.ports['door']}"]
            door = f"{LOOPBACK}:{peers[0].ports['door']}"
            return {"began_s": began_s, "up_s": time.time(), "door": door}

        async def meet(count: int, until_s: float) -> Words:
            """Whom each knows, once it knows so many, or when the time is over."""
            found = await asyncio.gather(
                *(lookout.meet(count, until_s) for lookout in lookouts), return_exceptions=True
            )
            at_s = [word["at_s"] if isinstance(word, dict) else time.time() for word in found]
            known = [lookout.alive() for lookout in lookouts]
            return {"at_s": max(at_s), "known": known}

        async def gone(peer: str, since_s: float) -> Words:
            seen = await asyncio.gather(*(one.gone(peer, since_s) for one in lookouts))
            return {"at_s": max(word["at_s"] for word in seen)}

        async def held() -> Words:
            gc.collect()
            used = resource.getrusage(resource.RUSAGE_SELF)
            process = psutil.Process()
            links = [sum(1 for _ in peer.links()) for peer in peers]
            return {
                "rss": process.memory_info().rss,
                "cpu_s": used.ru_utime + used.ru_stime,
                "links": max(links, default=0),
                "threads": process.num_threads(),
            }

        await obey({}, {"begin": begin, "meet": meet, "held": held, "gone": gone})


if __name__ == "__main__":
    run_loop(main([Path(word) for word in sys.argv[1:]]))

"""Many peers in one process: each alone, or all of them linked with each other.

    python -m benchmarks.ours.meshes alone | linked HOME ...

What this module does not know: what it is compared with.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path

from benchmarks.orders import obey, run_loop
from benchmarks.ours.members import LOOPBACK, peer_at

MEET_S = 60.0


async def main(linked: bool, homes: list[Path]) -> None:
    """Be these peers until the orders end."""
    async with contextlib.AsyncExitStack() as stack:
        first = await stack.enter_async_context(peer_at(homes[0]))
        seeds = [f"{LOOPBACK}:{first.ports['door']}"] if linked else []
        peers = [first]
        for home in homes[1:]:
            peers.append(await stack.enter_async_context(peer_at(home, *seeds)))
        if linked:
            async with asyncio.timeout(MEET_S):
                # Each peer has a watch of its own; a look at all of them is shorter.
                while any(len(p.presence.present()) < len(peers) - 1 for p in peers):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        await obey({"peers": len(peers)}, {})


if __name__ == "__main__":
    run_loop(main(sys.argv[1] == "linked", [Path(word) for word in sys.argv[2:]]))

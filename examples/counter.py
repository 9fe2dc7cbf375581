"""A counter of the whole network: however many count at once, no count is lost.

    python examples/counter.py                    add 1 and print what came out
    python examples/counter.py --times 100        again and again; run several at once

It finds the node through CONCLAVE_HOME or ~/.conclave, and is the node if none is up there.
"""

import argparse
import asyncio

from agents import CompareFailed, Net, connect

KEY = "examples/counter"


async def add_one(net: Net) -> int:
    """Read, add, and write if nobody else has written meanwhile; or else again."""
    while True:
        entry = await net.kv.entry(KEY)
        try:
            if entry is None:
                await net.kv.compare_set(KEY, 1, absent=True)
                return 1
            await net.kv.compare_set(KEY, entry.value + 1, version=entry.version)
        except CompareFailed:
            continue
        return int(entry.value) + 1


async def main(times: int) -> None:
    async with connect() as net:
        for _ in range(times):
            print(await add_one(net))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Count together.")
    parser.add_argument("--times", type=int, default=1, metavar="N")
    asyncio.run(main(parser.parse_args().times))

"""A publisher that ticks, and a follower that says what it missed.

    python examples/ticker.py tick                      publish ten times a second
    python examples/ticker.py follow                    begin with the last 20 ticks
    python examples/ticker.py tick --every 0            as quickly as followers can take it
    python examples/ticker.py follow --pause 0.01       too slow for that: see what is lost

Both find the node through CONCLAVE_HOME or ~/.conclave, and are the node if none is up there. A
follower may come later than the ticks that it begins with; the publisher's node keeps the last 256.
"""

import argparse
import asyncio
import contextlib
import time

from agents import connect

TOPIC = "ticks/demo"


async def tick(every_s: float, count: int) -> None:
    """Publish what time it is, again and again."""
    async with connect() as net:
        await net.keep_history(TOPIC, messages=256)
        for _ in range(count):
            await net.publish(TOPIC, {"at": time.time()})
            if every_s:
                await asyncio.sleep(every_s)


async def follow(replay: int, pause_s: float, count: int) -> None:
    """Print every tick, and how many were lost before it."""
    async with connect() as net, net.subscribe(TOPIC, buffer=100, replay=replay) as messages:
        for _ in range(count):
            message = await anext(messages)
            if message.gap:
                print(f"{message.gap} ticks were lost")
            late_ms = (time.time() - message.value["at"]) * 1000
            print(f"tick {message.sequence} of {message.sender_name}, {late_ms:.1f} ms ago")
            await asyncio.sleep(pause_s)


def main() -> None:
    parser = argparse.ArgumentParser(description="Tick, or follow the ticks.")
    parser.add_argument("part", choices=("tick", "follow"))
    parser.add_argument("--every", type=float, default=0.1, metavar="S", help="between ticks")
    parser.add_argument("--replay", type=int, default=20, metavar="N", help="begin so far back")
    parser.add_argument("--pause", type=float, default=0, metavar="S", help="after each tick")
    parser.add_argument("--count", type=int, default=10**9, metavar="N", help="end after so many")
    given = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        if given.part == "tick":
            asyncio.run(tick(given.every, given.count))
        else:
            asyncio.run(follow(given.replay, given.pause, given.count))


if __name__ == "__main__":
    main()

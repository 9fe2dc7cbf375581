"""Some nodes for one purpose: members that look at pictures, and one of them that sums up.

    conclave up examples/clusters.py        on each node, three of them at least
    python examples/clusters.py --size 3    beside one of them: uses the cluster, says what changes
    conclave clusters --watch               who is in it, and who leads

Kill a member (Ctrl-C, kill -9), and another node takes its place; kill the one that leads, and
another one leads, under a higher token.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib

from agents import Agent, Cluster, ClusterSeat, Context, connect
from p2p import P2PError

agent = Agent("eye")


@agent.serve("vision.detect", idempotent=True)  # a call that dies with its member is made again
async def detect(picture: str, context: Context) -> str:
    """Say what is in a picture, and which part this node has in the cluster."""
    seat = context.cluster
    part = "no part" if seat is None else "the lead" if seat.is_leader else "a seat"
    return f"{len(picture)} edges, by one with {part}"


@agent.on_cluster
async def seated(seat: ClusterSeat) -> None:
    """Run while this node is in a cluster for what this agent serves."""
    print(f"in {seat.name}", flush=True)
    try:
        while True:
            token = await seat.lead()  # until this node leads
            print(f"leads {seat.name}, token {token}", flush=True)
            await seat.lost()  # whatever only the leader does ends here
            print(f"leads {seat.name} no more", flush=True)
    finally:
        print(f"out of {seat.name}", flush=True)


async def follow(cluster: Cluster) -> None:
    async for change in cluster.watch():
        print(change, flush=True)


async def main(size: int, pictures: int) -> None:
    async with (
        connect() as net,
        net.cluster("eyes", capability="vision.detect", min_size=size, timeout=30) as cluster,
    ):
        print("members:", ", ".join(member.name for member in cluster.members), flush=True)
        following = asyncio.create_task(follow(cluster))
        leader = await cluster.until_led()
        print(f"{leader.name}:", await cluster.call("first", to="leader"), flush=True)
        for number in range(pictures):
            try:
                print(await cluster.call("x" * number), flush=True)
            except P2PError as error:  # nobody could be asked, or nobody knows whether it was done
                print(f"no answer: {error}", flush=True)
            await asyncio.sleep(1)
        following.cancel()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Use a cluster of eyes.")
    parser.add_argument("--size", type=int, default=3)
    parser.add_argument("--pictures", type=int, default=60)
    given = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(given.size, given.pictures))

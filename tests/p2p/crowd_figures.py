"""The figures of membership among many, with adverts: `python tests/p2p/crowd_figures.py`.

    --members 10 100 1000    at rest, one agent changed, all loads changing, a join, a crash
    --heal 200               two halves for 30 s, with agents that change meanwhile

Virtual time, of the world of `crowd_lab.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parent / "membership"))

from crowd_lab import ALIVE, DEAD, Crowded, Member

from p2p.memory import run_virtual

CALM_S = 14  # what was new at the beginning is told
NEWCOMER_S = 10  # besides: so long a newcomer has patience with all, who are all new to it
MOST_LOADS = 1_000  # members, of whom this is measured: beyond it takes minutes
LOADS_S = 0.5  # so far apart are loads that are told, however many members have one that changes


def changed(member: Member, size: int = 85) -> dict[str, bytes]:
    """Its agent is another one now; returns what the member offers."""
    name = next(iter(member.adverts._own.live()))
    member.adverts.change({name: bytes(size)})
    return member.adverts._own.live()


async def registry_s(world: Crowded, member: Member) -> float:
    entries = changed(member)
    return await world.until(lambda: world.all_know(member.peer_id, entries), 60)


async def join_s(world: Crowded) -> tuple[Member, float, float]:
    """Who came; when all knew it and what it offers, and when it knew all."""
    joined = world.join()
    entries, size = joined.adverts._own.live(), len(world.up())

    def is_known() -> bool:
        is_here = world.all_hold(joined.peer_id, ALIVE)
        return is_here and world.all_know(joined.peer_id, entries)

    known_s = await world.until(is_known, 120)
    rest_s = await world.until(lambda: joined.is_told_of_all(size), 120)
    return joined, known_s, known_s + rest_s


async def crash_s(world: Crowded, member: Member) -> float:
    """When all held it for dead, and nobody what it offered."""
    member.crash()
    is_over: Callable[[], bool] = lambda: all(  # noqa: E731 - a condition
        not each.adverts.entries_of(member.peer_id) for each in world.up()
    )
    return await world.until(lambda: world.all_hold(member.peer_id, DEAD) and is_over(), 30)


async def heal_s(world: Crowded, apart_s: float = 30) -> float:
    """Two halves, each with an agent that changes; when both are one again."""
    left = set(world.ids[: len(world.ids) // 2])
    world.cut = lambda one, other: (one in left) != (other in left)
    await asyncio.sleep(apart_s / 2)
    words = {p: changed(world.members[p]) for p in (world.ids[0], world.ids[-1])}
    await asyncio.sleep(apart_s / 2)
    world.cut = lambda one, other: False
    world.forget_bytes()
    took_s = await world.until(world.agree, 60)
    assert all(world.all_know(*each) for each in words.items())
    return took_s


def _say(what: str, sent: tuple[float, float, float], world: Crowded) -> None:
    mean, voters, others = sent
    kinds = ", ".join(f"{name} {count:,}" for name, count in world.kinds.most_common())
    print(f"  {what}: {mean:,.0f} B/s mean, most {voters:,.0f} of a voter, {others:,.0f} of others")
    print(f"    {kinds}", flush=True)


async def measure(size: int, seed: int) -> None:
    loop = asyncio.get_running_loop()
    began_s = time.process_time()
    world = Crowded(size, seed)
    await asyncio.sleep(CALM_S)
    print(f"{size} members")
    _say("at rest", await world.rate(8), world)
    world.forget_bytes()
    print(f"  one agent changed, known to all: {await registry_s(world, world.up()[-1]):.2f} s")
    await asyncio.sleep(3)
    world.forget_bytes()
    from_s = loop.time()
    _, known_s, knows_s = await join_s(world)
    print(f"  join: known to all after {known_s:.2f} s, knows all after {knows_s:.2f} s")
    await asyncio.sleep(6)
    _say("meanwhile, and 6 s", world.sent(loop.time() - from_s), world)
    await asyncio.sleep(NEWCOMER_S)
    world.forget_bytes()
    from_s = loop.time()
    print(f"  crash known to all: {await crash_s(world, world.up()[-2]):.2f} s")
    await asyncio.sleep(6)
    _say("meanwhile, and 6 s", world.sent(loop.time() - from_s), world)
    if size <= MOST_LOADS:
        loads = loop.create_task(_change_loads(world))
        await asyncio.sleep(2)
        _say("loads change all the time", await world.rate(8), world)
        loads.cancel()
    print(f"  {time.process_time() - began_s:.0f} s of CPU", flush=True)


async def _change_loads(world: Crowded) -> None:
    rng = Random(world.seed)
    while True:
        changed(rng.choice(world.up()), rng.randint(80, 90))
        await asyncio.sleep(LOADS_S)


async def heal(size: int, seed: int) -> None:
    world = Crowded(size, seed)
    await asyncio.sleep(5)
    took_s = await heal_s(world)
    print(f"{size} members, two halves for 30 s: all agree {took_s:.2f} s after the heal")
    _say("meanwhile", world.sent(took_s), world)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--members", type=int, nargs="*", default=[10, 48, 100, 1000])
    parser.add_argument("--heal", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    gc.disable()
    for size in chosen.members:
        run_virtual(measure(size, chosen.seed))
    if chosen.heal:
        run_virtual(heal(chosen.heal, chosen.seed))


if __name__ == "__main__":
    main()

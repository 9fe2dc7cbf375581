"""A hundred members with all that members tell each other at rest, in virtual time: the bounds.

`python tests/p2p/crowd_figures.py` prints the figures of up to ten thousand.
"""

from __future__ import annotations

import asyncio

from crowd_figures import CALM_S, NEWCOMER_S, crash_s, heal_s, join_s, registry_s
from crowd_lab import Crowded

from p2p.memory import run_virtual

LIMIT_BYTES_A_SECOND = 2_048


def test_a_hundred_send_two_kilobytes_a_second_and_know_of_all_in_time() -> None:
    async def scenario() -> None:
        world = Crowded(100, 3)
        await asyncio.sleep(CALM_S)
        sent = await world.rate(8)
        assert max(sent) <= LIMIT_BYTES_A_SECOND, (sent, world.kinds)
        assert set(world.kinds) == {"members.message"}, "at rest nothing is said but beats"
        assert await registry_s(world, world.up()[50]) <= 2
        joined, known_s, knows_s = await join_s(world)
        assert max(known_s, knows_s) <= 5
        await asyncio.sleep(NEWCOMER_S)
        assert await crash_s(world, joined) <= 6
        await asyncio.sleep(CALM_S)
        again = await world.rate(8)
        assert max(again) <= LIMIT_BYTES_A_SECOND, "one that is dead costs next to nothing"
        await world.end()

    run_virtual(scenario())


def test_what_a_member_sends_at_rest_does_not_grow_with_the_members() -> None:
    async def mean_of(size: int) -> float:
        world = Crowded(size, 4)
        await asyncio.sleep(CALM_S)
        mean, voters, _ = await world.rate(8)
        assert voters <= LIMIT_BYTES_A_SECOND, "all have a link to those who vote"
        await world.end()
        return mean

    few, many = run_virtual(mean_of(60)), run_virtual(mean_of(240))
    assert many <= 1.1 * few


def test_two_halves_that_meet_again_know_of_all_within_ten_seconds() -> None:
    async def scenario() -> None:
        world = Crowded(60, 5)
        await asyncio.sleep(3)
        assert await heal_s(world, apart_s=20) <= 10
        await world.end()

    run_virtual(scenario())

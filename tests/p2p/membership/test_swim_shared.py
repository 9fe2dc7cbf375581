"""Pictures that share memory answer as those that do not."""

from __future__ import annotations

import random

import pytest
from swim_lab import ALIVE, World, an_id, crash_ms
from swim_shared import SharedRings

from p2p.membership.swim.rings import Rings


@pytest.mark.parametrize("seed", range(40))
def test_shared_rings_give_the_neighbours_of_real_ones(seed: int) -> None:
    rng = random.Random(seed)
    ids = [an_id(rng.randrange(10**9)) for _ in range(rng.randint(12, 60))]
    base = Rings(ids[0], 4, 8)
    for peer_id in ids:
        base.add(peer_id)
    own = rng.choice([rng.choice(ids), an_id(10**9 + seed)])
    shared, real = SharedRings(own, base), Rings(own, 4, 8)
    real.adopt(base)
    others = [each for each in ids + [an_id(2 * 10**9 + k) for k in range(5)] if each != own]
    for _ in range(40):
        other = rng.choice(others)
        if rng.random() < 0.5 and len(real) > 12:
            shared.remove(other)
            real.remove(other)
        else:
            shared.add(other)
            real.add(other)
        assert len(shared) == len(real)
        assert (other in shared) == (other in real)
        assert shared.neighbours() == real.neighbours()


def test_a_world_with_shared_pictures_goes_as_one_without() -> None:
    seen = []
    for shared in (False, True):
        world = World(60, 3, shared=shared)
        world.run(2_000)
        joined = world.join(60, world.ids[0])
        known_ms = world.run(20_000, lambda w=world, j=joined: w.all_hold(j, ALIVE))
        dead_ms = crash_ms(world, world.ids[1])
        digests = [member.core.digest for member in world.up()]
        seen.append((known_ms, dead_ms, world.bytes_a_second(1_000), world.changes, digests))
    assert seen[0] == seen[1]
    assert seen[0][1] < 20_000

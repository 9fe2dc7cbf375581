"""Tables passed on among many, as a simulation: how soon all know, and what it costs."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st
from relay_lab import RelayWorld, an_id

from keys import PeerId
from p2p.adverts import Heading, Headings
from p2p.adverts.headings import BUCKETS
from p2p.adverts.outbox import EVERY_MS, FLUSH_BYTES, Outbox
from p2p.memory import run_virtual

IDS = [an_id(number) for number in range(6)]
HEADING = st.builds(
    Heading, st.integers(1, 2), st.integers(0, 3), st.sampled_from([bytes(16), bytes([1]) * 16])
)


@given(st.lists(st.tuples(st.sampled_from(IDS), st.none() | HEADING), max_size=30))
def test_pictures_are_equal_exactly_where_their_digests_are(
    words: list[tuple[PeerId, Heading | None]],
) -> None:
    headings, model = Headings(), dict[PeerId, Heading]()
    for owner, heading in words:
        if heading is None:
            headings.drop(owner)
            model.pop(owner, None)
        else:
            headings.put(owner, heading)
            model[owner] = heading
        headings.check_invariants()
    other = Headings()
    for owner, heading in sorted(model.items()):
        other.put(owner, heading)
    assert other.summary == headings.summary
    assert not headings.differing(other.buckets())
    everything = headings.differing([bucket ^ 1 for bucket in headings.buckets()])
    assert dict(everything) == model
    other.put(IDS[0], Heading(9, 9, bytes(16)))
    assert (other.summary == headings.summary) == (model.get(IDS[0]) == Heading(9, 9, bytes(16)))
    assert len(other.buckets()) == BUCKETS


@given(st.lists(HEADING, min_size=1, max_size=6), st.randoms())
def test_the_last_heading_is_the_same_in_whatever_order_they_come(
    told: list[Heading], rng: object
) -> None:
    def last(order: list[Heading]) -> Heading | None:
        known: Heading | None = None
        for heading in order:
            if heading.replaces(known):
                known = heading
        return known

    shuffled = list(told)
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    assert last(told) == last(shuffled)


@given(st.lists(st.tuples(st.sampled_from(IDS), st.integers(0, 3)), max_size=40))
@settings(max_examples=50)
def test_everything_leaves_once_within_the_bounds(words: list[tuple[PeerId, int]]) -> None:
    outbox, to = Outbox(), IDS[:3]
    due = {(peer, owner) for owner, _ in words for peer in to}
    for owner, since in words:
        outbox.add(owner, since, to)
    now_ms = 0
    for _ in range(200):
        if not outbox.waiting:
            break
        packets = outbox.flush(now_ms, to, lambda owner, since: bytes(1_000))
        assert sum(len(page) for _, items in packets for _, page in items) <= FLUSH_BYTES + 1_000
        for peer, items in packets:
            for owner, _ in items:
                due.remove((peer, owner))
        now_ms += EVERY_MS
    assert not due


def test_a_change_among_eighty_is_known_to_all_within_a_second_at_little_cost() -> None:
    async def scenario() -> None:
        world = RelayWorld(80, seed=3)
        world.begin()
        for number, member in enumerate(world.members.values()):
            member.adverts.change({f"agent {number}": bytes(200)})
        await asyncio.sleep(6)
        assert len({member.adverts.digest() for member in world.members.values()}) == 1
        world.reset()
        await asyncio.sleep(5)
        assert not world.sent, "at rest nothing is said but beats"
        owner = an_id(7)
        world.members[owner].adverts.change({"agent 7": b"changed"})
        assert await world.until_known(owner, {"agent 7": b"changed"}, 5) < 1.0
        await asyncio.sleep(1)
        assert sum(world.sent.values()) / 80 < 2_500
        await world.end()

    run_virtual(scenario())


def test_what_is_lost_on_the_way_is_repaired() -> None:
    async def scenario() -> None:
        world = RelayWorld(40, seed=4)
        world.begin()
        world.loss = 0.3
        for number, member in enumerate(world.members.values()):
            member.adverts.change({f"agent {number}": bytes(300)})
        await asyncio.sleep(5)
        world.loss = 0.0
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        for number, owner in enumerate(world.members):
            await world.until_known(owner, {f"agent {number}": bytes(300)}, 10)
        assert loop.time() - began_s < 8
        for member in world.members.values():
            member.adverts._tables.check_invariants()
        await world.end()

    run_virtual(scenario())

"""What waits for a reader, and what happens when it is too slow."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys import PeerId
from p2p.errors import MisuseError
from p2p.memory import run_virtual
from p2p.pubsub.errors import SubscriberTooSlow
from p2p.pubsub.subscription import BUFFER_BYTES, Policy, Publication, Subscription

A, B = PeerId("a" * 32), PeerId("b" * 32)


def subscription(
    buffer: int,
    policy: Policy = "drop_oldest",
    on_pressure: Callable[[Subscription, bool], None] = lambda _, __: None,
) -> Subscription:
    return Subscription("t", buffer, policy, lambda _: None, on_pressure)


def offer(to: Subscription, first: int, last: int, sender: PeerId = A, gap: int = 0) -> None:
    to.offer("t", sender, first, gap, [b"%d" % n for n in range(first, last + 1)])
    to.check_invariants()


def taken(batch: list[Publication]) -> list[tuple[int, int]]:
    return [(one.sequence, one.gap) for one in batch]


def test_one_by_one_and_in_batches_it_is_the_same() -> None:
    async def main() -> None:
        sub = subscription(10)
        offer(sub, 1, 3, gap=2)
        assert await anext(sub) == Publication("t", A, 1, 2, b"1")
        assert taken(await sub.next_batch(1)) == [(2, 0)]
        offer(sub, 1, 1, sender=B)
        assert taken(await sub.next_batch(10)) == [(3, 0), (1, 0)]
        sub.check_invariants()

    asyncio.run(main())


def test_the_oldest_make_room_and_the_gap_says_so() -> None:
    async def main() -> None:
        sub = subscription(3)
        offer(sub, 1, 2)
        offer(sub, 3, 6)
        assert sub.dropped == 3
        assert taken(await sub.next_batch(10)) == [(4, 3), (5, 0), (6, 0)]

    asyncio.run(main())


def test_the_newest_are_dropped_and_the_next_one_says_so() -> None:
    async def main() -> None:
        sub = subscription(3, "drop_newest")
        offer(sub, 1, 5)
        offer(sub, 6, 6)
        assert taken(await sub.next_batch(10)) == [(1, 0), (2, 0), (3, 0)]
        offer(sub, 7, 7)
        assert taken(await sub.next_batch(10)) == [(7, 3)]
        assert sub.dropped == 3

    asyncio.run(main())


def test_the_strict_one_ends_with_an_error_after_what_was_buffered() -> None:
    async def main() -> None:
        sub = subscription(2, "error")
        offer(sub, 1, 3)
        assert taken(await sub.next_batch(10)) == [(1, 0), (2, 0)]
        with pytest.raises(SubscriberTooSlow, match=r"'t' ended: 2 messages"):
            await anext(sub)

    asyncio.run(main())


def test_the_patient_one_asks_publishers_to_wait_until_half_is_read() -> None:
    async def main() -> None:
        said: list[bool] = []
        sub = subscription(4, "block", lambda _, on: said.append(on))
        offer(sub, 1, 6)
        assert said == [True]
        await sub.next_batch(3)
        assert said == [True]
        await sub.next_batch(1)
        assert said == [True, False]
        assert sub.dropped == 0

    asyncio.run(main())


@pytest.mark.parametrize("policy", ["drop_oldest", "drop_newest", "block"])
def test_bytes_are_bounded_too(policy: Policy) -> None:
    async def main() -> None:
        said: list[bool] = []
        sub = subscription(1_000_000, policy, lambda _, on: said.append(on))
        large = bytes(BUFFER_BYTES // 8)
        for n in range(1, 21):
            sub.offer("t", A, n, 0, [large])
            sub.check_invariants()
        kept = 16 if policy == "block" else 8
        assert (sub.waiting, sub.dropped) == (kept, 20 - kept)
        assert said == ([True] if policy == "block" else [])
        batch = await sub.next_batch(100)
        first = 13 if policy == "drop_oldest" else 1
        assert taken(batch)[0] == (first, first - 1)
        assert said == ([True, False] if policy == "block" else [])
        sub.offer("t", A, 21, 0, [b""])
        assert taken(await sub.next_batch(1)) == [(21, 0 if first > 1 else 20 - kept)]
        sub.check_invariants()

    run_virtual(main())


def test_what_is_asked_for_waits_for_the_reader_that_holds_its_publishers() -> None:
    async def main() -> None:
        sub = subscription(2, "block")
        await sub.room()
        offer(sub, 1, 3)
        waiting = [asyncio.ensure_future(sub.room()) for _ in range(2)]
        await asyncio.sleep(1)
        assert not any(one.done() for one in waiting)
        await sub.next_batch(2)
        await asyncio.gather(*waiting)
        offer(sub, 4, 6)
        ending = asyncio.ensure_future(sub.room())
        await asyncio.sleep(1)
        sub.close()
        await ending

    run_virtual(main())


def test_closing_wakes_the_reader_after_what_has_arrived() -> None:
    async def main() -> None:
        sub = subscription(4)
        reader = asyncio.ensure_future(sub.next_batch(1))
        await asyncio.sleep(0)
        sub.close()
        assert await reader == []
        sub = subscription(4)
        offer(sub, 1, 1)
        sub.close()
        assert [one.sequence async for one in sub] == [1]

    run_virtual(main())


def test_nonsense_is_refused() -> None:
    with pytest.raises(MisuseError, match="drop_oldest, drop_newest, block, error"):
        subscription(1, "wait")  # type: ignore[arg-type]
    with pytest.raises(MisuseError, match="at least 1"):
        subscription(0)


@given(
    st.sampled_from(["drop_oldest", "drop_newest", "block"]),
    st.integers(1, 12),
    st.integers(0, 2**32),
)
def test_what_is_taken_and_its_gaps_add_up_to_what_was_offered(
    policy: Policy, buffer: int, seed: int
) -> None:
    async def main() -> None:
        rng = Random(seed)
        sub = subscription(buffer, policy)
        due = {A: 1, B: 1}
        heads = {A: 0, B: 0}
        for _ in range(40):
            sender = rng.choice([A, B])
            gap, count = rng.choice([0, 0, 2]), rng.randint(1, 5)
            first = heads[sender] + gap + 1
            heads[sender] = first + count - 1
            offer(sub, first, heads[sender], sender, gap)
            while sub.waiting and rng.random() < 0.5:
                limit = rng.randint(1, 6)
                batch = await sub.next_batch(limit) if limit > 1 else [await anext(sub)]
                check(batch, due)
                sub.check_invariants()
        while sub.waiting:
            check(await sub.next_batch(3), due)
        for sender in (A, B):  # what was dropped last is told by the next
            offer(sub, heads[sender] + 1, heads[sender] + 1, sender)
            check(await sub.next_batch(1), due)
            assert due[sender] == heads[sender] + 2

    asyncio.run(main())


def check(batch: list[Publication], due: dict[PeerId, int]) -> None:
    for one in batch:
        assert one.sequence == due[one.sender] + one.gap
        assert one.payload == b"%d" % one.sequence
        due[one.sender] = one.sequence + 1

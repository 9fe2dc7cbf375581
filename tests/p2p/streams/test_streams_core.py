"""Two stream cores over a connection that breaks: every chunk once and in order, or a known end."""

from __future__ import annotations

from collections import deque
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2p.streams.arriving import Arriving, Taken
from p2p.streams.core import End, Say, State, StreamCore, StreamSettings, Verb
from p2p.streams.outgoing import CHUNK_COST, Outgoing, cost_of

WINDOW = 4000
SETTINGS = StreamSettings(window=WINDOW, resume_ms=3000, retry_ms=100, silence_ms=500)


class Side:
    """A core, what its program has still to write, and what it has read."""

    def __init__(self, chunks: list[bytes], *, is_opener: bool) -> None:
        self.core = StreamCore(SETTINGS, 0, is_opener=is_opener)
        self.to_write = deque(chunks)
        self.read: list[bytes] = []
        self.has_read_end = False


class World:
    """Two sides, and the frames on their way; a cut loses them all."""

    def __init__(self, seed: int, ada: list[bytes], ben: list[bytes]) -> None:
        self.rng = Random(seed)
        self.now_ms = 0
        self.is_up = True
        self.ada, self.ben = Side(ada, is_opener=True), Side(ben, is_opener=False)
        self.wires: dict[Side, deque[tuple[Verb, int, int, bytes]]] = {
            self.ada: deque(),
            self.ben: deque(),
        }
        for one in (self.ada, self.ben):  # both know the other's window, as open and accept tell
            one.core.on_accept(WINDOW, 0)
            one.core.outgoing.acknowledge(0, WINDOW)

    def other(self, side: Side) -> Side:
        return self.ben if side is self.ada else self.ada

    def say(self, side: Side, says: list[Say]) -> None:
        for one in says:
            self.put(side, one.verb, one.number, one.credit)

    def put(self, side: Side, verb: Verb, number: int, credit: int = 0, chunk: bytes = b"") -> None:
        if self.is_up:
            self.wires[side].append((verb, number, credit, chunk))
        else:
            side.core.link_down(self.now_ms)

    def write(self, side: Side) -> None:
        outgoing = side.core.outgoing
        if side.core.state is State.OPEN and not outgoing.is_finished:
            if not side.to_write:
                outgoing.finish()
            elif outgoing.may_take(len(side.to_write[0])):
                outgoing.take(side.to_write.popleft())
                side.core.wrote(self.now_ms)

    def pump(self, side: Side) -> None:
        core = side.core
        for _ in range(self.rng.randint(1, 4)):
            item = core.outgoing.first_unsent()
            if not core.may_send or item is None:
                return
            number, chunk = item
            verb = Verb.END if chunk is None else Verb.CHUNK
            self.put(side, verb, number, chunk=bytes(chunk or b""))
            core.outgoing.sent()

    def read(self, side: Side) -> None:
        arriving = side.core.arriving
        if len(arriving):
            side.read.append(arriving.read())
            if arriving.credit_is_due() and side.core.state is State.OPEN:
                self.say(side, [Say(Verb.CREDIT, arriving.expected, arriving.grant())])
        elif arriving.has_end:
            side.has_read_end = True

    def deliver(self, side: Side) -> None:
        """The first frame that this side sent arrives at the other."""
        wire = self.wires[side]
        if not wire:
            return
        verb, number, credit, chunk = wire.popleft()
        there = self.other(side)
        core = there.core
        if core.state is State.ENDED:
            if verb in (Verb.RESUME, Verb.END):  # as those that are over answer
                answer = Verb.RESUMED if verb is Verb.RESUME else Verb.CREDIT
                self.put(there, answer, core.arriving.expected)
            return
        if verb is Verb.CHUNK:
            taken, says = core.on_chunk(number, chunk, self.now_ms)
            assert taken is not Taken.OVER_CREDIT
            self.say(there, says)
        elif verb is Verb.END:
            self.say(there, core.on_end(number, self.now_ms)[1])
        elif verb is Verb.CREDIT:
            assert core.on_credit(number, credit, self.now_ms)
        else:
            good, says = core.on_resume(number, credit, self.now_ms, is_answer=verb is Verb.RESUMED)
            assert good
            self.say(there, says)

    def cut(self) -> None:
        self.is_up = False
        for wire in self.wires.values():
            wire.clear()
        for side in (self.ada, self.ben):
            if self.rng.random() < 0.8:  # not everybody notices
                side.core.link_down(self.now_ms)

    def heal(self) -> None:
        self.is_up = True
        for side in (self.ada, self.ben):
            if self.rng.random() < 0.5:
                self.say(side, side.core.link_up(self.now_ms))

    def step(self) -> None:
        side = self.rng.choice((self.ada, self.ben))
        self.rng.choice((self.write, self.pump, self.read, self.deliver, self.deliver))(side)
        if self.rng.random() < 0.1:
            self.now_ms += self.rng.randint(1, 60)
            for one in (self.ada, self.ben):
                self.say(one, one.core.tick(self.now_ms))
        for one in (self.ada, self.ben):
            one.core.check_invariants()
            assert sum(map(cost_of, map(len, one.core.arriving._waiting))) <= WINDOW

    @property
    def is_over(self) -> bool:
        sides = (self.ada, self.ben)
        return all(
            s.core.state is State.ENDED and (s.has_read_end or s.core.end is not End.DONE)
            for s in sides
        )


def chunks_of(rng: Random, count: int) -> list[bytes]:
    return [
        rng.randbytes(rng.choice((0, 1, 30, 500, 3 * WINDOW // 4 - CHUNK_COST)))
        for _ in range(count)
    ]


@pytest.mark.parametrize("seed", range(150))
def test_over_cuts_every_chunk_arrives_once_and_in_order(seed: int) -> None:
    print(f"seed {seed}")
    rng = Random(seed)
    ada, ben = chunks_of(rng, rng.randint(0, 40)), chunks_of(rng, rng.randint(0, 40))
    world = World(seed, list(ada), list(ben))
    cuts = rng.randint(0, 6)
    for _ in range(60_000):
        world.step()
        if cuts and rng.random() < 0.004:
            cuts -= 1
            world.cut()
            world.now_ms += rng.randint(0, 1500)
            world.heal()
        if world.is_over:
            break
    assert world.ada.core.end is End.DONE
    assert world.ben.core.end is End.DONE
    assert world.ben.read == ada
    assert world.ada.read == ben


@pytest.mark.parametrize("seed", range(30))
def test_when_it_never_heals_both_sides_know_and_have_a_prefix(seed: int) -> None:
    print(f"seed {seed}")
    rng = Random(seed)
    ada, ben = chunks_of(rng, 40), chunks_of(rng, 40)
    world = World(seed, list(ada), list(ben))
    for _ in range(rng.randint(0, 300)):
        world.step()
    world.cut()
    for side in (world.ada, world.ben):
        side.core.link_down(world.now_ms)
    for _ in range(60_000):
        world.step()
        if all(side.core.state is State.ENDED for side in (world.ada, world.ben)):
            break
    for side, sent in ((world.ada, ben), (world.ben, ada)):
        assert side.core.end in (End.LOST, End.DONE)
        assert side.read == sent[: len(side.read)]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(list(Verb)), st.integers(-5, 2**63), st.integers(0, 2**62), st.binary()
        ),
        max_size=30,
    ),
    st.booleans(),
)
@settings(max_examples=300)
def test_whatever_the_other_side_says_nothing_is_raised(
    says: list[tuple[Verb, int, int, bytes]], is_opener: bool
) -> None:
    core = StreamCore(SETTINGS, 0, is_opener=is_opener)
    for n, (verb, number, credit, chunk) in enumerate(says):
        if verb is Verb.CHUNK:
            core.on_chunk(number, chunk, n)
        elif verb is Verb.END:
            core.on_end(number, n)
        elif verb is Verb.CREDIT:
            core.on_credit(number, credit, n)
        elif verb is Verb.ACCEPT:
            core.on_accept(credit, n)
        else:
            core.on_resume(number, credit, n, is_answer=verb is Verb.RESUMED)
        core.check_invariants()


def test_who_sends_more_than_was_granted_is_found_out() -> None:
    arriving = Arriving(1000)
    assert arriving.take(0, bytes(900)) is Taken.YES
    assert arriving.take(1, bytes(100)) is Taken.OVER_CREDIT
    assert arriving.take(3, b"") is Taken.GAP
    assert arriving.take(0, b"") is Taken.AGAIN
    assert arriving.take_end(1) is Taken.YES
    assert arriving.take(2, b"") is Taken.AFTER_END


def test_what_was_never_sent_cannot_be_acknowledged() -> None:
    outgoing = Outgoing()
    assert outgoing.acknowledge(0, 1000)
    outgoing.take(b"x")
    assert not outgoing.acknowledge(1, 2000)
    outgoing.sent()
    assert outgoing.acknowledge(1, 2000)
    assert outgoing.acknowledged_bytes == 1


def test_empty_chunks_are_bounded_too() -> None:
    outgoing = Outgoing()
    outgoing.acknowledge(0, WINDOW)
    taken = 0
    while outgoing.may_take(0):
        outgoing.take(b"")
        taken += 1
    assert taken == WINDOW // CHUNK_COST

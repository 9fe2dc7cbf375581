"""Two cores over connections that break: each chunk once and in order, or both learn of the end."""

from __future__ import annotations

import pytest
from core_lab import SETTINGS, WINDOW, Pair
from hypothesis import given, settings
from hypothesis import strategies as st

from p2p.streams.arriving import Taken
from p2p.streams.core import LATE_MS, End, State, StreamCore
from p2p.streams.outgoing import MAX_KEPT, Outgoing, cost_of
from p2p.streams.verbs import Say, Verb

RUNS = 250


def opened(seed: int = 1) -> Pair:
    """Both sides are open, nothing is under way."""
    pair = Pair(seed)
    run_dry(pair)
    assert pair.a.core.state is State.OPEN
    return pair


def run_dry(pair: Pair) -> None:
    """Hand everything over until nobody says anything more."""
    for _ in range(1000):
        if not any([pair.deliver(pair.a), pair.deliver(pair.b)]):
            return
    raise AssertionError("they do not stop talking")


@pytest.mark.parametrize("block", range(5))
def test_whatever_breaks_each_chunk_arrives_once_and_in_order(block: int) -> None:
    for seed in range(block * RUNS // 5, (block + 1) * RUNS // 5):
        print(f"seed {seed}")
        pair = Pair(seed)
        for _ in range(pair.rng.choice((30, 150, 500))):
            pair.random_step()
        for side in (pair.a, pair.b):
            if side.is_known:
                side.core.outgoing.finish()
        pair.a.room = pair.b.room = 3
        pair.settle()
        pair.b.core.outgoing.finish()
        pair.settle()
        for side in (pair.a, pair.b):
            assert side.core.end is End.DONE, (seed, side.name, side.core.__dict__)
            assert side.read == pair.other(side).written
        assert pair.most_waiting <= WINDOW


@pytest.mark.parametrize("seed", range(30))
def test_when_it_never_heals_both_sides_know_and_have_the_beginning(seed: int) -> None:
    print(f"seed {seed}")
    pair = opened(seed)
    for _ in range(pair.rng.randint(0, 300)):
        pair.random_step()
    pair.cut()
    for _ in range(800):
        pair.tell(pair.a)
        pair.tell(pair.b)
        pair.pass_time(100)
        pair.pump()
        pair.check()
    for side in (pair.a, pair.b):
        assert side.core.end is End.LOST
        assert side.read == pair.other(side).written[: len(side.read)]


@pytest.mark.parametrize("who_sees_it", ["ab", "a", "b"])
def test_a_break_repeats_only_what_was_lost(who_sees_it: str) -> None:
    pair = opened()
    for n in range(6):
        pair.a.write(bytes([n]) * 100)
    for _ in range(3):
        pair.deliver(pair.a)
    pair.cut()
    pair.a.late.clear()
    for side in (pair.a, pair.b):
        side.to_tell.clear()
        if side.name in who_sees_it:
            side.core.link_down(pair.now_ms)
    pair.is_up = True
    run_dry(pair)
    assert list(pair.b.core.arriving.waiting) == pair.a.written
    assert pair.a.core.outgoing.repeated == 3
    assert pair.b.core.arriving.repeated == 0


def test_in_doubt_nothing_is_sent_but_the_question() -> None:
    pair = opened()
    pair.a.core.link_down(pair.now_ms)
    pair.a.write(b"new")
    pair.pump()
    assert [item.verb for item in pair.a.wire if isinstance(item, Say)] == [Verb.RESUME]
    assert len(pair.a.wire) == 1


def test_an_answer_from_before_the_last_break_settles_nothing() -> None:
    core = StreamCore(SETTINGS, 0, is_opener=False)
    core.said(core.next_say().verb, 0)
    questions = []
    for _ in range(2):
        core.link_down(0)
        questions.append(core.next_say())
        core.said(Verb.RESUME, 0)
    first, second = questions
    core.on_resumed(Say(Verb.RESUMED, 0, WINDOW, first.epoch), 0)
    assert core.is_doubtful
    core.on_resumed(Say(Verb.RESUMED, 0, WINDOW, second.epoch), 0)
    assert not core.is_doubtful


def test_silence_on_a_sound_connection_repeats_nothing() -> None:
    """A long queue is no loss: to send more into it would only make it longer."""
    pair = opened()
    pair.a.write(b"slow")
    pair.pump()
    held, pair.a.wire = pair.a.wire, type(pair.a.wire)()
    for _ in range(80):
        pair.pass_time(100)
        pair.pump()
    held.extend(pair.a.wire)
    assert any(isinstance(item, Say) and item.verb is Verb.RESUME for item in held)
    pair.a.wire = held
    run_dry(pair)
    assert pair.a.core.outgoing.repeated == 0
    assert pair.b.core.arriving.expected == 1


def test_the_answer_to_the_first_of_two_questions_speaks_of_what_was_sent_before_it() -> None:
    pair = opened()
    for n in range(2):
        pair.a.write(bytes([n]))
        pair.pump()
        pair.a.core.ask(pair.now_ms)
        for _ in range(35):
            pair.pass_time(100)
            pair.pump()
            pair.b.wire.clear()
        pair.now_ms += 1
    pair.a.core.check_invariants()
    for _ in range(30):
        pair.deliver(pair.a)
        pair.deliver(pair.b)
    assert pair.b.core.arriving.expected == 2
    assert pair.a.core.outgoing.repeated == 0


def test_to_go_back_behind_what_is_acknowledged_goes_back_to_there() -> None:
    outgoing = Outgoing()
    outgoing.acknowledge(0, WINDOW)
    for _ in range(4):
        outgoing.take(b"x")
        outgoing.handed_over()
    outgoing.acknowledge(2, WINDOW)
    outgoing.rewind(1)
    assert outgoing.next == 2
    outgoing.acknowledge(3, WINDOW)  # said before it went back, and late
    assert outgoing.next == 3
    outgoing.check_invariants()


def test_what_is_lost_without_a_sign_is_found_missing_by_the_next_chunk() -> None:
    pair = opened()
    pair.a.write(b"one")
    pair.pump()
    pair.a.wire.clear()
    pair.a.write(b"two")
    run_dry(pair)
    assert list(pair.b.core.arriving.waiting) == [b"one", b"two"]


def test_the_last_chunk_lost_without_a_sign_is_found_missing_in_time() -> None:
    pair = opened()
    pair.a.write(b"one")
    pair.pump()
    pair.a.wire.clear()
    for _ in range(90):
        pair.pass_time(100)
        run_dry(pair)
    assert list(pair.b.core.arriving.waiting) == [b"one"]


def test_a_reader_that_stops_stops_the_writer_at_the_window() -> None:
    pair = opened()
    while pair.a.write(bytes(100)):
        run_dry(pair)
    assert pair.a.core.outgoing.cost <= WINDOW
    assert not pair.a.core.outgoing.may_take(100)
    while pair.b.read_one():
        pass
    run_dry(pair)
    assert pair.a.core.outgoing.may_take(100)


def test_credit_and_receipts_are_not_said_for_each_chunk() -> None:
    pair = opened()
    said = 0
    for _ in range(400):
        assert pair.a.write(b"x" * 64)
        pair.deliver(pair.a)
        pair.b.read_one()
        said += len(pair.b.wire)
        run_dry(pair)
    assert said <= 400 * cost_of(64) / (WINDOW / 2) + 1


def test_empty_chunks_cost_something_too() -> None:
    pair = opened()
    count = 0
    while pair.a.write(b""):
        count += 1
    assert count == WINDOW // cost_of(0)


def test_more_than_was_granted_is_seen() -> None:
    core = StreamCore(SETTINGS, 0, is_opener=False)
    assert core.on_chunk(0, bytes(WINDOW), 0) is Taken.OVER_CREDIT
    assert core.on_chunk(0, bytes(WINDOW - 64), 0) is Taken.YES
    assert core.on_chunk(1, b"", 0) is Taken.OVER_CREDIT
    core.check_invariants()


def test_nothing_follows_the_end() -> None:
    core = StreamCore(SETTINGS, 0, is_opener=False)
    assert core.on_end(0, 0) is Taken.YES
    assert core.on_chunk(1, b"", 0) is Taken.AFTER_END
    assert core.on_end(0, 0) is Taken.AGAIN


def test_a_generous_peer_does_not_make_us_keep_without_end() -> None:
    outgoing = Outgoing()
    outgoing.acknowledge(0, 2**60)
    chunk = bytes(2**20)
    while outgoing.may_take(len(chunk)):
        outgoing.take(chunk)
    assert MAX_KEPT - 2**21 <= outgoing.cost <= MAX_KEPT


def test_half_closed_streams_go_on_in_the_other_direction() -> None:
    pair = opened()
    pair.a.write(b"question")
    pair.a.core.outgoing.finish()
    run_dry(pair)
    assert pair.b.core.arriving.has_end
    assert pair.a.core.state is State.OPEN
    pair.b.write(b"answer")
    pair.b.core.outgoing.finish()
    run_dry(pair)
    assert pair.a.core.end is pair.b.core.end is End.DONE
    assert pair.a.core.arriving.waiting


def test_without_a_connection_both_sides_end_in_time() -> None:
    pair = opened()
    pair.a.write(b"x")
    pair.pump()
    pair.cut()
    pair.tell(pair.a)
    for _ in range(420):
        pair.pass_time(100)
        pair.pump()
    assert pair.a.core.end is End.LOST
    assert pair.b.core.end is End.LOST
    assert pair.now_ms >= 30_000


def test_who_only_reads_notices_too_that_nobody_is_there() -> None:
    pair = opened()
    for _ in range(420):
        pair.b.wire.clear()
        pair.a.wire.clear()
        pair.pass_time(100)
        pair.pump()
    assert pair.b.core.end is End.LOST


def test_who_was_stopped_does_not_take_its_own_sleep_for_their_silence() -> None:
    pair = opened()
    pair.a.core.link_down(pair.now_ms)
    pair.pump()
    pair.now_ms += 10 * LATE_MS + 60_000
    pair.a.core.tick(pair.now_ms)
    assert pair.a.core.state is State.OPEN
    run_dry(pair)
    assert not pair.a.core.is_doubtful


def test_an_idle_stream_stays_open_and_says_little() -> None:
    pair = opened()
    said = 0
    for _ in range(6_000):
        pair.pass_time(100)
        pair.pump()
        said += len(pair.a.wire) + len(pair.b.wire)
        run_dry(pair)
    assert pair.a.core.state is pair.b.core.state is State.OPEN
    assert said <= 2 * 600 / 10 * 2 + 10


def test_an_abort_ends_at_once_and_lets_go_of_everything() -> None:
    pair = opened()
    pair.a.write(bytes(1000))
    pair.a.core.abort()
    assert pair.a.core.end is End.ABORTED
    assert not pair.a.core.may_send
    assert not pair.a.core.outgoing.has_unsent()
    pair.a.core.link_down(0)
    pair.a.core.tick(10**9)
    pair.a.core.check_invariants()
    assert pair.a.core.end is End.ABORTED


numbers = st.one_of(st.integers(0, 12), st.integers(0, 2**63))
says = st.builds(
    Say, st.sampled_from(list(Verb)), numbers, numbers, numbers, numbers, st.booleans()
)
events = st.one_of(
    says,
    st.tuples(numbers, st.binary(max_size=300)),
    st.tuples(numbers, st.none()),
    st.sampled_from(["down", "unreachable", "tick", "pump", "write", "read", "finish", "abort"]),
)


@settings(max_examples=400, deadline=None)
@given(st.booleans(), st.lists(events, max_size=40))
def test_no_garbage_raises_or_breaks_an_invariant(is_opener: bool, story: list[object]) -> None:
    core = StreamCore(SETTINGS, 0, is_opener=is_opener)
    now_ms = 0
    for event in story:
        now_ms += 37
        _happens(core, event, now_ms)
        core.check_invariants()
        assert sum(cost_of(len(c)) for c in core.arriving.waiting) <= WINDOW
        assert len(core._wants) <= len(Verb)


def _happens(core: StreamCore, event: object, now_ms: int) -> None:
    outgoing = core.outgoing
    if isinstance(event, Say):
        {
            Verb.ACCEPT: lambda: core.on_accept(event.credit, now_ms),
            Verb.CREDIT: lambda: core.on_credit(event.expected, event.credit, now_ms),
            Verb.RESUME: lambda: core.on_resume(event, now_ms),
            Verb.RESUMED: lambda: core.on_resumed(event, now_ms),
        }.get(event.verb, core.on_open)()
    elif isinstance(event, tuple):
        number, chunk = event
        if chunk is None:
            core.on_end(number, now_ms)
        else:
            core.on_chunk(number, chunk, now_ms)
    elif event == "down":
        core.link_down(now_ms)
    elif event == "unreachable":
        core.link_down(now_ms, wait=True)
    elif event == "tick":
        core.tick(now_ms)
    elif event == "abort":
        core.abort()
    elif event == "finish":
        outgoing.finish()
    elif event == "read":
        if core.arriving.waiting and core.arriving.read()[1]:
            core.tell()
    elif event == "write":
        if outgoing.may_take(200) and not outgoing.is_finished:
            outgoing.take(bytes(200))
    elif core.has_says:
        core.said(core.next_say().verb, now_ms)
    elif core.may_send and outgoing.has_unsent():
        outgoing.handed_over()

"""What runs out next: from the deadlines alone, however the heap came about."""

from hypothesis import given
from hypothesis import strategies as st
from kv_lab import ANNA, Lab

from consensus.kv import Expiry, What, encode, encode_keep_alive, put
from consensus.kv.deadlines import Deadlines

moves = st.lists(st.tuples(st.sampled_from("abc"), st.none() | st.integers(1, 9)), max_size=40)


@given(moves, st.integers(1, 4), st.booleans())
def test_it_is_like_a_sorted_list_of_deadlines(
    history: list[tuple[str, int | None]], limit: int, sweep: bool
) -> None:
    current: dict[str, int] = {}
    deadlines = Deadlines(lambda expiry: current.get(expiry.name), lambda: len(current))
    for name, deadline_ms in history:
        before = current.pop(name, None)
        if deadline_ms is not None:
            current[name] = deadline_ms
            if before is None or deadline_ms < before:
                deadlines.add(What.KEY, name, 1, deadline_ms)
        if sweep:
            deadlines._sweep()
        for now in (0, 5, 9):
            wanted = sorted((at, name) for name, at in current.items() if at <= now)[:limit]
            assert deadlines.due(now, limit) == [Expiry(What.KEY, n, 1) for _, n in wanted]
        assert deadlines.next_ms() == min(current.values(), default=None)


def test_a_key_set_twice_in_a_command_runs_out_once() -> None:
    lab = Lab()
    lab.batch(put("k", b"", ttl_ms=900), put("k", b"", ttl_ms=100))
    assert lab.store.expired(10_000) == [Expiry(What.KEY, "k", 1)]
    assert lab.store.next_deadline_ms() == 1100


def test_the_heap_stays_in_proportion_to_what_lives() -> None:
    lab = Lab()
    number = lab.register()
    for _ in range(5000):
        lab.index += 1
        lab.store.apply(lab.index, lab.now_ms, encode_keep_alive(ANNA, number))
        lab.index += 1
        lab.store.apply(lab.index, lab.now_ms, encode(put("k", b"", ttl_ms=1)))
        lab.now_ms += 1
    assert len(lab.store._state.deadlines._heap) < 2000
    assert lab.store.session_count() == 1

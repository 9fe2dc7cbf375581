"""How busy agents and machines are: steps that do not waver, and what is told of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.busy import (
    EIGHTHS,
    TOLD_AT_ONCE,
    Level,
    Loads,
    MachineLevel,
    MachineSteps,
    decode_machine,
    encode_machine,
)
from agents.choosing import FULL
from agents.hosting.tally import Occupancy
from p2p import Machine, encode_payload
from p2p.machine import look_at_machine

PERMILLE = st.integers(0, 1000)


def after(level: Level, permille: int, looks: int) -> int:
    for _ in range(looks):
        level.look(permille)
    return level.step


@given(st.lists(PERMILLE, max_size=20), PERMILLE)
def test_what_stays_gets_its_step_within_ten_looks_and_keeps_it(
    before: list[int], then: int
) -> None:
    level = Level(FULL)
    for permille in before:
        level.look(permille)
    step = after(level, then, 12)
    assert abs(FULL * then / 1000 - step) <= 0.76
    assert after(level, then, 50) == step


def test_the_ends_are_reached() -> None:
    level = Level(FULL)
    assert after(level, 1000, 12) == FULL
    assert after(level, 0, 12) == 0
    assert level.is_at_rest


def test_one_short_peak_is_not_told() -> None:
    level = Level(FULL)
    assert after(level, 300, 1) == 0
    assert after(level, 0, 5) == 0


@given(st.lists(st.integers(380, 620), min_size=20, max_size=60))
def test_a_load_that_wavers_by_an_eighth_to_either_side_keeps_its_step(
    wavering: list[int],
) -> None:
    level = Level(FULL)
    assert after(level, 500, 12) == 2
    for permille in wavering:
        level.look(permille)
        assert level.step == 2


@given(
    st.lists(
        st.dictionaries(st.sampled_from([f"a{n}" for n in range(9)]), PERMILLE, max_size=9),
        max_size=40,
    )
)
def test_few_are_told_at_once_and_all_of_them_in_the_end(looks: list[dict[str, int]]) -> None:
    loads, heard = Loads(), dict[str, int]()
    for busy in [*looks, *[{}] * 30]:
        due = loads.look(busy)
        assert len(due) <= TOLD_AT_ONCE
        for name in due:
            assert heard.get(name, 0) != loads.told(name), "nobody is told the same again"
            heard[name] = loads.told(name)
        loads.check_invariants()
    assert not any(heard.values()), "they are idle by now, and told so"
    assert not loads._levels


def test_of_many_that_change_all_the_time_everybody_has_its_turn() -> None:
    loads, heard = Loads(), set[str]()
    names = [f"a{number}" for number in range(100)]
    for look in range(120):
        busy = 1000 if look // 8 % 2 == 0 else 0
        heard |= {*loads.look(dict.fromkeys(names, busy))}
    assert heard == {*names}


def test_a_machine_is_told_in_eighths_and_an_idle_one_not_at_all() -> None:
    level = MachineLevel(Machine(500, 250))
    assert level.steps == (4, 2)
    said = encode_machine(level.steps)
    assert said is not None
    assert len(said) <= 6
    assert decode_machine(said) == level.steps
    assert level.steps.machine == Machine(500, 250)
    for _ in range(20):
        level.look(Machine(0, 1000))
    assert encode_machine(level.steps) is None


@given(st.binary(max_size=20) | st.lists(st.integers(-2, 20), max_size=5).map(encode_payload))
def test_what_is_no_machine_says_nothing(said: bytes) -> None:
    steps = decode_machine(said)
    assert 0 <= steps.busy <= EIGHTHS
    assert 0 <= steps.free <= EIGHTHS
    assert decode_machine(encode_payload([2, 4, 4])) == MachineSteps()


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 500)), max_size=20))
def test_what_is_in_use_is_exact_also_of_what_still_runs(runs: list[tuple[int, int]]) -> None:
    used, events = Occupancy(), list[tuple[int, int, int]]()
    for began, took in runs:
        events += [(began, 0, began), (began + took, 1, began)]
    for looked_ms in (0, 250, 700, 2000):
        events.append((looked_ms, 2, 0))
    for at_ms, what, began in sorted(events):
        if what == 0:
            used.begin(at_ms)
        elif what == 1:
            used.end(began, at_ms)
        else:
            wanted = sum(max(0, min(at_ms, b + took) - b) for b, took in runs if b <= at_ms)
            assert used.total_ms(at_ms) == wanted


# -- what the system says ----------------------------------------------------------------------


def a_group(folder: Path, most: str, current: int, cached: int) -> Path:
    folder.mkdir()
    (folder / "memory.max").write_text(most + "\n")
    (folder / "memory.current").write_text(f"{current}\n")
    (folder / "memory.stat").write_text(f"anon 5\ninactive_file {cached}\n")
    return folder


@pytest.fixture
def meminfo(tmp_path: Path) -> Path:
    path = tmp_path / "meminfo"
    path.write_text("MemTotal:  1000 kB\nMemFree:  1 kB\nMemAvailable:  600 kB\nHuge: x y\n")
    return path


def test_memory_is_the_machines_or_the_containers_if_that_is_less(
    tmp_path: Path, meminfo: Path
) -> None:
    meminfo.write_text(meminfo.read_text().replace("Huge: x y\n", ""))
    assert look_at_machine(meminfo, tmp_path / "none").free_permille == 600
    assert look_at_machine(meminfo, a_group(tmp_path / "a", "max", 9, 0)).free_permille == 600
    assert look_at_machine(meminfo, a_group(tmp_path / "b", "100", 90, 20)).free_permille == 300
    assert look_at_machine(meminfo, a_group(tmp_path / "c", "100", 10, 0)).free_permille == 600
    assert look_at_machine(meminfo, a_group(tmp_path / "d", "100", 900, 0)).free_permille == 0


def test_a_system_that_says_nothing_of_memory_is_taken_for_empty(
    tmp_path: Path, meminfo: Path
) -> None:
    assert look_at_machine(meminfo, tmp_path).free_permille == 1000, "one line of it is no number"
    assert look_at_machine(tmp_path / "none", tmp_path).free_permille == 1000


def test_this_machine_says_something() -> None:
    now = look_at_machine()
    assert 0 <= now.busy_permille <= 1000
    assert 0 <= now.free_permille <= 1000

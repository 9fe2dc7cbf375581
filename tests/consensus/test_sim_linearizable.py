"""The checker of histories: right against every order there is, and on the classics."""

import itertools
import random
from collections import Counter
from collections.abc import Hashable
from typing import Any

import pytest
from histories_lab import History, did, draw_history, draw_kv, draw_lease, draw_versioned, lost

from consensus.sim.histories import (
    REFUSED,
    UNKNOWN,
    Done,
    HistoryInvalid,
    Operation,
    Recorder,
)
from consensus.sim.linearizable import Verdict, check
from consensus.sim.models import (
    Acquire,
    Cas,
    CasVersion,
    Complete,
    Delete,
    Expire,
    KeyValue,
    LeaseLedger,
    Look,
    Read,
    ReadVersion,
    Release,
    Renew,
    Write,
)

LINEARIZABLE, VIOLATION, UNDECIDED = Verdict


def judge_kv(*history: Operation[Any], has_versions: bool = False) -> Verdict:
    return check(history, KeyValue(has_versions)).verdict


def judge_leases(*history: Operation[Any]) -> Verdict:
    return check(history, LeaseLedger()).verdict


# -- against every order --------------------------------------------------------------------------


def is_linearizable_by_trying_all(history: History, model: Any) -> bool:
    """Every subset of the unknown ones, every order that respects time; one state for all keys."""
    answered = [o for o in history if isinstance(o.outcome, Done)]
    unknown = [o for o in history if o.outcome is UNKNOWN]
    for count in range(len(unknown) + 1):
        for some in itertools.combinations(unknown, count):
            if any(
                is_possible(order, model) for order in itertools.permutations([*answered, *some])
            ):
                return True
    return False


def is_possible(order: History, model: Any) -> bool:
    for early, late in itertools.combinations(order, 2):
        if late.returned_at is not None and late.returned_at < early.invoked_at:
            return False
    states: dict[Hashable, Any] = {}
    for operation in order:
        key = model.key(operation.op)
        after = model.step(states.get(key, model.initial()), operation.op, operation.outcome)
        if after is None:
            return False
        states[key] = after
    return True


@pytest.mark.parametrize(
    ("draw", "model"),
    [
        (draw_kv, KeyValue()),
        (draw_versioned, KeyValue(has_versions=True)),
        (draw_lease, LeaseLedger()),
    ],
)
def test_the_verdict_is_that_of_trying_every_order(draw: Any, model: Any) -> None:
    seen: Counter[Verdict] = Counter()
    for seed in range(2000):
        print(f"{draw.__name__}, seed {seed}")
        history = draw_history(random.Random(seed), draw)
        verdict = check(history, model).verdict
        seen[verdict] += 1
        assert (verdict is LINEARIZABLE) == is_linearizable_by_trying_all(history, model)
    print(seen)
    assert min(seen[LINEARIZABLE], seen[VIOLATION]) > 300
    assert not seen[UNDECIDED]


def is_ledger_possible(
    left: History, floor: int = 0, holder: int | None = None, result: Hashable = None
) -> bool:
    """The same for one lease without any cleverness: a token of unknown value is each in turn."""
    ends = [o.returned_at for o in left if o.returned_at is not None]
    if not ends:
        return True
    for operation in left:
        if operation.outcome is REFUSED:
            return is_ledger_possible(
                [o for o in left if o is not operation], floor, holder, result
            )
        if operation.invoked_at > min(ends):
            continue
        rest = [o for o in left if o is not operation]
        for answer, *after in concrete_answers(operation.op, floor, holder, result):
            is_right = operation.outcome is UNKNOWN or operation.outcome == Done(answer)
            if is_right and is_ledger_possible(rest, *after):
                return True
    return False


def concrete_answers(
    op: Any, floor: int, holder: int | None, result: Hashable
) -> list[tuple[Any, int, int | None, Hashable]]:
    """(answer, floor, holder, result): what a ledger may answer, and what it is then."""
    same = (floor, holder, result)
    if isinstance(op, Acquire):
        if holder is not None or result is not None:
            return [(None, *same)]
        return [(token, token, token, None) for token in range(floor + 1, floor + 5)]
    if isinstance(op, Look):
        return [((holder, result), *same)]
    if holder is None or op.token not in (None, holder):
        return [(False, *same)]
    if isinstance(op, Renew):
        return [(True, *same)]
    return [(True, floor, None, op.value if isinstance(op, Complete) else None)]


def test_a_token_that_nobody_was_told_is_every_token_it_may_be() -> None:
    seen: Counter[Verdict] = Counter()
    for seed in range(4000):
        print(f"seed {seed}")
        history = draw_history(random.Random(seed), draw_lease)
        verdict = check(history, LeaseLedger()).verdict
        seen[verdict] += 1
        assert (verdict is LINEARIZABLE) == is_ledger_possible(history)
    assert min(seen[LINEARIZABLE], seen[VIOLATION]) > 1000


# -- the classics ---------------------------------------------------------------------------------


def test_a_stale_read_is_a_violation_unless_it_overlaps_the_write() -> None:
    first, second = did("a", 0, 1, Write("x", 1)), did("a", 2, 5, Write("x", 2))
    assert judge_kv(first, second, did("b", 6, 7, Read("x"), 1)) is VIOLATION
    assert judge_kv(first, second, did("b", 4, 7, Read("x"), 1)) is LINEARIZABLE


def test_equal_times_are_concurrent() -> None:
    write = did("a", 0, 5, Write("x", 1))
    assert judge_kv(write, did("b", 5, 6, Read("x"), None)) is LINEARIZABLE
    assert judge_kv(write, did("b", 6, 6, Read("x"), None)) is VIOLATION


def test_readers_must_agree_on_the_order_of_concurrent_writes() -> None:
    writes = [did("a", 0, 9, Write("x", 1)), did("b", 0, 9, Write("x", 2))]
    up = [did("c", 1, 2, Read("x"), 1), did("c", 3, 4, Read("x"), 2)]
    assert judge_kv(*writes, *up) is LINEARIZABLE
    assert judge_kv(*writes, *up, did("d", 5, 6, Read("x"), 1)) is VIOLATION


def test_a_lost_update_is_a_violation() -> None:
    begin = did("a", 0, 1, Write("x", 0))
    both = [did("a", 2, 4, Cas("x", 0, 1), True), did("b", 2, 4, Cas("x", 0, 2), True)]
    assert judge_kv(begin, *both) is VIOLATION
    assert judge_kv(begin, both[0], did("b", 2, 4, Cas("x", 0, 2), False)) is LINEARIZABLE


def test_an_update_lost_by_version_is_a_violation() -> None:
    begin = did("a", 0, 1, Write("x", 7), 1)
    both = [did(c, 2, 4, CasVersion("x", 1, 8), True) for c in "ab"]
    assert judge_kv(begin, *both, has_versions=True) is VIOLATION
    assert judge_kv(
        begin, both[0], did("b", 5, 6, ReadVersion("x"), (8, 2)), has_versions=True
    ) is (LINEARIZABLE)


def test_a_read_of_what_then_vanished_is_a_violation() -> None:
    history = [lost("a", 0, Write("x", 1)), did("b", 1, 2, Read("x"), 1)]
    assert judge_kv(*history) is LINEARIZABLE
    assert judge_kv(*history, did("b", 3, 4, Read("x"), None)) is VIOLATION


def test_an_unknown_write_may_surface_late_but_only_once() -> None:
    history = [
        did("a", 0, 1, Write("x", 1)),
        lost("b", 2, Write("x", 2)),
        did("a", 10, 11, Read("x"), 1),
        did("a", 50, 51, Read("x"), 2),
    ]
    assert judge_kv(*history) is LINEARIZABLE
    history.append(did("a", 60, 61, Write("x", 3)))
    assert judge_kv(*history, did("c", 70, 71, Read("x"), 3)) is LINEARIZABLE
    assert judge_kv(*history, did("c", 70, 71, Read("x"), 2)) is VIOLATION


def test_an_unknown_write_does_not_surface_before_it_was_asked_for() -> None:
    assert judge_kv(did("a", 0, 1, Read("x"), 5), lost("b", 2, Write("x", 5))) is VIOLATION


def test_two_equal_unknown_writes_may_surface_twice() -> None:
    history = [
        lost("a", 0, Write("x", 1)),
        lost("b", 0, Write("x", 1)),
        did("c", 1, 2, Read("x"), 1),
        did("c", 3, 4, Delete("x")),
        did("c", 5, 6, Read("x"), 1),
        did("c", 7, 8, Delete("x")),
    ]
    assert judge_kv(*history) is LINEARIZABLE
    assert judge_kv(*history, did("c", 9, 10, Read("x"), 1)) is VIOLATION


def test_a_refused_write_never_happens() -> None:
    refused = Operation("a", 0, 1, Write("x", 1), REFUSED)
    assert judge_kv(refused, did("b", 2, 3, Read("x"), None)) is LINEARIZABLE
    assert judge_kv(refused, did("b", 2, 3, Read("x"), 1)) is VIOLATION


def test_two_holders_at_once_are_a_violation() -> None:
    first, second = did("a", 0, 1, Acquire("t"), 3), did("b", 2, 3, Acquire("t"), 9)
    assert judge_leases(first, second) is VIOLATION
    assert judge_leases(first, lost("ledger", 1, Expire("t")), second) is LINEARIZABLE


def test_a_token_that_does_not_grow_is_a_violation() -> None:
    history = [did("a", 0, 1, Acquire("t"), 5), did("a", 2, 3, Release("t", 5), True)]
    assert judge_leases(*history, did("b", 4, 5, Acquire("t"), 6)) is LINEARIZABLE
    assert judge_leases(*history, did("b", 4, 5, Acquire("t"), 5)) is VIOLATION


def test_an_old_token_completes_nothing() -> None:
    history = [
        did("a", 0, 1, Acquire("t"), 5),
        did("ledger", 2, 3, Expire("t", 5), True),
        did("b", 4, 5, Acquire("t"), 8),
        did("b", 6, 7, Complete("t", 8, "b"), True),
    ]
    assert judge_leases(*history, did("a", 8, 9, Complete("t", 5, "a"), False)) is LINEARIZABLE
    assert judge_leases(*history, did("a", 4, 9, Complete("t", 5, "a"), True)) is VIOLATION


def test_a_task_is_completed_once_even_by_its_holder() -> None:
    begin = did("a", 0, 1, Acquire("t"), 5)
    once = did("a", 2, 3, Complete("t", 5, "r"), True)
    again = did("a", 2, 3, Complete("t", 5, "s"), True)
    assert judge_leases(begin, once, did("b", 4, 5, Look("t"), (None, "r"))) is LINEARIZABLE
    assert judge_leases(begin, once, again) is VIOLATION
    assert judge_leases(begin, once, did("b", 4, 5, Acquire("t"), 9)) is VIOLATION


def test_the_token_of_an_unknown_acquisition_is_found_by_looking() -> None:
    history = [lost("a", 0, Acquire("t")), did("a", 1, 2, Look("t"), (4, None))]
    assert judge_leases(*history, did("a", 3, 4, Renew("t", 4), True)) is LINEARIZABLE
    assert judge_leases(*history, did("a", 3, 4, Renew("t", 5), True)) is VIOLATION
    assert judge_leases(*history, did("b", 3, 4, Look("t"), (5, None))) is VIOLATION


# -- what is not a verdict ------------------------------------------------------------------------


def test_a_spent_budget_is_never_a_verdict() -> None:
    history = [lost(f"c{n}", 0, Write("x", n)) for n in range(9)]
    history += [did("r", 1, 2, Read("x"), 99)]
    assert check(history, KeyValue(), max_states=5).verdict is UNDECIDED
    assert "needs a larger budget" in str(check(history, KeyValue(), max_states=5))
    assert check(history, KeyValue()).verdict is VIOLATION


def test_a_violation_of_one_key_counts_though_another_is_undecided() -> None:
    hard = [lost(f"c{n}", 0, Write("x", n)) for n in range(9)] + [did("r", 1, 2, Read("x"), 99)]
    easy = did("r", 1, 2, Read("y"), 1)
    judged = check([*hard, easy], KeyValue(), max_states=5)
    assert (judged.verdict, judged.key) == (VIOLATION, "y")


def test_what_no_run_can_record_is_refused() -> None:
    with pytest.raises(HistoryInvalid, match="before it begins"):
        did("a", 5, 4, Read("x"))
    with pytest.raises(HistoryInvalid, match="exactly if its outcome is known"):
        Operation("a", 0, 1, Read("x"), UNKNOWN)
    with pytest.raises(HistoryInvalid, match="needs a model with versions"):
        judge_kv(did("a", 0, 1, ReadVersion("x")))


def test_a_recorder_leaves_open_what_nobody_settled() -> None:
    recorder = Recorder[Any]()
    first, second = recorder.invoke("a", Write("x", 1), 0), recorder.invoke("b", Read("x"), 1)
    recorder.invoke("c", Write("x", 2), 2)
    recorder.settle(second, Done(1), 3)
    recorder.settle(first, UNKNOWN, 4)
    assert [o.outcome for o in recorder.history()] == [UNKNOWN, Done(1), UNKNOWN]
    assert check(recorder.history(), KeyValue()).verdict is LINEARIZABLE
    with pytest.raises(HistoryInvalid, match="settled twice"):
        recorder.settle(first, Done(), 5)

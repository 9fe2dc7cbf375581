"""What a violation looks like to a reader: the report, and the fewest operations that show it."""

import random

from histories_lab import did, draw_history, draw_kv, lost

from consensus.sim.histories import UNKNOWN
from consensus.sim.linearizable import Verdict, check
from consensus.sim.models import KeyValue, Read, Write
from consensus.sim.shrinking import shrink

LINEARIZABLE, VIOLATION, _ = Verdict


def test_a_report_says_how_far_any_order_came_and_what_then_failed() -> None:
    history = [
        did("a", 0, 1, Write("x", 1)),
        did("a", 2, 3, Write("x", 2)),
        did("b", 4, 5, Read("x"), 1),
        did("c", 0, 9, Read("y"), None),
    ]
    judged = check(history, KeyValue())
    assert judged.prefix == tuple(history[:2])
    assert judged.unplaced == (history[2],)
    assert str(judged).splitlines() == [
        "violation after 3 states: key 'x'",
        "the longest order that is possible:",
        "  [0, 1] a: Write(key='x', value=1) -> None",
        "  [2, 3] a: Write(key='x', value=2) -> None",
        "leads to Cell(value=2, version=0), where none of these can follow:",
        "  [4, 5] b: Read(key='x') -> 1",
    ]


def test_shrinking_keeps_what_contradicts_and_nothing_else() -> None:
    noise = [did("n", 10 * n, 10 * n + 30, Write("x", 100 + n)) for n in range(30)]
    noise += [did("m", 10 * n, 10 * n + 5, Read("y"), None) for n in range(60)]
    stale = [
        did("a", 500, 501, Write("x", 1)),
        did("a", 502, 503, Write("x", 2)),
        did("b", 504, 505, Read("x"), 1),
    ]
    later = [did("a", 600 + n, 600 + n, Write("x", n)) for n in range(20)]
    assert shrink([*noise, *stale, *later], KeyValue()) == tuple(stale)


def test_shrinking_keeps_the_unknown_write_that_explains_a_read() -> None:
    history = [
        lost("a", 0, Write("x", 1)),
        lost("n", 0, Write("x", 7)),
        did("b", 1, 2, Read("x"), 1),
        did("b", 3, 4, Read("x"), None),
        did("b", 5, 6, Read("x"), None),
    ]
    assert shrink(history, KeyValue()) == (history[0], *history[2:4])


def test_shrinking_leaves_alone_what_is_no_violation() -> None:
    history = [did("a", 0, 1, Write("x", 1)), did("b", 2, 3, Read("x"), 1)]
    assert shrink(history, KeyValue()) == tuple(history)


def test_what_shrinking_leaves_of_random_violations_needs_every_answer() -> None:
    shrunk = 0
    for seed in range(600):
        print(f"seed {seed}")
        model = KeyValue()
        history = draw_history(random.Random(seed), draw_kv)
        core = shrink(history, model)
        if check(history, model).verdict is LINEARIZABLE:
            assert core == tuple(history)
            continue
        shrunk += 1
        assert check(core, model).verdict is VIOLATION
        answered = [o for o in core if o.outcome is not UNKNOWN]
        for operation in answered:
            is_passive = model.is_passive(operation.op, operation.outcome)
            weaker = [o.weakened() if o is operation else o for o in core]
            weaker = [o for o in weaker if not (is_passive and o.op is operation.op)]
            assert check(weaker, model).verdict is LINEARIZABLE
    assert shrunk > 200

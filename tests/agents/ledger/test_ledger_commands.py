"""Bytes from the log: what is understood, and that nothing else does harm."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgpack
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_lab import ANNA, Lab, spec, task_id

from agents.ledger import (
    Applied,
    Kind,
    Ledger,
    Refusal,
    Refused,
    State,
    encode_submitted,
    parse_spec,
)

_ROOT = Path(__file__).parents[3]

_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=40)
    | st.binary(max_size=40)
    | st.just(task_id(1))
    | st.just("anna"),
    lambda inner: (
        st.lists(inner, max_size=12) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=30,
)


def test_the_bytes_of_a_submission_are_these() -> None:
    command = encode_submitted(7, [spec(1, key="k", job=None)])
    assert command.hex() == (
        "9401010791"
        "9bd920" + task_id(1).encode().hex() + "a36f6372c40470616765"
        "a463617261a16b03cdea6000cd2710a86d616a6f72697479c0"
    )
    assert parse_spec(msgpack.unpackb(command)[3][0]) == spec(1, key="k", job=None)


def test_an_unknown_version_or_kind_says_that_this_node_is_too_old() -> None:
    lab = Lab()
    newer = lab.apply(msgpack.packb([2, 1, 0, []]))
    other = lab.apply(msgpack.packb([1, 99, 0, [], "more"]))
    assert newer == Refused(1, Refusal.UNKNOWN_VERSION)
    assert other == Refused(2, Refusal.UNKNOWN_KIND)
    assert isinstance(newer, Refused)
    assert newer.needs_upgrade
    assert not Refused(3, Refusal.MALFORMED).needs_upgrade


def test_one_malformed_item_does_not_veto_the_others() -> None:
    lab = Lab()
    rows = [list(spec(1)), "nonsense", list(spec(2))[:-1], list(spec(3))]
    verdicts = lab.verdicts(msgpack.packb([1, int(Kind.SUBMITTED), 0, rows]))
    malformed = Refusal.MALFORMED
    assert [verdict.refusal for verdict in verdicts] == [None, malformed, malformed, None]


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_random_bytes_are_refused_and_change_nothing(data: bytes) -> None:
    lab = Lab()
    lab.start(1)
    before = lab.view(1)
    lab.apply(data)
    assert lab.view(1) == before


@given(st.sampled_from(Kind), st.integers(-1, 2**60), st.lists(_VALUES, max_size=4))
@settings(max_examples=400, deadline=None)
def test_random_items_never_raise(kind: Kind, time_ms: int, rows: list[object]) -> None:
    lab = Lab()
    lab.start(1)
    assert isinstance(lab.apply(msgpack.packb([1, int(kind), time_ms, rows])), Applied | Refused)
    assert lab.state(1) is not State.DONE


def test_a_batch_gives_its_verdicts_in_the_order_of_its_items() -> None:
    lab = Lab()
    numbers = [5, 3, 9, 1]
    verdicts = lab.submit(*map(spec, numbers))
    assert [verdict.task_id for verdict in verdicts] == [task_id(number) for number in numbers]


def test_two_processes_with_different_hash_seeds_hold_the_same_ledger() -> None:
    script = "import test_ledger_commands as t; print(t.digest_of_a_run(3))"
    digests = set()
    for hash_seed in ("0", "4242"):
        env = os.environ | {
            "PYTHONHASHSEED": hash_seed,
            "PYTHONPATH": f"{_ROOT}{os.pathsep}{Path(__file__).parent}",
        }
        run = subprocess.run(
            [sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True
        )
        digests.add(run.stdout)
    assert len(digests) == 1


def digest_of_a_run(seed: int) -> str:
    """Everything that a replica holds and said after a random log."""
    import hashlib

    from ledger_model import random_log

    ledger = Ledger()
    hasher = hashlib.blake2b()
    for index, command in random_log(seed, 400):
        hasher.update(repr(ledger.apply(index, command)).encode())
    for view in ledger.tasks(limit=10_000):
        hasher.update(repr(view.to_wire()).encode())
    hasher.update(repr(ledger.lease_refs_of(ANNA)).encode())
    hasher.update(repr([view.task_id for view in ledger.pending(10_000)]).encode())
    return hasher.hexdigest()

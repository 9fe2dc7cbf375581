"""Proposals: thresholds in integers (V1), the frozen electorate (V2), one byte form."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from itertools import permutations
from typing import Any

import pytest
from ballots_lab import CLUSTER, elector, identity, proposal
from hypothesis import given
from hypothesis import strategies as st

from consensus.ballots.errors import Malformed, NotByzantine, ProposalInvalid
from consensus.ballots.proposal import (
    MAX_PROPOSAL_BYTES,
    Elector,
    Proposal,
    byzantine_faults,
    electorate_digest,
)


@pytest.mark.parametrize(
    ("electors", "quorum", "faults"),
    [
        (1, 1, 0),
        (2, 2, 0),
        (3, 3, 0),
        (4, 3, 1),
        (5, 4, 1),
        (6, 5, 1),
        (7, 5, 2),
        (8, 6, 2),
        (9, 7, 2),
    ],
)
def test_v1_quorums_of_one_to_nine(electors: int, quorum: int, faults: int) -> None:
    made = proposal(electors)
    assert made.quorum_weight == quorum
    assert made.passes(quorum)
    assert not made.passes(quorum - 1)
    assert byzantine_faults(electors) == faults
    # Two quorums share more electors than may lie.
    assert 2 * quorum - electors > faults


@given(
    st.lists(st.integers(1, 2**31 - 1), min_size=1, max_size=9),
    st.integers(1, 1_000_000).flatmap(
        lambda d: st.tuples(st.integers((d + 1) // 2, max(d - 1, (d + 1) // 2)), st.just(d))
    ),
    st.data(),
)
def test_v1_passing_is_exact_for_any_weights_and_fraction(
    weights: list[int], threshold: tuple[int, int], data: Any
) -> None:
    numerator, denominator = threshold
    if numerator >= denominator:
        return
    made = proposal(weights=weights, threshold=threshold)
    weight = data.draw(st.integers(0, sum(weights)))
    exact = Fraction(weight) > Fraction(numerator, denominator) * sum(weights)
    assert made.passes(weight) == exact == (weight >= made.quorum_weight)


def test_v1_fewer_than_four_are_not_called_byzantine() -> None:
    for count in range(1, 4):
        with pytest.raises(NotByzantine):
            made(electors=[elector(i) for i in range(count)], byzantine=True)
    assert made(electors=[elector(i) for i in range(4)], byzantine=True)


def test_v2_electors_are_frozen_in_the_digest_whatever_order_they_came_in() -> None:
    all_three = [elector(i) for i in range(3)]
    forms = {made(electors=order).digest for order in permutations(all_three)}
    assert len(forms) == 1
    assert len({electorate_digest(order) for order in permutations(all_three)}) == 1
    heavier = [elector(0, weight=2), *all_three[1:]]
    assert made(electors=heavier).electorate_digest != electorate_digest(all_three)


def test_v2_no_key_stands_there_twice_under_two_names() -> None:
    twin = replace(elector(0), peer_id="another", name="another")
    with pytest.raises(ProposalInvalid, match="one key is there twice"):
        made(electors=[elector(0), twin])
    with pytest.raises(ProposalInvalid, match="one peer id is there twice"):
        made(electors=[elector(0), replace(elector(1), peer_id=elector(0).peer_id)])


@pytest.mark.parametrize(
    "change",
    [
        {"proposal_id": "XY"},
        {"proposal_id": "A" * 32},
        {"cluster_id": ""},
        {"question": ""},
        {"question": "?" * 4097},
        {"question": "\ud800"},
        {"subject": bytes(65537)},
        {"kind": "k" * 65},
        {"round": -1},
        {"round": 2**31},
        {"epoch": 2**53},
        {"deadline_ms": 0},
        {"deadline_ms": True},
        {"threshold": (1, 3)},
        {"threshold": (1, 1)},
        {"threshold": (0, 0)},
        {"electors": []},
        {"electors": [Elector(f"{i}", i.to_bytes(32, "big")) for i in range(129)]},
        {"electors": [elector(0, weight=0)]},
        {"electors": [replace(elector(0), public_key=b"")]},
    ],
    ids=repr,
)
def test_a_proposal_that_cannot_be_decided_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ProposalInvalid):
        made(**change)


def test_a_proposal_is_read_back_as_it_was() -> None:
    for each in (proposal(1), proposal(9, vetoers=(3,)), proposal(weights=[5, 1, 9], round=3)):
        again = Proposal.decode(each.raw)
        assert again == each
        assert (again.raw, again.digest) == (each.raw, each.digest)


def test_the_largest_proposal_fits_its_limit() -> None:
    names = [f"{i:0>256}" for i in range(128)]
    most = [
        Elector(name, i.to_bytes(32, "big"), 2**31 - 1, True, name) for i, name in enumerate(names)
    ]
    largest = made(
        electors=most,
        question="?" * 4096,
        subject=bytes(65536),
        kind="k" * 64,
        cluster_id="c" * 256,
        proposer="p" * 256,
    )
    assert len(largest.raw) <= MAX_PROPOSAL_BYTES
    assert Proposal.decode(largest.raw) == largest


def test_v3_every_byte_of_a_proposal_is_in_its_digest() -> None:
    good = proposal(3)
    for at in range(len(good.raw)):
        changed = bytearray(good.raw)
        changed[at] ^= 1
        try:
            other = Proposal.decode(bytes(changed))
        except Malformed:
            continue
        assert other.digest != good.digest


@given(st.binary(max_size=400))
def test_bytes_from_anywhere_are_malformed_or_a_proposal(data: bytes) -> None:
    for each in (data, b"CNBP\x01" + data, proposal(2).raw[: len(data)] + data):
        with suppress(Malformed):
            assert Proposal.decode(each).raw == each


def made(**change: Any) -> Proposal:
    given_fields: dict[str, Any] = {
        "proposal_id": "0" * 32,
        "cluster_id": CLUSTER,
        "epoch": 1,
        "electors": [elector(0)],
        "question": "Shall we?",
        "proposer": identity(0).peer_id,
        "deadline_ms": 1000,
    }
    return Proposal.make(**(given_fields | change))

"""Ballots say one thing about one proposal (V3); two that differ are evidence (V4)."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest
from ballots_lab import SCHEME, elector, identity, proposal
from hypothesis import given
from hypothesis import strategies as st

from consensus.ballots.ballot import DOMAIN, Ballot, Choice, Evidence, sealed
from consensus.ballots.errors import (
    BallotFault,
    BallotInvalid,
    EvidenceInvalid,
    Malformed,
)
from consensus.ballots.proposal import Proposal

PROPOSAL = proposal(4, vetoers=(0,))


def cast(
    voter: int = 1, choice: Choice = Choice.APPROVE, reason: str = "", on: Proposal = PROPOSAL
) -> Ballot:
    return Ballot.sign(identity(voter), on, choice, reason)


@pytest.mark.parametrize("choice", Choice)
def test_a_ballot_is_read_back_as_it_was_and_counts(choice: Choice) -> None:
    ballot = cast(0, choice, "weil es gut ist: ä€😀")
    assert Ballot.decode(ballot.raw) == ballot
    checked = ballot.check(PROPOSAL, SCHEME)
    assert checked.elector == elector(0, may_veto=True)
    assert checked.ballot is ballot


@pytest.mark.parametrize(
    ("other", "fault"),
    [
        (proposal(4, vetoers=(0,), cluster="another"), BallotFault.OTHER_CLUSTER),
        (proposal(4, vetoers=(0,), number=2), BallotFault.OTHER_PROPOSAL),
        (proposal(4, vetoers=(0,), epoch=8), BallotFault.OTHER_EPOCH),
        (proposal(4, vetoers=(0,), round=1), BallotFault.OTHER_ROUND),
        (proposal(5, vetoers=(0,)), BallotFault.OTHER_ELECTORATE),
        (proposal(4), BallotFault.OTHER_ELECTORATE),
        (proposal(4, vetoers=(0,), question="Shall it not?"), BallotFault.OTHER_TEXT),
        (proposal(4, vetoers=(0,), threshold=(1, 2)), BallotFault.OTHER_TEXT),
    ],
    ids=lambda value: value.name if isinstance(value, BallotFault) else "",
)
def test_v3_a_ballot_replayed_elsewhere_does_not_count(other: Proposal, fault: BallotFault) -> None:
    with pytest.raises(BallotInvalid) as caught:
        cast().check(other, SCHEME)
    assert caught.value.fault is fault
    assert caught.value.who == identity(1).peer_id


def test_v3_every_changed_byte_of_a_ballot_is_noticed() -> None:
    good = cast(1, Choice.REJECT, "no")
    for at in range(len(good.raw)):
        for bits in (1, 0x80, 0xFF):
            changed = bytearray(good.raw)
            changed[at] ^= bits
            with pytest.raises((Malformed, BallotInvalid)):
                Ballot.decode(bytes(changed)).check(PROPOSAL, SCHEME)


def test_v2_a_key_outside_the_electorate_cannot_vote() -> None:
    with pytest.raises(BallotInvalid) as caught:
        cast(9)
    assert caught.value.fault is BallotFault.FOREIGN_VOTER
    body = cast().body.replace(identity(1).public_key, identity(9).public_key)
    forged = Ballot.decode(sealed(body, identity(9).sign(DOMAIN, body)))
    with pytest.raises(BallotInvalid) as caught:
        forged.check(PROPOSAL, SCHEME)
    assert caught.value.fault is BallotFault.FOREIGN_VOTER


def test_nobody_signs_for_another() -> None:
    body = cast().body
    forged = Ballot.decode(sealed(body, identity(2).sign(DOMAIN, body)))
    with pytest.raises(BallotInvalid) as caught:
        forged.check(PROPOSAL, SCHEME)
    assert caught.value.fault is BallotFault.SIGNATURE


def test_a_veto_takes_the_right_to_it() -> None:
    with pytest.raises(BallotInvalid) as caught:
        cast(1, Choice.VETO)
    assert caught.value.fault is BallotFault.NO_VETO_RIGHT
    assert cast(0, Choice.VETO).choice is Choice.VETO


def test_a_reason_has_a_bound() -> None:
    with pytest.raises(ValueError, match="at most 1024 bytes"):
        cast(reason="ä" * 513)
    assert cast(reason="ä" * 512).check(PROPOSAL, SCHEME)


def test_v4_two_ballots_of_one_voter_are_evidence_for_anybody() -> None:
    pair = cast(1, Choice.APPROVE), cast(1, Choice.REJECT)
    evidence = Evidence.of(*pair)
    assert evidence == Evidence.of(*reversed(pair))
    again = Evidence.decode(evidence.encode())
    again.check(SCHEME)
    assert again == evidence
    assert (again.voter, again.proposal_id) == (identity(1).public_key, PROPOSAL.proposal_id)


@pytest.mark.parametrize(
    "other",
    [
        cast(1, Choice.APPROVE, "another reason"),
        cast(1, on=proposal(4, vetoers=(0,), question="Another text?")),
        cast(1, on=proposal(4, vetoers=(0,), epoch=8)),
        cast(1, on=proposal(6)),
    ],
)
def test_v4_any_second_statement_in_a_round_is_evidence(other: Ballot) -> None:
    Evidence.of(cast(1), other).check(SCHEME)


@pytest.mark.parametrize(
    "other",
    [
        cast(1),
        cast(2, Choice.REJECT),
        cast(1, Choice.REJECT, on=proposal(4, vetoers=(0,), round=1)),
        cast(1, Choice.REJECT, on=proposal(4, vetoers=(0,), number=2)),
        cast(1, Choice.REJECT, on=proposal(4, vetoers=(0,), cluster="another")),
    ],
)
def test_v4_what_an_honest_voter_may_sign_is_no_evidence(other: Ballot) -> None:
    with pytest.raises(EvidenceInvalid):
        Evidence.of(cast(1), other)


def test_v4_one_statement_with_two_signatures_is_no_evidence() -> None:
    good = cast(1)
    twin = replace(good, signature=bytes(64), raw=sealed(good.body, bytes(64)))
    with pytest.raises(EvidenceInvalid):
        Evidence.of(good, twin)


def test_v4_evidence_that_the_accused_did_not_sign_accuses_nobody() -> None:
    body = cast(1, Choice.REJECT).body
    forged = Ballot.decode(sealed(body, identity(2).sign(DOMAIN, body)))
    with pytest.raises(EvidenceInvalid):
        Evidence.of(cast(1), forged).check(SCHEME)


def test_v4_evidence_has_one_form() -> None:
    evidence = Evidence.of(cast(1), cast(1, Choice.REJECT))
    with pytest.raises(Malformed):
        Evidence.decode(Evidence(evidence.second, evidence.first).encode())
    with pytest.raises(Malformed):
        Evidence.decode(Evidence(evidence.first, evidence.first).encode())


@given(st.binary(max_size=300), st.integers(0, 300))
def test_bytes_from_anywhere_are_malformed_or_a_ballot(data: bytes, keep: int) -> None:
    for each in (data, cast().raw[:keep] + data):
        with suppress(Malformed):
            assert Ballot.decode(each).raw == each
        with suppress(Malformed, EvidenceInvalid):
            assert Evidence.decode(each).encode() == each

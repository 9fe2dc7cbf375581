"""Certificates stand alone and say nothing else (V5); two that differ name who cheated (V8)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ballots_lab import SCHEME, elector, identity, proposal
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from consensus.ballots.ballot import Ballot, Choice
from consensus.ballots.certificate import MAX_CERTIFICATE_BYTES, QuorumCertificate
from consensus.ballots.certificate_json import from_json, to_json
from consensus.ballots.errors import CertificateFault, CertificateInvalid
from consensus.ballots.proposal import Elector, Proposal
from consensus.ballots.tally import Status, Tally
from consensus.ballots.verify import Accusation, Verified, conflict, verify

YES, NO, ABSTAIN, VETO = Choice.APPROVE, Choice.REJECT, Choice.ABSTAIN, Choice.VETO


def sign(on: Proposal, voter: int, choice: Choice, reason: str = "") -> Ballot:
    return Ballot.sign(identity(voter), on, choice, reason)


def decided(on: Proposal, *casts: tuple[int, Choice]) -> QuorumCertificate:
    tally = Tally(on)
    for voter, choice in casts:
        tally.add(sign(on, voter, choice).check(on, SCHEME))
    certificate = QuorumCertificate.of(tally)
    assert certificate is not None
    return certificate


def claimed(on: Proposal, outcome: Status, *ballots: Ballot) -> bytes:
    """A certificate as a liar would write it."""
    order = tuple(sorted(ballots, key=lambda each: (each.voter, each.raw)))
    return QuorumCertificate(on, outcome, order).to_bytes()


def fault_of(data: bytes, electorate: tuple[Elector, ...] | None = None) -> CertificateFault:
    with pytest.raises(CertificateInvalid) as caught:
        verify(data, SCHEME, electorate)
    return caught.value.fault


FOUR = proposal(4, vetoers=(3,))
APPROVED = decided(FOUR, (0, YES), (1, YES), (2, YES), (3, NO))
REJECTED = decided(FOUR, (0, NO), (1, ABSTAIN), (2, NO))
VETOED = decided(FOUR, (0, YES), (3, VETO))
LIAR = decided(FOUR, (0, YES), (0, NO), (1, NO), (2, ABSTAIN), (3, NO))


@pytest.mark.parametrize("certificate", [APPROVED, REJECTED, VETOED, LIAR])
def test_v5_a_certificate_verifies_from_its_bytes_alone(certificate: QuorumCertificate) -> None:
    data = certificate.to_bytes()
    verified = verify(data, SCHEME, reversed_electors(FOUR))
    assert verified.outcome is certificate.outcome
    assert verified.electorate_known
    assert not verify(data, SCHEME).electorate_known
    assert QuorumCertificate.from_bytes(data) == certificate


def reversed_electors(on: Proposal) -> list[Elector]:
    return list(reversed(on.electors))


def test_v5_what_a_verified_certificate_says() -> None:
    verified = verify(LIAR.to_bytes(), SCHEME, FOUR.electors)
    assert isinstance(verified, Verified)
    assert (verified.approve_weight, verified.reject_weight, verified.total_weight) == (0, 2, 4)
    assert verified.abstain_weight == 1
    assert {(each.elector, each.choice) for each in verified.signers} == {
        (elector(0), None),
        (elector(1), NO),
        (elector(2), ABSTAIN),
        (elector(3, may_veto=True), NO),
    }
    assert verified.evidence_against == (elector(0),)


def test_v5_another_electorate_is_refused_even_by_one_weight() -> None:
    for other in (proposal(4).electors, proposal(5, vetoers=(3,)).electors, ()):
        assert fault_of(APPROVED.to_bytes(), other) is CertificateFault.OTHER_ELECTORATE


def test_v5_what_a_liar_may_write() -> None:
    yes = [sign(FOUR, voter, YES) for voter in range(4)]
    no = [sign(FOUR, voter, NO) for voter in range(4)]
    veto = sign(FOUR, 3, VETO)
    other = proposal(4, vetoers=(3,), question="Another?")
    nine = proposal(10)
    cases = [
        (claimed(FOUR, Status.APPROVED, *yes[:2]), CertificateFault.NOT_DECIDED),
        (claimed(FOUR, Status.APPROVED), CertificateFault.NOT_DECIDED),
        (claimed(FOUR, Status.APPROVED, *yes[:3]), CertificateFault.NOT_DECIDED),
        (claimed(FOUR, Status.APPROVED, *yes, no[3]), CertificateFault.NOT_DECIDED),
        (claimed(FOUR, Status.APPROVED, *yes, veto), CertificateFault.NOT_DECIDED),
        (claimed(FOUR, Status.REJECTED, *no[:2]), CertificateFault.NOT_DECIDED),
        (claimed(FOUR, Status.REJECTED, *no[:3], yes[2]), CertificateFault.NOT_DECIDED),
        (claimed(FOUR, Status.REJECTED, *yes), CertificateFault.OTHER_OUTCOME),
        (claimed(FOUR, Status.APPROVED, *no[:3]), CertificateFault.OTHER_OUTCOME),
        (claimed(FOUR, Status.APPROVED, *yes[:3], veto), CertificateFault.OTHER_OUTCOME),
        (claimed(FOUR, Status.APPROVED, *yes[:3], yes[2]), CertificateFault.NOT_SORTED),
        (claimed(FOUR, Status.APPROVED, *yes[:3], no[2], no[3]), CertificateFault.NOT_DECIDED),
        (
            claimed(FOUR, Status.APPROVED, *yes[:2], sign(other, 2, YES)),
            CertificateFault.OTHER_STATEMENT,
        ),
        (
            claimed(FOUR, Status.APPROVED, *yes[:2], sign(nine, 9, YES)),
            CertificateFault.FOREIGN_SIGNER,
        ),
        (
            claimed(proposal(4), Status.VETOED, replaced(veto, FOUR, proposal(4))),
            CertificateFault.NO_VETO_RIGHT,
        ),
        (
            claimed(FOUR, Status.REJECTED, yes[0], no[0], sign(FOUR, 0, ABSTAIN), no[1]),
            CertificateFault.TOO_MANY_BALLOTS,
        ),
    ]
    for data, fault in cases:
        assert fault_of(data) is fault


def replaced(ballot: Ballot, old: Proposal, new: Proposal) -> Ballot:
    raw = ballot.raw.replace(old.digest, new.digest)
    return Ballot.decode(raw.replace(old.electorate_digest, new.electorate_digest))


def test_v5_ballots_in_another_order_are_refused() -> None:
    backwards = replace(APPROVED, ballots=tuple(reversed(APPROVED.ballots)))
    twice = replace(APPROVED, ballots=(*APPROVED.ballots[:1], *APPROVED.ballots))
    for each in (backwards, twice):
        with pytest.raises(CertificateInvalid) as caught:
            QuorumCertificate.from_bytes(each.to_bytes())
        assert caught.value.fault is CertificateFault.NOT_SORTED


def test_v2_an_elector_under_a_name_that_is_not_its_keys_is_refused() -> None:
    named = replace(elector(0), peer_id="somebody-else")
    on = Proposal.make(
        proposal_id="0" * 32,
        cluster_id="c",
        epoch=1,
        electors=[named],
        question="?",
        proposer="p",
        deadline_ms=1,
    )
    data = claimed(on, Status.APPROVED, sign(on, 0, YES))
    assert fault_of(data) is CertificateFault.NAMED_WRONGLY


def test_v6_an_electorate_with_a_key_that_accepts_anything_is_refused() -> None:
    weak = (1).to_bytes(32, "little")
    fake = Elector(SCHEME.peer_id_of(weak), weak)
    on = Proposal.make(
        proposal_id="0" * 32,
        cluster_id="c",
        epoch=1,
        electors=[fake, *(elector(i) for i in range(3))],
        question="?",
        proposer="p",
        deadline_ms=1,
    )
    data = claimed(on, Status.APPROVED, *(sign(on, voter, YES) for voter in range(3)))
    assert fault_of(data) is CertificateFault.WEAK_KEY


@pytest.mark.parametrize("certificate", [APPROVED, VETOED, LIAR])
def test_v5_every_changed_byte_is_noticed(certificate: QuorumCertificate) -> None:
    good = certificate.to_bytes()
    for at in range(len(good)):
        for bits in (1, 0x80):
            changed = bytearray(good)
            changed[at] ^= bits
            with pytest.raises(CertificateInvalid):
                verify(bytes(changed), SCHEME, FOUR.electors)
            with pytest.raises(CertificateInvalid):
                verify(bytes(changed), SCHEME)


def test_v5_every_cut_and_every_addition_is_noticed() -> None:
    good = APPROVED.to_bytes()
    for length in range(len(good)):
        assert fault_of(good[:length]) is CertificateFault.MALFORMED
    assert fault_of(good + b"\0") is CertificateFault.MALFORMED


def test_v5_size_is_refused_before_any_signature_is_checked() -> None:
    checked: list[bytes] = []
    spy = replace(SCHEME, verify=lambda *args: bool(checked.append(args[0])))
    too_long = bytes(MAX_CERTIFICATE_BYTES + 1)
    wrong_outcome = claimed(FOUR, Status.REJECTED, *APPROVED.ballots)
    for data in (too_long, too_long[:100], wrong_outcome):
        with pytest.raises(CertificateInvalid):
            verify(data, spy)
    assert not checked


def test_v5_the_largest_certificate_verifies() -> None:
    on = proposal(128, question="?" * 4096)
    tally = Tally(on)
    for voter in range(86):
        tally.add(sign(on, voter, YES, "ä" * 512).check(on, SCHEME))
    certificate = QuorumCertificate.of(tally)
    assert certificate is not None
    data = certificate.to_bytes()
    assert verify(data, SCHEME, on.electors).approve_weight == 86
    assert from_json(to_json(certificate)) == certificate


_CASTS = st.lists(st.tuples(st.integers(0, 5), st.sampled_from(Choice)), max_size=14)
_LEANING = st.builds(  # a few say anything, then everybody the same: most of these decide
    lambda casts, lean: casts + [(voter, lean) for voter in range(6)],
    st.lists(st.tuples(st.integers(0, 5), st.sampled_from(Choice)), max_size=4),
    st.sampled_from([YES, NO, ABSTAIN]),
)
_WEIGHTS = st.lists(st.integers(1, 4), min_size=6, max_size=6)
_THRESHOLDS = st.sampled_from([(2, 3), (1, 2), (4, 5)])


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.filter_too_much],  # most random casts decide nothing
)
@given(_WEIGHTS, _THRESHOLDS, _CASTS)
def test_v5_every_decided_tally_gives_a_certificate_that_verifies(
    weights: list[int], threshold: tuple[int, int], casts: list[tuple[int, Choice]]
) -> None:
    on = proposal(weights=weights, threshold=threshold, vetoers=(4, 5))
    certificate = after(on, casts)
    assume(certificate is not None)
    assert certificate is not None
    verified = verify(certificate.to_bytes(), SCHEME, on.electors)
    assert verified.outcome is certificate.outcome
    assert from_json(to_json(certificate)).to_bytes() == certificate.to_bytes()


def after(on: Proposal, casts: list[tuple[int, Choice]]) -> QuorumCertificate | None:
    tally = Tally(on)
    for voter, choice in casts:
        if choice is not VETO or voter >= 4:
            tally.add(sign(on, voter, choice).check(on, SCHEME))
    return QuorumCertificate.of(tally)


# -- two certificates ----------------------------------------------------------------------------


def test_v8_yes_and_no_name_everybody_who_signed_both() -> None:
    yes = decided(proposal(4), (0, YES), (1, YES), (2, YES)).to_bytes()
    no = decided(proposal(4), (3, NO), (2, NO), (1, ABSTAIN)).to_bytes()
    accusation = conflict(yes, no, SCHEME, proposal(4).electors)
    assert isinstance(accusation, Accusation)
    assert set(accusation.guilty) == {elector(1), elector(2)}
    assert accusation.outcomes == (Status.APPROVED, Status.REJECTED)
    assert (accusation.guilty_weight, accusation.total_weight) == (2, 4)
    assert accusation.more_than_a_third
    assert accusation.guilty_vetoers == ()
    for evidence in accusation.evidence:
        evidence.check(SCHEME)


def test_v8_yes_and_a_quorum_of_no_prove_more_than_a_third() -> None:
    on = proposal(7)
    yes = decided(on, *((voter, YES) for voter in range(5))).to_bytes()
    no = claimed(on, Status.REJECTED, *(sign(on, voter, NO) for voter in range(2, 7)))
    accusation = conflict(yes, no, SCHEME)
    assert accusation is not None
    assert accusation.guilty_weight == 3
    assert accusation.more_than_a_third


def test_v8_two_texts_under_one_id_and_round_name_who_signed_both() -> None:
    other = proposal(4, vetoers=(3,), question="Another text?")
    second = decided(other, (1, YES), (2, YES), (3, NO), (0, YES))
    accusation = conflict(APPROVED.to_bytes(), second.to_bytes(), SCHEME)
    assert accusation is not None
    assert set(accusation.guilty) == set(FOUR.electors)
    assert accusation.more_than_a_third


def test_v8_a_veto_and_an_approval_name_who_vetoed() -> None:
    veto = decided(FOUR, (3, VETO))
    accusation = conflict(APPROVED.to_bytes(), veto.to_bytes(), SCHEME)
    assert accusation is not None
    assert accusation.guilty == accusation.guilty_vetoers == (elector(3, may_veto=True),)
    assert not accusation.more_than_a_third


def test_v8_a_late_veto_and_a_rejection_accuse_nobody() -> None:
    veto = decided(FOUR, (3, VETO))
    assert conflict(REJECTED.to_bytes(), veto.to_bytes(), SCHEME) is None


def test_v8_other_rounds_and_proposals_do_not_conflict() -> None:
    no = [(0, NO), (1, NO), (2, NO)]
    for other in (proposal(4, vetoers=(3,), round=1), proposal(4, vetoers=(3,), number=2)):
        certificate = decided(other, *no)
        assert conflict(APPROVED.to_bytes(), certificate.to_bytes(), SCHEME) is None
    assert conflict(APPROVED.to_bytes(), APPROVED.to_bytes(), SCHEME) is None


def test_v8_an_invalid_certificate_accuses_nobody() -> None:
    with pytest.raises(CertificateInvalid):
        conflict(APPROVED.to_bytes(), REJECTED.to_bytes()[:-1], SCHEME)


@settings(max_examples=150, deadline=None)
@given(_WEIGHTS, _THRESHOLDS, _LEANING, _LEANING)
def test_v8_approved_and_rejected_always_share_a_cheat(
    weights: list[int],
    threshold: tuple[int, int],
    casts: list[tuple[int, Choice]],
    others: list[tuple[int, Choice]],
) -> None:
    on = proposal(weights=weights, threshold=threshold, vetoers=(4, 5))
    one, other = after(on, casts), after(on, others)
    assume(one is not None and other is not None)
    assert one is not None
    assert other is not None
    accusation = conflict(one.to_bytes(), other.to_bytes(), SCHEME)
    if {one.outcome, other.outcome} == {Status.APPROVED, Status.REJECTED}:
        assert accusation is not None
        excess = 2 * threshold[0] - threshold[1]
        assert threshold[1] * accusation.guilty_weight > excess * sum(weights)
        assert accusation.more_than_a_third or threshold == (1, 2)
    if {one.outcome, other.outcome} == {Status.APPROVED, Status.VETOED}:
        assert accusation is not None
        assert accusation.guilty_vetoers
    if accusation is not None:
        said: dict[int, set[Choice]] = {}
        for voter, choice in casts + others:
            said.setdefault(voter, set()).add(choice)
        liars = {identity(v).public_key for v, choices in said.items() if len(choices) > 1}
        assert {each.public_key for each in accusation.guilty} <= liars


# -- JSON ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("certificate", [APPROVED, REJECTED, VETOED, LIAR])
def test_json_is_the_same_certificate(certificate: QuorumCertificate) -> None:
    text = to_json(certificate)
    assert from_json(text) == certificate
    assert from_json(text.encode()).to_bytes() == certificate.to_bytes()
    assert from_json(json.dumps(json.loads(text), sort_keys=True)) == certificate


def test_json_that_shows_something_else_than_what_was_signed_is_refused() -> None:
    def changed(path: tuple[Any, ...], value: object) -> str:
        document = json.loads(to_json(APPROVED))
        place = document
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value
        return json.dumps(document)

    for path, value in [
        (("format",), "other/1"),
        (("proposal", "digest"), "00" * 32),
        (("electorate", "total_weight"), 3),
        (("electorate", "electors", 0, "may_veto"), 1),
        (("electorate", "electors", 0, "weight"), 1.0),
        (("electorate", "electors", 0, "weight"), True),
        (("ballots", 0, "voter"), "somebody"),
        (("ballots", 0, "extra"), 1),
        (("ballots", 0, "signature"), "00"),
        (("ballots", 0, "choice"), "APPROVE"),
        (("outcome",), "expired"),
        (("proposal", "round"), -1),
        (("proposal", "threshold"), [2, 3, 4]),
        (("proposal", "question"), "\ud800"),
        (("proposal", "subject_base64"), "A"),
    ]:
        with pytest.raises(CertificateInvalid):
            from_json(changed(path, value))
    twice = to_json(APPROVED).replace('"outcome"', '"outcome": "rejected", "outcome"', 1)
    with pytest.raises(CertificateInvalid):
        from_json(twice)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(_JSON, st.sampled_from(sorted(json.loads(to_json(APPROVED))["proposal"])), st.binary())
def test_json_from_anywhere_is_refused_by_one_error(value: Any, key: str, data: bytes) -> None:
    document = json.loads(to_json(APPROVED))
    document["proposal"][key] = value
    other = json.loads(to_json(APPROVED))
    other["electorate"]["electors"][0] = value
    last = json.loads(to_json(APPROVED))
    last["ballots"][0]["reason"] = value
    for each in (value, document, other, last):
        with suppress(CertificateInvalid):
            verify(from_json(json.dumps(each)).to_bytes(), SCHEME)
    with suppress(CertificateInvalid):
        from_json(data)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 2000), st.integers(0, 2000))
def test_bytes_from_anywhere_are_refused_by_one_error(data: bytes, start: int, end: int) -> None:
    good = APPROVED.to_bytes()
    for each in (data, good[:start] + data + good[end:]):
        with suppress(CertificateInvalid):
            assert verify(each, SCHEME).proposal == FOUR


def test_json_nested_without_end_is_refused() -> None:
    with pytest.raises(CertificateInvalid):
        from_json("[" * 200_000)


_PRINT = """
import sys
sys.path.insert(0, {folder!r})
from test_ballots_certificate import APPROVED, LIAR, to_json
print(APPROVED.to_bytes().hex(), LIAR.to_bytes().hex(), to_json(LIAR))
"""


def test_two_processes_make_equal_certificates_whatever_their_hash_seed() -> None:
    folder = str(Path(__file__).parent)
    texts = {
        subprocess.run(
            [sys.executable, "-c", _PRINT.format(folder=folder)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(texts) == 1
    assert APPROVED.to_bytes().hex().encode() in texts.pop()

"""Certificates stand alone and say nothing else (V5)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ballots_lab import SCHEME, elector, proposal
from certificate_lab import (
    ABSTAIN,
    APPROVED,
    FOUR,
    LIAR,
    NO,
    REJECTED,
    THRESHOLDS,
    VETO,
    VETOED,
    WEIGHTS,
    YES,
    after,
    claimed,
    sign,
)
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from consensus.ballots.ballot import Ballot, Choice
from consensus.ballots.certificate import MAX_CERTIFICATE_BYTES, QuorumCertificate
from consensus.ballots.certificate_json import from_json, to_json
from consensus.ballots.errors import CertificateFault, CertificateInvalid
from consensus.ballots.proposal import Elector, Proposal
from consensus.ballots.tally import Status, Tally
from consensus.ballots.verify import Verified, verify


def fault_of(data: bytes, electorate: tuple[Elector, ...] | None = None) -> CertificateFault:
    with pytest.raises(CertificateInvalid) as caught:
        verify(data, SCHEME, electorate)
    return caught.value.fault


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


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.filter_too_much],  # most random casts decide nothing
)
@given(WEIGHTS, THRESHOLDS, _CASTS)
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

"""V5 and V8: a certificate proves itself from its bytes, and two that disagree accuse."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from votes_lab import (
    cast,
    certificate,
    check,
    electorate,
    identity,
    mutations,
    people,
    proposal,
)

from consensus.votes.accusation import Accusation, conflict
from consensus.votes.ballot import DOMAIN, Ballot, Choice
from consensus.votes.certificate import MAX_CERTIFICATE_BYTES, Outcome, QuorumCertificate
from consensus.votes.documents import certificate_from_json, certificate_to_json
from consensus.votes.electorate import Electorate, Threshold, quorum
from consensus.votes.errors import CertificateFault, CertificateInvalid, EvidenceInvalid
from consensus.votes.verify import verify

YES, NO, PASS, VETO = Choice.APPROVE, Choice.REJECT, Choice.ABSTAIN, Choice.VETO
FOUR = electorate(4)
ROOT = Path(__file__).resolve().parents[3]


def refused(
    data: bytes | QuorumCertificate, voters: Electorate = FOUR, **rules: object
) -> CertificateInvalid:
    with pytest.raises(CertificateInvalid) as caught:
        verify(data if isinstance(data, bytes) else data.to_bytes(), voters, check, **rules)  # type: ignore[arg-type]
    return caught.value


def with_ballots(valid: QuorumCertificate, *ballots: Ballot) -> QuorumCertificate:
    """In exactly this order."""
    return QuorumCertificate(valid.proposal, valid.outcome, ballots)


@pytest.mark.parametrize("n", range(1, 10))
def test_v1_a_certificate_needs_exactly_a_quorum(n: int) -> None:
    asked = proposal(n)
    verified = verify(certificate(asked, [YES] * quorum(n)).to_bytes(), asked.electorate, check)
    assert verified.weights.approve == quorum(n)
    assert len(verified.signers) == quorum(n)
    if quorum(n) > 1:
        error = refused(certificate(asked, [YES] * (quorum(n) - 1)), asked.electorate)
        assert error.fault is CertificateFault.THRESHOLD
        assert f"APPROVED, but {quorum(n) - 1} of {n} approve" in str(error)


def test_v5_each_outcome_verifies_from_bytes_alone() -> None:
    asked = proposal(electorate(4, vetoers=[0]))
    for choices, outcome in (
        ([YES, YES, NO, YES], Outcome.APPROVED),
        ([NO, PASS, YES, NO], Outcome.REJECTED),
        ([VETO, YES, YES, YES], Outcome.VETOED),
        ([VETO, NO, NO, NO], Outcome.VETOED),
    ):
        verified = verify(certificate(asked, choices).to_bytes(), asked.electorate, check)
        assert verified.outcome is outcome
        assert verified.proposal == asked


def test_v5_a_certificate_of_elsewhere_is_refused_by_name() -> None:
    valid = certificate(proposal(), [YES] * 3)
    for voters, fault in (
        (electorate(4, cluster="other"), CertificateFault.CLUSTER),
        (electorate(4, epoch=2), CertificateFault.EPOCH),
        (electorate(5), CertificateFault.ELECTORATE),
        (electorate(4, weights=[1, 1, 1, 9]), CertificateFault.ELECTORATE),
    ):
        assert refused(valid, voters).fault is fault
    assert "'lab' instead of 'other'" in str(refused(valid, electorate(4, cluster="other")))


def test_v5_another_question_or_a_weaker_threshold_than_expected_is_refused() -> None:
    asked = proposal(threshold=Threshold(1, 2))
    weak = certificate(asked, [YES] * 3)
    assert refused(weak).fault is CertificateFault.WEAK
    half = Threshold(1, 2)
    verify(weak.to_bytes(), FOUR, check, at_least=half, question_digest=asked.digest)
    error = refused(weak, at_least=half, question_digest=proposal().digest)
    assert error.fault is CertificateFault.DIGEST


def test_v5_ballots_are_sorted_and_each_voter_is_there_once() -> None:
    valid = certificate(proposal(), [YES] * 3)
    a, b, c = valid.ballots
    error = refused(with_ballots(valid, b, a, c))
    assert (error.fault, error.voter) == (CertificateFault.UNSORTED, a.voter)
    error = refused(with_ballots(valid, a, b, b))
    assert (error.fault, error.voter) == (CertificateFault.DUPLICATE, b.voter)
    other = cast(valid.proposal, 1, YES, "again")
    assert refused(with_ballots(valid, a, b, other)).fault is CertificateFault.DUPLICATE


def test_v5_a_stranger_in_a_certificate_is_named() -> None:
    valid = certificate(proposal(), [YES] * 2)
    stranger = identity(99)
    unsigned = Ballot.unsigned(valid.proposal, stranger.peer_id, YES, "")
    foreign = dataclasses.replace(unsigned, signature=stranger.sign(DOMAIN, unsigned.body))
    error = refused(
        QuorumCertificate.of(valid.proposal, Outcome.APPROVED, (*valid.ballots, foreign))
    )
    assert (error.fault, error.voter) == (CertificateFault.FOREIGN, stranger.peer_id)
    assert stranger.peer_id in str(error)


def test_v5_a_bad_signature_is_named() -> None:
    valid = certificate(proposal(), [YES] * 3)
    a, b, c = valid.ballots
    swapped = dataclasses.replace(b, signature=c.signature)
    error = refused(with_ballots(valid, a, swapped, c))
    assert (error.fault, error.voter) == (CertificateFault.SIGNATURE, b.voter)


def test_v3_a_ballot_of_another_slot_or_question_is_a_bad_signature() -> None:
    valid = certificate(proposal(), [YES] * 3)
    for other in (
        proposal(round_number=1),
        proposal(question="Another?"),
        proposal(proposal_id=bytes(16)),
        proposal(electorate(4, epoch=2)),
        proposal(electorate(4, cluster="other")),
    ):
        moved = dataclasses.replace(valid.ballots[0], signature=cast(other, 0).signature)
        error = refused(with_ballots(valid, moved, *valid.ballots[1:]))
        assert error.fault is CertificateFault.SIGNATURE


def test_v5_the_outcome_is_the_one_that_its_ballots_have() -> None:
    asked = proposal(electorate(4, vetoers=[0]))
    for choices, claim, fault in (
        ([YES] * 4, Outcome.REJECTED, CertificateFault.THRESHOLD),
        ([YES] * 4, Outcome.VETOED, CertificateFault.OUTCOME),
        ([NO] * 4, Outcome.APPROVED, CertificateFault.THRESHOLD),
        ([VETO, YES, YES, YES], Outcome.APPROVED, CertificateFault.OUTCOME),
        ([VETO, NO, NO, NO], Outcome.REJECTED, CertificateFault.OUTCOME),
        ([None, YES, YES, YES], Outcome.APPROVED, CertificateFault.UNHEARD),
        ([NO, NO, YES, YES], Outcome.REJECTED, CertificateFault.THRESHOLD),
    ):
        assert refused(certificate(asked, choices, claim=claim), asked.electorate).fault is fault


def test_v5_a_veto_without_the_right_is_refused() -> None:
    valid = certificate(proposal(), [YES] * 3)
    vetoing = Ballot.unsigned(valid.proposal, people(4)[3].peer_id, VETO, "")
    forged = dataclasses.replace(vetoing, signature=people(4)[3].sign(DOMAIN, vetoing.body))
    error = refused(QuorumCertificate(valid.proposal, Outcome.VETOED, (forged,)))
    assert (error.fault, error.voter) == (CertificateFault.VETO, forged.voter)


def test_v5_the_size_is_bounded_before_any_signature_is_checked() -> None:
    def never(*_: object) -> bool:
        raise AssertionError("a signature was checked")

    with pytest.raises(CertificateInvalid) as caught:
        verify(bytes(MAX_CERTIFICATE_BYTES + 1), FOUR, never)
    assert caught.value.fault is CertificateFault.TOO_LARGE
    valid = certificate(proposal(), [YES] * 3)
    for data in (b"", valid.to_bytes()[:-1], certificate(proposal(), [YES] * 2).to_bytes()):
        with pytest.raises(CertificateInvalid):
            verify(data, FOUR, never)


def test_v5_the_largest_certificate_fits() -> None:
    voters = Electorate.of("x" * 128, 2**53 - 1, electorate(128).voters)
    asked = proposal(voters, question="q" * 4096, subject=bytes(65536))
    ballots = [cast(asked, n, YES, "\x01" * 1024) for n in range(128)]
    data = QuorumCertificate.of(asked, Outcome.APPROVED, ballots).to_bytes()
    assert len(data) <= MAX_CERTIFICATE_BYTES
    assert verify(data, voters, check).weights.approve == 128
    text = certificate_to_json(QuorumCertificate.from_bytes(data))
    assert certificate_from_json(text).to_bytes() == data


@pytest.mark.parametrize(
    "choices", [[YES, YES, YES], [NO, PASS, NO], [VETO, None, YES]], ids=["yes", "no", "veto"]
)
def test_every_changed_byte_of_a_certificate_is_noticed(choices: list[Choice | None]) -> None:
    asked = proposal(electorate(3, vetoers=[0]), subject=b"", question="Q")
    data = certificate(asked, choices).to_bytes()
    verify(data, asked.electorate, check)
    for changed in mutations(data):
        with pytest.raises(CertificateInvalid):
            verify(changed, asked.electorate, check)


@settings(deadline=None)
@given(st.binary(max_size=400), st.booleans())
def test_random_bytes_are_no_certificate(data: bytes, begins_well: bool) -> None:
    assert refused(b"CVC1" + data if begins_well else data).fault is CertificateFault.MALFORMED
    with pytest.raises(EvidenceInvalid):
        Accusation.from_bytes(b"CVA1" + data if begins_well else data)


HASHED = """
import sys
sys.path.insert(0, sys.argv[1])
from votes_lab import cast, certificate, electorate, proposal
from consensus.votes.ballot import Choice
from consensus.votes.documents import certificate_to_json
from consensus.votes.tally import Tally
tally = Tally(proposal(electorate(9, vetoers=[1, 5])))
for n in (8, 3, 1, 0, 5, 2, 7):
    tally.add(cast(tally.proposal, n, Choice.APPROVE, "why"))
made = tally.certificate()
print(made.digest.hex(), made.to_bytes().hex(), certificate_to_json(made))
"""


def test_two_processes_with_different_hash_seeds_make_the_same_bytes() -> None:
    outputs = {
        subprocess.run(
            [sys.executable, "-c", HASHED, str(Path(__file__).parent)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=ROOT,
            capture_output=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1
    assert len(outputs.pop()) > 1000


# -- V8 ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", range(1, 10))
def test_v8_yes_and_no_for_one_slot_prove_that_more_than_a_third_cheated(n: int) -> None:
    asked = proposal(n)
    yes = certificate(asked, [YES] * quorum(n))
    ballots = [cast(asked, k, NO) for k in range(n - quorum(n), n)]
    no = QuorumCertificate.of(asked, Outcome.REJECTED, ballots)
    accusation = conflict(yes, no)
    assert accusation is not None
    assert accusation == conflict(no, yes)
    accusation.verify(asked.electorate, check)
    assert accusation.culprits == tuple(p.peer_id for p in people(n)[n - quorum(n) : quorum(n)])
    assert accusation.weight == 2 * quorum(n) - n
    assert accusation.is_more_than_a_third
    for evidence in accusation.evidence:
        evidence.verify(asked.electorate, check)


@settings(deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.data())
def test_v8_with_any_weights_two_quorums_share_more_than_a_third(
    weights: list[int], data: st.DataObject
) -> None:
    voters = electorate(len(weights), weights=weights)
    asked, total = proposal(voters), sum(weights)
    sides = []
    for choice, outcome in ((YES, Outcome.APPROVED), (NO, Outcome.REJECTED)):
        chosen = data.draw(st.sets(st.integers(0, len(weights) - 1)))
        for n in data.draw(st.permutations(range(len(weights)))):
            if 3 * sum(weights[k] for k in chosen) <= 2 * total:
                chosen.add(n)
        sides.append(QuorumCertificate.of(asked, outcome, [cast(asked, n, choice) for n in chosen]))
        verify(sides[-1].to_bytes(), voters, check)
    accusation = conflict(*sides)
    assert accusation is not None
    accusation.verify(voters, check)
    assert accusation.is_more_than_a_third


def test_v8_two_questions_in_one_slot_accuse_those_who_approved_both() -> None:
    one = certificate(proposal(question="One?"), [YES] * 3)
    two = certificate(proposal(question="Two?"), [None, YES, YES, YES])
    accusation = conflict(one, two)
    assert accusation is not None
    accusation.verify(FOUR, check)
    assert accusation.culprits == tuple(p.peer_id for p in people(4)[1:3])


def test_v8_a_veto_beside_an_approval_proves_that_the_vetoing_voter_lied() -> None:
    asked = proposal(electorate(4, vetoers=[0]))
    accusation = conflict(certificate(asked, [VETO]), certificate(asked, [YES] * 3))
    assert accusation is not None
    accusation.verify(asked.electorate, check)
    assert accusation.culprits == (people(4)[0].peer_id,)
    assert not accusation.is_more_than_a_third


def test_v8_certificates_that_may_both_be_are_no_conflict() -> None:
    yes = certificate(proposal(), [YES] * 3)
    assert conflict(yes, yes) is None
    assert conflict(yes, certificate(proposal(), [YES] * 4)) is None
    assert conflict(yes, certificate(proposal(round_number=1), [NO] * 3)) is None
    assert conflict(yes, certificate(proposal(proposal_id=bytes(16)), [NO] * 3)) is None
    assert conflict(yes, certificate(proposal(electorate(4, epoch=2)), [NO] * 3)) is None
    vetoed = proposal(electorate(4, vetoers=[0]))
    assert conflict(certificate(vetoed, [VETO]), certificate(vetoed, [NO] * 3)) is None


def accused() -> Accusation:
    asked = proposal(electorate(3), subject=b"", question="Q")
    found = conflict(certificate(asked, [YES] * 3), certificate(asked, [NO] * 3))
    assert found is not None
    return found


def test_v8_an_accusation_travels_as_bytes_and_as_json() -> None:
    accusation = accused()
    assert Accusation.from_bytes(accusation.to_bytes()) == accusation
    named = accusation.to_json({people(3)[0].peer_id: "anna"})
    assert '"name": "anna"' in named
    assert '"is_more_than_a_third": true' in named
    assert Accusation.from_json(named) == accusation
    for old, new in (("true", "false"), ('"weight": 3,', '"weight": 2,'), ("accusation/1", "x/1")):
        with pytest.raises(EvidenceInvalid):
            Accusation.from_json(named.replace(old, new, 1))


def test_v8_an_accusation_that_proves_nothing_is_refused() -> None:
    accusation, voters = accused(), electorate(3)
    with pytest.raises(EvidenceInvalid, match="agree"):
        Accusation(accusation.first, accusation.first).verify(voters, check)
    with pytest.raises(EvidenceInvalid, match="not in order"):
        Accusation(accusation.second, accusation.first).verify(voters, check)
    with pytest.raises(EvidenceInvalid, match="of another cluster"):
        accusation.verify(electorate(3, cluster="other"), check)
    other = certificate(proposal(electorate(3), round_number=1), [NO] * 3)
    with pytest.raises(EvidenceInvalid, match="two proposals or rounds"):
        Accusation(accusation.first, other).verify(voters, check)
    with pytest.raises(EvidenceInvalid, match="two electorates"):
        Accusation(accusation.first, certificate(proposal(), [NO] * 3)).verify(voters, check)


def test_every_changed_byte_of_an_accusation_is_noticed() -> None:
    for changed in mutations(accused().to_bytes(), bits=(1,)):
        with pytest.raises(EvidenceInvalid):
            Accusation.from_bytes(changed).verify(electorate(3), check)

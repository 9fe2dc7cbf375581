"""What a file of votes proves, said to people: never more than is proved, and safe to print."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from votes_lab import (
    cast,
    certificate,
    check,
    electorate,
    mutations,
    people,
    proposal,
    signed,
)

from consensus.votes import Choice, Evidence, ProposerEvidence, conflict, verify_file
from consensus.votes.certificate import QuorumCertificate
from consensus.votes.documents import certificate_to_json
from consensus.votes.explain import quoted

YES, NO, PASS, VETO = Choice.APPROVE, Choice.REJECT, Choice.ABSTAIN, Choice.VETO
FOUR = electorate(4)
VALID = certificate(proposal(question="Shall we deploy?"), [YES, NO, YES, YES])


def forms(valid: QuorumCertificate) -> list[bytes]:
    return [valid.to_bytes(), certificate_to_json(valid).encode()]


@pytest.mark.parametrize("data", forms(VALID), ids=["bytes", "json"])
def test_a_valid_certificate_says_question_outcome_and_voters(data: bytes) -> None:
    names = {people(4)[0].peer_id: "anna"}
    found = verify_file(data, check, FOUR, names=names)
    assert found.is_valid
    assert found.is_trusted
    text = "\n".join(found.lines)
    for part in (
        "VALID: a quorum certificate of 4 signed ballots",
        '"Shall we deploy?"',
        "APPROVED, approve 3, reject 1, abstain 0, veto 0 of 4",
        "Needed:    3 (more than 2/3)",
        "4 voters of epoch 1",
        f"{people(4)[0].peer_id} (anna), weight 1: approve",
        f"{people(4)[1].peer_id}, weight 1: reject",
        "voters of at least 2 of 4 signed both",
    ):
        assert part in text


@pytest.mark.parametrize("data", forms(VALID), ids=["bytes", "json"])
def test_without_an_electorate_it_says_that_anyone_can_make_such_a_file(data: bytes) -> None:
    found = verify_file(data, check)
    assert found.is_valid
    assert not found.is_trusted
    assert any("ONLY AS THE FILE ITSELF SAYS" in line for line in found.lines)
    assert any(FOUR.digest.hex() in line for line in found.lines)


def test_what_is_wrong_is_said_on_one_line() -> None:
    for data, voters, why in (
        (VALID.to_bytes(), electorate(5), "of another electorate"),
        (certificate(proposal(), [YES, YES]).to_bytes(), FOUR, "the threshold is not met"),
        (VALID.to_bytes()[:-1], FOUR, "malformed"),
        (b"", FOUR, "neither"),
        (b"junk", FOUR, "neither"),
        (b'{"format": "other"}', FOUR, "neither"),
        (b"{", FOUR, "not JSON"),
        (b'  {"format": "conclave-quorum-certificate/1"}', FOUR, "malformed"),
        (b'{"format": []}', FOUR, "neither"),
    ):
        found = verify_file(data, check, voters)
        assert not found.is_valid
        (line,) = found.lines
        assert line.startswith("NOT VALID: ")
        assert why in line


def test_a_veto_says_what_it_proves() -> None:
    voters = electorate(4, vetoers=[0])
    found = verify_file(certificate(proposal(voters), [VETO]).to_bytes(), check, voters)
    text = "\n".join(found.lines)
    assert "VETOED" in text
    assert ", may veto: veto" in text
    assert "would be its lie" in text
    assert "(no ballot)" in text


def test_an_accusation_names_who_cheated() -> None:
    accusation = conflict(
        certificate(proposal(), [YES] * 3), certificate(proposal(), [None, NO, NO, NO])
    )
    assert accusation is not None
    for data in (accusation.to_bytes(), accusation.to_json().encode()):
        found = verify_file(data, check, FOUR)
        assert found.is_valid
        assert "signed both by 2 of 4, more than a third of the weight" in found.lines[0]
        for one in people(4)[1:3]:
            assert f"Cheated:   {one.peer_id}" in found.lines
        assert not verify_file(data, check, electorate(5)).is_valid
        assert not verify_file(data, check).is_trusted


def test_evidence_names_who_cheated() -> None:
    evidence = Evidence.of(cast(proposal(), 2, YES), cast(proposal(), 2, NO, "changed my mind"))
    for data in (evidence.to_bytes(), evidence.to_json().encode()):
        found = verify_file(data, check, FOUR)
        assert found.is_valid
        assert f"Cheated:   {people(4)[2].peer_id}" in found.lines
        assert 'and said:  reject, "changed my mind"' in found.lines
        (line,) = verify_file(data, check).lines
        assert line.startswith("NOT CHECKED")


def test_evidence_against_a_proposer_needs_no_electorate() -> None:
    one, two = (signed(proposal(question=q)).signed_header for q in ("One?", "Two?"))
    evidence = ProposerEvidence.of(one, two)
    for data in (evidence.to_bytes(), evidence.to_json().encode()):
        found = verify_file(data, check)
        assert found.is_valid
        assert found.lines[0].startswith("VALID: two questions under one proposal 0001")


def test_text_of_strangers_cannot_play_with_the_terminal() -> None:
    evil = 'a\x1b[2J\nVALID: yes\u202e\u2028"\\' + "x" * 1000
    valid = certificate(proposal(question=evil), [YES] * 3)
    text = "\n".join(verify_file(valid.to_bytes(), check, FOUR).lines)
    assert all(char.isprintable() or char == "\n" for char in text)
    assert "and 720 more characters" in text
    assert "\nVALID: yes" not in text
    assert quoted('"\\\n') == '"\\"\\\\\\n"'


@settings(deadline=None)
@given(st.binary(max_size=200), st.sampled_from([b"", b"CVC1", b"CVA1", b"CVX1", b"CVY1", b"{"]))
def test_random_bytes_prove_nothing(data: bytes, magic: bytes) -> None:
    assert not verify_file(magic + data, check, FOUR).is_valid
    assert not verify_file(magic + data, check).is_valid


def test_a_changed_certificate_proves_nothing() -> None:
    valid = certificate(proposal(electorate(1), question="Q", subject=b""), [YES])
    for data in forms(valid):
        for changed in mutations(data.rstrip(), bits=(1,)):
            found = verify_file(changed, check, electorate(1))
            assert not found.is_valid or changed.split() == data.split() or changed[-1:] == b"\0"

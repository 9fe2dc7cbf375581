"""What a person is told about a certificate, in either form."""

from __future__ import annotations

from ballots_lab import SCHEME, elector, identity, proposal
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.ballots.ballot import Ballot, Choice
from consensus.ballots.certificate import QuorumCertificate
from consensus.ballots.certificate_json import to_json
from consensus.ballots.explaining import explain, is_valid, quoted
from consensus.ballots.proposal import Proposal
from consensus.ballots.tally import Tally

YES, NO = Choice.APPROVE, Choice.REJECT
ON = proposal(weights=[2, 1, 1, 1], vetoers=(3,), question="Go?\nVALID: approved\x1b[2J")


def decided(on: Proposal, *casts: tuple[int, Choice, str]) -> QuorumCertificate:
    tally = Tally(on)
    for voter, choice, reason in casts:
        tally.add(Ballot.sign(identity(voter), on, choice, reason).check(on, SCHEME))
    certificate = QuorumCertificate.of(tally)
    assert certificate is not None
    return certificate


GOOD = decided(ON, (0, YES, "tested"), (1, NO, ""), (3, YES, ""), (2, YES, ""))


def test_both_forms_say_the_same_and_name_every_signer() -> None:
    lines = explain(GOOD.to_bytes(), SCHEME, ON.electors)
    assert lines == explain(to_json(GOOD).encode(), SCHEME, ON.electors)
    assert lines[0] == "VALID: approved"
    assert is_valid(lines)
    text = "\n".join(lines)
    assert "it takes more than 2/3 of 5: 4; 4 approve, 1 reject" in text
    for voter, said in [
        (0, '(weight 2) approve: "tested"'),
        (1, "(weight 1) reject"),
        (2, "(weight 1) approve"),
        (3, "(weight 1, may veto) approve"),
    ]:
        assert f"    {elector(voter).peer_id} elector {voter} {said}" in lines
    assert "NOT CHECKED" not in text


def test_text_of_others_writes_no_lines_of_its_own() -> None:
    lines = explain(GOOD.to_bytes(), SCHEME, ON.electors)
    assert sum(line.startswith("VALID") for line in lines) == 1
    assert all(line.isprintable() for line in lines)
    assert "  question: Go?\\nVALID: approved\\x1b[2J" in lines
    assert len(quoted("x" * 5000)) < 450


def test_voters_that_nobody_vouched_for_are_said_to_be_unchecked() -> None:
    assert any("NOT CHECKED" in line for line in explain(GOOD.to_bytes(), SCHEME))


def test_who_voted_twice_and_who_is_absent_is_said() -> None:
    on = proposal(weights=[1, 1, 8, 1])
    lines = explain(decided(on, (0, YES, ""), (0, NO, ""), (2, NO, "")).to_bytes(), SCHEME)
    text = "\n".join(lines)
    assert lines[0] == "VALID: rejected"
    assert "TWO BALLOTS, counts for nothing" in text
    assert f"EVIDENCE: {elector(0).peer_id}" in text
    absent = {elector(voter).peer_id for voter in (1, 3)}
    (line,) = [line for line in lines if line.startswith("  not in it: ")]
    assert all(each in line for each in absent)
    few = decided(proposal(1), (0, YES, ""))
    assert any("fewer than four" in line for line in explain(few.to_bytes(), SCHEME))


def test_an_invalid_one_says_why_and_whose_fault_it_is() -> None:
    broken = bytearray(GOOD.to_bytes())
    broken[-1] ^= 1
    lines = explain(bytes(broken), SCHEME, ON.electors)
    assert lines[0] == "INVALID: a ballot is not signed by its voter"
    assert lines[1].startswith("  at fault: ")
    assert not is_valid(lines)
    assert not is_valid(explain(GOOD.to_bytes(), SCHEME, proposal(4).electors))
    for data in (b"", b"{", b"{}", b"nonsense", to_json(GOOD).encode()[:-9]):
        assert explain(data, SCHEME)[0].startswith("INVALID")


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_bytes_from_anywhere_are_explained(data: bytes, is_json: bool) -> None:
    lines = explain(b"{" + data if is_json else data, SCHEME)
    assert not is_valid(lines)
    assert all(line.isprintable() for line in lines)

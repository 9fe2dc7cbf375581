"""V1 and V2: electorates, thresholds in integers, and questions in exactly one form."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from votes_lab import PROPOSER, check, electorate, identity, people, proposal, signed

from consensus.votes.electorate import (
    MAX_VOTERS,
    TWO_THIRDS,
    Electorate,
    Threshold,
    Voter,
    byzantine_faults,
    quorum,
)
from consensus.votes.errors import (
    ElectorateInvalid,
    NotByzantine,
    ProposalInvalid,
    ProposalRefused,
)
from consensus.votes.question import Header, Proposal, SignedProposal
from consensus.votes.signing import id_bytes, id_text, peer_id_of
from consensus.votes.wire import Malformed
from keys import peer_id_of as peer_id_of_keys


def test_v1_quorums_of_one_to_nine_voters() -> None:
    assert [quorum(n) for n in range(1, 10)] == [1, 2, 3, 3, 4, 5, 5, 6, 7]


@settings(deadline=None)
@given(st.integers(1, 128))
def test_v1_a_quorum_is_the_least_number_that_is_strictly_more_than_two_thirds(n: int) -> None:
    assert quorum(n) == 2 * n // 3 + 1
    assert 3 * quorum(n) > 2 * n >= 3 * (quorum(n) - 1)
    assert TWO_THIRDS.is_passed(quorum(n), n)
    assert not TWO_THIRDS.is_passed(quorum(n) - 1, n)


@settings(deadline=None)
@given(st.integers(4, 128))
def test_v1_two_quorums_share_more_than_all_that_may_lie(n: int) -> None:
    assert 2 * quorum(n) - n > byzantine_faults(n)


def test_v1_fewer_than_four_voters_are_never_called_byzantine() -> None:
    assert [byzantine_faults(n) for n in range(4, 11)] == [1, 1, 1, 2, 2, 2, 3]
    for n in (0, 1, 2, 3):
        with pytest.raises(NotByzantine, match=f"^{n} voters tolerate"):
            byzantine_faults(n)
    with pytest.raises(NotByzantine):
        _ = electorate(3).byzantine_faults
    with pytest.raises(ElectorateInvalid, match="equal weights"):
        _ = electorate(4, weights=[1, 1, 1, 2]).byzantine_faults


@pytest.mark.parametrize(("num", "den"), [(0, 3), (3, 3), (4, 3), (1, 3), (2, 2**32), (-1, -2)])
def test_v1_a_threshold_below_a_half_or_of_all_and_more_is_refused(num: int, den: int) -> None:
    with pytest.raises(ElectorateInvalid, match="threshold"):
        Threshold(num, den)


def test_v1_a_threshold_is_exact_where_floats_are_not() -> None:
    total = 3 * (2**31 - 1)
    assert not TWO_THIRDS.is_passed(2 * (2**31 - 1), total)
    assert TWO_THIRDS.is_passed(2 * (2**31 - 1) + 1, total)
    assert Threshold(3, 4).is_at_least(TWO_THIRDS)
    assert Threshold(4, 6).is_at_least(TWO_THIRDS)
    assert not Threshold(1, 2).is_at_least(TWO_THIRDS)


def test_v2_a_key_is_one_voter_whatever_it_calls_itself() -> None:
    key = people(1)[0].public_key
    with pytest.raises(ElectorateInvalid, match="twice"):
        Electorate.of("lab", 1, [Voter.of(key), Voter.of(key, 5)])
    with pytest.raises(ElectorateInvalid, match="fingerprint"):
        Voter(identity(2).peer_id, key)


def test_v2_the_digest_covers_cluster_epoch_weights_and_rights() -> None:
    digests = {
        electorate(4).digest,
        electorate(5).digest,
        electorate(4, epoch=2).digest,
        electorate(4, cluster="other").digest,
        electorate(4, weights=[1, 1, 1, 2]).digest,
        electorate(4, vetoers=[0]).digest,
    }
    assert len(digests) == 6


def test_an_electorate_has_1_to_128_sorted_voters_of_weight_1_and_more() -> None:
    assert electorate(MAX_VOTERS).total_weight == MAX_VOTERS
    for voters in ((), (*electorate(MAX_VOTERS).voters, Voter.of(PROPOSER.public_key))):
        with pytest.raises(ElectorateInvalid, match="voters, not from"):
            Electorate.of("lab", 1, voters)
    with pytest.raises(ElectorateInvalid, match="not in order"):
        Electorate("lab", 1, electorate(3).voters[::-1])
    with pytest.raises(ElectorateInvalid, match="weight"):
        Voter.of(PROPOSER.public_key, 0)
    with pytest.raises(ElectorateInvalid, match="cluster"):
        Electorate.of("", 1, electorate(1).voters)
    with pytest.raises(ElectorateInvalid, match="epoch"):
        Electorate.of("lab", -1, electorate(1).voters)


def test_peer_ids_are_those_of_the_keys() -> None:
    key = PROPOSER.public_key
    assert peer_id_of(key) == peer_id_of_keys(key) == PROPOSER.peer_id
    raw = id_bytes(PROPOSER.peer_id)
    assert raw is not None
    assert id_text(raw) == PROPOSER.peer_id
    for wrong in (PROPOSER.peer_id.upper(), PROPOSER.peer_id[:-1], "", "é" * 52, "a" * 51 + "b"):
        assert id_bytes(wrong) is None


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"proposal_id": b"short"}, "id"),
        ({"kind": "No"}, "kind"),
        ({"kind": "a" * 65}, "kind"),
        ({"question": "x" * 4097}, "question"),
        ({"question": "é" * 2049}, "question"),
        ({"question": "\ud800"}, "question"),
        ({"subject": bytes(65537)}, "subject"),
        ({"proposer_key": bytes(32)}, "proposer"),
        ({"round": -1}, "round"),
        ({"deadline_ms": 2**53}, "deadline_ms"),
    ],
)
def test_a_question_out_of_bounds_is_refused_by_field(
    change: dict[str, object], field: str
) -> None:
    with pytest.raises(ProposalInvalid, match=f"^a proposal's {field}:"):
        dataclasses.replace(proposal(), **change)  # type: ignore[arg-type]


def test_the_largest_question_fits() -> None:
    voters = Electorate.of("x" * 128, 2**53 - 1, electorate(128).voters)
    largest = proposal(voters, question="q" * 4096, subject=bytes(65536))
    assert Proposal.from_bytes(largest.to_bytes()) == largest
    whole = signed(largest)
    assert SignedProposal.from_bytes(whole.to_bytes()) == whole


def test_a_question_comes_back_equal_and_has_one_form() -> None:
    asked = proposal(electorate(5, weights=[1, 2, 3, 4, 5], vetoers=[2]), question="Grüße?")
    again = Proposal.from_bytes(asked.to_bytes())
    assert again == asked
    assert again.digest == asked.digest
    assert again.slot == asked.header.slot
    assert Header.from_bytes(asked.header.to_bytes()) == asked.header
    assert Electorate.from_bytes(asked.electorate.to_bytes()) == asked.electorate


def test_a_changed_byte_is_another_question_or_none() -> None:
    asked = signed(proposal(2))
    data = asked.to_bytes()
    for at in range(len(data)):
        changed = data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]
        try:
            other = SignedProposal.from_bytes(changed)
        except ProposalRefused:
            continue
        assert not other.signed_header.is_genuine(check)


def test_only_the_proposer_signs_its_question() -> None:
    asked = proposal()
    assert signed(asked).signed_header.is_genuine(check)
    with pytest.raises(ProposalInvalid, match="whose key this is not"):
        SignedProposal.sign(identity(7), asked)


@settings(deadline=None)
@given(st.binary(max_size=300), st.sampled_from([b"", b"CVP1", b"CVQ1", b"CVE1", b"CVH1"]))
def test_random_bytes_are_refused_by_name(data: bytes, magic: bytes) -> None:
    for decode, refusal in (
        (Proposal.from_bytes, ProposalRefused),
        (SignedProposal.from_bytes, ProposalRefused),
        (Electorate.from_bytes, ElectorateInvalid),
        (Header.from_bytes, Malformed),
    ):
        with pytest.raises(refusal):
            decode(magic + data)

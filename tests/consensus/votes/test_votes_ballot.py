"""V3 and V6: a ballot is good for one question of one electorate, and has one signature."""

import dataclasses
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.bindings import crypto_core_ed25519_is_valid_point
from nacl.exceptions import CryptoError
from nacl.signing import VerifyKey
from votes_lab import cast, check, electorate, identity, mutations, people, proposal

from consensus.votes.ballot import DOMAIN, Ballot, Choice, check_ballot, check_slot
from consensus.votes.errors import (
    BallotFault,
    BallotImpossible,
    BallotRefused,
    ElectorateInvalid,
)
from consensus.votes.question import Proposal
from consensus.votes.signing import is_strict, is_strict_point, peer_id_of

ORDER = 2**252 + 27742317777372353535851937790883648493
PRIME = 2**255 - 19
# All encodings of the points of small order, canonical or not: "Taming the many EdDSAs", table 6,
# and both signs of each.
SMALL_ORDER = [
    y | sign << 255
    for y in (
        0,
        1,
        PRIME - 1,
        PRIME,
        PRIME + 1,
        int.from_bytes(
            bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
            "little",
        ),
        int.from_bytes(
            bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
            "little",
        ),
    )
    for sign in (0, 1)
]
SMALL_ORDER_POINTS = [number.to_bytes(32, "little") for number in SMALL_ORDER]


def refusal(ballot: Ballot, asked: Proposal) -> BallotFault:
    with pytest.raises(BallotRefused) as caught:
        check_ballot(ballot, asked, check)
    assert ballot.voter in str(caught.value)
    return caught.value.fault


def resigned(ballot: Ballot, number: int, **changes: object) -> Ballot:
    """Changed and signed by its own voter again: genuine, for something else."""
    changed = dataclasses.replace(ballot, **changes)  # type: ignore[arg-type]
    signature = people(4)[number].sign(DOMAIN, changed.body)
    return dataclasses.replace(changed, signature=signature)


@pytest.mark.parametrize("choice", [Choice.APPROVE, Choice.REJECT, Choice.ABSTAIN, Choice.VETO])
def test_v3_a_ballot_of_each_choice_is_cast_sent_and_believed(choice: Choice) -> None:
    asked = proposal(electorate(4, vetoers=[1]))
    ballot = cast(asked, 1, choice, "because — ✓")
    again = Ballot.from_bytes(ballot.to_bytes())
    assert again == ballot
    assert check_ballot(again, asked, check).choice is choice


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"cluster_id": "other"}, BallotFault.CLUSTER),
        ({"epoch": 2}, BallotFault.EPOCH),
        ({"electorate_digest": bytes(32)}, BallotFault.ELECTORATE),
        ({"proposal_id": bytes(16)}, BallotFault.PROPOSAL),
        ({"round": 1}, BallotFault.ROUND),
        ({"proposal_digest": bytes(32)}, BallotFault.DIGEST),
        ({"choice": Choice.VETO}, BallotFault.VETO),
    ],
)
def test_v3_a_ballot_for_anything_else_is_refused(
    changes: dict[str, object], fault: BallotFault
) -> None:
    asked = proposal()
    assert refusal(resigned(cast(asked, 0), 0, **changes), asked) is fault


@pytest.mark.parametrize(
    "changes",
    [
        {"cluster_id": "other"},
        {"epoch": 2},
        {"electorate_digest": bytes(32)},
        {"proposal_id": bytes(16)},
        {"round": 1},
        {"proposal_digest": bytes(32)},
        {"choice": Choice.REJECT},
        {"reason": "another"},
        {"voter": identity(99).peer_id},
    ],
)
def test_v3_the_signature_covers_every_field(changes: dict[str, object]) -> None:
    ballot = cast(proposal(), 0)
    changed = dataclasses.replace(ballot, **changes)  # type: ignore[arg-type]
    key = people(4)[0].public_key
    assert check(key, DOMAIN, ballot.body, ballot.signature)
    assert not check(key, DOMAIN, changed.body, changed.signature)


def test_v3_a_signature_for_another_purpose_is_no_ballot() -> None:
    asked = proposal()
    ballot = cast(asked, 0)
    for domain in ("vote-proposal", "certificate"):
        foreign = dataclasses.replace(ballot, signature=people(4)[0].sign(domain, ballot.body))
        assert refusal(foreign, asked) is BallotFault.SIGNATURE


def test_v3_a_ballot_in_anothers_name_is_refused() -> None:
    asked = proposal()
    ballot = dataclasses.replace(cast(asked, 0), voter=people(4)[1].peer_id)
    assert refusal(ballot, asked) is BallotFault.SIGNATURE
    stranger = identity(99)
    foreign = dataclasses.replace(ballot, voter=stranger.peer_id)
    signed = dataclasses.replace(foreign, signature=stranger.sign(DOMAIN, foreign.body))
    assert refusal(signed, asked) is BallotFault.FOREIGN


def test_a_ballot_about_another_question_in_the_slot_is_still_its_voters() -> None:
    asked = proposal()
    other = cast(proposal(question="Shall we not?"), 2)
    assert refusal(other, asked) is BallotFault.DIGEST
    assert check_slot(other, asked, check) == other


def test_only_voters_cast_ballots_and_only_some_may_veto() -> None:
    asked = proposal(electorate(4, vetoers=[1]))
    with pytest.raises(BallotImpossible, match="no vote"):
        Ballot.cast(identity(99), asked, Choice.APPROVE)
    with pytest.raises(BallotImpossible, match="no right of veto"):
        cast(asked, 0, Choice.VETO)
    with pytest.raises(BallotImpossible, match="limit is 1024"):
        cast(asked, 0, reason="x" * 1025)
    longest = cast(asked, 0, reason="x" * 1024)
    assert Ballot.from_bytes(longest.to_bytes()) == longest


def test_v6_a_malleable_signature_is_refused_by_us_and_by_libsodium() -> None:
    asked = proposal()
    ballot = cast(asked, 0)
    s = int.from_bytes(ballot.signature[32:], "little")
    for times in range(1, 15):
        forged = ballot.signature[:32] + (s + times * ORDER).to_bytes(32, "little")
        assert not is_strict(people(4)[0].public_key, forged)
        assert not check(people(4)[0].public_key, DOMAIN, ballot.body, forged)
        changed = dataclasses.replace(ballot, signature=forged)
        assert refusal(changed, asked) is BallotFault.SIGNATURE


@pytest.mark.parametrize("point", SMALL_ORDER_POINTS, ids=lambda point: point.hex()[:8])
def test_v6_points_of_small_order_neither_sign_nor_vote(point: bytes) -> None:
    assert not is_strict_point(point)
    genuine = cast(proposal(), 0).signature
    assert not is_strict(people(4)[0].public_key, point + genuine[32:])
    assert not is_strict(point, genuine)
    with pytest.raises(ElectorateInvalid, match="none that can sign"):
        electorate(1).voters[0].of(point)


@pytest.mark.parametrize("point", SMALL_ORDER_POINTS, ids=lambda point: point.hex()[:8])
def test_v6_libsodium_refuses_the_same_points(point: bytes) -> None:
    """With S = 0 and R = A of small order, lax verifiers accept one message in eight or more."""
    for message in (b"%d" % n for n in range(64)):
        for r in SMALL_ORDER_POINTS:
            with pytest.raises(CryptoError):
                VerifyKey(point).verify(message, r + bytes(32))
    assert not crypto_core_ed25519_is_valid_point(point)


def test_v6_an_encoding_of_y_beyond_the_prime_is_refused() -> None:
    for y in range(PRIME, 2**255):
        for sign in (0, 1):
            assert not is_strict_point((y | sign << 255).to_bytes(32, "little"))
    assert not is_strict_point(b"")
    assert not is_strict_point(bytes(33))


@settings(deadline=None)
@given(st.integers(1, 500))
def test_v6_every_real_signature_is_strict(number: int) -> None:
    one = identity(number)
    assert is_strict(one.public_key, one.sign(DOMAIN, b"%d" % number))
    assert peer_id_of(one.public_key) == one.peer_id


def test_every_changed_byte_of_a_ballot_is_noticed() -> None:
    asked = proposal()
    ballot = cast(asked, 3, Choice.REJECT, "no")

    def believed(data: bytes) -> bool:
        try:
            check_ballot(Ballot.from_bytes(data), asked, check)
        except BallotRefused:
            return False
        return True

    assert believed(ballot.to_bytes())
    assert not any(believed(data) for data in mutations(ballot.to_bytes()))


@settings(deadline=None)
@given(st.binary(max_size=400), st.sampled_from([b"", b"CVS1", b"CVS1\0\0\0\x10CVB1"]))
def test_random_bytes_are_no_ballot(data: bytes, magic: bytes) -> None:
    decode: Callable[[bytes], Ballot] = Ballot.from_bytes
    with pytest.raises(BallotRefused) as caught:
        decode(magic + data)
    assert caught.value.fault is BallotFault.MALFORMED

"""Genesis and the first roster: made once, by the one key each."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from keys_lab import NOW_MS, fields_of, key, lab

from keys import Genesis, Identity, PeerId, Roster
from keys.canonical import encode
from keys.errors import GenesisRefused, InvalidName, InvalidValue, NotTheIssuer, RosterRefused

LAB = lab()
GENESIS = LAB.genesis(3)
VOTERS = [key(seed).peer_id for seed in (3, 4, 5)]
ROSTER = Roster.make(LAB.issuer, GENESIS, VOTERS, NOW_MS)


def genesis_with(signer: Identity, **changes: object) -> Genesis:
    numbers = {int(name[1:]): value for name, value in changes.items()}
    body = encode({**fields_of(GENESIS.body), **numbers})
    return Genesis.decode(encode([body, signer.sign("genesis", body)]))


def roster_with(signer: Identity, **changes: object) -> Roster:
    numbers = {int(name[1:]): value for name, value in changes.items()}
    body = encode({**fields_of(ROSTER.body), **numbers})
    return Roster.decode(encode([body, signer.sign("roster", body)]))


def test_a_genesis_says_what_it_was_made_with() -> None:
    genesis = Genesis.decode(GENESIS.encode())
    assert genesis == GENESIS
    assert (genesis.network_name, genesis.expected_voters) == ("lan", 3)
    assert genesis.issuer_public_key == LAB.issuer.public_key
    genesis.verify(LAB.trust)


def test_the_genesis_of_another_network_is_refused() -> None:
    with pytest.raises(GenesisRefused, match="of network"):
        lab(11).genesis().verify(LAB.trust)


def test_not_even_the_issuer_can_make_a_second_genesis() -> None:
    with pytest.raises(GenesisRefused, match="not signed"):
        genesis_with(LAB.issuer, f4=5).verify(LAB.trust)


@pytest.mark.parametrize("voters", [0, 2, 4, 9, -1])
def test_a_network_has_1_3_5_or_7_voters(voters: int) -> None:
    with pytest.raises(InvalidValue):
        LAB.genesis(voters)
    with pytest.raises(GenesisRefused):
        genesis_with(LAB.root, f4=voters)


@pytest.mark.parametrize(
    "changes",
    [{"f1": 2}, {"f2": b""}, {"f3": "a b"}, {"f3": 1}, {"f5": -1}, {"f6": b""}, {"f7": 1}],
)
def test_a_genesis_with_a_field_out_of_bounds_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(GenesisRefused):
        genesis_with(LAB.root, **changes)


def test_a_network_name_is_a_plain_name() -> None:
    with pytest.raises(InvalidName):
        Genesis.make(LAB.root, LAB.issuer.public_key, "two words", 1, NOW_MS)


def test_a_roster_names_its_voters_in_one_order() -> None:
    assert ROSTER.voters == tuple(sorted(VOTERS))
    assert Roster.make(LAB.issuer, GENESIS, reversed(VOTERS), NOW_MS) == ROSTER
    assert Roster.decode(ROSTER.encode()) == ROSTER
    ROSTER.verify(GENESIS)


@pytest.mark.parametrize(
    "voters", [VOTERS[:2], [*VOTERS, key(6).peer_id], [*VOTERS[:2], VOTERS[0]], []]
)
def test_a_roster_has_as_many_voters_as_genesis_expects(voters: list[PeerId]) -> None:
    with pytest.raises(InvalidValue, match="expects 3"):
        Roster.make(LAB.issuer, GENESIS, voters, NOW_MS)


def test_a_voter_that_is_no_peer_id_is_refused() -> None:
    with pytest.raises(InvalidValue):
        Roster.make(LAB.issuer, GENESIS, [*VOTERS[:2], PeerId("alpha")], NOW_MS)


def test_only_the_issuer_of_genesis_signs_the_first_roster() -> None:
    for signer in (LAB.root, LAB.peer):
        with pytest.raises(NotTheIssuer):
            Roster.make(signer, GENESIS, VOTERS, NOW_MS)
        with pytest.raises(RosterRefused, match="not signed"):
            roster_with(signer).verify(GENESIS)


def test_a_roster_of_another_network_or_genesis_or_size_is_refused() -> None:
    with pytest.raises(RosterRefused, match="another network"):
        ROSTER.verify(lab(11).genesis())
    with pytest.raises(RosterRefused, match="another network"):
        ROSTER.verify(LAB.genesis(5))
    with pytest.raises(RosterRefused, match="names 1"):
        roster_with(LAB.issuer, f4=[LAB.leaf.key_id]).verify(GENESIS)


@pytest.mark.parametrize(
    "changes",
    [
        {"f1": 2},
        {"f2": b""},
        {"f3": b""},
        {"f4": [bytes([at]) * 32 for at in range(8)]},
        {"f4": [b"\2" * 32, b"\1" * 32, b"\3" * 32]},
        {"f4": [b"\1" * 32, b"\1" * 32]},
        {"f4": ["text"]},
        {"f6": 1},
    ],
)
def test_a_roster_with_a_field_out_of_bounds_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(RosterRefused):
        roster_with(LAB.issuer, **changes)


@given(st.binary(max_size=300))
def test_random_bytes_are_neither(data: bytes) -> None:
    with pytest.raises(GenesisRefused):
        Genesis.decode(data)
    with pytest.raises(RosterRefused):
        Roster.decode(data)


def with_one_bit_changed(raw: bytes) -> list[bytes]:
    return [
        raw[:position] + bytes([raw[position] ^ 1 << bit]) + raw[position + 1 :]
        for position in range(len(raw))
        for bit in (0, 5)
    ]


def test_no_bit_of_a_genesis_can_be_changed() -> None:
    for changed in with_one_bit_changed(GENESIS.raw):
        with pytest.raises(GenesisRefused):
            Genesis.decode(changed).verify(LAB.trust)


def test_no_bit_of_a_roster_can_be_changed() -> None:
    for changed in with_one_bit_changed(ROSTER.raw):
        with pytest.raises(RosterRefused):
            Roster.decode(changed).verify(GENESIS)

"""A root of several keys: as many as must have to sign, and no others count."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from keys_lab import NOW_MS, forge, key
from roots_lab import line_of, quorum, single

from keys import (
    Authority,
    Chain,
    Genesis,
    GenesisRefused,
    InvalidValue,
    RootQuorum,
    custodian_text,
    parse_custodian,
    verify,
)
from keys.canonical import NotCanonical, encode
from keys.certificate import Certificate, assemble_certificate
from keys.issuing import make_root
from keys.refusals import BadRoot, CertificateBadSignature, CertificateMalformed
from keys.rootquorum import MAX_CUSTODIANS, MAX_SIGNATURE_BYTES, Custodians

ROOT = quorum(2, 1, 4, 5)
LAB = line_of([ROOT])
KEYS = {each.public_key: each for each in ROOT.keys}
SORTED = [KEYS[public] for public in ROOT.authority.signers]


NONCE = b"n" * 16


def signed(*indexes: int, domain: str = "test", body: bytes = b"body") -> bytes:
    return encode([[index, SORTED[index].sign(domain, body)] for index in indexes])


def test_a_chain_and_a_genesis_of_two_of_three_are_believed() -> None:
    principal = verify(Chain.decode(LAB.chain.encode()), LAB.trust, NOW_MS)
    assert principal.peer_id == LAB.peer.peer_id
    genesis = Genesis.decode(LAB.genesis().raw)
    genesis.verify(LAB.trust)
    assert genesis.root.threshold == 2


@pytest.mark.parametrize("indexes", [(0, 1), (0, 2), (1, 2), (0, 1, 2)])
def test_any_two_of_them_or_all_sign(indexes: tuple[int, ...]) -> None:
    assert ROOT.authority.has_signed("test", b"body", signed(*indexes))


@pytest.mark.parametrize(
    "signature",
    [
        b"",
        bytes(64),
        signed(),
        signed(0),
        signed(0, 0),  # one custodian twice is one
        signed(1, 0),  # another order is another form
        signed(0, 1)[:-1],
        signed(0, 1) + b"\0",
        signed(0, 1, domain="other"),
        signed(0, 1, body=b"other"),
        encode([[0, SORTED[0].sign("test", b"body")], [1, SORTED[0].sign("test", b"body")]]),
        encode([[0, SORTED[0].sign("test", b"body")], [1, key(9).sign("test", b"body")]]),
        # Two are enough, but what is shown beside them must hold too.
        encode([*([i, SORTED[i].sign("test", b"body")] for i in (0, 1)), [2, bytes(64)]]),
        encode([*([i, SORTED[i].sign("test", b"body")] for i in (0, 1)), [3, bytes(64)]]),
        encode([[0], [1]]),
        encode({0: 1}),
        SORTED[0].sign("test", b"body"),
    ],
)
def test_what_is_not_two_good_signatures_is_none(signature: bytes) -> None:
    assert not ROOT.authority.has_signed("test", b"body", signature)


def test_a_root_of_one_key_takes_no_list() -> None:
    alone = Authority(SORTED[0].public_key)
    assert alone.has_signed("test", b"body", SORTED[0].sign("test", b"body"))
    assert not alone.has_signed("test", b"body", signed(0))


@given(st.binary(max_size=MAX_SIGNATURE_BYTES + 5))
def test_random_bytes_are_no_signature(data: bytes) -> None:
    assert not ROOT.authority.has_signed("test", b"body", data)


@given(st.integers(0, 10_000), st.integers(0, 7))
def test_no_bit_of_a_quorums_signature_can_be_changed(position: int, bit: int) -> None:
    changed = bytearray(signed(0, 2))
    changed[position % len(changed)] ^= 1 << bit
    assert not ROOT.authority.has_signed("test", b"body", bytes(changed))


def test_no_bit_of_a_chain_or_genesis_of_a_quorum_can_be_changed() -> None:
    from keys import CertificateRefused

    whole, genesis = LAB.chain.encode(), LAB.genesis().raw
    for position in range(len(whole)):
        changed = bytearray(whole)
        changed[position] ^= 1 << (position % 8)
        with pytest.raises(CertificateRefused):
            verify(Chain.decode(bytes(changed)), LAB.trust, NOW_MS)
    for position in range(len(genesis)):
        changed = bytearray(genesis)
        changed[position] ^= 1 << (position % 8)
        with pytest.raises(GenesisRefused):
            Genesis.decode(bytes(changed)).verify(LAB.trust)


def test_the_network_id_pins_threshold_and_keys() -> None:
    """The same keys with a lower threshold, or one key exchanged, are another network's root."""
    ids = {
        line_of([each]).trust.network_id
        for each in (ROOT, quorum(1, 1, 4, 5), quorum(3, 1, 4, 5), quorum(2, 1, 4, 6))
    }
    assert len(ids) == 4


def test_the_same_keepers_make_another_network_each_time() -> None:
    """So that what they sign for one that they try out is worth nothing in another."""
    publics = ROOT.authority.signers
    one, other = (Authority.of(RootQuorum.make(2, publics)) for _ in range(2))
    assert one.key_id != other.key_id
    both = [
        make_root(Custodians(root, ROOT.keys), "lan", NOW_MS, authority=root)
        for root in (one, other)
    ]
    assert both[0].network_id != both[1].network_id


def test_a_lower_threshold_under_the_same_id_is_refused() -> None:
    weaker = RootQuorum.make(1, ROOT.authority.signers)
    with pytest.raises(CertificateMalformed, match="fingerprint of its quorum"):
        forge(ROOT, LAB.line[0], f16={"root-quorum": weaker.encode()})
    with pytest.raises(CertificateMalformed, match="peer id"):
        forge(ROOT, LAB.line[0], f6=weaker.commitment, f16={"root-quorum": weaker.encode()})


def test_a_quorum_whose_extension_is_left_out_signs_nothing() -> None:
    """Without it the fingerprint would be taken for a key, of which nobody has the secret."""
    bare = forge(ROOT, LAB.line[0], f16={})
    with pytest.raises(BadRoot, match="not signed by itself"):
        verify(Chain((LAB.leaf, LAB.middle, bare)), LAB.trust, NOW_MS)


def test_one_custodian_signs_no_issuer() -> None:
    alone = assemble_certificate(LAB.middle.body, signed(0, domain="certificate"))
    with pytest.raises(CertificateBadSignature):
        verify(Chain((LAB.leaf, alone, LAB.line[0])), LAB.trust, NOW_MS)


def test_a_quorum_belongs_to_roots_only() -> None:
    extension = {"root-quorum": RootQuorum.make(2, ROOT.authority.signers).encode()}
    with pytest.raises(CertificateMalformed, match="not a root's"):
        forge(LAB.issuer, LAB.leaf, f16=extension)
    no_nonce = encode({1: 1, 2: 2, 3: list(ROOT.authority.signers)})
    for garbage in (b"", b"\x80", encode({1: 1, 2: 2, 3: []}), no_nonce):
        with pytest.raises(CertificateMalformed):
            forge(ROOT, LAB.line[0], f16={"root-quorum": garbage})


@pytest.mark.parametrize(
    ("threshold", "keys"),
    [
        (1, [key(1).public_key]),
        (0, [key(1).public_key, key(2).public_key]),
        (3, [key(1).public_key, key(2).public_key]),
        (1, [key(1).public_key, key(1).public_key]),
        (1, [key(1).public_key, b"short"]),
        (1, [key(seed).public_key for seed in range(1, MAX_CUSTODIANS + 2)]),
    ],
)
def test_a_quorum_that_makes_no_sense_is_neither_made_nor_read(
    threshold: int, keys: list[bytes]
) -> None:
    with pytest.raises(InvalidValue):
        RootQuorum.make(threshold, keys)
    with pytest.raises(NotCanonical):
        RootQuorum.decode(encode({1: 1, 2: threshold, 3: sorted(keys), 4: NONCE}))


def test_keys_in_another_order_are_the_same_quorum_made_and_none_read() -> None:
    one, other = ROOT.authority.signers[:2]
    two = [RootQuorum.make(2, keys, nonce=NONCE) for keys in ([one, other], [other, one])]
    assert two[0] == two[1]
    with pytest.raises(NotCanonical):
        RootQuorum.decode(encode({1: 1, 2: 2, 3: [other, one], 4: NONCE}))


def test_too_few_keys_at_hand_say_so() -> None:
    with pytest.raises(InvalidValue, match="2 keys must sign"):
        Custodians(ROOT.authority, (SORTED[0],)).sign("test", b"body")


def test_a_custodians_word_is_typed_right_or_refused() -> None:
    word = custodian_text(SORTED[0].public_key)
    assert parse_custodian(f" {word}\n") == SORTED[0].public_key
    for at in range(5, len(word)):
        other = "a" if word[at] != "a" else "b"
        with pytest.raises(InvalidValue, match="conclave root key"):
            parse_custodian(word[:at] + other + word[at + 1 :])
    for bad in ("", "root-", word[:-1], word.upper(), word + "a", "root-\u00e9"):
        with pytest.raises(InvalidValue):
            parse_custodian(bad)


def test_the_largest_quorum_fits_its_bounds() -> None:
    largest = line_of([quorum(MAX_CUSTODIANS, *range(21, 21 + MAX_CUSTODIANS))])
    assert len(largest.line[0].raw) < 900
    assert verify(largest.chain, largest.trust, NOW_MS)
    assert Genesis.decode(largest.genesis().raw).root.threshold == MAX_CUSTODIANS
    single_root = line_of([single(1)])
    assert Certificate.decode(single_root.line[0].raw).quorum is None

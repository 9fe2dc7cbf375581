"""`verify`: one test per refusal, and the order of the list."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable

import pytest
from keys_lab import BOTH, DAY_MS, NOW_MS, forge, lab, serial

import keys.refusals
from keys import Certificate, Chain, Permission, Role, verify, verify_issuer
from keys.canonical import encode
from keys.errors import CertificateRefused, RecordRefused, Refused
from keys.issuing import make_issuer, make_peer
from keys.refusals import (
    BadRoot,
    CertificateBadSignature,
    CertificateExpired,
    CertificateLivesTooLong,
    CertificateMalformed,
    CertificateNotYetValid,
    CertificateTooLarge,
    ChainLength,
    IssuerMayNotIssue,
    NamespacesTooWide,
    NotAPeer,
    PathTooLong,
    RolesTooWide,
    UnknownCritical,
    ValidityTooWide,
    WrongIssuer,
    WrongNetwork,
)
from keys.trust import MAX_CHAIN_BYTES, SKEW_MS

LAB = lab()
OTHER = lab(11)
ISSUER_KEY_ID = LAB.middle.key_id


def chain(leaf: Certificate = LAB.leaf, middle: Certificate = LAB.middle) -> Chain:
    return Chain((leaf, middle, LAB.top))


def forged_leaf(**changes: object) -> Chain:
    return chain(forge(LAB.issuer, LAB.leaf, **changes))


def forged_middle(**changes: object) -> Chain:
    return chain(middle=forge(LAB.root, LAB.middle, **changes))


def forged_top(**changes: object) -> Chain:
    return Chain((LAB.leaf, LAB.middle, forge(LAB.root, LAB.top, **changes)))


def test_a_whole_chain_makes_a_principal() -> None:
    principal = verify(Chain.decode(LAB.chain.encode()), LAB.trust, NOW_MS)
    assert principal.peer_id == LAB.peer.peer_id
    assert principal.name == "alpha"
    assert principal.roles == BOTH
    assert principal.network_id == LAB.trust.network_id
    assert principal.certificate_digest == LAB.leaf.digest
    assert principal.not_after_ms == LAB.leaf.not_after_ms
    assert principal.may(Permission.SERVE | Permission.AUDIT_READ)
    assert principal.may_in(Permission.SERVE, "shop")


def test_a_peer_that_the_root_signed_itself_is_a_member() -> None:
    leaf = make_peer(LAB.root, LAB.top, LAB.peer.public_key, "alpha", BOTH, NOW_MS)
    assert verify(Chain((leaf, LAB.top)), LAB.trust, NOW_MS).peer_id == LAB.peer.peer_id


def test_permissions_are_those_of_the_roles_and_namespaces_of_the_certificate() -> None:
    leaf = make_peer(
        LAB.issuer, LAB.middle, LAB.peer.public_key, "a", Role.SERVICE, NOW_MS, namespaces=["shop"]
    )
    principal = verify(chain(leaf), LAB.trust, NOW_MS)
    assert principal.may(Permission.SERVE)
    assert not principal.may(Permission.AUDIT_READ)
    assert not principal.may(Permission.SERVE | Permission.AUDIT_READ)
    assert principal.may_in(Permission.SERVE, "shop.eu")
    assert not principal.may_in(Permission.SERVE, "bank")
    assert not principal.may_in(Permission.AUDIT_READ, "shop")


def test_an_extension_that_is_not_critical_is_ignored() -> None:
    assert verify(forged_leaf(f17={"colour": b"red"}), LAB.trust, NOW_MS).name == "alpha"


def other_root_same_network() -> Chain:
    """Their own root, which claims our network id."""
    ours = LAB.top.key_id
    return Chain(
        (
            forge(OTHER.issuer, OTHER.leaf, f4=ours),
            forge(OTHER.root, OTHER.middle, f4=ours),
            forge(OTHER.root, OTHER.top, f4=ours),
        )
    )


def issuer_below_issuer() -> Chain:
    return Chain((forge(LAB.issuer, LAB.middle, f11=ISSUER_KEY_ID), LAB.middle, LAB.top))


def peer_below_peer() -> Chain:
    """A chain whose second certificate is a peer's, signed by the root."""
    middle = make_peer(LAB.root, LAB.top, LAB.issuer.public_key, "beta", BOTH, NOW_MS)
    return Chain((LAB.leaf, middle, LAB.top))


def root_below_root() -> Chain:
    """The root's own certificate once more in the middle, and a peer signed by the root."""
    leaf = make_peer(LAB.root, LAB.top, LAB.peer.public_key, "alpha", BOTH, NOW_MS)
    return Chain((leaf, LAB.top, LAB.top))


def narrow(**limits: object) -> Certificate:
    return make_issuer(
        LAB.root, LAB.top, LAB.issuer.public_key, "narrow", NOW_MS, serial=serial(2), **limits
    )  # type: ignore[arg-type]


REFUSALS: list[tuple[str, type[CertificateRefused], Callable[[], Chain]]] = [
    ("no certificate", ChainLength, lambda: Chain(())),
    ("the peer's alone", ChainLength, lambda: Chain((LAB.leaf,))),
    ("four", ChainLength, lambda: Chain((LAB.leaf, LAB.middle, LAB.middle, LAB.top))),
    ("another network", WrongNetwork, lambda: OTHER.chain),
    ("one of another network", WrongNetwork, lambda: Chain((OTHER.leaf, LAB.middle, LAB.top))),
    ("another network's name", WrongNetwork, lambda: forged_leaf(f5="wan")),
    ("unknown critical", UnknownCritical, lambda: forged_leaf(f16={"only-on-sundays": b""})),
    ("unknown critical above", UnknownCritical, lambda: forged_middle(f16={"x": b""})),
    ("a root that claims our network", BadRoot, other_root_same_network),
    ("no root at the end", BadRoot, lambda: Chain((LAB.leaf, LAB.middle))),
    ("a root of another kind", BadRoot, lambda: forged_top(f2=2)),
    ("a root with another issuer", BadRoot, lambda: forged_top(f11=ISSUER_KEY_ID)),
    (
        "a root signed by another",
        BadRoot,
        lambda: Chain((LAB.leaf, LAB.middle, forge(LAB.issuer, LAB.top))),
    ),
    ("another issuer named", WrongIssuer, lambda: forged_leaf(f11=OTHER.middle.key_id)),
    ("self-signed leaf", CertificateBadSignature, lambda: chain(forge(LAB.peer, LAB.leaf))),
    (
        "self-signed issuer",
        CertificateBadSignature,
        lambda: chain(middle=forge(LAB.issuer, LAB.middle)),
    ),
    ("an issuer shown as a peer", NotAPeer, lambda: Chain((LAB.middle, LAB.top))),
    ("an issuer under an issuer", NotAPeer, issuer_below_issuer),
    ("a peer's key used to issue", IssuerMayNotIssue, peer_below_peer),
    ("a root below a root", IssuerMayNotIssue, root_below_root),
    ("no issuer allowed below", PathTooLong, lambda: forged_top(f15=0)),
    (
        "begins before its issuer",
        ValidityTooWide,
        lambda: forged_leaf(f12=LAB.middle.not_before_ms - 1),
    ),
    (
        "ends after its issuer",
        ValidityTooWide,
        lambda: forged_middle(f13=LAB.leaf.not_after_ms - 1),
    ),
    (
        "lives longer than its kind may",
        CertificateLivesTooLong,
        lambda: forged_leaf(f13=LAB.leaf.not_after_ms + 6 * 60_000),
    ),
    ("more roles", RolesTooWide, lambda: chain(middle=narrow(max_roles=Role.SERVICE))),
    ("an issuer that may give more", RolesTooWide, lambda: forged_top(f14=int(Role.SERVICE))),
    ("more namespaces", NamespacesTooWide, lambda: chain(middle=narrow(namespaces=["shop"]))),
]


@pytest.mark.parametrize(
    ("error", "build"), [row[1:] for row in REFUSALS], ids=[row[0] for row in REFUSALS]
)
def test_a_chain_is_refused_for_its_own_reason(
    error: type[CertificateRefused], build: Callable[[], Chain]
) -> None:
    with pytest.raises(error) as refused:
        verify(build(), LAB.trust, NOW_MS)
    assert type(refused.value) is error
    assert refused.value.definite


def test_a_chain_of_more_bytes_or_certificates_is_refused_unread() -> None:
    with pytest.raises(CertificateTooLarge):
        Chain.decode(bytes(MAX_CHAIN_BYTES + 1))
    with pytest.raises(ChainLength):
        Chain.decode(encode([b""] * 8))
    with pytest.raises(ChainLength):
        Chain.decode(encode([]))
    for value in (1, [1], {1: b""}, ["text"]):
        with pytest.raises(CertificateMalformed):
            Chain.decode(encode(value))


def test_clocks_may_differ_by_two_minutes_and_no_more() -> None:
    first_ms, last_ms = LAB.leaf.not_before_ms - SKEW_MS, LAB.leaf.not_after_ms + SKEW_MS
    assert verify(LAB.chain, LAB.trust, first_ms)
    assert verify(LAB.chain, LAB.trust, last_ms)
    with pytest.raises(CertificateNotYetValid):
        verify(LAB.chain, LAB.trust, first_ms - 1)
    with pytest.raises(CertificateExpired):
        verify(LAB.chain, LAB.trust, last_ms + 1)


def test_an_issuer_that_ended_takes_its_peers_with_it() -> None:
    """A peer's validity is inside its issuer's, so the issuer cannot end first."""
    late_ms = LAB.middle.not_after_ms - DAY_MS
    leaf = make_peer(LAB.issuer, LAB.middle, LAB.peer.public_key, "alpha", BOTH, late_ms)
    assert verify(chain(leaf), LAB.trust, late_ms).not_after_ms == LAB.middle.not_after_ms
    with pytest.raises(CertificateExpired):
        verify(chain(leaf), LAB.trust, LAB.middle.not_after_ms + SKEW_MS + 1)


def test_the_first_refusal_in_the_list_is_the_one_that_is_told() -> None:
    """The faults are added from the end of the list to its beginning, and none is taken away."""
    faults: list[tuple[type[CertificateRefused], dict[str, object]]] = [
        (ValidityTooWide, {"f12": 1, "f13": 2}),
        (WrongIssuer, {"f11": bytes(32)}),
        (UnknownCritical, {"f16": {"x": b""}}),
        (WrongNetwork, {"f4": bytes(32)}),
    ]
    collected: dict[str, object] = {}
    for error, fault in faults:
        collected.update(fault)
        with pytest.raises(error):
            verify(forged_leaf(**collected), LAB.trust, NOW_MS)


def test_the_chain_of_an_issuer_is_believed_as_an_issuers_only() -> None:
    above = Chain((LAB.middle, LAB.top))
    assert verify_issuer(above, LAB.trust, NOW_MS) == LAB.middle
    with pytest.raises(IssuerMayNotIssue):
        verify_issuer(LAB.chain, LAB.trust, NOW_MS)
    with pytest.raises(PathTooLong):
        verify_issuer(issuer_below_issuer(), LAB.trust, NOW_MS)
    with pytest.raises(CertificateExpired):
        verify_issuer(above, LAB.trust, LAB.middle.not_after_ms + SKEW_MS + 1)
    with pytest.raises(WrongNetwork):
        verify_issuer(above, OTHER.trust, NOW_MS)


def test_every_refusal_has_a_code_of_its_own() -> None:
    def below(kind: type[Refused]) -> list[type[Refused]]:
        return [kind, *(each for child in kind.__subclasses__() for each in below(child))]

    for module in pkgutil.walk_packages(keys.__path__, "keys."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    codes = [each.code for each in below(Refused)]
    assert len(codes) == len(set(codes)) > 35
    members = [each for each in vars(keys.refusals).values() if isinstance(each, type)]
    members = [each for each in members if each.__module__ == keys.refusals.__name__]
    assert all(issubclass(each, CertificateRefused | RecordRefused) for each in members)

"""Random chains are believed; with one constraint violated, each is refused by just that error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keys_lab import DAY_MS, HOUR_MS, NOW_MS, forge
from roots_lab import Line, Root, line_of, quorum, reforge, single

from keys import Certificate, CertificateRefused, Chain, Role, trust, verify
from keys.certificate import BACKDATE_MS, Rotation, assemble_certificate
from keys.issuing import make_issuer, make_peer
from keys.refusals import CertificateExpired, CertificateNotYetValid, duration
from keys.roles import ALL_ROLES
from keys.trust import MAX_ABOVE, SKEW_MS

NAMESPACES = (("*",), ("shop",), ("bank", "shop"), ("bank", "shop.eu"))


@dataclass(frozen=True)
class Network:
    line: Line
    max_roles: Role
    roles: Role
    namespaces: tuple[str, ...]
    days: int
    begun_ms: int

    @property
    def root(self) -> Root:
        return self.line.roots[-1]

    @property
    def top(self) -> Certificate:
        return self.line.line[0]

    @property
    def middle(self) -> Certificate:
        return make_issuer(
            self.root,
            self.top,
            self.line.issuer.public_key,
            "issuer",
            NOW_MS,
            max_roles=self.max_roles,
            namespaces=self.namespaces,
            days=self.days,
        )

    @property
    def leaf(self) -> Certificate:
        return self.leaf_below(self.middle)

    def leaf_below(self, middle: Certificate) -> Certificate:
        return make_peer(
            self.line.issuer,
            middle,
            self.line.peer.public_key,
            "peer",
            self.roles,
            self.begun_ms,
            namespaces=self.namespaces,
        )

    def chain(self, leaf: Certificate | None = None, middle: Certificate | None = None) -> Chain:
        return Chain((leaf or self.leaf, middle or self.middle, *self.line.line))


@st.composite
def networks(draw: st.DrawFn) -> Network:
    roots: list[Root] = []
    for at in range(draw(st.integers(1, 5))):
        seeds = range(20 + at * 5, 25 + at * 5)
        size = draw(st.integers(1, 4))
        if size == 1:
            roots.append(single(seeds[0]))
        else:
            roots.append(quorum(draw(st.integers(1, size)), *seeds[:size]))
    max_roles = Role(draw(st.integers(1, ALL_ROLES - 1)))
    return Network(
        line_of(roots),
        max_roles,
        max_roles & Role(draw(st.integers(0, ALL_ROLES))),
        draw(st.sampled_from(NAMESPACES)),
        draw(st.integers(1, 366)),
        NOW_MS + draw(st.integers(0, HOUR_MS)),
    )


@given(networks())
@settings(max_examples=40, deadline=None)
def test_a_chain_within_all_constraints_is_believed(network: Network) -> None:
    chain = Chain.decode(network.chain().encode())
    principal = verify(chain, network.line.trust, network.begun_ms)
    assert (principal.roles, principal.namespaces) == (network.roles, network.namespaces)
    assert principal.not_after_ms == min(each.not_after_ms for each in chain.current)


def _wider_role(network: Network) -> Chain:
    beyond = ALL_ROLES & ~network.max_roles
    leaf = network.leaf
    return network.chain(forge(network.line.issuer, leaf, f9=int(leaf.roles | beyond)))


def _wider_namespace(network: Network) -> Chain:
    middle = forge(network.root, network.middle, f10=["other"])
    return network.chain(middle=middle)


def _foreign_signature(network: Network) -> Chain:
    middle = network.middle
    forged = bytearray(middle.signature)
    forged[-1] ^= 1
    return network.chain(middle=assemble_certificate(middle.body, bytes(forged)))


def _issuer_again(network: Network) -> Chain:
    middle = network.middle
    return network.chain(forge(network.line.issuer, middle, f11=middle.key_id))


def _peer_as_issuer(network: Network) -> Chain:
    middle = forge(network.root, network.middle, f2=3, f14=0, f9=int(ALL_ROLES), f10=["*"])
    return network.chain(network.leaf, middle)


def _skipped(network: Network) -> Chain:
    """A successor that says a number other than its place."""
    roots = network.line.roots
    if len(roots) == 1:
        made = line_of([roots[0], single(9)])
        return Chain((made.leaf, made.middle, made.line[0]))
    said = network.top.rotation
    assert said is not None
    number = said.number + 1 if said.number < 4 else 1
    critical = {**dict(network.top.critical), "rotation": Rotation(number, NOW_MS).encode()}
    forged = reforge(roots[-2], roots[-1], network.top, f16=critical)
    return Chain((network.leaf, network.middle, forged, *network.line.line[1:]))


VIOLATIONS: dict[str, Callable[[Network], Chain]] = {
    "ChainLength": lambda n: Chain(n.line.line),
    "WrongNetwork": lambda n: n.chain(forge(n.line.issuer, n.leaf, f4=bytes(32))),
    "UnknownCritical": lambda n: n.chain(forge(n.line.issuer, n.leaf, f16={"sundays": b""})),
    "RotationRefused": _skipped,
    "BadRoot": lambda n: Chain((*n.chain().certificates[:-1], n.middle)),
    "WrongIssuer": lambda n: n.chain(forge(n.line.issuer, n.leaf, f11=bytes(32))),
    "CertificateBadSignature": _foreign_signature,
    "NotAPeer": _issuer_again,
    "IssuerMayNotIssue": _peer_as_issuer,
    "ValidityTooWide": lambda n: n.chain(
        forge(n.line.issuer, n.leaf, f13=n.middle.not_after_ms + 1)
    ),
    "CertificateLivesTooLong": lambda n: n.chain(
        middle=forge(n.root, n.middle, f13=n.middle.not_before_ms + 366 * DAY_MS + BACKDATE_MS + 1)
    ),
    "RolesTooWide": _wider_role,
    "NamespacesTooWide": _wider_namespace,
}


@given(networks(), st.sampled_from(sorted(VIOLATIONS)))
@settings(max_examples=250, deadline=None)
def test_one_violated_constraint_is_refused_by_exactly_its_error(
    network: Network, name: str
) -> None:
    chain = VIOLATIONS[name](network)
    with pytest.raises(CertificateRefused) as refused:
        verify(chain, network.line.trust, network.begun_ms)
    assert type(refused.value).__name__ == name, refused.value


@given(networks(), st.integers(1, 10_000_000))
@settings(max_examples=60, deadline=None)
def test_before_and_after_its_validity_every_chain_says_by_how_much(
    network: Network, beyond_ms: int
) -> None:
    chain = network.chain()
    early_ms = max(each.not_before_ms for each in chain.current) - SKEW_MS - beyond_ms
    late_ms = min(each.not_after_ms for each in chain.current) + SKEW_MS + beyond_ms
    by = duration(SKEW_MS + beyond_ms)
    with pytest.raises(CertificateNotYetValid, match=f"begins in {by}.*clock"):
        verify(chain, network.line.trust, early_ms)
    with pytest.raises(CertificateExpired, match=f"ended {by} ago.*clock"):
        verify(chain, network.line.trust, late_ms)


@given(networks(), st.integers(0, 1_000_000), st.integers(0, 7))
@settings(max_examples=150, deadline=None)
def test_a_bit_that_is_flipped_anywhere_is_refused(network: Network, at: int, bit: int) -> None:
    changed = bytearray(network.chain().encode())
    changed[at % len(changed)] ^= 1 << bit
    with pytest.raises(CertificateRefused):
        verify(Chain.decode(bytes(changed)), network.line.trust, network.begun_ms)


@given(networks())
@settings(max_examples=30, deadline=None)
def test_what_is_above_a_member_is_held_once_for_all_members(network: Network) -> None:
    data = network.chain().encode()
    once, again = Chain.decode(data), Chain.decode(data)
    assert once == again
    assert once.encode() == data
    pairs = zip(once.certificates, again.certificates, strict=True)
    assert [a is b for a, b in pairs] == [number > 0 for number in range(len(once.certificates))]
    assert trust._above.cache_info().currsize <= MAX_ABOVE
    members = [verify(chain, network.line.trust, network.begun_ms) for chain in (once, again)]
    assert members[0].above is members[1].above
    assert members[0].namespaces is members[1].namespaces
    assert trust._all_above.cache_info().currsize <= MAX_ABOVE

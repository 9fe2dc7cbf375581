"""Whether a chain of certificates makes its bearer a member: one ordered list of refusals.

`verify` runs the checks in the order of `_CHECKS`, and each has its own error and test. Cheap and
telling ones come first, signatures before anything that only the issuer can be blamed for. A child
never exceeds its issuer (RFC 5280 section 6 has the idea; the format is our own).

A chain ends with the network's first root, the one that its id names. Where that has successors
they stand before it, newest first, and the newest signed the issuers (`keys.rotation`).

What this module does not know: files, sockets, transport records, where revocation lists come from,
which clock says `now_ms` (Unix milliseconds).

Invariant: a `Principal` exists only for a chain that passed every check at that moment.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from keys.canonical import NotCanonical, decode, encode
from keys.certificate import (
    BACKDATE_MS,
    MAX_ROTATIONS,
    QUORUM,
    ROTATION,
    Certificate,
    CertificateKind,
)
from keys.identity import NetworkId, network_id_of
from keys.names import within
from keys.principal import Above, Principal, issued_at_ms
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
    RotationRefused,
    UnknownCritical,
    ValidityTooWide,
    WrongIssuer,
    WrongNetwork,
)
from keys.revocations import NOTHING_REVOKED, ListInForce, Revocable, Revocations
from keys.roles import permissions_of
from keys.rotation import RootsSeen

SHORTEST_CHAIN: Final = 2
LONGEST_CHAIN: Final = 3  # without the roots before the newest
MAX_CHAIN_BYTES: Final = 6000  # with a record it fits one message of the door, of 8 KiB
MAX_ABOVE: Final = 32  # certificates above members that are held once for all of these

DAY_MS: Final = 86_400_000
SKEW_MS: Final = 120_000  # and how far two clocks may differ when a validity is looked at
LIFETIME_MS: Final = {
    CertificateKind.ROOT: 3653 * DAY_MS,
    CertificateKind.ISSUER: 366 * DAY_MS,
    CertificateKind.PEER: 90 * DAY_MS,
}
KNOWN_CRITICAL: Final[frozenset[str]] = frozenset({QUORUM, ROTATION})


@dataclass(frozen=True, slots=True)
class Trust:
    """What we believe before we hear anybody: the fingerprint of the network's first root key.

    `seen` is what we have learned of its successors since; it grows while a node runs. What was
    revoked is a snapshot: who hears more makes another `Trust`.
    """

    network_id: NetworkId
    seen: RootsSeen | None = field(default=None, compare=False)
    revocations: Revocations = field(default=NOTHING_REVOKED, compare=False)


@dataclass(frozen=True, slots=True)
class Chain:
    """Certificates from the peer's own (the leaf) up to the root. Not believed until verified."""

    certificates: tuple[Certificate, ...]

    @property
    def leaf(self) -> Certificate:
        return self.certificates[0]

    @property
    def rotations(self) -> int:
        """How many of its roots are successors of the first one."""
        return sum(each.rotation is not None for each in self.certificates)

    @property
    def roots(self) -> tuple[Certificate, ...]:
        """The newest root, and those before it down to the first."""
        return self.certificates[-1 - self.rotations :]

    @property
    def current(self) -> tuple[Certificate, ...]:
        """The certificates that must be valid now: all but the roots before the newest."""
        return self.certificates[: len(self.certificates) - self.rotations]

    @property
    def root(self) -> Certificate:
        """The root that its issuers are signed by."""
        return self.roots[0]

    def encode(self) -> bytes:
        return encode([certificate.raw for certificate in self.certificates])

    @classmethod
    def decode(cls, data: bytes) -> Chain:
        """
        Raises:
            CertificateRefused: too long, or a certificate of it is not well formed.
        """
        if len(data) > MAX_CHAIN_BYTES:
            raise CertificateTooLarge(len(data), MAX_CHAIN_BYTES)
        try:
            items = decode(data, MAX_CHAIN_BYTES)
        except NotCanonical as error:
            raise CertificateMalformed(f"the chain is {error}") from error
        if not isinstance(items, list) or not all(type(item) is bytes for item in items):
            raise CertificateMalformed("the chain is not a list of certificates")
        if not 1 <= len(items) <= LONGEST_CHAIN + MAX_ROTATIONS:
            raise ChainLength(len(items), SHORTEST_CHAIN, LONGEST_CHAIN)
        return cls((Certificate.decode(items[0]), *map(_above, items[1:])))


@lru_cache(maxsize=MAX_ABOVE)
def _above(raw: bytes) -> Certificate:
    """An issuer's or a root's: above every member, so it is read once and held once. What was read
    says nothing of whether it is believed; strangers can at most make us read one again.

    Raises:
        CertificateRefused
    """
    return Certificate.decode(raw)


def verify(chain: Chain, trust: Trust, now_ms: int) -> Principal:
    """The principal that this chain proves.

    Raises:
        CertificateRefused: the first check in the list that it fails.
    """
    for check in _CHECKS:
        check(chain, trust, now_ms)
    leaf, ends = chain.leaf, [each.not_after_ms for each in chain.current]
    until_ms = trust.seen.judge(chain.roots, now_ms, SKEW_MS) if trust.seen is not None else None
    if until_ms is not None:
        ends.append(until_ms)
    return Principal(
        peer_id=leaf.peer_id,
        name=leaf.name,
        public_key=leaf.public_key,
        roles=leaf.roles,
        permissions=permissions_of(leaf.roles),
        namespaces=_held_once(leaf.namespaces),
        serial=leaf.serial,
        certificate_digest=leaf.digest,
        not_after_ms=min(ends),
        above=_all_above(chain.certificates[1:]),
        not_before_ms=leaf.not_before_ms,
        renewed_from=leaf.renewed_from,
    )


def verify_issuer(chain: Chain, trust: Trust, now_ms: int) -> Certificate:
    """The certificate of an issuer whose chain (itself, then the root) may sign peers now.

    Raises:
        CertificateRefused: as `verify`, and `IssuerMayNotIssue` for a peer's chain.
    """
    for check in _CHECKS:
        if check is not _leaf_is_a_peer:
            check(chain, trust, now_ms)
    if chain.leaf.kind is not CertificateKind.ISSUER:
        raise IssuerMayNotIssue(chain.leaf.name, chain.leaf.kind.name.lower())
    return chain.leaf


def revoked_by(chain: Chain, trust: Trust) -> ListInForce | None:
    """The list by which `verify` has found this chain revoked: its bearer can judge by it too."""
    return trust.revocations.against(_lineage(chain))


def verify_line(roots: tuple[Certificate, ...], trust: Trust) -> None:
    """Whether these are roots of this network, newest first, whatever the time is now.

    Raises:
        CertificateRefused
    """
    if not roots:
        raise ChainLength(0, 1, 1 + MAX_ROTATIONS)
    line = Chain(roots)
    if len(line.roots) != len(roots):
        raise RotationRefused(f"there are {len(roots)} roots and {line.rotations} rotations")
    for check in (_network, _critical, _rotations, _root, _signatures, _issuers, _validity):
        check(line, trust, 0)


def verify_signer(chain: Chain, trust: Trust) -> Certificate:
    """The certificate of an issuer or a root whose chain is authentic, whatever the time is.

    Enough to believe what it takes back, and not to believe what it gives.

    Raises:
        CertificateRefused: as `verify`, and `IssuerMayNotIssue` for a peer's chain.
    """
    for check in _CHECKS:
        if check not in (_length, _leaf_is_a_peer, _revoked, _now):
            check(chain, trust, 0)
    if chain.leaf.kind is CertificateKind.PEER:
        raise IssuerMayNotIssue(chain.leaf.name, chain.leaf.kind.name.lower())
    return chain.leaf


def _length(chain: Chain, trust: Trust, now_ms: int) -> None:
    count = len(chain.current)
    if not SHORTEST_CHAIN <= count <= LONGEST_CHAIN:
        raise ChainLength(count, SHORTEST_CHAIN, LONGEST_CHAIN)


def _network(chain: Chain, trust: Trust, now_ms: int) -> None:
    for each in chain.certificates:
        if each.network_id != trust.network_id:
            raise WrongNetwork(each.network_id, trust.network_id)
        if each.network_name != chain.certificates[-1].network_name:
            raise WrongNetwork(repr(each.network_name), repr(chain.certificates[-1].network_name))


def _critical(chain: Chain, trust: Trust, now_ms: int) -> None:
    for each in chain.certificates:
        for name, _ in each.critical:
            if name not in KNOWN_CRITICAL:
                raise UnknownCritical(name)


def _rotations(chain: Chain, trust: Trust, now_ms: int) -> None:
    """The first root stands last; before it the successors, numbered from it."""
    for number, root in enumerate(reversed(chain.roots)):
        said = root.rotation.number if root.rotation is not None else 0
        if said != number:
            raise RotationRefused(f"root {number} of it says that it is number {said}")


def _root(chain: Chain, trust: Trust, now_ms: int) -> None:
    root = chain.certificates[-1]
    if network_id_of(root.public_key) != trust.network_id:
        raise BadRoot("its last key is not the one whose fingerprint names the network")
    if root.kind is not CertificateKind.ROOT:
        raise BadRoot(f"its last certificate is a {root.kind.name.lower()} certificate")
    if root.issuer_key_id != root.key_id:
        raise BadRoot("its root names another issuer than itself")
    if not root.is_signed_by(root.authority):
        raise BadRoot("its root is not signed by itself")


def _signatures(chain: Chain, trust: Trust, now_ms: int) -> None:
    for child, issuer in _links(chain):
        if child.issuer_key_id != issuer.key_id:
            raise WrongIssuer(child.name)
        if not child.is_signed_by(issuer.authority):
            raise CertificateBadSignature(child.name)


def _leaf_is_a_peer(chain: Chain, trust: Trust, now_ms: int) -> None:
    if chain.leaf.kind is not CertificateKind.PEER:
        raise NotAPeer(chain.leaf.name, chain.leaf.kind.name.lower())


def _issuers(chain: Chain, trust: Trust, now_ms: int) -> None:
    for child, issuer in _links(chain):
        is_another_root = child.kind is CertificateKind.ROOT and child.rotation is None
        if issuer.kind is CertificateKind.PEER or is_another_root:
            raise IssuerMayNotIssue(issuer.name, issuer.kind.name.lower())


def _path(chain: Chain, trust: Trust, now_ms: int) -> None:
    for position, each in enumerate(chain.certificates):
        below = sum(other.kind is CertificateKind.ISSUER for other in chain.certificates[:position])
        if each.kind is not CertificateKind.PEER and below > each.path_length:
            raise PathTooLong(each.name, each.path_length, below)


def _validity(chain: Chain, trust: Trust, now_ms: int) -> None:
    for child, issuer in _links(chain):
        begins_inside = issuer.not_before_ms <= child.not_before_ms <= issuer.not_after_ms
        # A successor outlives the root that it follows: that is what it is for.
        ends_inside = child.rotation is not None or child.not_after_ms <= issuer.not_after_ms
        if not (begins_inside and ends_inside):
            raise ValidityTooWide(child.name, issuer.name)
    for each in chain.certificates:
        lifetime_ms = each.not_after_ms - each.not_before_ms
        limit_ms = LIFETIME_MS[each.kind] + BACKDATE_MS
        if lifetime_ms > limit_ms:
            raise CertificateLivesTooLong(each.name, lifetime_ms, limit_ms)


def _rights(chain: Chain, trust: Trust, now_ms: int) -> None:
    for child, issuer in _links(chain):
        # As numbers: an operation of two flags is ten times as slow.
        if (int(child.roles) | int(child.max_roles)) & ~int(issuer.max_roles):
            raise RolesTooWide(child.name, issuer.name)
        if not all(within(namespace, issuer.namespaces) for namespace in child.namespaces):
            raise NamespacesTooWide(child.name, issuer.name)


def _superseded(chain: Chain, trust: Trust, now_ms: int) -> None:
    if trust.seen is not None:
        trust.seen.judge(chain.roots, now_ms, SKEW_MS)


def _revoked(chain: Chain, trust: Trust, now_ms: int) -> None:
    if len(trust.revocations):
        trust.revocations.check(_lineage(chain))


def _now(chain: Chain, trust: Trust, now_ms: int) -> None:
    for each in chain.current:
        if now_ms < each.not_before_ms - SKEW_MS:
            raise CertificateNotYetValid(each.name, each.not_before_ms - now_ms)
        if now_ms > each.not_after_ms + SKEW_MS:
            raise CertificateExpired(each.name, now_ms - each.not_after_ms)


def _lineage(chain: Chain) -> tuple[Revocable, ...]:
    leaf = chain.leaf
    return _all_above(chain.certificates[1:]).lineage(
        leaf.name, leaf.serial, leaf.key_id, leaf.not_before_ms, leaf.renewed_from
    )


@lru_cache(maxsize=MAX_ABOVE)
def _all_above(certificates: tuple[Certificate, ...]) -> Above:
    """Of an issuer and what is above it: the same object for all whom this issuer signs."""
    chain = Chain(certificates)
    issuer, top = chain.leaf, chain.root.key_id
    return Above(
        network_id=issuer.network_id,
        network_name=issuer.network_name,
        issuer_key_id=issuer.key_id,
        root_key_id=top,
        not_before_ms=issuer.not_before_ms,
        roots=chain.roots if chain.rotations else (),
        issuers=tuple(
            _revocable(child, above, top)
            for child, above in _links(chain)
            if child.kind is not CertificateKind.ROOT
        ),
    )


def _revocable(child: Certificate, issuer: Certificate, top: bytes) -> Revocable:
    issued_ms = issued_at_ms(child.not_before_ms, issuer.not_before_ms)
    return Revocable(child.name, child.issuer_key_id, child.serial, child.key_id, issued_ms, top)


@lru_cache(maxsize=MAX_ABOVE)
def _held_once(namespaces: tuple[str, ...]) -> tuple[str, ...]:
    return namespaces


def _links(chain: Chain) -> list[tuple[Certificate, Certificate]]:
    """(child, its issuer), from the root downwards."""
    certificates = chain.certificates
    return [(certificates[at], certificates[at + 1]) for at in range(len(certificates) - 2, -1, -1)]


_CHECKS: Final[tuple[Callable[[Chain, Trust, int], None], ...]] = (
    _length,
    _network,
    _critical,
    _rotations,
    _root,
    _signatures,
    _leaf_is_a_peer,
    _issuers,
    _path,
    _validity,
    _rights,
    _superseded,
    _revoked,
    _now,
)

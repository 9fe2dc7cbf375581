"""A member as `keys.trust` saw it: what every later check asks.

A node keeps one for each peer that it has met. So what is said above a member's own certificate is
one object for all members below the same issuer, and what a revocation could name is put together
when somebody asks, which is when lists change.

What this module does not know: why a member is believed, chains, which lists are in force.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from keys.certificate import BACKDATE_MS, Certificate
from keys.identity import NetworkId, PeerId, fingerprint
from keys.names import within
from keys.revocations import Revocable
from keys.roles import Permission, Role, permissions_of


@dataclass(frozen=True, slots=True)
class Above:
    """What is above the members below one issuer.

    Attributes:
        not_before_ms: of the issuer's own certificate.
        roots: of a chain whose root has successors: `RootsSeen.learn`.
        issuers: what a revocation could name of it, the highest first.
    """

    network_id: NetworkId
    network_name: str
    issuer_key_id: bytes
    root_key_id: bytes
    not_before_ms: int = 0
    roots: tuple[Certificate, ...] = ()
    issuers: tuple[Revocable, ...] = ()

    def lineage(
        self,
        name: str,
        serial: bytes,
        key_id: bytes,
        not_before_ms: int,
        renewed_from: tuple[bytes, ...],
    ) -> tuple[Revocable, ...]:
        """All below the root, the highest first, with the certificate below the issuer.

        A peer that other issuers renewed before stands for what those gave it as well, and they
        stand for themselves: a renewal elsewhere undoes no revocation.
        """
        top, issued_ms = self.root_key_id, issued_at_ms(not_before_ms, self.not_before_ms)
        found = [
            *self.issuers,
            Revocable(name, self.issuer_key_id, serial, key_id, issued_ms, top),
        ]
        for issuer in renewed_from:
            found.append(Revocable("the issuer before", top, b"", issuer, issued_ms, top))
            found.append(Revocable(name, issuer, b"", key_id, issued_ms, top))
        return tuple(found)


def issued_at_ms(not_before_ms: int, issuer_not_before_ms: int) -> int:
    """Each certificate is dated back, but never beyond its issuer's."""
    return not_before_ms + (BACKDATE_MS if not_before_ms > issuer_not_before_ms else 0)


@dataclass(frozen=True, slots=True)
class Principal:
    """Made by `keys.trust.verify`."""

    peer_id: PeerId
    name: str
    public_key: bytes
    roles: Role
    permissions: Permission
    namespaces: tuple[str, ...]
    serial: bytes
    certificate_digest: bytes
    not_after_ms: int  # the earliest end in its chain, and of the time that its root has left
    above: Above
    not_before_ms: int = 0  # of its own certificate: which of two is the newer one
    renewed_from: tuple[bytes, ...] = ()  # key ids of issuers before this one

    @property
    def network_id(self) -> NetworkId:
        return self.above.network_id

    @property
    def network_name(self) -> str:
        return self.above.network_name

    @property
    def issuer_key_id(self) -> bytes:
        return self.above.issuer_key_id

    @property
    def roots(self) -> tuple[Certificate, ...]:
        """Of a chain whose root has successors."""
        return self.above.roots

    @property
    def lineage(self) -> tuple[Revocable, ...]:
        """What a revocation could name in its chain, the highest first."""
        key_id = fingerprint(self.public_key)
        return self.above.lineage(
            self.name, self.serial, key_id, self.not_before_ms, self.renewed_from
        )

    def may(self, permission: Permission) -> bool:
        """Whether it holds all of these permissions."""
        return permission in self.permissions

    def may_in(self, permission: Permission, namespace: str) -> bool:
        return permission in self.permissions and within(namespace, self.namespaces)

    def has_rights_of(self, other: Principal) -> bool:
        return (self.roles, self.namespaces) == (other.roles, other.namespaces)

    def within_rights_of(self, other: Principal) -> Principal:
        """This one, with nothing that the other one has not."""
        ours, theirs, roles = self.namespaces, other.namespaces, self.roles & other.roles
        shared = {n for n in ours if within(n, theirs)} | {n for n in theirs if within(n, ours)}
        if (roles, shared) == (self.roles, set(ours)):
            return self
        return replace(
            self,
            roles=roles,
            permissions=self.permissions & permissions_of(roles),
            namespaces=tuple(sorted(shared)),
            # What the guard remembers of somebody, it remembers by this.
            certificate_digest=fingerprint(self.certificate_digest + other.certificate_digest),
        )

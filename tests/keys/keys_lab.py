"""A small network with fixed keys, and the means to forge certificates in it."""

from __future__ import annotations

from dataclasses import dataclass

from keys import (
    Certificate,
    Chain,
    Genesis,
    Identity,
    Principal,
    Role,
    TransportRecord,
    Trust,
    verify,
)
from keys.canonical import decode
from keys.certificate import sign_certificate
from keys.issuing import make_issuer, make_peer, make_root

NOW_MS = 1_700_000_000_000
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
PORTS = {"door": 4747, "control": 4748, "data": 4749, "topics": 4750}
BOTH = Role.ADMIN | Role.SERVICE


def key(seed: int) -> Identity:
    return Identity.from_secret(bytes([seed]) * 32)


def serial(seed: int) -> bytes:
    return bytes([seed]) * 16


@dataclass(frozen=True)
class Lab:
    """A network of one root (key 1), one issuer (key 2) and one peer (key 3), made at NOW_MS."""

    root: Identity
    issuer: Identity
    peer: Identity
    top: Certificate
    middle: Certificate
    leaf: Certificate

    @property
    def chain(self) -> Chain:
        return Chain((self.leaf, self.middle, self.top))

    @property
    def trust(self) -> Trust:
        return Trust(self.top.network_id)

    @property
    def principal(self) -> Principal:
        return verify(self.chain, self.trust, NOW_MS)

    def genesis(self, voters: int = 3) -> Genesis:
        return Genesis.make(self.root, self.issuer.public_key, "lan", voters, NOW_MS)

    def record(self, sequence: int = 7) -> TransportRecord:
        return TransportRecord.make(
            self.peer,
            self.chain,
            sequence=sequence,
            curve_public=bytes(range(32)),
            hosts=["192.0.2.7", "fe80::7"],
            ports=PORTS,
            now_ms=NOW_MS,
        )


def lab(first_seed: int = 1) -> Lab:
    root, issuer, peer = (key(first_seed + step) for step in range(3))
    top = make_root(root, "lan", NOW_MS, serial=serial(first_seed))
    middle = make_issuer(
        root, top, issuer.public_key, "alpha-issuer", NOW_MS, serial=serial(first_seed + 1)
    )
    leaf = make_peer(
        issuer, middle, peer.public_key, "alpha", BOTH, NOW_MS, serial=serial(first_seed + 2)
    )
    return Lab(root, issuer, peer, top, middle, leaf)


def fields_of(body: bytes) -> dict[int, object]:
    fields = decode(body, 4096)
    assert isinstance(fields, dict)
    return fields


def forge(signer: Identity, original: Certificate, **changes: object) -> Certificate:
    """The certificate with fields `f<number>` changed, signed by `signer` whatever it may do."""
    numbers = {int(name[1:]): value for name, value in changes.items()}
    return sign_certificate(signer, {**fields_of(original.body), **numbers})

"""A certificate: who signed that this key is this peer, with these roles, until then.

`[body, signature]`, the body a map with integer keys in canonical msgpack (FORMAT.md). The received
bytes are kept: the signature is checked over them, and `keys.canonical` makes sure that they are
the only bytes which mean this. A certificate is named by (issuer, serial) or by its public key,
and `digest` covers the body alone: never by a hash that covers the signature.

What this module does not know: whether a certificate is to be believed (`keys.trust`), how one is
made (`keys.issue`), time.

Invariant: what `decode` returns is well formed in itself; the signature is not yet checked.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from keys.canonical import Fields, NotCanonical, decode, encode, pair
from keys.identity import (
    FINGERPRINT_BYTES,
    KEY_BYTES,
    Identity,
    NetworkId,
    PeerId,
    encode_id,
    fingerprint,
    peer_id_of,
    verify_signature,
)
from keys.names import MAX_NAMESPACES, name_problem, namespaces_problem
from keys.refusals import CertificateMalformed, CertificateTooLarge, NameRefused, UnknownVersion
from keys.roles import ALL_ROLES, Role

VERSION: Final = 1
MAX_CERTIFICATE_BYTES: Final = 2048
SERIAL_BYTES: Final = 16
MAX_PATH_LENGTH: Final = 1
DOMAIN: Final = "certificate"

_MAX_EXTENSIONS: Final = 8
_MAX_EXTENSION_BYTES: Final = 512


class CertificateKind(IntEnum):
    ROOT = 1  # kept offline; signs issuers
    ISSUER = 2  # signs peers
    PEER = 3  # takes part; signs no certificate


@dataclass(frozen=True, slots=True)
class Certificate:
    """Read `raw` with `decode`; every other field is what it says."""

    kind: CertificateKind
    serial: bytes
    network_id: NetworkId
    network_name: str
    public_key: bytes
    peer_id: PeerId
    name: str
    roles: Role
    namespaces: tuple[str, ...]
    issuer_key_id: bytes  # fingerprint of the issuer's public key
    not_before_ms: int
    not_after_ms: int
    max_roles: Role  # what it may give; none for a peer
    path_length: int  # how many issuers may stand between it and a peer
    critical: tuple[tuple[str, bytes], ...]  # who does not know one must refuse
    extensions: tuple[tuple[str, bytes], ...]  # who does not know one ignores it
    body: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    raw: bytes = field(repr=False)
    v: int = VERSION

    @property
    def digest(self) -> bytes:
        """Fingerprint of the body; a transport record names its certificate by it."""
        return fingerprint(self.body)

    @property
    def key_id(self) -> bytes:
        """What certificates issued by this key carry as `issuer_key_id`."""
        return fingerprint(self.public_key)

    def is_signed_by(self, public_key: bytes) -> bool:
        return verify_signature(public_key, DOMAIN, self.body, self.signature)

    @classmethod
    def decode(cls, raw: bytes) -> Certificate:
        """
        Raises:
            CertificateTooLarge, CertificateMalformed, UnknownVersion, NameRefused.
        """
        if len(raw) > MAX_CERTIFICATE_BYTES:
            raise CertificateTooLarge(len(raw), MAX_CERTIFICATE_BYTES)
        try:
            body, signature = pair(decode(raw, MAX_CERTIFICATE_BYTES), MAX_CERTIFICATE_BYTES)
            fields = Fields(decode(body, MAX_CERTIFICATE_BYTES))
            version = fields.integer(1)
            if version != VERSION:
                raise UnknownVersion(version)
            certificate = _read(fields, raw, body, signature)
            fields.finish()
        except NotCanonical as error:
            raise CertificateMalformed(str(error)) from error
        _check_alone(certificate)
        return certificate


def sign_certificate(issuer: Identity, fields: dict[int, object]) -> Certificate:
    """Sign the fields 2 to 17 of FORMAT.md. For `keys.issue` and tests; checks no rights."""
    body = encode({1: VERSION, **fields})
    return Certificate.decode(encode([body, issuer.sign(DOMAIN, body)]))


def _read(fields: Fields, raw: bytes, body: bytes, signature: bytes) -> Certificate:
    kind = fields.integer(2, 1, 3)
    return Certificate(
        kind=CertificateKind(kind),
        serial=fields.binary(3, SERIAL_BYTES),
        network_id=NetworkId(encode_id(fields.binary(4, FINGERPRINT_BYTES))),
        network_name=fields.text(5, MAX_CERTIFICATE_BYTES),
        public_key=fields.binary(6, KEY_BYTES),
        peer_id=PeerId(encode_id(fields.binary(7, FINGERPRINT_BYTES))),
        name=fields.text(8, MAX_CERTIFICATE_BYTES),
        roles=Role(fields.integer(9, 0, ALL_ROLES)),
        namespaces=fields.texts(10, MAX_NAMESPACES, MAX_CERTIFICATE_BYTES),
        issuer_key_id=fields.binary(11, FINGERPRINT_BYTES),
        not_before_ms=fields.integer(12),
        not_after_ms=fields.integer(13),
        max_roles=Role(fields.integer(14, 0, ALL_ROLES)),
        path_length=fields.integer(15, 0, MAX_PATH_LENGTH),
        critical=_extensions(fields, 16),
        extensions=_extensions(fields, 17),
        body=body,
        signature=signature,
        raw=raw,
    )


def _extensions(fields: Fields, key: int) -> tuple[tuple[str, bytes], ...]:
    table = fields.table(key, _MAX_EXTENSIONS)
    found: list[tuple[str, bytes]] = []
    for name, value in table.items():
        if type(value) is not bytes or len(value) > _MAX_EXTENSION_BYTES:
            raise NotCanonical(f"extension {name!r} is not at most {_MAX_EXTENSION_BYTES} bytes")
        found.append((name, value))
    return tuple(found)


def _check_alone(certificate: Certificate) -> None:
    """What can be said of one certificate without any other."""
    for name in (certificate.network_name, certificate.name):
        problem = name_problem(name)
        if problem:
            raise NameRefused(name, problem)
    problem = namespaces_problem(certificate.namespaces)
    if problem:
        raise CertificateMalformed(f"its namespaces: {problem}")
    if certificate.peer_id != peer_id_of(certificate.public_key):
        raise CertificateMalformed("its peer id is not the fingerprint of its key")
    if certificate.not_before_ms >= certificate.not_after_ms:
        raise CertificateMalformed("it ends before it begins")
    is_peer = certificate.kind is CertificateKind.PEER
    if is_peer and (certificate.max_roles or certificate.path_length):
        raise CertificateMalformed("a peer's certificate claims that it may issue others")
    if not is_peer and certificate.roles:
        raise CertificateMalformed("a certificate that signs others claims roles for itself")

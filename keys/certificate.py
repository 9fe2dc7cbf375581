"""A certificate: who signed that this key is this peer, with these roles, until then.

`[body, signature]`, the body a map with integer keys in canonical msgpack (FORMAT.md). The received
bytes are kept: the signature is checked over them, and `keys.canonical` makes sure that they are
the only bytes which mean this. A certificate is named by (issuer, serial) or by its public key,
and `digest` covers the body alone: never by a hash that covers the signature.

Two critical extensions are known, both of roots only. `root-quorum` says which keys sign for the
root (`keys.rootquorum`). `rotation` makes a root the successor of another: it names that one as its
issuer, and both have signed it.

One extension that is not critical is known, of peers only. `renewed-from` names the issuers whose
certificates a peer showed when others renewed them: what such an issuer takes back, and what is
taken back of it, means the renewed certificate too (`keys.trust`).

What this module does not know: whether a certificate is to be believed (`keys.trust`), how one is
made (`keys.issuing`), time.

Invariant: what `decode` returns is well formed in itself; the signature is not yet checked.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Final, Protocol

from keys.canonical import Fields, NotCanonical, decode, encode, pair
from keys.identity import (
    FINGERPRINT_BYTES,
    KEY_BYTES,
    NetworkId,
    PeerId,
    encode_id,
    fingerprint,
    peer_id_of,
)
from keys.names import MAX_NAMESPACES, name_problem, namespaces_problem
from keys.refusals import CertificateMalformed, CertificateTooLarge, NameRefused, UnknownVersion
from keys.roles import ALL_ROLES, Role
from keys.rootquorum import MAX_SIGNATURE_BYTES, Authority, RootQuorum

VERSION: Final = 1
MAX_CERTIFICATE_BYTES: Final = 2048
SERIAL_BYTES: Final = 16
MAX_PATH_LENGTH: Final = 1
DOMAIN: Final = "certificate"
QUORUM: Final = "root-quorum"
ROTATION: Final = "rotation"
RENEWED_FROM: Final = "renewed-from"
MAX_RENEWED_FROM: Final = 8
MAX_ROTATIONS: Final = 4
BACKDATE_MS: Final = 5 * 60_000  # so that a fresh certificate is valid on a clock that is behind

_LONGEST_SIGNATURE: Final = 2 * (MAX_SIGNATURE_BYTES + 3) + 1  # by the old root and by the new
_MAX_EXTENSIONS: Final = 8
_MAX_EXTENSION_BYTES: Final = 512


class CertificateKind(IntEnum):
    ROOT = 1  # kept offline; signs issuers
    ISSUER = 2  # signs peers
    PEER = 3  # takes part; signs no certificate


@dataclass(frozen=True, slots=True)
class Rotation:
    """What makes a root the successor of the one that it names as its issuer."""

    number: int  # 1 for the first successor, and so on
    old_until_ms: int  # so long chains of the old root are still accepted

    def encode(self) -> bytes:
        return encode({1: self.number, 2: self.old_until_ms})

    @classmethod
    def decode(cls, data: bytes) -> Rotation:
        """
        Raises:
            NotCanonical
        """
        fields = Fields(decode(data, _MAX_EXTENSION_BYTES))
        rotation = cls(fields.integer(1, 1, MAX_ROTATIONS), fields.integer(2))
        fields.finish()
        return rotation


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
    quorum: RootQuorum | None  # a root's keys, if it has several
    rotation: Rotation | None  # a root's place behind the first one
    renewed_from: tuple[bytes, ...]  # key ids of issuers before this one, of a peer
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

    @property
    def authority(self) -> Authority:
        """Whose signature the certificates below it need."""
        return Authority(self.public_key, self.quorum)

    def is_signed_by(self, issuer: Authority) -> bool:
        """Whether the issuer signed it; a successor of a root must have signed itself as well."""
        if self.rotation is None:
            return issuer.has_signed(DOMAIN, self.body, self.signature)
        try:
            by_old, by_new = _two(decode(self.signature, _LONGEST_SIGNATURE))
        except NotCanonical:
            return False
        old_signed = issuer.has_signed(DOMAIN, self.body, by_old)
        return old_signed and self.authority.has_signed(DOMAIN, self.body, by_new)

    @classmethod
    def decode(cls, raw: bytes) -> Certificate:
        """
        Raises:
            CertificateTooLarge, CertificateMalformed, UnknownVersion, NameRefused.
        """
        if len(raw) > MAX_CERTIFICATE_BYTES:
            raise CertificateTooLarge(len(raw), MAX_CERTIFICATE_BYTES)
        try:
            body, signature = pair(
                decode(raw, MAX_CERTIFICATE_BYTES),
                MAX_CERTIFICATE_BYTES,
                longest=_LONGEST_SIGNATURE,
            )
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


class Signer(Protocol):
    """An `Identity`, or the custodians of a root quorum."""

    @property
    def public_key(self) -> bytes: ...

    def sign(self, domain: str, body: bytes) -> bytes: ...


def certificate_body(fields: dict[int, object]) -> bytes:
    """What is to be signed, of the fields 2 to 17 of FORMAT.md. Checks no rights."""
    return encode({1: VERSION, **fields})


def assemble_certificate(body: bytes, signature: bytes) -> Certificate:
    """A body and its issuer's signature; of a root's successor, see `both_signed`."""
    return Certificate.decode(encode([body, signature]))


def both_signed(by_old: bytes, by_new: bytes) -> bytes:
    """The signature of a root's successor."""
    return encode([by_old, by_new])


def sign_certificate(issuer: Signer, fields: dict[int, object]) -> Certificate:
    """Sign the fields 2 to 17 of FORMAT.md. For `keys.issuing` and tests; checks no rights."""
    body = certificate_body(fields)
    return assemble_certificate(body, issuer.sign(DOMAIN, body))


def _read(fields: Fields, raw: bytes, body: bytes, signature: bytes) -> Certificate:
    kind = fields.integer(2, 1, 3)
    certificate = Certificate(
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
        quorum=None,
        rotation=None,
        renewed_from=(),
        body=body,
        signature=signature,
        raw=raw,
    )
    critical = dict(certificate.critical)
    quorum, rotation = critical.get(QUORUM), critical.get(ROTATION)
    before = dict(certificate.extensions).get(RENEWED_FROM)
    if quorum is None and rotation is None and before is None:
        return certificate
    return replace(
        certificate,
        quorum=RootQuorum.decode(quorum) if quorum is not None else None,
        rotation=Rotation.decode(rotation) if rotation is not None else None,
        renewed_from=_decode_renewed_from(before) if before is not None else (),
    )


def _two(value: object) -> tuple[bytes, bytes]:
    if (
        not isinstance(value, list)
        or len(value) != 2
        or not all(type(each) is bytes for each in value)
    ):
        raise NotCanonical("not two signatures")
    return value[0], value[1]


def encode_renewed_from(key_ids: Iterable[bytes]) -> bytes:
    """The value of the extension; in order and each once, so that there is one form only."""
    return encode(sorted(set(key_ids)))


def _decode_renewed_from(data: bytes) -> tuple[bytes, ...]:
    items = decode(data, _MAX_EXTENSION_BYTES)
    if not isinstance(items, list) or not 1 <= len(items) <= MAX_RENEWED_FROM:
        raise NotCanonical(f"{RENEWED_FROM!r} is not 1 to {MAX_RENEWED_FROM} issuers")
    if not all(type(each) is bytes and len(each) == FINGERPRINT_BYTES for each in items):
        raise NotCanonical(f"{RENEWED_FROM!r} holds something that is no key id")
    if items != sorted(set(items)):
        raise NotCanonical(f"{RENEWED_FROM!r} is not in order, each once")
    return tuple(items)


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
    _check_root_only(certificate)
    if certificate.renewed_from and certificate.kind is not CertificateKind.PEER:
        raise CertificateMalformed("it was renewed by another issuer and is not a peer's")
    is_peer = certificate.kind is CertificateKind.PEER
    if is_peer and (certificate.max_roles or certificate.path_length):
        raise CertificateMalformed("a peer's certificate claims that it may issue others")
    if not is_peer and certificate.roles:
        raise CertificateMalformed("a certificate that signs others claims roles for itself")


def _check_root_only(certificate: Certificate) -> None:
    is_root = certificate.kind is CertificateKind.ROOT
    if certificate.quorum is not None:
        if not is_root:
            raise CertificateMalformed("it names a root quorum and is not a root's")
        if certificate.public_key != certificate.quorum.commitment:
            raise CertificateMalformed("its key is not the fingerprint of its quorum")
    if certificate.rotation is not None:
        if not is_root:
            raise CertificateMalformed("it follows a root and is not a root's")
        if certificate.issuer_key_id == certificate.key_id:
            raise CertificateMalformed("it follows itself")

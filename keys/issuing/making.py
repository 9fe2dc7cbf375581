"""Making certificates: the root's own, its successor's, an issuer's, a peer's.

`*_fields` says what one contains, for whoever collects signatures (`keys.ceremonies`); `make_*`
signs at once, with keys that are at hand.

Each begins `BACKDATE_MS` before now, lives as `LIFETIME_MS` says, and is cut to what its issuer's
certificate allows; asking for rights that the issuer does not have raises.

What this module does not know: who may ask (`keys.issuing`), files, where `now_ms` comes from.
Randomness is used for serial numbers only, and a caller may give its own.
"""

from __future__ import annotations

from collections.abc import Iterable

from nacl.utils import random as random_bytes

from keys.certificate import (
    BACKDATE_MS,
    DOMAIN,
    MAX_PATH_LENGTH,
    MAX_ROTATIONS,
    QUORUM,
    RENEWED_FROM,
    ROTATION,
    SERIAL_BYTES,
    Certificate,
    CertificateKind,
    Rotation,
    Signer,
    assemble_certificate,
    both_signed,
    certificate_body,
    encode_renewed_from,
    sign_certificate,
)
from keys.errors import InvalidValue
from keys.identity import Identity, decode_id, fingerprint
from keys.names import EVERYWHERE, check_name, namespaces_problem, within
from keys.roles import ALL_ROLES, Role, role_words
from keys.rootquorum import Authority
from keys.trust import DAY_MS, LIFETIME_MS


def root_fields(
    root: Authority, network_name: str, now_ms: int, *, serial: bytes | None = None
) -> dict[int, object]:
    """What the root's certificate of itself says. Its key's fingerprint is the network id."""
    check_name("network name", network_name)
    return {
        **_subject(root.public_key, network_name, serial),
        2: int(CertificateKind.ROOT),
        4: root.key_id,
        5: network_name,
        9: 0,
        10: [EVERYWHERE],
        11: root.key_id,
        12: max(0, now_ms - BACKDATE_MS),
        13: now_ms + LIFETIME_MS[CertificateKind.ROOT],
        14: int(ALL_ROLES),
        15: MAX_PATH_LENGTH,
        16: _quorum_of(root),
    }


def successor_fields(
    old: Certificate,
    new: Authority,
    old_until_ms: int,
    now_ms: int,
    *,
    serial: bytes | None = None,
) -> dict[int, object]:
    """What the certificate of the root behind `old` says; both have to sign it.

    Raises:
        InvalidValue: there were as many rotations as there may be, or the old root has ended.
    """
    number = 1 + (old.rotation.number if old.rotation is not None else 0)
    if number > MAX_ROTATIONS:
        raise InvalidValue(
            "the root", f"was rotated {MAX_ROTATIONS} times, which is the most; make a new network"
        )
    if new.public_key == old.public_key:
        raise InvalidValue("the new root", "is the old one")
    if not old.not_before_ms <= now_ms - BACKDATE_MS <= old.not_after_ms:
        raise InvalidValue("the time", "is not within the validity of the old root's certificate")
    return {
        **root_fields(new, old.network_name, now_ms, serial=serial),
        4: decode_id(old.network_id),
        11: old.key_id,
        16: {**_quorum_of(new), ROTATION: Rotation(number, old_until_ms).encode()},
    }


def issuer_fields(
    root_certificate: Certificate,
    public_key: bytes,
    name: str,
    now_ms: int,
    *,
    max_roles: Role = ALL_ROLES,
    namespaces: Iterable[str] = (EVERYWHERE,),
    days: int | None = None,
    serial: bytes | None = None,
) -> dict[int, object]:
    """What the certificate of an issuer says; its root has to sign it.

    Raises:
        InvalidName, InvalidValue.
    """
    allowed = tuple(sorted(namespaces))
    check_gift(root_certificate, max_roles, allowed)
    fields = {
        **_subject(public_key, name, serial),
        **_below(
            root_certificate, CertificateKind.ISSUER, now_ms, LIFETIME_MS[CertificateKind.ISSUER]
        ),
        9: 0,
        10: list(allowed),
        14: int(max_roles),
        15: 0,
    }
    if days is not None:
        most = LIFETIME_MS[CertificateKind.ISSUER] // DAY_MS
        if not 1 <= days <= most:
            raise InvalidValue("days", f"{days} is not from 1 to {most}")
        fields[13] = min(now_ms + days * DAY_MS, root_certificate.not_after_ms)
    return fields


def make_root(
    root: Signer,
    network_name: str,
    now_ms: int,
    *,
    authority: Authority | None = None,
    serial: bytes | None = None,
) -> Certificate:
    """The root's certificate of itself. A quorum says with `authority` who it is."""
    authority = authority or Authority(root.public_key)
    return sign_certificate(root, root_fields(authority, network_name, now_ms, serial=serial))


def make_successor(
    old: Signer,
    old_certificate: Certificate,
    new: Signer,
    authority: Authority,
    old_until_ms: int,
    now_ms: int,
    *,
    serial: bytes | None = None,
) -> Certificate:
    """The certificate of the root that follows `old`, signed by both."""
    fields = successor_fields(old_certificate, authority, old_until_ms, now_ms, serial=serial)
    body = certificate_body(fields)
    return assemble_certificate(body, both_signed(old.sign(DOMAIN, body), new.sign(DOMAIN, body)))


def make_issuer(
    root: Signer,
    root_certificate: Certificate,
    public_key: bytes,
    name: str,
    now_ms: int,
    *,
    max_roles: Role = ALL_ROLES,
    namespaces: Iterable[str] = (EVERYWHERE,),
    days: int | None = None,
    serial: bytes | None = None,
) -> Certificate:
    """The certificate of a key that may issue to peers, and to nobody else."""
    check_key(root, root_certificate)
    fields = issuer_fields(
        root_certificate,
        public_key,
        name,
        now_ms,
        max_roles=max_roles,
        namespaces=namespaces,
        days=days,
        serial=serial,
    )
    return sign_certificate(root, fields)


def make_peer(
    issuer: Identity,
    issuer_certificate: Certificate,
    public_key: bytes,
    name: str,
    roles: Role,
    now_ms: int,
    *,
    namespaces: Iterable[str] = (EVERYWHERE,),
    serial: bytes | None = None,
    lifetime_ms: int = LIFETIME_MS[CertificateKind.PEER],
    renewed_from: Iterable[bytes] = (),
) -> Certificate:
    """The certificate of a member. The same arguments with the same serial give the same bytes.

    Args:
        renewed_from: key ids of the other issuers on whose word this one gives it.
    """
    allowed = tuple(sorted(namespaces))
    check_rights(issuer, issuer_certificate, roles, allowed)
    return sign_certificate(
        issuer,
        {
            **_subject(public_key, name, serial),
            **_below(issuer_certificate, CertificateKind.PEER, now_ms, lifetime_ms),
            9: int(roles),
            10: list(allowed),
            14: 0,
            15: 0,
            **_renewed(tuple(renewed_from)),
        },
    )


def _renewed(key_ids: tuple[bytes, ...]) -> dict[int, object]:
    return {17: {RENEWED_FROM: encode_renewed_from(key_ids)}} if key_ids else {}


def issuer_name(node_name: str) -> str:
    """What a node's issuer is called, unless somebody says otherwise."""
    return f"{node_name[:56]}-issuer"


def check_key(issuer: Signer, certificate: Certificate) -> None:
    """
    Raises:
        InvalidValue
    """
    if issuer.public_key != certificate.public_key:
        raise InvalidValue("the issuer's key", "is not the key of the issuer's certificate")


def check_rights(
    issuer: Identity, certificate: Certificate, roles: Role, namespaces: tuple[str, ...]
) -> None:
    """
    Raises:
        InvalidValue: this key with this certificate may not give these roles and namespaces.
    """
    check_key(issuer, certificate)
    check_gift(certificate, roles, namespaces)


def check_gift(certificate: Certificate, roles: Role, namespaces: tuple[str, ...]) -> None:
    """
    Raises:
        InvalidValue: whoever has this certificate may not give these roles and namespaces.
    """
    if roles & ~certificate.max_roles:
        raise InvalidValue(
            "roles", f"{certificate.name!r} may give only {role_words(certificate.max_roles)}"
        )
    problem = namespaces_problem(namespaces)
    if problem:
        raise InvalidValue("namespaces", problem)
    if not all(within(each, certificate.namespaces) for each in namespaces):
        allowed = ", ".join(certificate.namespaces)
        raise InvalidValue("namespaces", f"{certificate.name!r} may give only {allowed}")


def _quorum_of(root: Authority) -> dict[str, bytes]:
    return {QUORUM: root.quorum.encode()} if root.quorum is not None else {}


def _subject(public_key: bytes, name: str, serial: bytes | None) -> dict[int, object]:
    check_name("name", name)
    return {
        3: serial if serial is not None else random_bytes(SERIAL_BYTES),
        6: public_key,
        7: fingerprint(public_key),
        8: name,
        16: {},
        17: {},
    }


def _below(
    issuer: Certificate, kind: CertificateKind, now_ms: int, lifetime_ms: int
) -> dict[int, object]:
    not_before_ms = max(now_ms - BACKDATE_MS, issuer.not_before_ms)
    not_after_ms = min(now_ms + lifetime_ms, issuer.not_after_ms)
    if not_before_ms >= not_after_ms:
        raise InvalidValue("the time", f"the certificate of issuer {issuer.name!r} is over")
    return {
        2: int(kind),
        4: decode_id(issuer.network_id),
        5: issuer.network_name,
        11: issuer.key_id,
        12: not_before_ms,
        13: not_after_ms,
    }

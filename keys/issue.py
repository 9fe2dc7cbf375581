"""Making certificates: the root's own, an issuer's, a peer's.

Each begins `BACKDATE_MS` before now, lives as `LIFETIME_MS` says, and is cut to what its issuer's
certificate allows; asking for rights that the issuer does not have raises.

What this module does not know: who may ask (`keys.issuer`), files, where `now_ms` comes from.
Randomness is used for serial numbers only, and a caller may give its own.
"""

from __future__ import annotations

from collections.abc import Iterable

from nacl.utils import random as random_bytes

from keys.certificate import (
    MAX_PATH_LENGTH,
    SERIAL_BYTES,
    Certificate,
    CertificateKind,
    sign_certificate,
)
from keys.errors import InvalidName, InvalidValue
from keys.identity import Identity, decode_id, fingerprint
from keys.names import EVERYWHERE, name_problem, namespaces_problem, within
from keys.roles import ALL_ROLES, Role
from keys.trust import BACKDATE_MS, LIFETIME_MS


def make_root(
    root: Identity, network_name: str, now_ms: int, *, serial: bytes | None = None
) -> Certificate:
    """The root's certificate of itself. Its key's fingerprint is the network id."""
    check_name("network name", network_name)
    return sign_certificate(
        root,
        {
            **_subject(root.public_key, network_name, serial),
            2: int(CertificateKind.ROOT),
            4: fingerprint(root.public_key),
            5: network_name,
            9: 0,
            10: [EVERYWHERE],
            11: fingerprint(root.public_key),
            12: max(0, now_ms - BACKDATE_MS),
            13: now_ms + LIFETIME_MS[CertificateKind.ROOT],
            14: int(ALL_ROLES),
            15: MAX_PATH_LENGTH,
        },
    )


def make_issuer(
    root: Identity,
    root_certificate: Certificate,
    public_key: bytes,
    name: str,
    now_ms: int,
    *,
    max_roles: Role = ALL_ROLES,
    namespaces: Iterable[str] = (EVERYWHERE,),
    serial: bytes | None = None,
) -> Certificate:
    """The certificate of a key that may issue to peers, and to nobody else."""
    allowed = tuple(sorted(namespaces))
    check_rights(root, root_certificate, max_roles, allowed)
    return sign_certificate(
        root,
        {
            **_subject(public_key, name, serial),
            **_below(root_certificate, CertificateKind.ISSUER, now_ms),
            9: 0,
            10: list(allowed),
            14: int(max_roles),
            15: 0,
        },
    )


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
) -> Certificate:
    """The certificate of a member. The same arguments with the same serial give the same bytes."""
    allowed = tuple(sorted(namespaces))
    check_rights(issuer, issuer_certificate, roles, allowed)
    return sign_certificate(
        issuer,
        {
            **_subject(public_key, name, serial),
            **_below(issuer_certificate, CertificateKind.PEER, now_ms),
            9: int(roles),
            10: list(allowed),
            14: 0,
            15: 0,
        },
    )


def check_name(what: str, name: str) -> None:
    """
    Raises:
        InvalidName
    """
    problem = name_problem(name)
    if problem:
        raise InvalidName(what, name, problem)


def check_rights(
    issuer: Identity, certificate: Certificate, roles: Role, namespaces: tuple[str, ...]
) -> None:
    """
    Raises:
        InvalidValue: this key with this certificate may not give these roles and namespaces.
    """
    if issuer.public_key != certificate.public_key:
        raise InvalidValue("the issuer's key", "is not the key of the issuer's certificate")
    if roles & ~certificate.max_roles:
        raise InvalidValue("roles", f"{certificate.name!r} may give {certificate.max_roles!r} only")
    problem = namespaces_problem(namespaces)
    if problem:
        raise InvalidValue("namespaces", problem)
    if not all(within(each, certificate.namespaces) for each in namespaces):
        raise InvalidValue("namespaces", f"{certificate.name!r} may give {certificate.namespaces}")


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


def _below(issuer: Certificate, kind: CertificateKind, now_ms: int) -> dict[int, object]:
    not_before_ms = max(now_ms - BACKDATE_MS, issuer.not_before_ms)
    not_after_ms = min(now_ms + LIFETIME_MS[kind], issuer.not_after_ms)
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

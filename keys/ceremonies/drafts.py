"""Drafts of what roots sign: made from few values, and made again to check what others made.

A draft that came from elsewhere is accepted only if the same values give the same bytes, and its
dates are within what its root and its kind allow. So there is no field in it that is not shown.

What this module does not know: signatures, papers (`keys.ceremonies`), files, clocks.
"""

from __future__ import annotations

from typing import Final

from keys.canonical import encode
from keys.ceremonies.request import IssuerRequest
from keys.certificate import (
    BACKDATE_MS,
    Certificate,
    CertificateKind,
    assemble_certificate,
    certificate_body,
)
from keys.errors import InvalidValue
from keys.genesis import Genesis, genesis_body
from keys.identity import SIGNATURE_BYTES
from keys.issuing.making import issuer_fields, issuer_name, root_fields, successor_fields
from keys.names import within
from keys.roles import Role
from keys.rootquorum import Authority
from keys.rotation import MAX_LINE_BYTES, encode_line
from keys.trust import DAY_MS, LIFETIME_MS

MAX_GRACE_MS: Final = 366 * DAY_MS
_UNSIGNED: Final = bytes(SIGNATURE_BYTES)
_ROOM_FOR_SIGNATURES: Final = 2 * 350


def unsigned(body: bytes) -> Certificate:
    """To read what a draft says; its signature is none.

    Raises:
        CertificateRefused: not the body of a certificate.
    """
    return assemble_certificate(body, _UNSIGNED)


def unsigned_genesis(body: bytes) -> Genesis:
    """As `unsigned`, of a genesis.

    Raises:
        GenesisRefused
    """
    return Genesis.assemble(body, _UNSIGNED)


def issuer_draft(
    wish: IssuerRequest,
    root: Certificate,
    roles: Role,
    namespaces: tuple[str, ...],
    days: int,
    now_ms: int,
) -> bytes:
    """
    Raises:
        InvalidValue: the root may not give that.
    """
    fields = issuer_fields(
        root,
        wish.public_key,
        wish.name,
        now_ms,
        max_roles=roles,
        namespaces=namespaces,
        days=days,
    )
    return certificate_body(fields)


def recheck_issuer(body: bytes, root: Certificate, wish: IssuerRequest) -> None:
    """
    Raises:
        InvalidValue, CertificateRefused.
    """
    said = unsigned(body)
    same = issuer_fields(
        root,
        wish.public_key,
        wish.name,
        said.not_before_ms + BACKDATE_MS,
        max_roles=said.max_roles,
        namespaces=said.namespaces,
    )
    if said.max_roles & ~wish.roles:
        raise InvalidValue("the draft", "gives more roles than the request asks for")
    if not all(within(each, wish.namespaces) for each in said.namespaces):
        raise InvalidValue("the draft", "gives more namespaces than the request asks for")
    _same(body, said, same)
    _dates(said, CertificateKind.ISSUER, root)


def successor_draft(
    line: tuple[Certificate, ...], new: Authority, grace_ms: int, now_ms: int
) -> bytes:
    """
    Raises:
        InvalidValue
    """
    if not 0 <= grace_ms <= MAX_GRACE_MS:
        raise InvalidValue("the grace", f"is not from 0 to {MAX_GRACE_MS // DAY_MS} days")
    body = certificate_body(successor_fields(line[0], new, now_ms + grace_ms, now_ms))
    if len(encode_line(line)) + len(body) + _ROOM_FOR_SIGNATURES > MAX_LINE_BYTES:
        raise InvalidValue(
            "the new root", "has so many keys that chains would be too long; choose fewer"
        )
    return body


def recheck_successor(body: bytes, line: tuple[Certificate, ...]) -> None:
    """
    Raises:
        InvalidValue, CertificateRefused.
    """
    said = unsigned(body)
    if said.rotation is None:
        raise InvalidValue("the draft", "is not of a root's successor")
    begun_ms = said.not_before_ms + BACKDATE_MS
    if not 0 <= said.rotation.old_until_ms - begun_ms <= MAX_GRACE_MS:
        raise InvalidValue("the draft", "gives the old root a time that is out of bounds")
    same = successor_fields(line[0], said.authority, said.rotation.old_until_ms, begun_ms)
    _same(body, said, same)
    _dates(said, CertificateKind.ROOT, None)


def founding_drafts(
    root: Authority,
    network_name: str,
    node_name: str,
    issuer_public_key: bytes,
    expected_voters: int,
    now_ms: int,
) -> tuple[bytes, ...]:
    """The bodies of the root's certificate, of the first issuer's, and of genesis.

    Raises:
        InvalidName, InvalidValue.
    """
    top = certificate_body(root_fields(root, network_name, now_ms))
    middle = certificate_body(
        issuer_fields(unsigned(top), issuer_public_key, issuer_name(node_name), now_ms)
    )
    genesis = genesis_body(root, issuer_public_key, network_name, expected_voters, now_ms)
    return top, middle, genesis


def recheck_founding(drafts: tuple[bytes, ...], node_name: str) -> None:
    """
    Raises:
        InvalidName, InvalidValue, CertificateRefused, GenesisRefused.
    """
    top, middle = unsigned(drafts[0]), unsigned(drafts[1])
    genesis = unsigned_genesis(drafts[2])
    began_ms = top.not_before_ms + BACKDATE_MS
    _same(drafts[0], top, root_fields(top.authority, top.network_name, began_ms))
    _dates(top, CertificateKind.ROOT, None)
    same = issuer_fields(
        top, middle.public_key, issuer_name(node_name), middle.not_before_ms + BACKDATE_MS
    )
    _same(drafts[1], middle, same)
    _dates(middle, CertificateKind.ISSUER, top)
    again = genesis_body(
        top.authority,
        middle.public_key,
        top.network_name,
        genesis.expected_voters,
        genesis.created_ms,
    )
    if again != drafts[2]:
        raise InvalidValue("the draft", "of genesis does not fit the certificates")


def _same(body: bytes, said: Certificate, made: dict[int, object]) -> None:
    again = {**made, 3: said.serial, 12: said.not_before_ms, 13: said.not_after_ms}
    if encode({1: said.v, **again}) != body:
        raise InvalidValue("the draft", f"of {said.name!r} says more than its words, or otherwise")


def _dates(said: Certificate, kind: CertificateKind, root: Certificate | None) -> None:
    lives_ms = said.not_after_ms - said.not_before_ms
    outside = root is not None and not (
        root.not_before_ms <= said.not_before_ms and said.not_after_ms <= root.not_after_ms
    )
    if outside or lives_ms > LIFETIME_MS[kind] + BACKDATE_MS:
        raise InvalidValue("the draft", f"of {said.name!r} lives longer than it may")

"""What a node asks of the root's keepers: to let a key of its own issue certificates.

Signed by that key itself, so that nobody asks for a key that he does not hold. It says what is
wished for; what is given is drafted by whoever signs first (`keys.ceremonies`).

What this module does not know: whether the wish is reasonable, roots, files, time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from keys.canonical import Fields, NotCanonical, decode, encode, pair
from keys.ceremonies.refusals import CeremonyMalformed
from keys.certificate import CertificateKind
from keys.errors import InvalidValue
from keys.identity import (
    FINGERPRINT_BYTES,
    KEY_BYTES,
    Identity,
    NetworkId,
    decode_id,
    encode_id,
    verify_signature,
)
from keys.names import MAX_NAME_CHARS, MAX_NAMESPACES, check_name, name_problem, namespaces_problem
from keys.roles import ALL_ROLES, Role
from keys.trust import DAY_MS, LIFETIME_MS

VERSION: Final = 1
DOMAIN: Final = "issuer-request"
MAX_REQUEST_BYTES: Final = 2048
MAX_DAYS: Final = LIFETIME_MS[CertificateKind.ISSUER] // DAY_MS


@dataclass(frozen=True, slots=True)
class IssuerRequest:
    """Make one with `make`, read one with `decode`; what is decoded is signed by its key."""

    network_id: NetworkId
    public_key: bytes
    name: str
    roles: Role
    namespaces: tuple[str, ...]
    days: int
    created_ms: int
    raw: bytes = field(repr=False)

    @classmethod
    def make(
        cls,
        key: Identity,
        network_id: NetworkId,
        name: str,
        roles: Role,
        namespaces: Iterable[str],
        days: int,
        now_ms: int,
    ) -> IssuerRequest:
        """
        Raises:
            InvalidName, InvalidValue.
        """
        check_name("issuer's name", name)
        allowed = tuple(sorted(namespaces))
        problem = namespaces_problem(allowed)
        if problem:
            raise InvalidValue("namespaces", problem)
        if not 1 <= days <= MAX_DAYS:
            raise InvalidValue("days", f"{days} is not from 1 to {MAX_DAYS}")
        body = encode(
            {
                1: VERSION,
                2: decode_id(network_id),
                3: key.public_key,
                4: name,
                5: int(roles),
                6: list(allowed),
                7: days,
                8: now_ms,
            }
        )
        return cls.decode(encode([body, key.sign(DOMAIN, body)]))

    @classmethod
    def decode(cls, raw: bytes) -> IssuerRequest:
        """
        Raises:
            CeremonyMalformed
        """
        try:
            body, signature = pair(decode(raw, MAX_REQUEST_BYTES), MAX_REQUEST_BYTES)
            fields = Fields(decode(body, MAX_REQUEST_BYTES))
            fields.integer(1, VERSION, VERSION)
            request = cls(
                network_id=NetworkId(encode_id(fields.binary(2, FINGERPRINT_BYTES))),
                public_key=fields.binary(3, KEY_BYTES),
                name=fields.text(4, MAX_NAME_CHARS),
                roles=Role(fields.integer(5, 1, ALL_ROLES)),
                namespaces=fields.texts(6, MAX_NAMESPACES, MAX_NAME_CHARS),
                days=fields.integer(7, 1, MAX_DAYS),
                created_ms=fields.integer(8),
                raw=raw,
            )
            fields.finish()
        except NotCanonical as error:
            raise CeremonyMalformed(f"the request: {error}") from error
        problem = name_problem(request.name) or namespaces_problem(request.namespaces)
        if problem:
            raise CeremonyMalformed(f"the request: {problem}")
        if not verify_signature(request.public_key, DOMAIN, body, signature):
            raise CeremonyMalformed("the request is not signed by the key that it asks for")
        return request

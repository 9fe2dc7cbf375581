"""Renewing a certificate: the member's request, and what it makes of the answer.

The request carries the chain that is to be renewed and is signed by the key that the chain is
about, so that it means the same wherever it is read. The answer is a chain for the same key, name,
roles and namespaces, with a later end. When to ask follows from the certificate alone.

What this module does not know: sockets, who issues, files, retries. `keys.issuing` answers.

Invariant: a grant that `accept_renewal` returns verifies now, is ours, changes nothing but serial
and validity, and does not end sooner than what we have.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from nacl.utils import random as random_bytes

from keys.canonical import Fields, NotCanonical, decode, encode, pair
from keys.certificate import BACKDATE_MS, Certificate
from keys.errors import CertificateRefused, GrantRefused, RenewalMalformed
from keys.identity import Identity, fingerprint, verify_signature
from keys.trust import MAX_CHAIN_BYTES, Chain, Trust, verify

VERSION: Final = 1
DOMAIN: Final = "renewal"
NONCE_BYTES: Final = 16
MAX_RENEWAL_BYTES: Final = MAX_CHAIN_BYTES + 256
JITTER_PERCENT: Final = 5


@dataclass(frozen=True, slots=True)
class RenewalRequest:
    """A request as read; whether to believe it is for the issuer to say."""

    chain: Chain
    asked_ms: int  # the member's clock
    nonce: bytes  # the same one asks for the same certificate
    body: bytes = field(repr=False)
    signature: bytes = field(repr=False)

    @property
    def is_signed(self) -> bool:
        """Whether the key in the certificate asks, and nobody else."""
        return verify_signature(self.chain.leaf.public_key, DOMAIN, self.body, self.signature)

    @classmethod
    def decode(cls, data: bytes) -> RenewalRequest:
        """
        Raises:
            RenewalMalformed: also when its chain cannot be read.
        """
        try:
            body, signature = pair(decode(data, MAX_RENEWAL_BYTES), MAX_RENEWAL_BYTES)
            fields = Fields(decode(body, MAX_RENEWAL_BYTES))
            fields.integer(1, VERSION, VERSION)
            request = cls(
                chain=Chain.decode(fields.blob(2, MAX_CHAIN_BYTES)),
                asked_ms=fields.integer(3),
                nonce=fields.binary(4, NONCE_BYTES),
                body=body,
                signature=signature,
            )
            fields.finish()
        except (NotCanonical, CertificateRefused) as error:
            raise RenewalMalformed(str(error)) from error
        return request


def make_renewal_request(
    identity: Identity, chain: Chain, now_ms: int, *, nonce: bytes | None = None
) -> bytes:
    """Ask for a certificate like the leaf of this chain that ends later.

    Keep the bytes and send the same again when no answer comes: they ask for one certificate.
    """
    body = encode(
        {
            1: VERSION,
            2: chain.encode(),
            3: now_ms,
            4: nonce if nonce is not None else random_bytes(NONCE_BYTES),
        }
    )
    return encode([body, identity.sign(DOMAIN, body)])


def accept_renewal(answer: bytes, present: Chain, trust: Trust, now_ms: int) -> Chain:
    """The chain to show from now on. Write it down before you show it.

    Raises:
        GrantRefused: it is not ours, not good, or no better than what we have.
    """
    try:
        chain = Chain.decode(answer)
        principal = verify(chain, trust, now_ms)
    except CertificateRefused as error:
        raise GrantRefused(str(error)) from error
    old, new = present.leaf, chain.leaf
    if new.public_key != old.public_key:
        raise GrantRefused(f"its certificate is for {new.peer_id}, we are {old.peer_id}")
    if (new.name, new.roles, new.namespaces) != (old.name, old.roles, old.namespaces):
        raise GrantRefused("it changes our name, roles or namespaces")
    # One under a newer root may end sooner: what is under the old root counts for less and less.
    if principal.not_after_ms < old.not_after_ms and chain.rotations <= present.rotations:
        raise GrantRefused("it ends sooner than the certificate that we have")
    return chain


def leave_root_at_ms(chain: Chain, trust: Trust) -> int | None:
    """When to ask for a chain under a newer root that we know of, or None while there is none.

    Within the first third of the time that chains of the old one are still good for, each node at
    a moment of its own, so that they do not all ask together.
    """
    successor = trust.seen.successor_of(chain.roots) if trust.seen is not None else None
    if successor is None or successor.rotation is None:
        return None
    began_ms = successor.not_before_ms + BACKDATE_MS
    grace_ms = max(0, successor.rotation.old_until_ms - began_ms)
    return began_ms + int(grace_ms * _draw(chain.leaf.serial) / 3)


def renew_at_ms(certificate: Certificate) -> int:
    """When to ask: two thirds into the certificate's life, give or take a twentieth of it.

    The jitter follows from the serial, so that a node that is started again keeps to its time and
    nodes that joined together do not all ask together.
    """
    began_ms = certificate.not_before_ms + BACKDATE_MS
    lifetime_ms = max(0, certificate.not_after_ms - began_ms)
    share = 2 / 3 + (2 * _draw(certificate.serial) - 1) * JITTER_PERCENT / 100
    return began_ms + int(lifetime_ms * share)


def _draw(serial: bytes) -> float:
    """0 to 1, the same each time."""
    return int.from_bytes(fingerprint(serial)[:4], "big") / 2**32

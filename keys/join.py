"""Joining with a ticket: the newcomer's two steps, and what both sides compute alike. No I/O.

    newcomer                                    an issuer behind a door
    make_join_request(ticket, key, name)  ->    Issuer.redeem: checks, marks used, signs
    accept_grant: checks everything       <-    grant = chain for the newcomer's key, genesis

The ticket's secret never travels: the request carries HMAC-SHA256 under a key derived from it, over
the door's transcript and the request's body, so a request seen by a stranger serves neither on
another connection nor for another key. The newcomer believes only the root whose fingerprint the
ticket holds, so a door that is not the network's cannot make it join another one.

What this module does not know: sockets, whether a ticket was used (`keys.issuing`), files, a clock.
`door_transcript` is whatever both sides hash of their conversation so far (FORMAT.md says of what).
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Final

from nacl.utils import random as random_bytes

from keys.canonical import Fields, NotCanonical, decode, encode
from keys.errors import (
    CertificateRefused,
    GenesisRefused,
    GrantRefused,
    JoinRequestMalformed,
    TicketExpired,
)
from keys.genesis import MAX_GENESIS_BYTES, Genesis
from keys.identity import (
    FINGERPRINT_BYTES,
    KEY_BYTES,
    SIGNATURE_BYTES,
    Identity,
    decode_id,
    verify_signature,
)
from keys.names import MAX_NAME_CHARS, check_name, name_problem
from keys.ticket import TICKET_ID_BYTES, Ticket
from keys.trust import MAX_CHAIN_BYTES, Chain, verify

VERSION: Final = 1
DOMAIN: Final = "join-request"
NONCE_BYTES: Final = 16
MAC_BYTES: Final = 32
MAX_REQUEST_BYTES: Final = 512
MAX_GRANT_BYTES: Final = MAX_CHAIN_BYTES + MAX_GENESIS_BYTES + 16


@dataclass(frozen=True, slots=True)
class JoinedNetwork:
    """What a newcomer holds after a join, verified: enough to open the door of any member."""

    chain: Chain
    genesis: Genesis


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """A request as read; `proves_secret` and `is_signed` are for the issuer to ask."""

    network_digest: bytes
    ticket_id: bytes
    public_key: bytes
    name: str
    nonce: bytes
    body: bytes = field(repr=False)
    mac: bytes = field(repr=False)
    signature: bytes = field(repr=False)

    @classmethod
    def decode(cls, data: bytes) -> JoinRequest:
        """
        Raises:
            JoinRequestMalformed
        """
        try:
            outer = Fields(decode(data, MAX_REQUEST_BYTES))
            body = outer.blob(1, MAX_REQUEST_BYTES)
            mac, signature = outer.binary(2, MAC_BYTES), outer.binary(3, SIGNATURE_BYTES)
            outer.finish()
            fields = Fields(decode(body, MAX_REQUEST_BYTES))
            fields.integer(1, VERSION, VERSION)
            request = cls(
                network_digest=fields.binary(2, FINGERPRINT_BYTES),
                ticket_id=fields.binary(3, TICKET_ID_BYTES),
                public_key=fields.binary(4, KEY_BYTES),
                name=fields.text(5, MAX_NAME_CHARS),
                nonce=fields.binary(6, NONCE_BYTES),
                body=body,
                mac=mac,
                signature=signature,
            )
            fields.finish()
        except NotCanonical as error:
            raise JoinRequestMalformed(str(error)) from error
        problem = name_problem(request.name)
        if problem:
            raise JoinRequestMalformed(f"the name {request.name!r}: {problem}")
        return request

    def proves_secret(self, mac_key: bytes, door_transcript: bytes) -> bool:
        """In constant time."""
        return hmac.compare_digest(self.mac, _mac(mac_key, self.body, door_transcript))

    def is_signed(self, door_transcript: bytes) -> bool:
        signed = _signed_part(self.body, self.mac, door_transcript)
        return verify_signature(self.public_key, DOMAIN, signed, self.signature)


def mac_key_of(secret: bytes) -> bytes:
    """What the issuer keeps instead of the secret, so that its notes are not tickets."""
    return hashlib.blake2b(secret, digest_size=32, person=b"conclave ticket").digest()


def make_join_request(
    ticket: Ticket,
    identity: Identity,
    name: str,
    door_transcript: bytes,
    now_ms: int,
    *,
    nonce: bytes | None = None,
) -> bytes:
    """
    Raises:
        TicketExpired: by our own clock, so there is no use in asking.
        InvalidName: `name` cannot be a node's name.
    """
    check_name("node name", name)
    if now_ms > ticket.expires_s * 1000:
        raise TicketExpired(ticket.name, now_ms - ticket.expires_s * 1000)
    body = encode(
        {
            1: VERSION,
            2: decode_id(ticket.network_id),
            3: ticket.ticket_id,
            4: identity.public_key,
            5: name,
            6: nonce if nonce is not None else random_bytes(NONCE_BYTES),
        }
    )
    mac = _mac(mac_key_of(ticket.secret), body, door_transcript)
    signature = identity.sign(DOMAIN, _signed_part(body, mac, door_transcript))
    return encode({1: body, 2: mac, 3: signature})


def encode_grant(chain: Chain, genesis: Genesis) -> bytes:
    return encode({1: VERSION, 2: chain.encode(), 3: genesis.raw})


def accept_grant(ticket: Ticket, identity: Identity, grant: bytes, now_ms: int) -> JoinedNetwork:
    """What makes us a member, if all of it holds against the ticket's root.

    Raises:
        GrantRefused: anything does not; the ticket can be tried again with the same identity.
    """
    try:
        fields = Fields(decode(grant, MAX_GRANT_BYTES))
        fields.integer(1, VERSION, VERSION)
        chain = Chain.decode(fields.blob(2, MAX_CHAIN_BYTES))
        genesis = Genesis.decode(fields.blob(3, MAX_GENESIS_BYTES))
        fields.finish()
        principal = verify(chain, ticket.trust, now_ms)
        genesis.verify(ticket.trust)
    except (NotCanonical, CertificateRefused, GenesisRefused) as error:
        raise GrantRefused(str(error)) from error
    if principal.public_key != identity.public_key:
        raise GrantRefused(f"its certificate is for {principal.peer_id}, we are {identity.peer_id}")
    if principal.network_name != genesis.network_name:
        raise GrantRefused("its certificate and its genesis name the network differently")
    return JoinedNetwork(chain, genesis)


def _mac(mac_key: bytes, body: bytes, door_transcript: bytes) -> bytes:
    message = b"conclave/join-mac/v1\0" + _length_first(door_transcript) + body
    return hmac.digest(mac_key, message, "sha256")


def _signed_part(body: bytes, mac: bytes, door_transcript: bytes) -> bytes:
    return _length_first(door_transcript) + mac + body


def _length_first(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data

"""A sealed message: signed by its sender, then sealed for each of its readers.

    [header, [sealed content key, ...], box]
     header  purpose, and for each reader: peer id, suite, number of its key; in the clear
     box     XChaCha20-Poly1305 under the content key of [body, signature]
     body    sender, epoch, sequence, time, the sender's chain, the payload

The signature covers header and body together. So who read a message cannot seal it for somebody
else, or for another purpose, as if its sender had (Davis, "Defective Sign & Encrypt", 2001); and
nobody can sign what another one sealed. The header is bound into each sealed key and into the box.
It carries a commitment to the content key: XChaCha20-Poly1305 alone lets two keys open one box to
two texts.

Opening is one ordered list of refusals, each with its own error:

     1 SealedMalformed          5 SealingKeyGone       9 SealedBadSignature
     2 SealedForOthers          6 SealedDamaged       10 SealedInFuture, SealedTooOld
     3 SealedForOtherPurpose    7 SealedMalformed     11 SealedReplayed
     4 SealedUnknownSuite       8 SealedByStranger

What this module does not know: where keys come from, files, members, time and replays (10 and 11
are `keys.sealing.replay`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from nacl import bindings
from nacl.exceptions import CryptoError
from nacl.utils import random as random_bytes

from keys.canonical import MAX_INTEGER, Fields, NotCanonical, decode, encode, pair
from keys.errors import InvalidValue
from keys.identity import (
    FINGERPRINT_BYTES,
    Identity,
    PeerId,
    decode_id,
    encode_id,
    verify_signature,
)
from keys.principal import Principal
from keys.sealing.refusals import (
    SealedBadSignature,
    SealedByStranger,
    SealedDamaged,
    SealedForOtherPurpose,
    SealedForOthers,
    SealedMalformed,
    SealedUnknownSuite,
    SealingKeyGone,
)
from keys.sealing.statement import SealingStatement
from keys.sealing.suites import Entropy, SealFailed, SealingSecret, Suite, seal_for
from keys.trust import MAX_CHAIN_BYTES

VERSION: Final = 1
DOMAIN: Final = "sealed"
EPOCH_BYTES: Final = 8
MAX_READERS: Final = 64
MAX_PURPOSE_CHARS: Final = 300  # room for a topic's name
MAX_PAYLOAD_BYTES: Final = 1024 * 1024
MAX_SEALED_BYTES: Final = MAX_PAYLOAD_BYTES + 128 * 1024

_LABEL: Final = b"conclave/sealed/v1\0"
_KEY_BYTES: Final = 32
_MAX_HEADER_BYTES: Final = 8 * 1024
_MAX_LID_BYTES: Final = 2048
# Each content key encrypts one box and is never used again, so the nonce need not vary.
_NONCE: Final = bytes(24)


class Stamp(NamedTuple):
    """What makes a message of a sender unlike all others of it.

    Attributes:
        epoch: random, of one start of the sender.
        sequence: from 1, grows with each message of that start.
        time_ms: when it was sealed, on the sender's clock.
    """

    epoch: bytes
    sequence: int
    time_ms: int


@dataclass(frozen=True, slots=True)
class SealedMessage:
    """What was in a message that passed all checks but those of time and replay."""

    sender: PeerId
    principal: Principal
    purpose: str
    readers: tuple[PeerId, ...]
    stamp: Stamp
    payload: bytes = field(repr=False)


SecretOf = Callable[[int], SealingSecret | None]
MemberOf = Callable[[PeerId, bytes], Principal | None]


def seal_message(
    identity: Identity,
    readers: Iterable[SealingStatement],
    purpose: str,
    payload: bytes,
    stamp: Stamp,
    chain: bytes = b"",
    *,
    entropy: Entropy = random_bytes,
) -> bytes:
    """
    Args:
        readers: their statements, verified by the caller.
        chain: of the sender, for readers that may not know it when they read.
        entropy: gives so many random bytes; another only for test vectors.

    Raises:
        InvalidValue: no readers, too many, a purpose that is none, or too large a payload.
        HybridUnavailable: a reader's key is a hybrid one.
    """
    statements = sorted(
        {s.peer_id: s for s in readers}.values(), key=lambda s: decode_id(s.peer_id)
    )
    if not 1 <= len(statements) <= MAX_READERS:
        raise InvalidValue("readers", f"{len(statements)}, and there may be 1 to {MAX_READERS}")
    if not 1 <= len(purpose) <= MAX_PURPOSE_CHARS:
        raise InvalidValue("the purpose", f"needs 1 to {MAX_PURPOSE_CHARS} characters")
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise InvalidValue("payload", f"{len(payload):,} bytes, the limit is {MAX_PAYLOAD_BYTES:,}")
    content_key = entropy(_KEY_BYTES)
    header = encode(
        {
            1: VERSION,
            2: purpose,
            3: [[decode_id(s.peer_id), int(s.suite), s.number] for s in statements],
            4: _commitment(content_key),
        }
    )
    body = encode(
        {
            1: VERSION,
            2: decode_id(identity.peer_id),
            3: stamp.epoch,
            4: stamp.sequence,
            5: stamp.time_ms,
            6: chain,
            7: payload,
        }
    )
    inside = encode([body, identity.sign(DOMAIN, encode([header, body]))])
    try:
        lids = [
            seal_for(s.suite, s.public, _info(s.peer_id, header), content_key, entropy=entropy)
            for s in statements
        ]
    except SealFailed as error:
        raise InvalidValue("a reader's sealing key", str(error)) from error
    box = bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(inside, header, _NONCE, content_key)
    return encode([header, lids, box])


def open_message(
    data: bytes, own: PeerId, purpose: str, secret_of: SecretOf, member_of: MemberOf
) -> SealedMessage:
    """
    Args:
        secret_of: our secret key of that number, if we have it.
        member_of: the member of that peer id, by what we know or by the chain that it brought;
            None where it is no member now.

    Raises:
        SealedRefused: the first of the list that holds.
    """
    header, lids, box = _outer(data)
    sealed_for, readers, commitment = _read_header(header)
    ids = [peer_id for peer_id, _, _ in readers]
    if len(lids) != len(ids):
        raise SealedMalformed("it has not one sealed key for each reader")
    if own not in ids:
        raise SealedForOthers(len(ids))
    if sealed_for != purpose:
        raise SealedForOtherPurpose(sealed_for, purpose)
    place = ids.index(own)
    _, suite, number = readers[place]
    if suite not in set(Suite):
        raise SealedUnknownSuite(suite)
    secret = secret_of(number)
    if secret is None:
        raise SealingKeyGone(number)
    if secret.suite != suite:
        raise SealedUnknownSuite(suite)
    inside = _unseal(secret, own, header, lids[place], box, commitment)
    return _read_inside(inside, header, purpose, tuple(ids), member_of)


def _outer(data: bytes) -> tuple[bytes, list[bytes], bytes]:
    try:
        parts = decode(data, MAX_SEALED_BYTES)
    except NotCanonical as error:
        raise SealedMalformed(str(error)) from error
    if not (isinstance(parts, list) and len(parts) == 3 and isinstance(parts[1], list)):
        raise SealedMalformed("it is not a header, keys and a box")
    header, lids, box = parts
    if type(header) is not bytes or type(box) is not bytes or len(header) > _MAX_HEADER_BYTES:
        raise SealedMalformed("its header or its box is none")
    if not all(type(lid) is bytes and len(lid) <= _MAX_LID_BYTES for lid in lids):
        raise SealedMalformed("a sealed key is none")
    return header, lids, box


def _read_header(header: bytes) -> tuple[str, list[tuple[PeerId, int, int]], bytes]:
    try:
        fields = Fields(decode(header, _MAX_HEADER_BYTES))
        fields.integer(1, VERSION, VERSION)
        purpose = fields.text(2, MAX_PURPOSE_CHARS)
        readers = [_reader(item) for item in fields.items(3, MAX_READERS)]
        commitment = fields.binary(4, FINGERPRINT_BYTES)
        fields.finish()
    except NotCanonical as error:
        raise SealedMalformed(str(error)) from error
    ids = [decode_id(peer_id) for peer_id, _, _ in readers]
    if not ids or ids != sorted(set(ids)):
        raise SealedMalformed("its readers are not in order, each once")
    return purpose, readers, commitment


def _reader(item: object) -> tuple[PeerId, int, int]:
    if isinstance(item, list) and len(item) == 3:
        peer, suite, number = item
        if (
            type(peer) is bytes
            and len(peer) == FINGERPRINT_BYTES
            and type(suite) is int
            and type(number) is int
        ):
            return PeerId(encode_id(peer)), suite, number
    raise NotCanonical("a reader is not a peer id, a suite and a number")


def _unseal(
    secret: SealingSecret, own: PeerId, header: bytes, lid: bytes, box: bytes, commitment: bytes
) -> bytes:
    try:
        content_key = secret.unseal(_info(own, header), lid)
    except SealFailed as error:
        raise SealedDamaged from error
    if len(content_key) != _KEY_BYTES or _commitment(content_key) != commitment:
        raise SealedDamaged
    try:
        return bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(box, header, _NONCE, content_key)
    except (CryptoError, ValueError) as error:  # ValueError: shorter than its tag
        raise SealedDamaged from error


def _read_inside(
    inside: bytes, header: bytes, purpose: str, readers: tuple[PeerId, ...], member_of: MemberOf
) -> SealedMessage:
    try:
        body, signature = pair(decode(inside, MAX_SEALED_BYTES), MAX_SEALED_BYTES)
        fields = Fields(decode(body, MAX_SEALED_BYTES))
        fields.integer(1, VERSION, VERSION)
        sender = PeerId(encode_id(fields.binary(2, FINGERPRINT_BYTES)))
        epoch = fields.binary(3, EPOCH_BYTES)
        stamp = Stamp(epoch, fields.integer(4, 1, MAX_INTEGER), fields.integer(5))
        chain = fields.blob(6, MAX_CHAIN_BYTES)
        payload = fields.blob(7, MAX_PAYLOAD_BYTES)
        fields.finish()
    except NotCanonical as error:
        raise SealedMalformed(str(error)) from error
    principal = member_of(sender, chain)
    if principal is None or principal.peer_id != sender:
        raise SealedByStranger(sender)
    if not verify_signature(principal.public_key, DOMAIN, encode([header, body]), signature):
        raise SealedBadSignature(sender)
    return SealedMessage(sender, principal, purpose, readers, stamp, payload)


def _info(reader: PeerId, header: bytes) -> bytes:
    return _LABEL + decode_id(reader) + header


def _commitment(content_key: bytes) -> bytes:
    return hashlib.blake2b(content_key, digest_size=32, person=b"conclave commit").digest()

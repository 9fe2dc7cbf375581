"""A transport record: where a peer is just now and under which CURVE key, signed by the peer.

The certificate says who a peer is for months; this says how to reach it for at most a day, without
asking any issuer. A later sequence number replaces an earlier record, and the hash of the
certificate ties the record to the very chain it is shown with (the idea of Ethereum's node records,
EIP-778).

What this module does not know: certificates' contents, which records were seen before (whoever
keeps sessions refuses an older sequence), sockets, time other than the `now_ms` it is given.

Invariant: what `decode_record` returns is well formed; who signed it is checked by `verify_record`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from keys.canonical import MAX_INTEGER, Fields, NotCanonical, decode, encode, pair, value_of
from keys.certificate import BACKDATE_MS
from keys.errors import InvalidValue
from keys.identity import (
    FINGERPRINT_BYTES,
    KEY_BYTES,
    Identity,
    PeerId,
    decode_id,
    encode_id,
    verify_signature,
)
from keys.names import host_problem
from keys.principal import Principal
from keys.refusals import (
    RecordBadSignature,
    RecordExpired,
    RecordLivesTooLong,
    RecordMalformed,
    RecordNotYetValid,
    RecordOfOtherCertificate,
    RecordOfOtherPeer,
    RecordTooLarge,
)
from keys.trust import SKEW_MS, Chain

VERSION: Final = 1
DOMAIN: Final = "record"
MAX_RECORD_BYTES: Final = 2048
MAX_HOSTS: Final = 8
MAX_LIFETIME_MS: Final = 24 * 3_600_000
PORT_NAMES: Final = ("door", "control", "data", "topics")

_MAX_PORTS: Final = 8
_NOT_BEFORE, _CERTIFICATE = 7, 9  # their fields
_PORT_NAME = re.compile(r"[a-z]{1,16}")


@lru_cache(maxsize=32)
def _held_once(names: tuple[str, ...]) -> tuple[str, ...]:
    return names


class Ports(Mapping[str, int]):
    """Ports by name, two bytes each; their names are the same few in every record."""

    __slots__ = ("_names", "_numbers")

    def __init__(self, ports: Mapping[str, int]) -> None:
        self._names = _held_once(tuple(map(sys.intern, ports)))
        self._numbers = b"".join(port.to_bytes(2, "big") for port in ports.values())

    def __getitem__(self, name: str) -> int:
        if name not in self._names:
            raise KeyError(name)
        at = 2 * self._names.index(name)
        return int.from_bytes(self._numbers[at : at + 2], "big")

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        return f"Ports({dict(self)})"


@dataclass(frozen=True, slots=True)
class TransportRecord:
    """Make one with `make`, read one with `decode_record`. `ports` has all of `PORT_NAMES`.

    A node keeps one of each peer that it has met. What is asked once, when it is verified, lies
    within `raw`, and is not held twice.
    """

    peer_id: PeerId
    sequence: int
    curve_public: bytes
    hosts: tuple[str, ...]
    ports: Ports = field(hash=False)
    not_after_ms: int
    raw: bytes = field(repr=False)

    @property
    def body(self) -> bytes:
        """What is signed."""
        return _opened(self.raw)[0]

    @property
    def signature(self) -> bytes:
        return _opened(self.raw)[1]

    @property
    def not_before_ms(self) -> int:
        return Fields(value_of(self.body)).integer(_NOT_BEFORE)

    @property
    def certificate_hash(self) -> bytes:
        """`Certificate.digest`."""
        return Fields(value_of(self.body)).binary(_CERTIFICATE, FINGERPRINT_BYTES)

    @classmethod
    def make(
        cls,
        identity: Identity,
        chain: Chain,
        *,
        sequence: int,
        curve_public: bytes,
        hosts: Iterable[str],
        ports: Mapping[str, int],
        now_ms: int,
        lifetime_ms: int = MAX_LIFETIME_MS - BACKDATE_MS,
    ) -> TransportRecord:
        """Signed by `identity`, for the certificate at the head of `chain`.

        Ends with the certificate if that is earlier.

        Raises:
            InvalidValue: the identity is not the chain's, or a field is out of its bounds.
        """
        leaf = chain.leaf
        if leaf.public_key != identity.public_key:
            raise InvalidValue(
                "the identity", f"is not the key in the certificate of {leaf.name!r}"
            )
        fields = {
            1: VERSION,
            2: decode_id(identity.peer_id),
            3: sequence,
            4: curve_public,
            5: list(hosts),
            6: dict(ports),
            _NOT_BEFORE: max(0, now_ms - BACKDATE_MS),
            8: min(now_ms + lifetime_ms, leaf.not_after_ms),
            _CERTIFICATE: leaf.digest,
        }
        try:
            body = encode(fields)
            record = decode_record(encode([body, identity.sign(DOMAIN, body)]))
        except (NotCanonical, RecordMalformed, RecordTooLarge) as error:
            raise InvalidValue("a transport record", str(error)) from error
        if record.not_after_ms - record.not_before_ms > MAX_LIFETIME_MS:
            raise InvalidValue("lifetime_ms", f"a record lives at most {MAX_LIFETIME_MS} ms")
        return record


def decode_record(raw: bytes) -> TransportRecord:
    """
    Raises:
        RecordTooLarge, RecordMalformed.
    """
    if len(raw) > MAX_RECORD_BYTES:
        raise RecordTooLarge(len(raw), MAX_RECORD_BYTES)
    try:
        body, _ = pair(decode(raw, MAX_RECORD_BYTES), MAX_RECORD_BYTES)
        fields = Fields(decode(body, MAX_RECORD_BYTES))
        fields.integer(1, VERSION, VERSION)
        record = TransportRecord(
            peer_id=PeerId(encode_id(fields.binary(2, FINGERPRINT_BYTES))),
            sequence=fields.integer(3, 1, MAX_INTEGER),
            curve_public=fields.binary(4, KEY_BYTES),
            hosts=_hosts(fields.texts(5, MAX_HOSTS, 253)),
            ports=_ports(fields.table(6, _MAX_PORTS)),
            not_after_ms=fields.integer(8),
            raw=raw,
        )
        not_before_ms = fields.integer(_NOT_BEFORE)
        fields.binary(_CERTIFICATE, FINGERPRINT_BYTES)
        fields.finish()
    except NotCanonical as error:
        raise RecordMalformed(str(error)) from error
    if not_before_ms >= record.not_after_ms:
        raise RecordMalformed("it ends before it begins")
    return record


def verify_record(record: TransportRecord, principal: Principal, now_ms: int) -> None:
    """Whether this principal signed this record for its present certificate, and it holds now.

    Raises:
        RecordRefused: the first of these that fails.
    """
    peer_id = principal.peer_id
    if record.peer_id != peer_id:
        raise RecordOfOtherPeer(record.peer_id, peer_id)
    body, signature = _opened(record.raw)
    if not verify_signature(principal.public_key, DOMAIN, body, signature):
        raise RecordBadSignature(peer_id)
    fields = Fields(value_of(body))
    if fields.binary(_CERTIFICATE, FINGERPRINT_BYTES) != principal.certificate_digest:
        raise RecordOfOtherCertificate(peer_id)
    not_before_ms = fields.integer(_NOT_BEFORE)
    lifetime_ms = record.not_after_ms - not_before_ms
    if lifetime_ms > MAX_LIFETIME_MS:
        raise RecordLivesTooLong(peer_id, lifetime_ms, MAX_LIFETIME_MS)
    if now_ms < not_before_ms - SKEW_MS:
        raise RecordNotYetValid(peer_id, not_before_ms - now_ms)
    if now_ms > record.not_after_ms + SKEW_MS:
        raise RecordExpired(peer_id, now_ms - record.not_after_ms)


def _opened(raw: bytes) -> tuple[bytes, bytes]:
    """The body of a record that was read, and its signature."""
    return pair(value_of(raw), MAX_RECORD_BYTES)


def _hosts(hosts: tuple[str, ...]) -> tuple[str, ...]:
    for host in hosts:
        problem = host_problem(host)
        if problem:
            raise NotCanonical(f"host {host[:80]!r}: {problem}")
    return tuple(map(sys.intern, hosts))  # many peers have one host, and one host has many mentions


def _ports(table: Mapping[str, object]) -> Ports:
    ports: dict[str, int] = {}
    for name, port in table.items():
        if not _PORT_NAME.fullmatch(name) or type(port) is not int or not 1 <= port <= 65535:
            raise NotCanonical(f"port {name!r} is not a port number")
        ports[name] = port
    missing = [name for name in PORT_NAMES if name not in ports]
    if missing:
        raise NotCanonical(f"the port {missing[0]!r} is missing")
    return Ports(ports)

"""Revocation lists between their signer and everybody: verifying one, making the next one.

A list travels and is stored with the chain of its signer: `[list, chain]`, the chain beginning
with the signer's own certificate (an issuer's, or a root's). The chain has to be authentic; it
need not be valid *now*: a list that once was good only ever takes back, and forgetting it because
its signer's certificate ended or was replaced would give back what was revoked.

A key that is revoked for ever stays in the list for as long as an issuer that has not heard of it
could renew it: an issuer's own certificate lives a year, and what it gives ends with it. Where the
list is full, those go first whose own certificates have ended, the oldest before the others: a key
that was stolen today weighs more.

What this module does not know: files, sockets, which lists are in force elsewhere. The clock is the
caller's `now_ms`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from keys.canonical import NotCanonical, decode, encode
from keys.certificate import BACKDATE_MS, Certificate, CertificateKind
from keys.errors import CertificateRefused, InvalidValue
from keys.identity import network_id_of
from keys.revocation import (
    DOMAIN,
    MAX_LIST_BYTES,
    MAX_REASON_CHARS,
    Entry,
    EntryKind,
    ListSigner,
    RevocationList,
    merged_entries,
)
from keys.revocation_refusals import (
    RevocationBadSignature,
    RevocationFuture,
    RevocationListFull,
    RevocationListMalformed,
    RevocationNotAnIssuer,
)
from keys.revocations import ListInForce, Revocations
from keys.trust import (
    DAY_MS,
    LIFETIME_MS,
    MAX_CHAIN_BYTES,
    SKEW_MS,
    Chain,
    Trust,
    verify_signer,
)

MAX_PACKED_BYTES: Final = MAX_LIST_BYTES + MAX_CHAIN_BYTES + 16
# An issuer makes its list anew every day while it is up. The root is offline: nobody waits for it.
ISSUER_LIST_MS: Final = 7 * DAY_MS
ROOT_LIST_MS: Final = 3653 * DAY_MS
# For so long an issuer that has not heard of it can have another certificate for a key.
RENEWED_FOR_MS: Final = LIFETIME_MS[CertificateKind.ISSUER] + BACKDATE_MS + SKEW_MS
SPARED_AT_ONCE: Final = 50


def pack_list(listed: ListInForce) -> bytes:
    """As it travels and is stored."""
    return encode([listed.list.raw, listed.chain])


def read_list(packed: bytes, trust: Trust, now_ms: int) -> ListInForce:
    """The list in these bytes, verified: who signed it may sign lists in this network.

    Raises:
        RevocationRefused: the first of the checks that fails.
    """
    raw, chain = _pair(packed)
    listed = RevocationList.decode(raw)
    line = _chain(chain)
    signer = _signer(line, trust)
    if listed.network_id != trust.network_id:
        raise RevocationNotAnIssuer(f"it is of network {listed.network_id}")
    if listed.signer_key_id != signer.key_id:
        raise RevocationBadSignature(signer.name)
    if not signer.authority.has_signed(DOMAIN, listed.body, listed.signature):
        raise RevocationBadSignature(signer.name)
    if listed.issued_ms > now_ms + SKEW_MS:
        raise RevocationFuture(signer.name, listed.issued_ms - now_ms)
    return ListInForce(listed, signer, chain, _key_ids(line))


def read_own_list(packed: bytes, now_ms: int) -> ListInForce:
    """A list that the asker keeps in a file of its own: its first root says of which network it is.

    Raises:
        RevocationRefused: as `read_list`.
    """
    first_root = _chain(_pair(packed)[1]).certificates[-1]
    return read_list(packed, Trust(network_id_of(first_root.public_key)), now_ms)


def _pair(packed: bytes) -> tuple[bytes, bytes]:
    try:
        items = decode(packed, MAX_PACKED_BYTES)
    except NotCanonical as error:
        raise RevocationListMalformed(str(error)) from error
    if (
        not isinstance(items, list)
        or len(items) != 2
        or not all(type(item) is bytes for item in items)
    ):
        raise RevocationListMalformed("not a list and the chain of its signer")
    return items[0], items[1]


def _chain(chain: bytes) -> Chain:
    try:
        return Chain.decode(chain)
    except CertificateRefused as error:
        raise RevocationNotAnIssuer(str(error)) from error


def _key_ids(chain: Chain) -> tuple[bytes, ...]:
    return tuple(each.key_id for each in chain.roots)


def _signer(chain: Chain, trust: Trust) -> Certificate:
    try:
        return verify_signer(chain, trust)
    except CertificateRefused as error:
        raise RevocationNotAnIssuer(str(error)) from error


def next_list(
    signer: ListSigner,
    chain: Chain,
    known: Revocations,
    added: Iterable[Entry],
    now_ms: int,
) -> ListInForce:
    """The signer's next list: what it had and still needs, and what is added.

    Its number is above the highest that was heard of this signer, also from others: a directory
    that was restored from a backup goes on where the network is.

    Raises:
        RevocationListFull: more than a list holds.
    """
    own = chain.leaf
    before = known.of(own.key_id)
    had = before.list.entries if before is not None else ()
    kept = [each for each in map(_as_long_as_now, had) if each.until_ms >= now_ms]
    entries, spare = merged_entries((*kept, *added)), _spare(kept, own, now_ms)
    while True:
        try:
            made = RevocationList.make(
                signer,
                own.key_id,
                own.network_id,
                sequence=before.list.sequence + 1 if before is not None else 1,
                entries=entries,
                now_ms=now_ms,
                lives_ms=ROOT_LIST_MS if own.kind is CertificateKind.ROOT else ISSUER_LIST_MS,
            )
        except RevocationListFull:
            if not spare:
                raise
            gone, spare = set(spare[:SPARED_AT_ONCE]), spare[SPARED_AT_ONCE:]
            entries = tuple(each for each in entries if each not in gone)
        else:
            return ListInForce(made, own, chain.encode(), _key_ids(chain))


def _as_long_as_now(entry: Entry) -> Entry:
    """What an earlier version would have forgotten sooner."""
    if not (entry.kind is EntryKind.KEY and entry.is_for_ever):
        return entry
    return replace(entry, until_ms=max(entry.until_ms, entry.revoked_ms + RENEWED_FOR_MS))


def _spare(kept: Iterable[Entry], signer: Certificate, now_ms: int) -> list[Entry]:
    """What a full list can do without, the oldest first."""
    ended = [
        each
        for each in kept
        if each.kind is EntryKind.KEY
        and each.is_for_ever
        and each.revoked_ms + _longest_ms(signer) < now_ms
    ]
    return sorted(ended, key=lambda each: each.revoked_ms)


def entry_of_serial(serial: bytes, signer: Certificate, now_ms: int, reason: str = "") -> Entry:
    """One certificate, which lives no longer than its kind may."""
    until_ms = now_ms + _longest_ms(signer)
    return _entry(EntryKind.SERIAL, serial, 0, now_ms, until_ms, reason)


def entry_of_key(
    key_id: bytes, signer: Certificate, now_ms: int, *, before_ms: int = 0, reason: str = ""
) -> Entry:
    """The certificates of a key: all that there will ever be, or those issued before a time."""
    until_ms = before_ms + _longest_ms(signer) if before_ms else now_ms + RENEWED_FOR_MS
    return _entry(EntryKind.KEY, key_id, before_ms, now_ms, until_ms, reason)


def entry_of_all(before_ms: int, signer: Certificate, now_ms: int, reason: str = "") -> Entry:
    """Everything that this signer may revoke and that was issued before a time."""
    until_ms = before_ms + _longest_ms(signer)
    return _entry(EntryKind.ALL, b"", before_ms, now_ms, until_ms, reason)


def _longest_ms(signer: Certificate) -> int:
    """How long a certificate that this signer may revoke can still be accepted."""
    is_root = signer.kind is CertificateKind.ROOT
    kind = CertificateKind.ISSUER if is_root else CertificateKind.PEER
    return LIFETIME_MS[kind] + BACKDATE_MS + SKEW_MS


def _entry(
    kind: EntryKind, ident: bytes, before_ms: int, now_ms: int, until_ms: int, reason: str
) -> Entry:
    if len(reason) > MAX_REASON_CHARS or not reason.isprintable():
        raise InvalidValue("the reason", f"takes up to {MAX_REASON_CHARS} printable characters")
    if before_ms > now_ms + SKEW_MS:
        raise InvalidValue("the time", "lies ahead; what is issued until then would be refused too")
    return Entry(kind, ident, before_ms, now_ms, until_ms, reason)

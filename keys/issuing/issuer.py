"""The issuer: makes tickets, and certificates for those who bring one.

What this module does not know: sockets, doors, how often somebody may try (the door limits that).
The clock is the caller's `now_ms`; the disk is the ticket book's.

Invariants: a ticket gives a certificate to one public key, ever; its used mark and the entry in the
book of what was issued are durable before that certificate exists; the same key asking again gets
the same certificate, so that an answer lost on the way does not burn the ticket. A renewal gives
what the certificate had, or nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from nacl.utils import random as random_bytes

from keys.certificate import MAX_RENEWED_FROM, SERIAL_BYTES, Certificate
from keys.errors import (
    CertificateRefused,
    InvalidValue,
    IssuerUnable,
    JoinBadSignature,
    JoinWrongNetwork,
    RenewalBeyondIssuer,
    RenewalClockOff,
    RenewalNotSigned,
    RenewalTooOften,
    TicketExpired,
    TicketUnknown,
    TicketUsed,
    TicketWrongSecret,
)
from keys.genesis import Genesis
from keys.identity import Identity, NetworkId, decode_id, encode_id, peer_id_of
from keys.issuing.issued_book import Issued, IssuedBook
from keys.issuing.making import check_rights, make_peer
from keys.issuing.ticket_book import TicketBook, TicketNote, UsedMark
from keys.join import JoinRequest, encode_grant, mac_key_of
from keys.names import EVERYWHERE
from keys.refusals import CertificateRevoked
from keys.renewal import NONCE_BYTES, RenewalRequest
from keys.revocation import Entry
from keys.revocation_refusals import JoinKeyRevoked
from keys.revocations import ListInForce, Revocations
from keys.revoking import next_list
from keys.roles import Role
from keys.ticket import SECRET_BYTES, TICKET_ID_BYTES, Ticket
from keys.trust import DAY_MS, Chain, Trust, verify, verify_issuer

DEFAULT_TTL_S: Final = 900
MAX_TTL_S: Final = 30 * 86_400
DEFAULT_CERTIFICATE_MS: Final = 90 * DAY_MS
MAX_CLOCK_DIFFERENCE_MS: Final = 300_000
MAX_A_MINUTE: Final = 8  # certificates for one key


class Issuer:
    """Holds an issuer's key. `chain` is the issuer's own: its certificate, then the root's."""

    def __init__(
        self,
        key: Identity,
        chain: Chain,
        genesis: Genesis,
        book: TicketBook,
        issued: IssuedBook,
        certificate_ms: int = DEFAULT_CERTIFICATE_MS,
        trust: Trust | None = None,
    ) -> None:
        self._key = key
        self._book = book
        self.issued = issued
        self.certificate_ms = certificate_ms  # how long what it gives is good for
        self.why_unable: Callable[[], str | None] = lambda: None  # a reason to issue nothing now
        self.chain = chain
        self.genesis = genesis
        self.trust = trust or Trust(genesis.network_id)
        # Hears of each ticket that was used, in the thread that redeems it.
        self.on_redeemed: Callable[[TicketNote, UsedMark], None] = lambda note, mark: None

    def __repr__(self) -> str:
        return f"Issuer({self.chain.leaf.name!r}, key=***)"

    def invite(
        self,
        now_ms: int,
        ttl_s: int = DEFAULT_TTL_S,
        roles: Role = Role.SERVICE,
        addresses: Iterable[tuple[str, int]] = (),
        *,
        namespaces: Iterable[str] = (EVERYWHERE,),
    ) -> Ticket:
        """A new ticket, noted durably. Its line (`export_secret`) is shown once and not kept.

        Raises:
            InvalidValue: the issuer may not give these roles or namespaces, or the ttl is absurd.
        """
        if not 1 <= ttl_s <= MAX_TTL_S:
            raise InvalidValue("ttl_s", f"{ttl_s} is not from 1 to {MAX_TTL_S} seconds")
        allowed = tuple(sorted(namespaces))
        check_rights(self._key, self.chain.leaf, roles, allowed)
        secret = random_bytes(SECRET_BYTES)
        ticket = Ticket.make(
            self.genesis.network_id,
            random_bytes(TICKET_ID_BYTES),
            secret,
            now_ms // 1000 + ttl_s,
            roles,
            addresses,
        )
        self._book.forget_old(now_ms)
        self._book.add(
            TicketNote(
                ticket.ticket_id, mac_key_of(secret), ticket.expires_s * 1000, roles, allowed
            )
        )
        return ticket

    def redeem(self, request: bytes, door_transcript: bytes, now_ms: int) -> bytes:
        """The grant for a join request that came over the conversation `door_transcript`.

        Raises:
            JoinRefused, TicketRefused: nothing was issued, and the ticket is as it was.
            KeystoreError: the ticket book cannot be read or written.
        """
        asked = JoinRequest.decode(request)
        note = self._check(asked, door_transcript)
        mark = self._book.used_by(asked.ticket_id)
        if mark is None:
            mark = self._book.claim(asked.ticket_id, self._new_mark(asked, note, now_ms))
            if mark.public_key == asked.public_key:
                self.on_redeemed(note, mark)
        if mark.public_key != asked.public_key:
            raise TicketUsed(asked.ticket_id.hex())
        try:
            return self._grant(note, mark, now_ms)
        except CertificateRevoked as error:
            raise JoinKeyRevoked(peer_id_of(asked.public_key)) from error

    def renew(self, request: bytes, now_ms: int) -> bytes:
        """The chain with a new certificate for the member that asks, of the same name and rights.

        Raises:
            RenewalRefused: the request is not good, or asks for more than this issuer may give.
            CertificateRefused: its present certificate is not good now.
            IssuerUnable: this issuer's own certificate is not good now.
            KeystoreError: the book cannot be read or written.
        """
        asked = RenewalRequest.decode(request)
        principal = verify(asked.chain, self.trust, now_ms)
        if not asked.is_signed:
            raise RenewalNotSigned(principal.peer_id)
        if abs(asked.asked_ms - now_ms) > MAX_CLOCK_DIFFERENCE_MS:
            raise RenewalClockOff(asked.asked_ms - now_ms)
        self._check_able(now_ms)
        try:
            check_rights(self._key, self.chain.leaf, principal.roles, principal.namespaces)
        except InvalidValue as error:
            raise RenewalBeyondIssuer(str(error)) from error
        before = self.issued.of_key(principal.peer_id)
        lately = [each for each in before if now_ms - 60_000 < each.issued_ms <= now_ms]
        again = any(each.nonce == asked.nonce for each in before)
        if len(lately) >= MAX_A_MINUTE and not again:
            raise RenewalTooOften(principal.name, len(lately))
        entry = Issued(
            public_key=principal.public_key,
            serial=random_bytes(SERIAL_BYTES),
            name=principal.name,
            roles=principal.roles,
            namespaces=principal.namespaces,
            issued_ms=now_ms,
            not_after_ms=self._end_ms(now_ms),
            nonce=asked.nonce,
            issuer_key_id=self.chain.leaf.key_id,
            renewed_from=self._issuers_before(asked.chain.leaf),
        )
        return self._certify(self.issued.add(entry, now_ms)).encode()

    def _issuers_before(self, shown: Certificate) -> tuple[bytes, ...]:
        """On whose word we give it. They stay named: who could shed its issuer by a renewal would
        outlive what that issuer takes back, and that issuer's own end."""
        before = {*shown.renewed_from, shown.issuer_key_id} - {self.chain.leaf.key_id}
        if len(before) > MAX_RENEWED_FROM:
            raise RenewalBeyondIssuer(
                f"it was renewed by more than {MAX_RENEWED_FROM} issuers in turn; "
                "join again with a new ticket"
            )
        return tuple(sorted(before))

    def _end_ms(self, now_ms: int) -> int:
        return min(now_ms + self.certificate_ms, self.chain.leaf.not_after_ms)

    def _check_able(self, now_ms: int) -> None:
        problem = self.why_unable()
        if problem is not None:
            raise IssuerUnable(problem)
        try:
            verify_issuer(self.chain, self.trust, now_ms)
        except CertificateRefused as error:
            raise IssuerUnable(str(error)) from error

    def revoke(self, known: Revocations, added: Iterable[Entry], now_ms: int) -> ListInForce:
        """Our next revocation list: what we had in force, and these. It is not stored here.

        Raises:
            RevocationListFull: more than a list holds.
        """
        return next_list(self._key, self.chain, known, added, now_ms)

    def _check(self, asked: JoinRequest, door_transcript: bytes) -> TicketNote:
        """Who cannot prove the secret learns nothing of a ticket but that it exists."""
        if asked.network_digest != decode_id(self.genesis.network_id):
            wanted = NetworkId(encode_id(asked.network_digest))
            raise JoinWrongNetwork(wanted, self.genesis.network_id)
        name = asked.ticket_id.hex()
        note = self._book.find(asked.ticket_id)
        if note is None:
            raise TicketUnknown(name)
        if not asked.proves_secret(note.mac_key, door_transcript):
            raise TicketWrongSecret(name)
        if not asked.is_signed(door_transcript):
            raise JoinBadSignature(peer_id_of(asked.public_key))
        return note

    def _new_mark(self, asked: JoinRequest, note: TicketNote, now_ms: int) -> UsedMark:
        if now_ms > note.expires_ms:
            raise TicketExpired(note.ticket_id.hex(), now_ms - note.expires_ms)
        self._check_able(now_ms)
        try:
            check_rights(self._key, self.chain.leaf, note.roles, note.namespaces)
        except InvalidValue as error:
            raise IssuerUnable(str(error)) from error
        return UsedMark(asked.public_key, asked.name, random_bytes(SERIAL_BYTES), now_ms)

    def _grant(self, note: TicketNote, mark: UsedMark, now_ms: int) -> bytes:
        entry = Issued(
            public_key=mark.public_key,
            serial=mark.serial,
            name=mark.name,
            roles=note.roles,
            namespaces=note.namespaces,
            issued_ms=mark.issued_ms,
            not_after_ms=self._end_ms(mark.issued_ms),
            nonce=note.ticket_id.ljust(NONCE_BYTES, b"\0"),
            issuer_key_id=self.chain.leaf.key_id,
        )
        return encode_grant(self._certify(self.issued.add(entry, now_ms)), self.genesis)

    def _certify(self, entry: Issued) -> Chain:
        """Made of the entry alone: asked again, the same bytes, unless it was revoked meanwhile.

        Raises:
            CertificateRevoked
        """
        certificate = make_peer(
            self._key,
            self.chain.leaf,
            entry.public_key,
            entry.name,
            entry.roles,
            entry.issued_ms,
            namespaces=entry.namespaces,
            serial=entry.serial,
            lifetime_ms=entry.not_after_ms - entry.issued_ms,
            renewed_from=entry.renewed_from,
        )
        chain = Chain((certificate, *self.chain.certificates))
        verify(chain, self.trust, entry.issued_ms)
        root = self.chain.root.key_id
        self.trust.revocations.check_key(certificate.key_id, entry.name, root)
        return chain

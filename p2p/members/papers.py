"""The papers of members that we may never have met: chain and record, verified at this clock.

An introduction proves that somebody holds the keys of its papers. These here are passed on, and
prove nothing of the one who passes them: they say which key a member signs with, and where it is.
Statements about members travel further than introductions; this is how a reader checks them.

What this module does not know: who passes papers on, sessions, timers, what a statement says.

Invariants (`check_invariants`): papers are kept under the id that they prove; an older record never
takes the place of a newer one; what was revoked is not here once `judge` has run.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from keys import (
    CertificateRefused,
    CertificateRevoked,
    Chain,
    Identity,
    NetworkId,
    PeerId,
    Principal,
    RecordRefused,
    TransportRecord,
    Trust,
    decode_id,
    decode_record,
    verify,
    verify_record,
    verify_signature,
)
from p2p.admission import Session, ShownChain

DOMAIN = "member"
MARK_BYTES = 16
MAX_BOOK = 16_384
SKEW_MS = 120_000  # how far apart two clocks may be, as for certificates
_NOBODY = PeerId("")


@dataclass(frozen=True, slots=True)
class Papers:
    """Of one member.

    Attributes:
        mark: a fingerprint of the record, as the member's own statements carry it.
    """

    principal: Principal
    shown: ShownChain
    record: TransportRecord
    mark: bytes

    @property
    def peer_id(self) -> PeerId:
        return self.principal.peer_id

    def has_ended(self, now_ms: int) -> bool:
        """Whether its certificates are over. A record that is over is only of no use for a dial."""
        return now_ms > self.principal.not_after_ms + SKEW_MS


def mark_of(record: TransportRecord) -> bytes:
    return _mark(record.raw)


def _mark(record: bytes) -> bytes:
    return hashlib.blake2b(record, digest_size=MARK_BYTES).digest()


def signed_bytes(network_id: NetworkId, body: bytes) -> bytes:
    """What a statement's signature covers: words of one network say nothing in another."""
    return decode_id(network_id) + body


def sign_as(identity: Identity, network_id: NetworkId, body: bytes, domain: str = DOMAIN) -> bytes:
    return identity.sign(domain, signed_bytes(network_id, body))


class PaperBook:
    """See the module.

    Args:
        trust: what to judge by, as it is now.
        wall_ms: the time that certificates are about.
    """

    def __init__(self, trust: Callable[[], Trust], wall_ms: Callable[[], int]) -> None:
        self._trust = trust
        self._wall_ms = wall_ms
        self._papers: dict[PeerId, Papers] = {}
        self._verified: dict[bytes, PeerId] = {}  # marks, since the trust is what it is
        self._verified_by: Trust | None = None
        self.counts: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._papers)

    def __iter__(self) -> Iterator[Papers]:
        return iter(tuple(self._papers.values()))

    def __contains__(self, peer_id: object) -> bool:
        return peer_id in self._papers

    def get(self, peer_id: PeerId) -> Papers | None:
        return self._papers.get(peer_id)

    def note(self, session: Session) -> None:
        """An introduction has proved these."""
        record = session.record
        self._keep(Papers(session.principal, session.shown, record, mark_of(record)))

    def take(self, chain: bytes, record: bytes) -> PeerId | None:
        """Somebody has passed these on; whose they are, or None where they are of no use."""
        now_ms, trust = self._wall_ms(), self._trust()
        mark = _mark(record)
        if (verified := self._verified_before(chain, mark, trust, now_ms)) is not None:
            self.counts["again"] += 1  # several neighbours were asked
            return verified
        try:
            principal = verify(Chain.decode(chain), trust, now_ms)
            shown = decode_record(record)
            verify_record(shown, principal, now_ms)
        except (CertificateRefused, RecordRefused) as error:
            self.counts[f"refused_{error.code}"] += 1
            return None
        known = self._papers.get(principal.peer_id)
        if known is not None and shown.sequence < known.record.sequence:
            self.counts["older"] += 1
            return principal.peer_id
        self._keep(Papers(principal, ShownChain.of(chain), shown, mark))
        self._verified[mark] = principal.peer_id
        return principal.peer_id

    def _verified_before(
        self, chain: bytes, mark: bytes, trust: Trust, now_ms: int
    ) -> PeerId | None:
        """Whose these are, if they are in the book and are judged now as they were then."""
        if trust is not self._verified_by or len(self._verified) >= 2 * MAX_BOOK:
            self._verified_by = trust
            self._verified.clear()
        known = self._papers.get(self._verified.get(mark, _NOBODY))
        if known is None or known.mark != mark or known.has_ended(now_ms):
            return None
        return known.peer_id if known.shown.encode() == chain else None

    def forget(self, peer_id: PeerId) -> None:
        self._papers.pop(peer_id, None)

    def has_signed(
        self, signer: PeerId, body: bytes, signature: bytes, domain: str = DOMAIN
    ) -> bool | None:
        """Whether a member has said this; None where its papers are not here, or are over."""
        papers = self._papers.get(signer)
        if papers is None or papers.has_ended(self._wall_ms()):
            return None
        said = signed_bytes(self._trust().network_id, body)
        return verify_signature(papers.principal.public_key, domain, said, signature)

    def judge(self) -> list[PeerId]:
        """Drop whoever is revoked by the lists that are in force now; returns them."""
        revocations, revoked = self._trust().revocations, []
        for papers in self if len(revocations) else ():
            try:
                revocations.check(papers.principal.lineage)
            except CertificateRevoked:
                revoked.append(papers.peer_id)
                del self._papers[papers.peer_id]
        return revoked

    def ended(self) -> list[PeerId]:
        """Drop those whose certificates are over; returns them."""
        now_ms = self._wall_ms()
        over = [papers.peer_id for papers in self if papers.has_ended(now_ms)]
        for peer_id in over:
            del self._papers[peer_id]
        return over

    def check_invariants(self) -> None:
        assert len(self._papers) <= MAX_BOOK
        for peer_id, papers in self._papers.items():
            assert papers.principal.peer_id == peer_id == papers.record.peer_id
            assert papers.mark == mark_of(papers.record)

    def _keep(self, papers: Papers) -> None:
        if papers.peer_id not in self._papers and len(self._papers) >= MAX_BOOK:
            self.counts["full"] += 1
            return
        self._papers[papers.peer_id] = papers

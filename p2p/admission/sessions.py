"""Who has been admitted: the one table that turns a CURVE key on a frame into a member.

A `Session` is made by a handshake that ended well, and holds everything that may be asked about a
peer later: its rights, its keys, where to reach it, until when.

Promises of the table:
- a peer has at most one session, and a CURVE key belongs to at most one peer, also for as long as
  the record that named it could be valid after the session ended: a peer that still speaks under
  its key can be unknown here, but never be taken for another that claimed the key meanwhile;
- the key that a peer gave up by a rotation stays its own until the next one;
- a record with a lower sequence number than one already seen never replaces it, not even after the
  session ended, for as long as the record that set the mark could have been valid;
- two different records with the same number are a fault of their maker, and the first stays;
- the rights of a peer are those of its newest certificate, from the moment that it is here. One
  that began earlier is good for being let in, and gives back nothing that a newer one has taken,
  for as long as the newest record is known.

What this module does not know: how a session came about, sockets, allow-lists, revocation lists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import chain
from zlib import crc32

from keys import PeerId, Principal, TransportRecord
from p2p.admission.messages import MAX_HINT_HOSTS, MAX_HINTS, Hint, is_host
from p2p.admission.refusals import RefusalCode
from p2p.admission.shown import ShownChain
from p2p.links import Contact

# A start of a peer owns this many sequence numbers for its records, beginning with its incarnation,
# so the incarnation can be read off any of them.
SEQUENCES_PER_START = 1 << 20
# How far apart two clocks may be, as for certificates.
SKEW_MS = 120_000


_NOTHING_SHOWN = ShownChain()


@dataclass(frozen=True, slots=True)
class Session:
    """One admitted peer.

    Attributes:
        hosts: where it is, best first.
        knows_key: our own CURVE key by which it knows us, as far as we know.
        knows_record: the number of the newest record of ours that it has, as far as we know.
        shown: its certificates as it showed them, for those who have not met it.
    """

    principal: Principal
    record: TransportRecord
    hosts: tuple[str, ...]
    knows_key: bytes = b""
    knows_record: int = 0
    shown: ShownChain = _NOTHING_SHOWN

    @property
    def peer_id(self) -> PeerId:
        return self.principal.peer_id

    @property
    def curve_public(self) -> bytes:
        return self.record.curve_public

    @property
    def ports(self) -> Mapping[str, int]:
        return self.record.ports

    @property
    def sequence(self) -> int:
        return self.record.sequence

    @property
    def incarnation(self) -> int:
        """Which start of the peer this is."""
        return self.sequence - self.sequence % SEQUENCES_PER_START

    def has_left(self, before: Session) -> bool:
        """Whether its record names an address no more, and whatever came from there is dead."""
        return not set(before.record.hosts) <= set(self.record.hosts)

    @property
    def not_after_ms(self) -> int:
        """When its papers end: the certificates' or the record's end, whichever is first."""
        return min(self.principal.not_after_ms, self.record.not_after_ms)

    def contact(self) -> Contact:
        """What a transport needs to know of this peer."""
        return Contact(
            self.peer_id,
            self.curve_public,
            self.hosts,
            self.ports,
            self.incarnation,
            self.knows_key,
        )

    def hint(self) -> Hint | None:
        """What others may be told of this peer, or None when it has no door to knock at."""
        hosts = tuple(host for host in self.hosts if is_host(host))[:MAX_HINT_HOSTS]
        port = self.ports.get("door", 0)
        return Hint(self.peer_id, hosts, port) if hosts and 0 < port < 65_536 else None


class Admitted(StrEnum):
    """What taking a session in has changed."""

    NEW = "new"  # had none
    SAME = "same"  # the very record that it had: nothing to do
    REFRESHED = "refreshed"  # a newer record with the same CURVE key: links stay up
    ROTATED = "rotated"  # a newer record of the same start with another key: links move over
    REPLACED = "replaced"  # a newer record of a later start: old links must be cut


@dataclass(frozen=True, slots=True)
class Admission:
    outcome: Admitted
    before: Session | None  # what the peer had, unless NEW


class SessionTable:
    """Sessions by peer and by CURVE key. Reads no clock: time arrives in Unix milliseconds.

    Attributes:
        on_rights: hears of each peer whose session has other rights than a moment ago.
    """

    def __init__(self) -> None:
        self.on_rights: Callable[[Session], None] = lambda session: None
        self._by_peer: dict[PeerId, Session] = {}
        # The newest record seen of each peer, and whose each key is: also of those that are gone.
        self._newest: dict[PeerId, TransportRecord] = {}
        # By the newest certificate seen of each peer in `_newest`: what it may have at most.
        self._rights: dict[PeerId, Principal] = {}
        self._by_key: dict[bytes, PeerId] = {}
        self._given_up: dict[PeerId, bytes] = {}  # the key before the one in the newest record
        self._strangers = 0  # so many were told where others are

    def __len__(self) -> int:
        return len(self._by_peer)

    def __iter__(self) -> Iterator[Session]:
        return iter(tuple(self._by_peer.values()))

    def __contains__(self, peer_id: object) -> bool:
        return peer_id in self._by_peer

    def get(self, peer_id: PeerId) -> Session | None:
        return self._by_peer.get(peer_id)

    def of_key(self, curve_public: bytes) -> Session | None:
        """The peer whose frames arrive under this CURVE key."""
        peer_id = self._by_key.get(curve_public)
        return None if peer_id is None else self._by_peer.get(peer_id)

    def objection(self, record: TransportRecord) -> RefusalCode | None:
        """Why a verified record may not become a session, or None."""
        owner = self._by_key.get(record.curve_public)
        if owner is not None and owner != record.peer_id:
            return RefusalCode.KEY_TAKEN
        newest = self._newest.get(record.peer_id)
        if newest is None or record.sequence > newest.sequence:
            return None
        if record.sequence < newest.sequence:
            return RefusalCode.STALE_RECORD
        return None if record.raw == newest.raw else RefusalCode.CONFLICTING_RECORD

    def admit(self, session: Session) -> Admission:
        """Take in a session to whose record there is no objection."""
        assert self.objection(session.record) is None, "ask `objection` first"
        assert session.peer_id == session.record.peer_id, "papers of two peers"
        peer_id = session.peer_id
        before = self._by_peer.get(peer_id)
        outcome = _outcome(before, session)
        key = self._kept_key(before, session, outcome)
        newest = self._rights.get(peer_id)
        session = _within(newest, session)
        self._forget(peer_id)
        self._by_peer[peer_id] = session
        self._rights[peer_id] = _newer(newest, session.principal)
        self._by_key[session.curve_public] = peer_id
        self._newest[peer_id] = session.record
        if key is not None:
            self._given_up[peer_id] = key
            self._by_key[key] = peer_id
        if before is not None and not session.principal.has_rights_of(before.principal):
            self.on_rights(session)
        return Admission(outcome, before)

    def end_by(self, peer_id: PeerId, not_after_ms: int) -> None:
        """Let the papers of a session end no later than this."""
        session = self._by_peer[peer_id]
        if not_after_ms < session.principal.not_after_ms:
            ending = replace(session.principal, not_after_ms=not_after_ms)
            self._by_peer[peer_id] = replace(session, principal=ending)

    def remove(self, peer_id: PeerId) -> Session | None:
        """End a session. What was its newest record stays known."""
        return self._by_peer.pop(peer_id, None)

    def expired(self, now_ms: int) -> list[Session]:
        """Sessions whose papers ended; the caller removes them. Also forgets old marks."""
        for peer_id, record in tuple(self._newest.items()):
            if peer_id not in self._by_peer and now_ms > record.not_after_ms + SKEW_MS:
                self._forget(peer_id)
        return [each for each in self if now_ms > each.not_after_ms + SKEW_MS]

    def hints(self, *, but_for: PeerId | None = None, limit: int = MAX_HINTS) -> tuple[Hint, ...]:
        """Where the doors of admitted peers are, for a newcomer. If there are more than `limit`,
        each newcomer is told of others: the first few would be everybody's first."""
        found: list[Hint] = []
        everybody = tuple(self)
        self._strangers += but_for is None
        asker = but_for or str(self._strangers)
        first = crc32(asker.encode()) % max(1, len(everybody))
        for session in chain(everybody[first:], everybody[:first]):
            if len(found) >= limit:
                break
            hint = None if session.peer_id == but_for else session.hint()
            if hint is not None:
                found.append(hint)
        return tuple(found)

    def next_end_ms(self) -> int | None:
        """When the first of the sessions is over, as `expired` sees it."""
        ends = (each.not_after_ms for each in self._by_peer.values())
        first_ms = min(ends, default=None)
        return None if first_ms is None else first_ms + SKEW_MS + 1

    def check_invariants(self) -> None:
        keys = len(self._newest) + len(self._given_up)
        assert len(self._by_key) == keys, "one key a peer, two while it changes them"
        for peer_id, key in self._given_up.items():
            assert self._by_key[key] == peer_id, "what was given up is nobody else's"
            assert key != self._newest[peer_id].curve_public, "it was given up for another"
        for peer_id, record in self._newest.items():
            assert self._by_key[record.curve_public] == peer_id, "the key leads back"
        for peer_id, session in self._by_peer.items():
            assert session.peer_id == peer_id == session.record.peer_id, "its own papers"
            assert self._newest[peer_id] is session.record, "the mark is the session's"
            most = self._rights[peer_id]
            assert session.principal.within_rights_of(most) is session.principal
        assert self._rights.keys() == self._newest.keys(), "known for equally long"

    def _forget(self, peer_id: PeerId) -> None:
        self._rights.pop(peer_id, None)
        record = self._newest.pop(peer_id, None)
        if record is not None:
            del self._by_key[record.curve_public]
        key = self._given_up.pop(peer_id, None)
        if key is not None:
            del self._by_key[key]

    def _kept_key(self, before: Session | None, after: Session, outcome: Admitted) -> bytes | None:
        """The key, other than the one in its record, that stays this peer's."""
        if before is None or outcome is Admitted.REPLACED:
            return None
        if outcome is Admitted.ROTATED:
            return before.curve_public
        return self._given_up.get(after.peer_id)


def _within(newest: Principal | None, session: Session) -> Session:
    """With no right that a newer certificate of this peer did not give."""
    shown = session.principal
    if newest is None or shown.not_before_ms >= newest.not_before_ms:
        return session
    return replace(session, principal=shown.within_rights_of(newest))


def _newer(newest: Principal | None, shown: Principal) -> Principal:
    return newest if newest is not None and newest.not_before_ms > shown.not_before_ms else shown


def _outcome(before: Session | None, after: Session) -> Admitted:
    if before is None:
        return Admitted.NEW
    if before.record.raw == after.record.raw:
        return Admitted.SAME
    if before.curve_public == after.curve_public:
        return Admitted.REFRESHED
    if before.incarnation == after.incarnation:
        return Admitted.ROTATED
    return Admitted.REPLACED

"""Sealing on one node: its keys, other peers' keys, sealed messages made and opened.

    sealing.key   request, empty -> the sealing statement of who answers

A statement is asked of the peer itself, over a connection that proves who it is, checked, and kept:
for an hour, or until that peer is started again; while the peer is away, for as long as it holds.

What must be durable: a new key before its statement is given out (`keys.SealingRing`); what was
taken once before it is handed out (`keys.SeenMessages`). Both write in the loop's thread, the one
once a day, the other once in two seconds for each sender of messages that are taken once.

What this module does not know: tasks, topics, streams, what is sealed.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from agents.errors import NoSealingKey
from keys import (
    CertificateRefused,
    Chain,
    Identity,
    KeystoreError,
    PeerId,
    Permission,
    Principal,
    verify,
)
from keys.sealing import (
    EPOCH_BYTES,
    SealedByAnother,
    SealedMessage,
    SealedRefused,
    SealingKeyRefused,
    SealingRing,
    SealingStatement,
    SeenMessages,
    Stamp,
    Suite,
    open_message,
    seal_message,
)
from p2p import Clock, Incoming, P2PError, Peer

log = logging.getLogger("conclave.agents.sealing")

SEALING_KEY: Final = "sealing.key"
ASK_S: Final = 3.0
KEPT_MS: Final = 3_600_000
MAX_KEPT: Final = 4096
LOOK_S: Final = 60.0
# A secret is thrown away after it was due for so long: a clock that is wrong is put right by then.
SURE_MS: Final = 3_600_000
SKEW_MS: Final = 120_000  # as when a chain is verified
_STARTS: Final = 1 << 20  # sequence numbers of records that one start of a peer has


class _Kept(NamedTuple):
    statement: SealingStatement
    who: Principal
    start: int  # of the peer, 0 where that is not known
    until_ms: int  # when it is asked for again, if the peer is there


class Sealing:
    """Call `open` before the peer is entered, `start` after.

    Attributes:
        counts: what was sealed, opened and refused, by code.
    """

    def __init__(
        self, peer: Peer, clock: Clock, home: Path, identity: Identity, suite: Suite
    ) -> None:
        self._peer = peer
        self._clock = clock
        self._home = home
        self._identity = identity
        self._suite = suite
        self._ring: SealingRing | None = None
        self._seen: SeenMessages | None = None
        self._epoch = secrets.token_bytes(EPOCH_BYTES)
        self._sequence = 0
        self._kept: OrderedDict[PeerId, _Kept] = OrderedDict()
        self._due_since_ms: int | None = None
        self._looking: asyncio.Task[None] | None = None
        self.counts: Counter[str] = Counter()
        peer.serve(SEALING_KEY, self._on_asked, permission=Permission.MEMBERSHIP)

    def open(self) -> None:
        """Read this node's keys, or make its first one.

        Raises:
            HybridUnavailable: that suite is wanted and cannot be had.
            HomeDamaged, KeystoreError: they cannot be read.
        """
        now_ms = self._clock.wall_ms()
        self._ring = SealingRing.open(self._home, self._identity, self._suite, now_ms)
        self._seen = SeenMessages.open(self._home, now_ms, is_new=self._ring.was_new)

    def start(self) -> None:
        """Begin to renew our keys in time."""
        self._looking = asyncio.get_running_loop().create_task(self._look())

    async def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        if self._seen is not None:
            try:
                self._seen.close()
            except KeystoreError as error:  # the slack stays: the next start refuses a bit more
                log.warning("%s", error)

    def counters(self) -> Mapping[str, int]:
        """What was sealed, opened and refused, by name."""
        return {f"sealing_{name}": count for name, count in self.counts.items()}

    # -- sealing -------------------------------------------------------------------------------

    async def seal(
        self,
        readers: Iterable[PeerId],
        purpose: str,
        payload: bytes,
        *,
        with_chain: bool = True,
        known: Iterable[SealingStatement] = (),
    ) -> bytes:
        """Seal for these peers, this node itself may be among them.

        Args:
            with_chain: bring our certificates, for who reads it when we may be away.
            known: statements that need not be asked for.

        Raises:
            NoSealingKey: of one of them none is to be had; nothing was sealed.
            InvalidValue: too many readers, too large a payload.
            HybridUnavailable: a reader has a hybrid key, and this node has no library for it.
        """
        given = {statement.peer_id: statement for statement in known}
        wanted = dict.fromkeys(readers)
        asked = [peer_id for peer_id in wanted if peer_id not in given]
        found = await asyncio.gather(*(self.statement_of(peer_id) for peer_id in asked))
        statements = [*given.values(), *found]
        chain = self._peer.papers.chain.encode() if with_chain else b""
        self._sequence += 1
        stamp = Stamp(self._epoch, self._sequence, self._clock.wall_ms())
        self.counts["sealed"] += 1
        return seal_message(self._identity, statements, purpose, payload, stamp, chain)

    @property
    def statement(self) -> SealingStatement:
        """Our own present key, as others may see it."""
        assert self._ring is not None, "the ring is not open"
        return self._ring.statement

    def holds(self, statement: SealingStatement) -> bool:
        """Whether something may be sealed with it now."""
        return statement.holds_at(self._clock.wall_ms())

    async def statement_of(self, peer_id: PeerId) -> SealingStatement:
        """The key to seal for a peer with.

        Raises:
            NoSealingKey: it cannot be asked, and nothing that it said before still holds; or it is
                no member any more.
        """
        if peer_id == self._peer.peer_id:
            return self.statement
        kept, now_ms = self._kept.get(peer_id), self._clock.wall_ms()
        if kept is not None and not self._is_member_now(kept.who):
            del self._kept[peer_id]
            kept = None
        start = self._start_of(peer_id)
        if kept is not None and now_ms < kept.until_ms and kept.start == start:
            return kept.statement
        try:
            return await self._ask(peer_id, start)
        except (P2PError, SealingKeyRefused) as error:
            holds = kept is not None and kept.statement.holds_at(now_ms)
            if isinstance(error, P2PError) and kept is not None and holds:
                return kept.statement
            raise NoSealingKey(self._peer.label(peer_id), str(error)) from error

    async def _ask(self, peer_id: PeerId, start: int) -> SealingStatement:
        raw = await self._peer.request(peer_id, SEALING_KEY, b"", timeout_s=ASK_S)
        statement = SealingStatement.decode(raw)
        principal = self._member(peer_id, b"")
        if principal is None:
            raise SealingKeyRefused(peer_id, "it is no member any more")
        self.keep(statement, principal, start)
        return statement

    def keep(self, statement: SealingStatement, who: Principal, start: int | None = None) -> None:
        """Check a statement, and use it from now on unless a later one is known.

        Raises:
            SealingKeyRefused: it proves nothing.
        """
        now_ms = self._clock.wall_ms()
        statement.verify(who.peer_id, who.public_key, now_ms)
        kept = self._kept.get(who.peer_id)
        if kept is not None and kept.statement.number > statement.number:
            return
        start = self._start_of(who.peer_id) if start is None else start
        self._kept[who.peer_id] = _Kept(statement, who, start, now_ms + KEPT_MS)
        self._kept.move_to_end(who.peer_id)
        if len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)

    def _start_of(self, peer_id: PeerId) -> int:
        session = self._peer.session_of(peer_id)
        return 0 if session is None else session.sequence // _STARTS

    # -- opening -------------------------------------------------------------------------------

    def unseal(
        self, data: bytes, purpose: str, *, is_stored: bool, sender: PeerId | None = None
    ) -> SealedMessage:
        """Open what was sealed for this node.

        Args:
            is_stored: it lies somewhere, and may be opened more than once within seven days.
                Otherwise it is taken once, and within two minutes of its sealing if nothing of
                this start of its sender was taken before.
            sender: who must have sealed it.

        Raises:
            SealedRefused: the first that holds of the list in `keys.sealing.message`.
            KeystoreError: it cannot be remembered that it was taken, so it is not.
        """
        assert self._ring is not None, "the ring is not open"
        assert self._seen is not None
        try:
            message = open_message(
                data, self._peer.peer_id, purpose, self._ring.secret_of, self._member
            )
            if sender is not None and message.sender != sender:
                raise SealedByAnother(message.sender, sender)
            check = self._seen.check_age if is_stored else self._seen.take_once
            check(message.sender, message.stamp, self._clock.wall_ms())
        except SealedRefused as error:
            self.counts[f"refused_{error.code.replace('-', '_')}"] += 1
            raise
        self.counts["opened"] += 1
        return message

    def _member(self, peer_id: PeerId, chain: bytes) -> Principal | None:
        """Who this is, if a member now: by its session, or by the chain that it brings."""
        if peer_id == self._peer.peer_id:
            return self._peer.principal
        session = self._peer.session_of(peer_id)
        if session is not None:
            return session.principal if self._is_member_now(session.principal) else None
        if not chain:
            return None
        try:
            return verify(Chain.decode(chain), self._peer.papers.trust, self._clock.wall_ms())
        except CertificateRefused as error:
            log.info("the chain of %s is refused: %s", peer_id, error)
            return None

    def _is_member_now(self, who: Principal) -> bool:
        """Whether what a peer once proved still holds: it may have ended or been revoked since."""
        if self._clock.wall_ms() > who.not_after_ms + SKEW_MS:
            return False
        try:
            self._peer.papers.trust.revocations.check(who.lineage)
        except CertificateRefused:
            return False
        return True

    # -- our own keys --------------------------------------------------------------------------

    async def _on_asked(self, incoming: Incoming, payload: bytes) -> bytes:
        return self.statement.raw

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                self._tidy()
            except KeystoreError as error:  # tried again in a minute; the present key goes on
                log.warning("the sealing keys are not renewed: %s", error)

    def _tidy(self) -> None:
        assert self._ring is not None
        wall_ms, now_ms = self._clock.wall_ms(), self._clock.now_ms()
        if self._ring.renew(wall_ms):
            log.info("a new sealing key was made")
        if not self._ring.due(wall_ms):
            self._due_since_ms = None
        elif self._due_since_ms is None:
            self._due_since_ms = now_ms
        elif now_ms - self._due_since_ms >= SURE_MS:
            self._ring.forget(wall_ms)
            self._due_since_ms = None
            log.info("old sealing keys were thrown away")

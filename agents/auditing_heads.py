"""Telling others where our audit log ends, and keeping what they tell us.

Two members, always the same while both are there, are told the newest signed head of our log, at
most once a second; a head is told only after it is durable here. What others tell is verified
with their key, kept on disk, and compared: one that goes back or forks is an entry in our own log,
and a finding of the doctor. Any member may ask which head of *its own* log we hold.

What this module does not know: what stands in a log.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path

from agents.auditing import Audit
from agents.auditing_kinds import Kind
from keys import KeysError, NotCanonical, PeerId, Permission
from keys.auditing import Checkpoint, HeadNews, HeadStore, HeldHead, decode_checkpoint
from p2p import Clock, Incoming, Lane, P2PError, Peer

log = logging.getLogger("conclave.agents.auditing")

HEAD = "audit.head"
HELD = "audit.held"
WITNESSES = 2
PERIOD_S = 1.0
ASK_S = 3.0
MAX_PEERS = 1024


class Heads:
    """The heads of audit logs that this node tells and keeps."""

    def __init__(self, peer: Peer, home: Path, audit: Audit, clock: Clock) -> None:
        self._peer = peer
        self._audit = audit
        self._clock = clock
        self._store = HeadStore(home)
        self._held: dict[PeerId, HeldHead] = {}
        self._unsaved: dict[PeerId, Checkpoint] = {}
        self.alarms: dict[PeerId, Checkpoint] = {}  # what contradicts what was held
        self.dropped = 0  # of members beyond those that we keep heads of
        self._told: dict[PeerId, int] = {}  # how far the witnesses know ours
        self._timer: asyncio.TimerHandle | None = None
        self._saving: asyncio.Task[None] | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._is_open = False
        member = Permission.MEMBERSHIP
        peer.serve_notice(HEAD, self._on_head, permission=member)
        peer.serve(HELD, self._on_asked, permission=member)

    def start(self) -> None:
        """Go on with what was kept; tell ours from now on."""
        newest: dict[PeerId, Checkpoint] = {}
        try:
            newest, self.alarms = self._store.load()
        except KeysError as error:
            log.warning("heads of others' audit logs cannot be read: %s", error)
        self._held = {peer_id: HeldHead(one) for peer_id, one in newest.items()}
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="heads")
        self._is_open = True
        self._audit.on_head = self._on_own
        self._later()

    async def close(self) -> None:
        self._is_open = False
        self._audit.on_head = lambda checkpoint: None
        if self._timer is not None:
            self._timer.cancel()
        if self._saving is not None:
            await asyncio.gather(self._saving, return_exceptions=True)
        await self._save()
        if self._thread is not None:
            self._thread.shutdown(wait=False)

    # -- ours ----------------------------------------------------------------------------------

    def changed(self) -> None:
        """Somebody came or went: perhaps another is to be told."""
        self._later()

    def _on_own(self, checkpoint: Checkpoint) -> None:
        self._later()

    def _later(self) -> None:
        if self._is_open and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(PERIOD_S, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._tell()
        if self._unsaved and (self._saving is None or self._saving.done()):
            self._saving = asyncio.get_running_loop().create_task(self._save())

    def _tell(self) -> None:
        head = self._audit.head
        if head is None:
            return
        witnesses = self.witnesses()
        self._told = {w: at for w, at in self._told.items() if w in witnesses}
        for witness in witnesses:
            if self._told.get(witness, 0) >= head.head.sequence:
                continue
            try:
                self._peer.notify(witness, HEAD, head.raw, lane=Lane.CONTROL)
            except P2PError as error:
                log.debug("not told where our audit log ends: %s", error)
                self._later()
            else:
                self._told[witness] = head.head.sequence

    def witnesses(self) -> list[PeerId]:
        """Who is told: the first two by a hash of both ids, so that nobody is everybody's."""
        own = self._peer.peer_id.encode()
        present = self._peer.presence.present()
        return sorted(present, key=lambda p: blake2b(own + p.encode()).digest())[:WITNESSES]

    async def held_by_others(self) -> list[tuple[PeerId, Checkpoint]]:
        """Ask everybody here which head of our log it holds."""
        present = self._peer.presence.present()
        said = await asyncio.gather(*(self._ask(peer_id) for peer_id in present))
        return [(who, one) for who, one in zip(present, said, strict=True) if one is not None]

    async def _ask(self, peer_id: PeerId) -> Checkpoint | None:
        try:
            raw = await self._peer.request(peer_id, HELD, b"", timeout_s=ASK_S)
            return decode_checkpoint(raw) if raw else None
        except (P2PError, NotCanonical) as error:
            log.debug("not told which head of ours it holds: %s", error)
            return None

    # -- theirs --------------------------------------------------------------------------------

    def _on_head(self, peer_id: PeerId, payload: bytes) -> None:
        session = self._peer.session_of(peer_id)
        if session is None or not self._is_open:
            return
        try:
            told = decode_checkpoint(payload)
        except NotCanonical:
            self._peer.counts["bad_audit_head"] += 1
            return
        if told.peer_id != peer_id or not told.is_signed_by(session.principal.public_key):
            self._peer.counts["bad_audit_head"] += 1
            return
        self._take(peer_id, told)

    def _take(self, peer_id: PeerId, told: Checkpoint) -> None:
        held = self._held.get(peer_id)
        if held is None:
            if len(self._held) >= MAX_PEERS:
                self.dropped += 1
                return
            held = self._held[peer_id] = HeldHead()
        known = held.newest.head.sequence if held.newest is not None else 0
        news = held.take(told)
        if news is HeadNews.KNOWN:
            return
        self._unsaved[peer_id] = told
        self._later()
        if news is HeadNews.NEWER:
            return
        self.alarms.setdefault(peer_id, told)
        kind = Kind.HEAD_BACK if news is HeadNews.BACK else Kind.HEAD_FORKED
        log.error(
            "the audit log of %s was changed: it is at entry %d, and was at %d",
            self._peer.label(peer_id),
            told.head.sequence,
            known,
        )
        detail: dict[str, str | int] = {
            "was": known,
            "sequence": told.head.sequence,
            "digest": told.head.digest.hex(),
        }
        self._audit.note(kind, peer_id, by=peer_id, outcome="alarm", detail=detail)

    async def _on_asked(self, incoming: Incoming, payload: bytes) -> bytes:
        held = self._held.get(incoming.caller.peer_id)
        return held.newest.raw if held is not None and held.newest is not None else b""

    async def _save(self) -> None:
        unsaved, self._unsaved = self._unsaved, {}
        if not unsaved:
            return
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._thread, self._write, list(unsaved.values()))
        except KeysError as error:
            log.warning("heads of others' audit logs are not kept: %s", error)

    def _write(self, told: list[Checkpoint]) -> None:
        for one in told:
            if self.alarms.get(one.peer_id) == one:
                self._store.save_fork(one)
            else:
                self._store.save(one)

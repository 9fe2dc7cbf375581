"""The audit of a node with everything that feeds it and everything that it serves.

Its first entry of a start is durable before the node meets anybody; where the settings say
`required`, a node whose audit log cannot be written does not start.

What this module does not know: how entries are written, how heads travel.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.auditing import DEFAULT, Audit, AuditSettings, Detail
from agents.auditing_events import in_words, on_denied, on_incident
from agents.auditing_heads import Heads
from agents.auditing_kinds import Kind
from agents.auditing_reading import AuditReading
from agents.electorate import Electorate
from agents.errors import ApprovalRefused
from keys import (
    AuditUnwritable,
    Keystore,
    KeystoreError,
    PeerId,
    Roster,
    fingerprint,
    peer_id_of,
    read_file,
    write_atomic,
)
from p2p import Clock, Peer

if TYPE_CHECKING:
    from keys.issuing import TicketNote, UsedMark

log = logging.getLogger("conclave.agents.auditing")

CONFIGURATION = "configuration"
MAX_CONFIGURATION_BYTES = 64 * 1024


class Auditing:
    """One node's audit: the log, the heads, and who is told."""

    def __init__(
        self, keystore: Keystore, peer: Peer, clock: Clock, settings: AuditSettings = DEFAULT
    ) -> None:
        self.audit = Audit(keystore.home, keystore.identity, clock, settings)
        self.heads = Heads(peer, keystore.home, self.audit, clock)
        self.reading = AuditReading(peer, keystore.home)
        self._peer = peer
        self._settings = settings
        self._path: Path = keystore.home / "audit" / CONFIGURATION
        self._membership: tuple[int, int] | None = None
        self._leader: PeerId | None = None
        self._policies: dict[str, str | int] = {}
        peer.watch_incidents(partial(on_incident, self.audit))
        peer.guard.on_denied.append(partial(on_denied, self.audit))
        peer.guard.listeners.append(self._policy_changed)
        self._lists = {each.place for each in peer.trusting.revocations}
        peer.trusting.listen(self._lists_changed)
        self._keystore = keystore
        self.issue()

    def issue(self) -> None:
        """Note whom this node lets in, if it has an issuer's key."""
        issuer = self._keystore.issuer
        if issuer is not None:
            issuer.on_redeemed = self._redeemed

    async def start(self) -> None:
        """Begin to write.

        Raises:
            AuditUnwritable: it cannot be written, and is required.
        """
        self.audit.start()
        self.heads.start()
        detail: Detail = {"name": self._peer.name, "start": self._peer.incarnation}
        self.audit.note(Kind.NODE_STARTED, self._peer.peer_id, detail=detail)
        before = self._configuration_before()
        now = dict(self._settings.configuration)
        changes = _changes(before, now) if before is not None else {}
        if changes:
            self.audit.note(Kind.CONFIG_CHANGED, "settings", by="local", detail=changes)
        try:
            await self.audit.flush()
            if before != now:
                write_atomic(self._path, json.dumps(now, sort_keys=True).encode())
        except AuditUnwritable:
            if self._settings.mode == "required":
                raise
        except KeystoreError as error:
            log.warning("the settings of this start are not remembered: %s", error)

    async def close(self) -> None:
        """Write what there is, and stop."""
        await self.heads.close()
        await self.audit.close()

    # -- what happens --------------------------------------------------------------------------

    def stopping(self) -> None:
        self.audit.note(Kind.NODE_STOPPED, self._peer.peer_id)

    def failed(self, error: Exception) -> None:
        why = type(error).__name__
        detail = {"said": str(error)}
        self.audit.note(
            Kind.NODE_FAILED, self._peer.peer_id, outcome="failed", why=why, detail=detail
        )

    def leader_changed(self, leader: PeerId | None, term: int) -> None:
        """Somebody leads now; that nobody is known to for a moment is no entry."""
        if leader is None or leader == self._leader:
            return
        before, self._leader = self._leader, leader
        detail: dict[str, str | int] = {"term": term, "name": self._peer.label(leader)}
        if before is not None:
            detail["before"] = before
        self.audit.note(Kind.LEADER_CHANGED, leader, detail=detail)

    def root_learned(self, number: int) -> None:
        self.audit.note(Kind.ROOT_LEARNED, f"root {number}")

    def health_told(self, tell: Callable[[dict[str, Any]], None]) -> Callable[..., None]:
        """Tell, and note what concerns an agent of this node; other nodes note theirs."""

        def told(event: dict[str, Any]) -> None:
            tell(event)
            if event["peer"] == self._peer.peer_id:
                state, why = str(event["state"]), str(event["reason"])
                detail: Detail = {"before": str(event["before"])}
                agent = str(event["agent"])
                self.audit.note(Kind.AGENT_HEALTH, agent, outcome=state, why=why, detail=detail)

        return told

    def roster_adopted(self, roster: Roster) -> None:
        detail = {"voters": in_words(roster.voters)}
        self.audit.note(Kind.ROSTER_ADOPTED, "roster", detail=detail)

    def voters_changed(self, electorate: Electorate) -> None:
        """The voters have decided who votes; what was so before this start is no news."""
        if electorate.place == self._membership:
            return
        self._membership = electorate.place
        now = electorate.membership
        detail: Detail = {
            "voters": in_words(now.voters),
            "learners": in_words(now.learners),
            "outgoing": in_words(now.outgoing),
            "generation": max(0, electorate.cluster.generation),
            "entry": electorate.index,
        }
        self.audit.note(Kind.VOTERS_CHANGED, "voters", detail=detail)

    def renewal(self, who: PeerId, outcome: str, why: str) -> None:
        """A certificate was renewed, ours or one that we issue, or was not."""
        self.audit.note(Kind.CERTIFICATE_RENEWED, who, outcome=outcome, why=why)

    def work_refused(self, leader: PeerId | None, error: ApprovalRefused) -> None:
        """Work was not begun, for nobody approved it as far as this node can see."""
        detail = {"capability": error.capability, "said": error.why}
        self.audit.note(
            Kind.TASK_REFUSED,
            error.task_id,
            by=leader or "",
            outcome="refused",
            why=type(error).__name__,
            detail=detail,
        )

    def _lists_changed(self) -> None:
        """Another revocation list is in force: whose, and how many entries it has."""
        held = self._peer.trusting.revocations
        for each in held:
            if each.place not in self._lists:
                number, entries = each.list.sequence, len(each.list.entries)
                detail: dict[str, str | int] = {"list": number, "entries": entries}
                by = each.signer.name
                self.audit.note(Kind.CERTIFICATE_REVOKED, by, by=by, detail=detail)
        self._lists = {each.place for each in held}

    def _policy_changed(self) -> None:
        """Another policy is in force: which, by the hash of its text."""
        guard = self._peer.guard
        now: dict[str, str | int] = {
            name: fingerprint(policy.text.encode()).hex()
            for name, policy in (("file", guard.file), ("replicated", guard.replicated))
            if policy is not None
        }
        if now != self._policies:
            self._policies = now
            self.audit.note(Kind.POLICY_CHANGED, "policy", detail=now)

    def _redeemed(self, note: TicketNote, mark: UsedMark) -> None:
        """In the door's thread: a newcomer has been given a certificate."""
        who = peer_id_of(mark.public_key)
        detail: dict[str, str | int] = {
            "ticket_id": note.ticket_id.hex(),
            "name": mark.name,
            "serial": mark.serial.hex(),
            "roles": str(note.roles.name).lower(),
            "namespaces": " ".join(note.namespaces),
        }
        self.audit.note(Kind.TICKET_REDEEMED, who, by=who, detail=detail)
        self.audit.note(Kind.CERTIFICATE_ISSUED, who, detail=detail)

    def _configuration_before(self) -> dict[str, str] | None:
        try:
            said = json.loads(read_file(self._path, MAX_CONFIGURATION_BYTES) or b"null")
        except (KeystoreError, ValueError, RecursionError):
            return None
        return said if isinstance(said, dict) else None


def _changes(before: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str | int]:
    names = sorted(before.keys() | now.keys())
    changed = [name for name in names if before.get(name) != now.get(name)]
    return {name: f"{before.get(name)} -> {now.get(name)}" for name in changed}

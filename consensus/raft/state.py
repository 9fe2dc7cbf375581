"""The mutable state of one node, and what it wants done: shared by the rules in the sibling files.

What this module does not know: which message or timer leads to what.

Invariants: `term` never falls; `vote` changes only with `term` or from None; `applied` <= `commit`
<= the last index; everything in the outbox leaves with the next `take`.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from consensus.raft.events import Effects, StoreBatch, TraceEvent
from consensus.raft.log import Log
from consensus.raft.membership import NodeId
from consensus.raft.memberships import Memberships
from consensus.raft.messages import Message
from consensus.raft.outbox import Batches, Outbox
from consensus.raft.progress import Progress
from consensus.raft.reads import Freshness, ReadRounds
from consensus.raft.trace import RECEIVED, ROLE_NAMES, SENT
from consensus.raft.types import (
    Config,
    DropReason,
    Entry,
    EntryKind,
    HaltReason,
    HardState,
    Recovered,
    Role,
    SnapshotMeta,
)


@dataclass(slots=True)
class TransferState:
    """A wish to hand over."""

    target: NodeId
    deadline_ms: int
    is_told: bool = False


class NodeState:
    """One node. The rules change it; `take` empties its outbox."""

    def __init__(self, config: Config, recovered: Recovered, rng: random.Random) -> None:
        self.config = config
        self.rng = rng
        self.priority_ms = config.priority_ms
        self.term = recovered.hard.term
        self.vote = recovered.hard.vote
        self.outbox = Outbox()
        self.batches = Batches(recovered.hard)
        self.log = Log(recovered.entries, recovered.base_index, recovered.base_term)
        self.snapshot: SnapshotMeta | None = recovered.snapshot
        self.memberships = Memberships(config.genesis, 0)
        self.commit = self.applying = self.applied = 0
        self._recover_snapshot()
        if self.outbox.install is None:
            self.memberships.appended(recovered.entries)
        # A stored commit index is a hint, and one past the log is clamped (R34).
        self.commit = max(self.commit, min(recovered.commit, self.log.last_index))
        self.memberships.committed(self.commit)
        self.role = Role.FOLLOWER
        self.leader: NodeId | None = None
        self.leader_since_ms: int | None = None
        self.leader_heard_ms: int | None = None
        self.votes: set[NodeId] = set()
        self.progress: dict[NodeId, Progress] = {}
        self.reads = ReadRounds()
        self.transfer: TransferState | None = None
        self.election_due_ms: int | None = None
        self.heartbeat_due_ms = 0
        self.quorum_check_due_ms = 0
        self.quorum_heard = False
        self.commit_notice_due_ms: int | None = None
        self.freshness = Freshness()
        self.uncommitted_bytes = 0
        self.replicate_due = False  # the next take offers appends to every follower
        self.storage_full = False
        self.halted: HaltReason | None = None
        self.dropped: Counter[DropReason] = Counter()
        self.note("InitState")

    def _recover_snapshot(self) -> None:
        """The state machine is at the snapshot; a log that does not reach it is replaced by it."""
        snapshot = self.snapshot
        if snapshot is None:
            return
        self.memberships.reset(snapshot.membership, snapshot.membership_index)
        self.commit = self.applying = self.applied = snapshot.index
        if not self.log.matches(snapshot.index, snapshot.term):
            self.log.reset(snapshot.index, snapshot.term)
            self.outbox.install = snapshot

    # -- small things that every rule needs ----------------------------------------------------

    @property
    def hard(self) -> HardState:
        return HardState(self.term, self.vote)

    @property
    def stored_hard(self) -> HardState:
        """What the disk is known to hold of term and vote."""
        return self.batches.stored_hard

    @property
    def others(self) -> tuple[NodeId, ...]:
        """Whom to ask for votes."""
        own_id = self.config.node_id
        return tuple(name for name in self.memberships.active.deciders if name != own_id)

    @property
    def may_campaign(self) -> bool:
        """Learners and removed members do not."""
        return self.config.node_id in self.memberships.deciders

    @property
    def has_committed_own(self) -> bool:
        """Whether an entry of this term is committed: what a leader needs before it serves reads
        or changes the members (R4, R22)."""
        return self.log.term(self.commit) == self.term

    def hears_leader(self, now_ms: int) -> bool:
        """Whether a leader was heard within the shortest election timeout (R13)."""
        if self.role is Role.LEADER:
            return True
        heard_ms = self.leader_heard_ms
        return (
            self.leader is not None
            and heard_ms is not None
            and now_ms - heard_ms < self.config.election_timeout_ms
        )

    def drop(self, reason: DropReason) -> None:
        self.dropped[reason] += 1

    def halt(self, reason: HaltReason) -> None:
        """Stop for good: going on could break a promise."""
        if self.halted is None:
            self.halted = reason

    def set_term(self, term: int, vote: NodeId | None) -> None:
        """Enter a term, or cast the vote of this one."""
        assert term > self.term or (term == self.term and self.vote in (None, vote)), "two votes"
        if (term, vote) != (self.term, self.vote):
            self.term, self.vote = term, vote
            self.outbox.hard_changed = True

    def note(self, name: str, message: Message | None = None, **properties: int | str) -> None:
        """Say one step, if anybody listens."""
        if not self.config.trace:
            return
        active = self.memberships.active
        self.outbox.trace.append(
            TraceEvent(
                name,
                self.config.node_id,
                self.term,
                self.vote,
                self.commit,
                ROLE_NAMES[getattr(self, "role", Role.FOLLOWER)],
                self.log.last_index,
                (active.voters, active.outgoing),
                message,
                tuple(properties.items()),
            )
        )

    def note_received(self, message: Message) -> None:
        if self.config.trace:
            self.note(RECEIVED[type(message)], message)

    # -- sending -------------------------------------------------------------------------------

    def send(self, message: Message) -> None:
        if self.config.trace:
            self.note(SENT[type(message)], message)
        self.outbox.send.append(message)

    def send_when_stored(self, message: Message) -> None:
        """For whatever promises something about our disk."""
        if self.config.trace:
            self.note(SENT[type(message)], message)
        self.outbox.send_stored.append(message)

    def reply(self, message: Message) -> None:
        """For answers that depend on term and vote alone: at once if those are durable (R1)."""
        (self.send if self.stored_hard == self.hard else self.send_when_stored)(message)

    # -- the log -------------------------------------------------------------------------------

    def append(self, entries: Sequence[Entry]) -> None:
        if not entries:
            return
        self.log.append(entries)
        self.memberships.appended(entries)
        if self.outbox.entries_from is None:
            self.outbox.entries_from = entries[0].index

    def truncate(self, index: int) -> None:
        """Drop what contradicts the leader; never below commit (R5)."""
        if index <= self.commit:
            self.halt(HaltReason.COMMITTED_CONFLICT)
            return
        out = self.outbox
        first_unsent = self.log.last_index + 1 if out.entries_from is None else out.entries_from
        self.log.truncate(index)
        self.memberships.truncated(index)
        self.batches.cut(index)
        if out.entries_from is not None and index <= out.entries_from:
            out.entries_from = None
        if index < first_unsent:
            before = out.truncate_from
            out.truncate_from = index if before is None else min(before, index)

    def install(self, meta: SnapshotMeta) -> None:
        """Replace log and state by a snapshot that is durable here (R20)."""
        self.log.reset(meta.index, meta.term)
        self.memberships.reset(meta.membership, meta.membership_index)
        self.batches.cut(0)
        self.snapshot = meta
        self.commit = self.applying = meta.index
        out = self.outbox
        out.install, out.truncate_from, out.entries_from, out.compact_to = meta, None, None, None

    def compact(self, meta: SnapshotMeta) -> None:
        """A snapshot of the own state is durable: keep what late followers may need (R21)."""
        if self.snapshot is not None and meta.index <= self.snapshot.index:
            return
        self.snapshot = meta
        index = min(meta.index - self.config.keep_entries, self.log.stored)
        if index > self.log.base_index:
            self.log.compact(index)
            self.outbox.compact_to = index

    # -- storing -------------------------------------------------------------------------------

    def on_stored(self, number: int) -> None:
        """Every batch up to this one is durable."""
        self.log.stored = max(self.log.stored, self.batches.confirmed(number))
        self.storage_full = False

    def on_applied(self, index: int) -> None:
        """The state machine has applied everything up to here."""
        assert self.applied <= index <= self.applying, "applied what was not handed out"
        self.applied = index
        self.freshness.applied(index)

    def take(self) -> Effects:
        """Everything since the last take."""
        if self.halted is not None:
            trace, self.outbox = tuple(self.outbox.trace), Outbox()
            return Effects(halt=self.halted, trace=trace)
        if self.config.trace and self.outbox.needs_storing:
            self.note("Ready")
        out, self.outbox = self.outbox, Outbox()
        return Effects(
            store=self._store_batch(out) if out.needs_storing else None,
            send=tuple(out.send),
            send_stored=tuple(out.send_stored),
            after=self.batches.last_number,
            apply=self._next_page(),
            results=tuple(out.results),
            reads=tuple(out.reads),
            need_snapshot=tuple(out.need_snapshot),
            trace=tuple(out.trace),
        )

    def _store_batch(self, out: Outbox) -> StoreBatch:
        entries: tuple[Entry, ...] = ()
        if out.entries_from is not None:
            entries = tuple(self.log.slice(out.entries_from, self.log.last_index))
        number = self.batches.begin(self.log.last_index, self.hard)
        # Whoever holds an entry behind a change of the voters must know after a restart that the
        # change is committed: the commit index goes with every such entry (`memberships`).
        hard_due = out.hard_changed or out.install is not None
        if hard_due or any(entry.kind is EntryKind.MEMBERSHIP for entry in entries):
            hard = self.hard
        else:
            hard = None
        return StoreBatch(
            number, hard, out.truncate_from, entries, self.commit, out.install, out.compact_to
        )

    def _next_page(self) -> tuple[Entry, ...]:
        """Committed entries that are durable here, one page at a time."""
        last = min(self.commit, self.log.stored)
        if self.applying > self.applied or self.applied >= last:
            return ()
        page = self.log.page(
            self.applied + 1, last, self.config.max_apply_entries, self.config.max_apply_bytes
        )
        self.applying = page[-1].index
        return page

    def check_invariants(self) -> None:
        self.log.check_invariants()
        self.memberships.check_invariants()
        self.batches.check_invariants()
        assert self.applied <= self.applying <= self.commit <= self.log.last_index
        assert self.log.base_index <= self.commit, "compacted what is not committed"
        assert self.memberships.active_index <= self.commit
        if self.role is Role.LEADER:
            assert self.leader == self.config.node_id
            assert set(self.progress) == {
                name for name in self.memberships.active.members if name != self.config.node_id
            }
        else:
            assert not self.progress, "only a leader knows how far others are"
            assert self.transfer is None
            assert not self.reads.is_waiting, "only a leader answers reads"
        if self.role is Role.CANDIDATE:
            assert self.vote == self.config.node_id
        assert self.stored_hard.term <= self.term
        for progress in self.progress.values():
            progress.check_invariants()
            assert progress.next <= self.log.last_index + 1
            assert len(progress.inflight) <= self.config.max_inflight

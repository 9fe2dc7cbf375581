"""The mutable state of one node, and what it wants done: shared by the rules in the sibling files.

What this module does not know: which message or timer leads to what.

Invariants: `term` never falls; `vote` changes only with `term` or from None; `applied` <= `commit`
<= the last index; everything in `results` and the queues leaves with the next `take`.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from consensus.raft.events import Effects, Result, StoreBatch
from consensus.raft.log import Log
from consensus.raft.messages import Message
from consensus.raft.progress import Progress
from consensus.raft.types import (
    Config,
    DropReason,
    Entry,
    HaltReason,
    HardState,
    NodeId,
    Recovered,
    Role,
)


@dataclass(slots=True)
class TransferState:
    """A wish to hand over."""

    target: NodeId
    deadline_ms: int
    is_told: bool = False


@dataclass(slots=True)
class Batch:
    """A store batch on its way to the disk: what it proves when it is durable (R26)."""

    number: int
    last_index: int
    hard: HardState


@dataclass(slots=True)
class Outbox:
    """What leaves with the next `take`."""

    send: list[Message] = field(default_factory=list)
    send_stored: list[Message] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    truncate_from: int | None = None
    entries_from: int | None = None  # the first entry not yet given to the storage
    hard_changed: bool = False


class NodeState:
    """One node. The rules change it; `take` empties its outbox."""

    def __init__(self, config: Config, recovered: Recovered, rng: random.Random) -> None:
        self.config = config
        self.rng = rng
        self.term = recovered.hard.term
        self.vote = recovered.hard.vote
        self.log = Log(recovered.entries)
        self.commit = min(recovered.commit, self.log.last_index)  # a hint (R34)
        self.applying = 0  # handed out to be applied
        self.applied = 0
        self.role = Role.FOLLOWER
        self.leader: NodeId | None = None
        self.leader_since_ms: int | None = None
        self.leader_heard_ms: int | None = None
        self.votes: set[NodeId] = set()
        self.progress: dict[NodeId, Progress] = {}
        self.transfer: TransferState | None = None
        self.campaign_by_transfer = False
        self.election_due_ms: int | None = None
        self.heartbeat_due_ms = 0
        self.quorum_check_due_ms = 0
        self.quorum_heard = False
        self.commit_notice_due_ms: int | None = None
        self.uncommitted_bytes = 0
        self.replicate_due = False  # the next take offers appends to every follower
        self.storage_full = False
        self.halted: HaltReason | None = None
        self.dropped: Counter[DropReason] = Counter()
        self.outbox = Outbox()
        self.stored_hard = recovered.hard
        self._batches: deque[Batch] = deque()
        self._last_batch = 0

    # -- small things that every rule needs ----------------------------------------------------

    @property
    def hard(self) -> HardState:
        return HardState(self.term, self.vote)

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

    def send(self, message: Message) -> None:
        self.outbox.send.append(message)

    def send_when_stored(self, message: Message) -> None:
        """For whatever promises something about our disk."""
        self.outbox.send_stored.append(message)

    def reply(self, message: Message) -> None:
        """For answers that depend on term and vote alone: at once if those are durable (R1)."""
        (self.send if self.stored_hard == self.hard else self.send_when_stored)(message)

    def append(self, entries: Sequence[Entry]) -> None:
        if not entries:
            return
        self.log.append(entries)
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
        for batch in self._batches:
            # A batch proves only what is still the log's: what was cut may come back with other
            # content before the batch is confirmed (R26).
            batch.last_index = min(batch.last_index, index - 1)
        if out.entries_from is not None and index <= out.entries_from:
            out.entries_from = None
        if index < first_unsent:
            before = out.truncate_from
            out.truncate_from = index if before is None else min(before, index)

    # -- storing -------------------------------------------------------------------------------

    def on_stored(self, number: int) -> None:
        """Every batch up to this one is durable."""
        while self._batches and self._batches[0].number <= number:
            batch = self._batches.popleft()
            self.stored_hard = batch.hard
            self.log.stored = max(self.log.stored, batch.last_index)
        self.storage_full = False

    def take(self) -> Effects:
        """Everything since the last take."""
        if self.halted is not None:
            self.outbox = Outbox()
            return Effects(halt=self.halted)
        out, self.outbox = self.outbox, Outbox()
        store = self._store_batch(out)
        return Effects(
            store=store,
            send=tuple(out.send),
            send_stored=tuple(out.send_stored),
            after=self._last_batch,
            apply=self._next_page(),
            results=tuple(out.results),
        )

    def _store_batch(self, out: Outbox) -> StoreBatch | None:
        entries: tuple[Entry, ...] = ()
        if out.entries_from is not None:
            entries = tuple(self.log.slice(out.entries_from, self.log.last_index))
        if not (entries or out.hard_changed or out.truncate_from is not None):
            return None
        self._last_batch += 1
        self._batches.append(Batch(self._last_batch, self.log.last_index, self.hard))
        hard = self.hard if out.hard_changed else None
        return StoreBatch(self._last_batch, hard, out.truncate_from, entries, self.commit)

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
        assert self.applied <= self.applying <= self.commit <= self.log.last_index
        if self.role is Role.LEADER:
            assert self.leader == self.config.node_id
            assert set(self.progress) == set(self.config.others)
        else:
            assert not self.progress, "only a leader knows how far others are"
            assert self.transfer is None
        if self.role is Role.CANDIDATE:
            assert self.vote == self.config.node_id
        assert self.stored_hard.term <= self.term
        for progress in self.progress.values():
            progress.check_invariants()
            assert progress.next <= self.log.last_index + 1
            assert len(progress.inflight) <= self.config.max_inflight
        numbers = [batch.number for batch in self._batches]
        assert numbers == sorted(numbers)

"""Cores, disks and links moved by hand, for transcripts and for tests of single rules.

Virtual milliseconds; every core's randomness is seeded by its name. A disk is instant unless held,
a link carries unless cut. After every step the lab itself checks what must always hold: one leader
a term, nobody leads without what was decided, and everywhere the same was decided.

A node's disk keeps exactly what `StoreBatch` promises: the commit index only beside a hard state.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import transcript_words as words

from consensus.raft import (
    Applied,
    Config,
    DropReason,
    Effects,
    Entry,
    EntryKind,
    Event,
    HaltReason,
    HardState,
    InstallSnapshot,
    Membership,
    Message,
    NodeId,
    Raft,
    ReadReady,
    Received,
    Recovered,
    Result,
    Role,
    SnapshotMade,
    SnapshotMeta,
    SnapshotSent,
    Status,
    StoreBatch,
    Stored,
    Tick,
    TraceEvent,
)

Link = tuple[NodeId, NodeId]


@dataclass
class Disk:
    """What a restart finds."""

    hard: HardState = field(default_factory=lambda: HardState(0, None))
    commit: int = 0
    entries: list[Entry] = field(default_factory=list)
    base_index: int = 0
    base_term: int = 0
    snapshot: SnapshotMeta | None = None  # files of their own: durable before the core hears of it

    def write(self, batch: StoreBatch) -> None:
        if batch.install is not None:
            self.base_index, self.base_term = batch.install.index, batch.install.term
            self.entries.clear()
        if batch.truncate_from is not None:
            del self.entries[batch.truncate_from - self.base_index - 1 :]
        for entry in batch.entries:
            assert entry.index == self.base_index + len(self.entries) + 1, "a gap on disk"
            self.entries.append(entry)
        if batch.hard is not None:
            self.hard, self.commit = batch.hard, batch.commit
        if batch.compact_to is not None:
            count = batch.compact_to - self.base_index
            self.base_index, self.base_term = batch.compact_to, self.entries[count - 1].term
            del self.entries[:count]

    def keep(self, meta: SnapshotMeta) -> None:
        """A snapshot has become durable; the latest counts."""
        if self.snapshot is None or meta.index > self.snapshot.index:
            self.snapshot = meta

    def recovered(self) -> Recovered:
        return Recovered(
            self.hard,
            self.commit,
            tuple(self.entries),
            self.base_index,
            self.base_term,
            self.snapshot,
        )


class Member:
    """One core, its disk, what it holds back until the disk has it, and what it has applied."""

    def __init__(self, config: Config, disk: Disk, life: int = 0) -> None:
        self.config = config
        self.disk = disk
        self.life = life
        recovered = disk.recovered()
        self.core = Raft(config, recovered, random.Random(f"{config.node_id} {life}"))
        self.unwritten: deque[StoreBatch] = deque()
        self.waiting: deque[tuple[int, tuple[Message, ...]]] = deque()
        self.stored = 0
        self.applied: list[Entry] = []
        self.results: list[Result] = []
        self.reads: list[ReadReady] = []
        self.needs: list[NodeId] = []
        self.trace: list[TraceEvent] = []
        self.is_down = False
        self.halt: HaltReason | None = None
        self.memberships: list[tuple[int, Membership]] = [(0, config.genesis)]
        if disk.snapshot is not None:
            self.restored(disk.snapshot)

    @property
    def status(self) -> Status:
        return self.core.status()

    @property
    def log(self) -> list[Entry]:
        """The log in memory."""
        log = self.core._state.log
        return log.slice(log.base_index + 1, log.last_index)

    def restored(self, meta: SnapshotMeta) -> None:
        """The state machine is at a snapshot."""
        self.memberships = [(meta.membership_index, meta.membership)]

    def apply(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            self.applied.append(entry)
            if entry.kind is EntryKind.MEMBERSHIP:
                self.memberships.append((entry.index, Membership.decode(entry.data)))

    def meta(self, upto: int) -> SnapshotMeta:
        """What a snapshot of the state at an applied index stands for."""
        assert upto <= self.status.applied, "not applied yet"
        term = self.core._state.log.term(upto)
        assert term is not None, "not in the log any more"
        index, membership = max(one for one in self.memberships if one[0] <= upto)
        return SnapshotMeta(upto, term, membership, index)


class Lab:
    """Nodes by name; `lines` is what has happened since it was last emptied."""

    def __init__(self, *voters: NodeId, **limits: Any) -> None:
        self.now_ms = 0
        self.limits: dict[str, Any] = limits
        self.members: dict[NodeId, Member] = {}
        self.flying: list[Message] = []
        self.sent: list[Message] = []
        self.cut: set[Link] = set()
        self.held_links: set[Link] = set()
        self.held_disks: set[NodeId] = set()
        self.lines: list[str] = []
        self._leaders: dict[int, NodeId] = {}
        self.decided: dict[int, Entry] = {}
        for name in voters:
            self.add(name, voters)

    def __getitem__(self, name: NodeId) -> Member:
        return self.members[name]

    def add(self, name: NodeId, voters: tuple[NodeId, ...] = (), disk: Disk | None = None) -> None:
        """A node with an empty or a given disk; without voters it is one that comes later."""
        config = Config(name, "test", voters, **self.limits)
        self.members[name] = Member(config, disk or Disk())
        self.step(name, Tick())

    def restart(self, name: NodeId, disk: Disk | None = None) -> None:
        """A new process on the same disk; what was not written is gone."""
        old = self.members[name]
        self.members[name] = Member(old.config, disk or old.disk, old.life + 1)
        self.step(name, Tick())

    # -- events --------------------------------------------------------------------------------

    def step(self, name: NodeId, event: Event) -> None:
        """One event and all that follows from it on this node."""
        member = self.members[name]
        events: deque[Event] = deque([event])
        while events and not member.is_down:
            before, dropped = member.status, Counter(member.core.dropped)
            member.core.step(events.popleft(), now_ms=self.now_ms)
            member.core.check_invariants()
            self._say_changes(member, before, dropped)
            self._perform(member, member.core.take(), events)
            self._check(member)
            if name not in self.held_disks:
                self._write(member, len(member.unwritten), events)

    def store(self, name: NodeId, count: int | None = None) -> None:
        """A held disk finishes what it was given, or only the first batches of it."""
        events: deque[Event] = deque()
        member = self.members[name]
        self._write(member, len(member.unwritten) if count is None else count, events)
        for event in events:
            self.step(name, event)

    def tick(self, name: NodeId) -> None:
        self.step(name, Tick())

    def campaign(self, name: NodeId) -> None:
        """Time moves to this node's deadline, and only its timer fires."""
        deadline_ms = self.members[name].core.deadline_ms
        assert deadline_ms is not None, "it has halted"
        self.now_ms = max(self.now_ms, deadline_ms)
        self.tick(name)

    def run(self, duration_ms: int) -> None:
        """Time passes for all, in steps of 10 ms, and messages travel at once."""
        for _ in range(duration_ms // 10):
            self.now_ms += 10
            for name, member in self.members.items():
                deadline_ms = member.core.deadline_ms
                if deadline_ms is not None and deadline_ms <= self.now_ms:
                    self.tick(name)
            self.stabilize()

    def elect(self, name: NodeId) -> None:
        """Nobody is loyal to an old leader any more; this node's timer is the first."""
        self.now_ms += 2000
        self.tick(name)
        self.stabilize()
        assert self.members[name].status.role is Role.LEADER, "it was not elected"

    # -- messages ------------------------------------------------------------------------------

    def deliver(self, message: Message) -> None:
        """Hand over a message, in flight or made by a test."""
        if message in self.flying:
            self.flying.remove(message)
        if message.to in self.members and not self.members[message.to].is_down:
            self.lines.append(words.of_message(message))
            self.step(message.to, Received(message))
        else:
            self.lines.append(f"lost: {words.of_message(message)}")

    def on_link(self, link: Link) -> list[Message]:
        return [m for m in self.flying if (m.sender, m.to) == link]

    def stabilize(self, among: Iterable[NodeId] = ()) -> None:
        """Move messages, oldest first, until nobody says anything more; time stands still."""
        names = set(among)
        for _ in range(20_000):
            for message in self.flying:
                link = (message.sender, message.to)
                if link in self.held_links or (names and not set(link) <= names):
                    continue
                if link in self.cut:
                    self.flying.remove(message)
                else:
                    self.deliver(message)
                break
            else:
                return
        raise AssertionError("they talk for ever")

    def isolate(self, *names: NodeId) -> None:
        """Nothing passes between these and the others."""
        for inside in names:
            for outside in set(self.members) - set(names):
                self.cut |= {(inside, outside), (outside, inside)}

    def said(self, kind: type, name: NodeId | None = None) -> list[Message]:
        """Every message of a kind so far, of one node or of all."""
        return [m for m in self.sent if isinstance(m, kind) and name in (None, m.sender)]

    # -- snapshots -----------------------------------------------------------------------------

    def snapshot(self, name: NodeId, upto: int) -> SnapshotMeta:
        """A snapshot of the own state becomes durable."""
        meta = self.members[name].meta(upto)
        self.members[name].disk.keep(meta)
        self.step(name, SnapshotMade(meta))
        return meta

    def land_snapshot(self, sender: NodeId, to: NodeId) -> InstallSnapshot:
        """The sender's latest one is durable at the receiver, whose core knows nothing yet."""
        core = self.members[sender].core
        meta = core.snapshot
        assert meta is not None, "it has none"
        self.members[to].disk.keep(meta)
        return InstallSnapshot(sender, to, core.term, meta, meta.membership_index)

    def send_snapshot(self, sender: NodeId, to: NodeId) -> None:
        """The whole way: durable, installed, and the sender knows that it arrived."""
        self.deliver(self.land_snapshot(sender, to))
        self.step(sender, SnapshotSent(to, True))

    # -- inside --------------------------------------------------------------------------------

    def _perform(self, member: Member, effects: Effects, events: deque[Event]) -> None:
        member.trace.extend(effects.trace)
        if effects.halt is not None:
            member.halt = effects.halt
            member.is_down = True
            self._say(member, f"halts: {effects.halt.value}")
            return
        self._send(member, effects.send)
        if effects.store is not None:
            self._say(member, words.of_batch(effects.store))
            member.unwritten.append(effects.store)
            if effects.store.install is not None:
                member.restored(effects.store.install)
                events.append(Applied(effects.store.install.index))
        if effects.send_stored:
            member.waiting.append((effects.after, effects.send_stored))
        self._send_waiting(member)
        for result in effects.results:
            self._say(member, words.of_result(result))
        for ready in effects.reads:
            self._say(member, f"read {ready.request} at {ready.index}")
        for peer in effects.need_snapshot:
            self._say(member, f"wants a snapshot for {peer}")
        member.results.extend(effects.results)
        member.reads.extend(effects.reads)
        member.needs.extend(effects.need_snapshot)
        if effects.apply:
            self._say(member, f"applies {words.of_entries(effects.apply)}")
            member.apply(effects.apply)
            events.append(Applied(effects.apply[-1].index))
        for entry in effects.apply:
            assert self.decided.setdefault(entry.index, entry) == entry, "decided twice"

    def _write(self, member: Member, count: int, events: deque[Event]) -> None:
        for _ in range(count):
            batch = member.unwritten.popleft()
            member.disk.write(batch)
            member.stored = batch.batch
            self._send_waiting(member)
            events.append(Stored(batch.batch))

    def _send_waiting(self, member: Member) -> None:
        while member.waiting and member.waiting[0][0] <= member.stored:
            self._send(member, member.waiting.popleft()[1])

    def _send(self, member: Member, messages: tuple[Message, ...]) -> None:
        for line in words.of_sent(messages):
            self._say(member, line)
        self.flying.extend(messages)
        self.sent.extend(messages)

    def _say(self, member: Member, line: str) -> None:
        self.lines.append(f"  {member.config.node_id} {line}")

    def _say_changes(self, member: Member, before: Status, dropped: Counter[DropReason]) -> None:
        after = member.status
        if words.of_role(before) != words.of_role(after):
            self._say(member, f"becomes {words.of_role(after)}")
        if after.commit != before.commit:
            self._say(member, f"commits {after.commit}")
        if after.membership_index != before.membership_index:
            members = words.of_membership(after.membership)
            self._say(member, f"members are {members} of {after.membership_index}")
        for reason in Counter(member.core.dropped) - dropped:
            self._say(member, f"drops it: {reason.value}")

    def _check(self, member: Member) -> None:
        """One leader a term, and when it is elected it has everything that was decided."""
        status = member.status
        if status.role is not Role.LEADER or self._leaders.get(status.term) == status.node_id:
            return
        known = self._leaders.setdefault(status.term, status.node_id)
        assert known == status.node_id, f"{known} and {status.node_id} lead in term {status.term}"
        log = member.core._state.log
        for index, entry in self.decided.items():
            assert index <= log.base_index or log.term(index) == entry.term, "it lacks a decision"

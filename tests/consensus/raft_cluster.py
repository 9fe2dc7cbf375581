"""A few cores and the messages between them, moved by hand: no randomness but the cores' own.

Disks are instant unless `slow` names them; links carry unless `cut` names them.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable

from consensus.raft import (
    Applied,
    Config,
    Effects,
    Entry,
    EntryKind,
    Event,
    HardState,
    Message,
    NodeId,
    Propose,
    Raft,
    Received,
    Recovered,
    Result,
    Role,
    StoreBatch,
    Stored,
    Tick,
)


def entries(*terms: int, first: int = 1) -> tuple[Entry, ...]:
    """Entries of these terms, numbered from `first`."""
    return tuple(
        Entry(index, term, EntryKind.COMMAND, b"%d@%d" % (index, term))
        for index, term in enumerate(terms, first)
    )


def recovered(*terms: int, term: int | None = None, vote: str | None = None) -> Recovered:
    """A disk with a log of these terms."""
    return Recovered(HardState(term or max(terms, default=0), vote), 0, entries(*terms))


class Node:
    """One core, its disk, and what it has said."""

    def __init__(self, config: Config, disk: Recovered, seed: int) -> None:
        self.config = config
        self.core = Raft(config, disk, random.Random(seed))
        self.hard = disk.hard
        self.log = list(disk.entries)
        self.unwritten: deque[StoreBatch] = deque()
        self.held: deque[tuple[int, tuple[Message, ...]]] = deque()
        self.stored = 0
        self.applied: list[Entry] = []
        self.results: list[Result] = []
        self.last = Effects()

    def disk(self) -> Recovered:
        return Recovered(self.hard, 0, tuple(self.log))


class Cluster:
    """Voters a, b, c, ... in virtual time."""

    def __init__(
        self,
        size: int = 3,
        disks: dict[str, Recovered] | None = None,
        slow: str = "",
        **limits: int,
    ) -> None:
        names = tuple("abcdefg"[:size])
        self.now_ms = 0
        self.cut: set[tuple[NodeId, NodeId]] = set()
        self.slow: set[NodeId] = set(slow)
        self.dropped: Callable[[Message], bool] = lambda message: False
        self.sent: list[Message] = []
        self.flying: deque[Message] = deque()
        self.nodes = {
            name: Node(
                Config(name, "test", names, **limits), (disks or {}).get(name, Recovered()), seed
            )
            for seed, name in enumerate(names)
        }
        for name in names:
            self.step(name, Tick())

    def __getitem__(self, name: NodeId) -> Node:
        return self.nodes[name]

    def restart(self, name: NodeId) -> None:
        """A new process on the same disk; what was not written is gone."""
        old = self.nodes[name]
        self.nodes[name] = Node(old.config, old.disk(), seed=99)
        self.step(name, Tick())

    def isolate(self, name: NodeId) -> None:
        for other in self.nodes:
            self.cut |= {(name, other), (other, name)}

    def step(self, name: NodeId, event: Event) -> Effects:
        """One event, its effects carried out, without moving any message."""
        node = self.nodes[name]
        node.core.step(event, now_ms=self.now_ms)
        return self._take(node)

    def deliver(self, message: Message) -> Effects:
        """Hand over a message made by the test."""
        return self.step(message.to, Received(message))

    def settle(self) -> None:
        """Move messages until nobody says anything more; time stands still."""
        for _ in range(20_000):
            if not self.flying:
                return
            message = self.flying.popleft()
            if (message.sender, message.to) not in self.cut and not self.dropped(message):
                self.deliver(message)
        raise AssertionError("they talk for ever")

    def write(self, name: NodeId) -> None:
        """A slow disk finishes what it was given so far."""
        node = self.nodes[name]
        for _ in range(len(node.unwritten)):
            if not node.unwritten:
                return
            batch = node.unwritten.popleft()
            if batch.truncate_from is not None:
                del node.log[batch.truncate_from - 1 :]
            node.log.extend(batch.entries)
            node.hard = batch.hard or node.hard
            node.stored = batch.batch
            while node.held and node.held[0][0] <= node.stored:
                self._say(node.held.popleft()[1])
            self.step(name, Stored(batch.batch))

    def pass_time(self, duration_ms: int) -> None:
        """Let timers fire, in steps of 10 ms."""
        for _ in range(duration_ms // 10):
            self.now_ms += 10
            for name, node in self.nodes.items():
                deadline_ms = node.core.deadline_ms
                if deadline_ms is not None and deadline_ms <= self.now_ms:
                    self.step(name, Tick())
            self.settle()

    def elect(self, name: NodeId) -> None:
        """Let this node's election timer be the first."""
        self.now_ms += 900  # nobody is loyal to an old leader any more
        node = self.nodes[name]
        while node.core.status().role is not Role.LEADER:
            deadline_ms = node.core.deadline_ms
            assert deadline_ms is not None
            self.now_ms = max(self.now_ms, deadline_ms)
            self.step(name, Tick())
            self.settle()

    def propose(self, name: NodeId, *data: bytes, first_request: int = 1) -> None:
        self.step(name, Propose(first_request, data))
        self.settle()

    def leaders(self) -> list[NodeId]:
        return [n for n, node in self.nodes.items() if node.core.status().role is Role.LEADER]

    def commits(self) -> list[int]:
        return [node.core.status().commit for node in self.nodes.values()]

    def applied(self, name: NodeId) -> list[bytes]:
        """The commands that this node has applied."""
        return [e.data for e in self.nodes[name].applied if e.kind is EntryKind.COMMAND]

    def said(self, kind: type, name: NodeId | None = None) -> list[Message]:
        """Every message of a kind so far, of one node or of all."""
        return [m for m in self.sent if isinstance(m, kind) and name in (None, m.sender)]

    def _take(self, node: Node) -> Effects:
        node.core.check_invariants()
        effects = node.last = node.core.take()
        self._say(effects.send)
        if effects.send_stored:
            node.held.append((effects.after, effects.send_stored))
        node.results.extend(effects.results)
        node.applied.extend(effects.apply)
        if effects.store is not None:
            node.unwritten.append(effects.store)
        name = node.config.node_id
        if effects.apply:
            self.step(name, Applied(effects.apply[-1].index))
        if name not in self.slow and node.unwritten:
            self.write(name)
        while node.held and node.held[0][0] <= node.stored:
            self._say(node.held.popleft()[1])
        return effects

    def _say(self, messages: Iterable[Message]) -> None:
        self.sent.extend(messages)
        self.flying.extend(messages)

"""Who has subscribed to what at our listener, connection by connection.

Every subscription costs memory here and inside libzmq, so that nobody gets to have too many: the
connection that asks for one too many, or for a name that is too long, is to be cut. What it asks
for after that is not kept.

A pure core. Does not know: sockets, peers; a connection is anything that can be a key.
Invariants: the two tables say the same; no connection has more names than the limit, nor more than
a few words, and neither takes the other's room.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

from p2p.topic_names import HOLD, TERMINATOR, subtrees_above

MAX_WORDS = 4  # between two transports, beside the names that it subscribed to

C = TypeVar("C", bound=Hashable)


class Subscriptions(Generic[C]):
    def __init__(self, *, limit: int, name_bytes: int) -> None:
        self._limit = limit
        self._longest_bytes = name_bytes + len(TERMINATOR)
        self._names: dict[C, set[bytes]] = {}  # words among them
        self._words: dict[C, int] = {}  # how many, where there are any
        self._holders: dict[bytes, set[C]] = {}

    def __iter__(self) -> Iterator[C]:
        return iter(list(self._names))

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, connection: C) -> bool:
        return connection in self._names

    def count(self, connection: C) -> int:
        """How many names it has subscribed to."""
        return len(self._names.get(connection, ())) - self._words.get(connection, 0)

    def add(self, connection: C, name: bytes) -> bool:
        """False when it asks for too much."""
        mine = self._names.setdefault(connection, set())
        if name in mine:
            return True
        # A word is no topic: who has subscribed to as much as it may can still move or hold, and
        # who holds can still subscribe to as much as it may.
        is_word, words = name.startswith(TERMINATOR), self._words.get(connection, 0)
        is_full = words >= MAX_WORDS if is_word else len(mine) - words >= self._limit
        if len(name) > self._longest_bytes or is_full:
            return False
        mine.add(name)
        if is_word:
            self._words[connection] = words + 1
        self._holders.setdefault(name, set()).add(connection)
        return True

    def remove(self, connection: C, name: bytes) -> None:
        mine = self._names.get(connection)
        if mine is not None and name in mine:
            mine.discard(name)
            if name.startswith(TERMINATOR):
                self._words[connection] -= 1
                if not self._words[connection]:
                    del self._words[connection]
            self._release(connection, name)

    def forget(self, connection: C) -> None:
        """It ended."""
        self._words.pop(connection, None)
        for name in self._names.pop(connection, ()):
            self._release(connection, name)

    def holding(self) -> set[C]:
        """Those that asked to be waited for."""
        return self._holders.get(HOLD, set())

    def of(self, name: bytes) -> set[C]:
        """Those that hear this topic."""
        found = set(self._holders.get(name, ()))
        for subtree in subtrees_above(name):
            found |= self._holders.get(subtree, set())
        return found

    def check_invariants(self) -> None:
        pairs = {(connection, name) for connection, mine in self._names.items() for name in mine}
        turned = {
            (connection, name) for name, those in self._holders.items() for connection in those
        }
        assert pairs == turned
        assert all(self._holders.values())
        for connection, mine in self._names.items():
            words = sum(name.startswith(TERMINATOR) for name in mine)
            assert words == self._words.get(connection, 0) <= MAX_WORDS
            assert len(mine) - words <= self._limit
        assert all(self._words.values())
        assert self._words.keys() <= self._names.keys()

    def _release(self, connection: C, name: bytes) -> None:
        those = self._holders[name]
        those.discard(connection)
        if not those:
            del self._holders[name]

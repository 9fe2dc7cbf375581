"""Locks: who holds what until when, and the highest token of those that nobody holds.

A token is the log index of the acquire, so it grows for ever whatever is forgotten: when there are
too many locks, the one that is free for the longest time is forgotten, and the next token of its
name is still higher.

Invariants: a name is held or free, never both; tokens of a name grow; `free` is in the order in
which the locks became free.
What this module does not know: ledger time, sessions, refusals.
"""

from __future__ import annotations

from collections import OrderedDict

from consensus.kv.model import ClientId, LockView, Token


class Lock:
    """A lock that is held."""

    __slots__ = ("client", "deadline_ms", "holder", "name", "token")

    def __init__(
        self, name: str, token: Token, holder: str, deadline_ms: int, client: ClientId | None
    ) -> None:
        self.name = name
        self.token = token
        self.holder = holder
        self.deadline_ms = deadline_ms
        self.client = client  # whose session it is tied to


class LockTable:
    """All locks by name."""

    def __init__(self) -> None:
        self.held: dict[str, Lock] = {}
        self.free: OrderedDict[str, Token] = OrderedDict()  # the highest token of each

    def __len__(self) -> int:
        return len(self.held) + len(self.free)

    def token_of(self, name: str) -> int:
        """The highest token given out, 0 if none is remembered."""
        lock = self.held.get(name)
        return lock.token if lock is not None else self.free.get(name, 0)

    def has_room(self, name: str, index: int, max_locks: int) -> bool:
        """Whether a free lock may be taken, having forgotten another one if need be.

        One whose token is of this index stays: its name would be given the same token again.
        """
        if name in self.free or len(self) < max_locks:
            return True
        if not self.free or next(iter(self.free.values())) == index:
            return False
        self.free.popitem(last=False)
        return True

    def take(self, lock: Lock) -> None:
        assert lock.name not in self.held
        assert lock.token > self.free.pop(lock.name, 0)
        self.held[lock.name] = lock

    def give_back(self, lock: Lock) -> None:
        del self.held[lock.name]
        self.free[lock.name] = lock.token

    def view(self, name: str) -> LockView | None:
        lock = self.held.get(name)
        if lock is not None:
            return LockView(name, lock.token, lock.holder, lock.deadline_ms, lock.client)
        token = self.free.get(name)
        return None if token is None else LockView(name, token, None, None, None)

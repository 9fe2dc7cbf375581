"""What happened when: faults that were injected, who led, who was declared dead, tasks, checks.

The same run gives the same lines, so they hold no ids of this run alone and no time of the machine.

What this module does not know: how things happen, how they are printed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from hashlib import blake2b
from typing import Any

MAX_EVENTS = 200_000


class What(Enum):
    """The kinds of events."""

    FAULT = "fault"
    LEADER = "leader"
    PEER = "peer"
    TASK = "task"
    LOCK = "lock"
    NODE = "node"
    LOG = "log"
    CHECK = "check"


@dataclass(frozen=True, slots=True)
class Event:
    """One of them.

    Attributes:
        node: where it was seen or done; "" for the whole network.
        facts: what the text says, for programs: which nodes are "up" or "down" from here on, which
            "cuts" there are, and so on; see `story`, which reads them.
    """

    at_ms: int
    what: What
    node: str
    text: str
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.at_ms / 1000:9.3f}  {self.what.value:<6}  {self.node:<4}  {self.text}"

    def to_json(self) -> dict[str, Any]:
        return {
            "at_ms": self.at_ms,
            "what": self.what.value,
            "node": self.node,
            "text": self.text,
            "facts": dict(self.facts),
        }


class Timeline:
    """Events in the order in which they were seen.

    Args:
        now_ms: since the beginning of the run.
    """

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._events: list[Event] = []
        self.is_closed = False

    def __iter__(self) -> Iterator[Event]:
        return iter(self._events)

    def __len__(self) -> int:
        return len(self._events)

    @property
    def now_ms(self) -> int:
        return self._now_ms()

    def add(self, what: What, node: str, text: str, **facts: Any) -> None:
        """Note something, now."""
        if not self.is_closed and len(self._events) < MAX_EVENTS:
            self._events.append(Event(self._now_ms(), what, node, text, facts))

    def text(self) -> str:
        """All of it, a line each."""
        return "".join(f"{event}\n" for event in self._events)

    def digest(self) -> str:
        """Equal for equal runs, and practically for no others."""
        return blake2b(self.text().encode(errors="backslashreplace"), digest_size=8).hexdigest()

"""What has happened in the demo, with times: told as it happens, and once more at the end.

What this module does not know: how it is shown.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that happened, `at_s` seconds after the start."""

    at_s: float
    text: str

    def __str__(self) -> str:
        return f"{self.at_s:6.2f} s  {self.text}"


@dataclass(slots=True)
class Killing:
    """One process that was killed, and what became of its work."""

    peer: str
    role: str
    at_s: float
    detected_s: float | None = None
    new_leader_s: float | None = None
    reassigned_s: float | None = None

    @property
    def recovered_s(self) -> float | None:
        """When everything went on as before: somebody leads, and others have its tasks."""
        parts = [self.detected_s, self.reassigned_s]
        if self.role == "leader":
            parts.append(self.new_leader_s)
        known = [part for part in parts if part is not None]
        return max(known) if len(known) == len(parts) else None


@dataclass(slots=True)
class Story:
    """The demo so far.

    Args:
        tell: is handed every line as it happens.
    """

    tell: Callable[[Line], None]
    lines: list[Line] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    def now_s(self) -> float:
        """Seconds since the demo began."""
        return time.monotonic() - self.started

    def say(self, text: str) -> None:
        """Something happened just now."""
        line = Line(self.now_s(), text)
        self.lines.append(line)
        self.tell(line)

"""The deadline of the handler that runs, so that what it asks of others ends with it.

A handler's tasks share its deadline while it runs. When it has ended, tasks that it left behind
are nobody's handler any more, and are free.

What this module does not know: clocks, who limits itself by it.
"""

from __future__ import annotations

from contextvars import ContextVar


class Leash:
    """One running handler's deadline.

    Attributes:
        deadline_ms: on the node's monotonic clock; None where there is none, or it has ended.
    """

    __slots__ = ("deadline_ms",)

    def __init__(self, deadline_ms: int | None) -> None:
        self.deadline_ms = deadline_ms


running_leash: ContextVar[Leash | None] = ContextVar("conclave_leash", default=None)


def handler_deadline_ms() -> int | None:
    """Return the deadline of the handler that asks, or None for none."""
    leash = running_leash.get()
    return leash.deadline_ms if leash is not None else None

"""How an attempt ended, as far as choosing providers cares.

What this module does not know: errors, who asked, what was asked.
"""

from __future__ import annotations

from enum import IntEnum


class Outcome(IntEnum):
    """One word for each way in which an attempt can end."""

    ANSWERED = 0  # it answered; a refusal of the arguments or of the caller is an answer too
    RAISED = 1  # the handler ran and raised: no reason for a breaker, but fellows are compared
    OVERLOADED = 2  # it refused at once because it is busy, which is no reason for a breaker either
    FAILED = 3  # unreachable, lost, or silent until the deadline
    ABANDONED = 4  # the caller stopped waiting: says nothing about the provider

"""A holder's own view of its lease: until when it may be sure that nobody else has the lock (L5).

The log counts a lease from when the claim was applied, which is after it was sent. The holder
counts from *before it sent* the claim or renewal, takes an eighth off for clocks that run at
different rates and a margin for the time between looking and acting, and stops there. It looks
again just before each side effect, and after anything that may have made it stand still.

Times are integer milliseconds of one clock that never goes back and counts while the machine is
suspended (CLOCK_BOOTTIME where there is one). For a lock that is tied to a session, `lease_ms` is
the smaller of the lock's lease and the session's time to live, counted from the same request.

Invariants: `deadline_ms` is never later than the lease's end at any replica, as long as clocks
differ in rate by less than an eighth; renewing never moves it forward.
What this module does not know: which clock, who sends. A lease is a hint that stops needless work;
only a fence at the resource keeps a stale holder from doing harm (L2).

Source: C. G. Gray and D. R. Cheriton, "Leases", SOSP 1989, section 2.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from consensus.kv.errors import LeaseOver
from consensus.kv.model import Token

DRIFT_DIVISOR: Final = 8  # an eighth of the lease is given up to drift
MARGIN_MS: Final = 10
LOOK_MS: Final = 500  # a timer does not count a suspended machine's time, the clock does


@dataclass(frozen=True, slots=True)
class HeldLease:
    """A lock that was granted to us.

    `sent_ms` is when the latest claim or renewal that was granted was about to be sent.
    """

    name: str
    token: Token
    sent_ms: int
    deadline_ms: int
    margin_ms: int = MARGIN_MS

    @classmethod
    def granted(
        cls, name: str, token: int, *, sent_ms: int, lease_ms: int, margin_ms: int = MARGIN_MS
    ) -> HeldLease:
        """The claim was granted; `sent_ms` was read before it was first sent."""
        assert margin_ms >= 0
        deadline_ms = _deadline_ms(sent_ms, lease_ms, margin_ms)
        return cls(name, Token(token), sent_ms, deadline_ms, margin_ms)

    def renewed(self, *, sent_ms: int, lease_ms: int) -> HeldLease:
        """A renewal was granted; `sent_ms` was read before its first copy was sent. Answers may
        come in any order."""
        deadline_ms = _deadline_ms(sent_ms, lease_ms, self.margin_ms)
        if deadline_ms <= self.deadline_ms:
            return self
        return replace(self, sent_ms=sent_ms, deadline_ms=deadline_ms)

    def is_valid(self, now_ms: int) -> bool:
        """Whether nobody else can hold the lock now. A clock that went back proves nothing."""
        return self.sent_ms <= now_ms < self.deadline_ms

    def check(self, now_ms: int) -> None:
        """To be called just before each side effect.

        Raises:
            LeaseOver: the work must stop.
        """
        if not self.is_valid(now_ms):
            raise LeaseOver(self.name, self.token, max(0, now_ms - self.deadline_ms))

    def renew_due(self, now_ms: int) -> bool:
        """Whether a third of the time is gone, so that two renewals may still be lost."""
        return now_ms >= self.renew_at_ms

    @property
    def renew_at_ms(self) -> int:
        return self.sent_ms + max(0, self.deadline_ms - self.sent_ms) // 3

    def look_in_ms(self, now_ms: int) -> int:
        """How long its holder sleeps before it looks again whether a renewal is due."""
        return max(1, min(LOOK_MS, self.renew_at_ms - now_ms))

    def remaining_ms(self, now_ms: int) -> int:
        """How long it is still valid, 0 if it is not."""
        return self.deadline_ms - now_ms if self.is_valid(now_ms) else 0


def _deadline_ms(sent_ms: int, lease_ms: int, margin_ms: int) -> int:
    drift_ms = -(-lease_ms // DRIFT_DIVISOR)  # rounded up
    return sent_ms + lease_ms - drift_ms - margin_ms

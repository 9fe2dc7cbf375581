"""What is known of one provider of one capability, from our own attempts alone.

What this module does not know: how one is chosen, clocks.

Invariant: `outstanding` is the number of attempts begun and not ended.
"""

from __future__ import annotations

import math
import random
from hashlib import blake2b

from agents.choosing.breaker import Breaker, BreakerSettings

DECAY_MS = 5_000  # after this time without news an old latency counts a third


class Destination:
    """One provider of one capability.

    Attributes:
        peer: its id.
        weight: the share of calls that it wants, against those of its fellows.
        outstanding: attempts under way.
        place: where it stands for keys; drawn from its id, so the same for every caller.
        credit: what smooth weighted turns owe it.
        tally: outcomes since fellows were last compared: all, failures, microseconds together.
        out_until_ms: left out as an outlier until then.
        ejections: how often in a row.
        is_degraded: it is not well, as its node says.
        load: how much of it is in use, by whomever, in quarters as its node says.
    """

    __slots__ = (
        "_latency_ms",
        "_latency_us",
        "breaker",
        "credit",
        "ejections",
        "is_degraded",
        "load",
        "out_until_ms",
        "outstanding",
        "peer",
        "place",
        "tally",
        "weight",
    )

    def __init__(
        self, peer: str, weight: int, settings: BreakerSettings, rng: random.Random
    ) -> None:
        self.peer = peer
        self.weight = weight
        self.outstanding = 0
        self.place = int.from_bytes(blake2b(peer.encode(), digest_size=8).digest(), "big")
        self.credit = 0
        self.breaker = Breaker(settings, rng)
        self.tally = [0, 0, 0]
        self.out_until_ms = 0
        self.ejections = 0
        self.is_degraded = False
        self.load = 0
        self._latency_us = 0.0
        self._latency_ms = 0

    def observe(self, elapsed_us: int, now_ms: int, *, is_failure: bool) -> None:
        """Take the time of one attempt into the peak-sensitive moving average.

        A slower one counts at once and in full, quicker ones little by little, more after a longer
        time: `w = exp(-dt / DECAY_MS)`. A failure never makes a provider look quick.
        """
        known_us = self.latency_us(now_ms)
        if elapsed_us >= known_us:
            self._latency_us = float(elapsed_us)
        elif is_failure:
            return
        else:
            kept = math.exp(-max(1, now_ms - self._latency_ms) / DECAY_MS)
            self._latency_us = self._latency_us * kept + elapsed_us * (1 - kept)
        self._latency_ms = now_ms

    def latency_us(self, now_ms: int) -> float:
        """Return the average as it is worth now: old news fade, so the slow are tried again."""
        return self._latency_us * math.exp(-max(0, now_ms - self._latency_ms) / DECAY_MS)

    def check_invariants(self) -> None:
        assert self.outstanding >= 0
        assert self._latency_us >= 0
        self.breaker.check_invariants()

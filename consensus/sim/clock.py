"""The clock of one simulated machine: it begins anywhere, runs fast or slow, jumps, stands still.

It never goes back, as a monotonic clock does not. A restart begins another count.

What this module does not know: what is timed.
"""

from __future__ import annotations

import random

from consensus.sim.timeline import Timeline

MILLION = 1_000_000
LARGEST_START_MS = 10_000_000


class Clock:
    """Whole milliseconds of one machine. `drift_ppm` is how much too fast it runs."""

    def __init__(self, timeline: Timeline, rng: random.Random, max_drift_ppm: int) -> None:
        self._timeline = timeline
        self._rng = rng
        self._rate = MILLION + rng.randrange(-max_drift_ppm, max_drift_ppm + 1)
        self._from_ms = 0  # of the timeline
        self._base_ms = 0  # of this clock, at that time

    def restart(self) -> None:
        """The machine was off: another count begins."""
        self._base_ms = self._rng.randrange(LARGEST_START_MS)
        self._from_ms = self._timeline.now_ms

    @property
    def now_ms(self) -> int:
        return self.at(self._timeline.now_ms)

    def at(self, timeline_ms: int) -> int:
        """What it shows at that time, if nothing happens to it meanwhile."""
        passed_ms = max(0, timeline_ms - self._from_ms)
        return self._base_ms + passed_ms * self._rate // MILLION

    def delay_to(self, deadline_ms: int) -> int:
        """How long until it shows that, on the timeline."""
        missing_ms = deadline_ms - self._base_ms
        due_ms = self._from_ms - (-missing_ms * MILLION // self._rate)
        return max(0, due_ms - self._timeline.now_ms)

    def timeline_ms(self, shown_ms: int) -> int:
        """When it showed that, if it has run evenly since its start."""
        return self._from_ms + (shown_ms - self._base_ms) * MILLION // self._rate

    def step(self, forward_ms: int) -> None:
        """It jumps: the machine was suspended, and this clock counts that."""
        self._base_ms, self._from_ms = self.now_ms + forward_ms, self._timeline.now_ms

    def freeze(self, duration_ms: int) -> None:
        """It stands still for a while, and goes on from there."""
        self._base_ms, self._from_ms = self.now_ms, self._timeline.now_ms + duration_ms

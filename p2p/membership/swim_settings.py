"""Paces and limits of the gossiping membership, in milliseconds and bytes."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SwimSettings:
    """With the defaults a crash among ten is known to all in about 2 s, among 1,000 in 4 s."""

    beat_ms: int = 650
    silence_ms: int = 1_150  # a neighbour silent for so long is probed
    meeting_ms: int = 4_000  # whom we have not met is not probed before: it is being introduced
    probe_ms: int = 300  # for the answer, straight or by way of others
    helpers: int = 3  # who are asked to probe as well
    suspicion_ms: int = 600  # the shortest, times log10 of the members where these are over ten
    suspicion_factor: int = 4  # the longest, of a single accuser, is so many times the shortest
    enough_accusers: int = 3  # distinct keys that make a suspicion the shortest
    mesh: int = 8  # up to so many others, all are neighbours
    rings: int = 4  # above, two neighbours on each ring
    links: int = 48  # up to so many others, everybody has a link to everybody
    flush_ms: int = 50  # news waits so long for more news
    packet_bytes: int = 4_096  # of statements, to one peer
    flush_bytes: int = 8_192  # and to all of them, in one flush
    knock_ms: int = 1_000  # each of the dead is knocked at so often, by all of us together
    knock_most_ms: int = 30_000  # one member knocks at least so often
    mismatch_ms: int = 1_500  # a neighbour's picture differs for so long: compare
    compare_ms: int = 2_000  # at most one comparison in so long
    newcomer_ms: int = 5_000  # after a start, what is learned is no news to the others
    lag_ms: int = 300  # a step that comes later blames ourselves; half of it beyond `crowd` members
    max_health: int = 4
    recovery_ms: int = 10_000
    crowd: int = 16  # so many that are new within crowd_ms: patience as with the worst health
    crowd_ms: int = 15_000
    forget_ms: int = 24 * 3_600_000
    liar_accusations: int = (
        24  # of one accuser, refuted, in liar_ms: it is not believed for so long
    )
    liar_ms: int = 60_000

    def __post_init__(self) -> None:
        if not 0 < self.flush_ms <= self.beat_ms < self.silence_ms:
            raise ValueError("0 < flush_ms <= beat_ms < silence_ms must hold")
        paces = (self.meeting_ms, self.probe_ms, self.suspicion_ms, self.knock_ms, self.compare_ms)
        if min(paces) < 1:
            raise ValueError(
                "meeting_ms, probe_ms, suspicion_ms, knock_ms and compare_ms are at least 1"
            )
        if min(self.helpers, self.enough_accusers, self.suspicion_factor, self.rings) < 1:
            raise ValueError("helpers, enough_accusers, suspicion_factor, rings are at least 1")
        if self.max_health < 0 or self.lag_ms < 1 or self.recovery_ms < 1 or self.mesh < 1:
            raise ValueError("max_health, lag_ms, recovery_ms or mesh is out of range")
        if self.crowd < 1 or self.crowd_ms < 1:
            raise ValueError("crowd and crowd_ms are at least 1")
        if self.liar_accusations < 1 or self.liar_ms < 1:
            raise ValueError("liar_accusations and liar_ms are at least 1")
        if not 1_024 <= self.packet_bytes <= self.flush_bytes:
            raise ValueError("packet_bytes is from 1024 to flush_bytes")

    def suspicion_of(self, accusers: int, members: int, witnesses: int) -> int:
        """How long a suspect has to refute (Lifeguard: the more accusers, the shorter).

        Args:
            members: those present, the suspect and ourselves too.
            witnesses: those of them who are not suspected. Who suspects everybody, because it is
                cut off, waits for no accusation that cannot come.
        """
        shortest = int(self.suspicion_ms * max(1.0, math.log10(max(1, members))))
        longest = shortest * self.suspicion_factor
        enough = max(1, min(self.enough_accusers, members - 1, witnesses))
        if accusers >= enough:
            return shortest
        if accusers <= 1:
            return longest
        return longest - int((longest - shortest) * math.log(accusers) / math.log(enough))

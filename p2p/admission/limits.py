"""Who may knock, and how often: a token bucket for each source and fair shares of the door.

A source is an IPv4 address or an IPv6 /64, which is what one machine or one site gets. When the
door is full, the source with the most open conversations gives up its oldest, so that one source
that opens many and says nothing shuts out nobody but itself.

What this module does not know: sockets, what a conversation says. Time is monotonic milliseconds.

Invariants: at most `max_sources` buckets and `max_open` conversations are ever kept.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from itertools import takewhile

MAX_SOURCES = 1024
_ROUNDING_MS = 0.001  # nobody loses a token by it


def source_of(host: str) -> str:
    """What shares one bucket with this address."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.IPv6Network((address, 64), strict=False))
    return str(address)


class RateLimit:
    """A token bucket a source. A source that is forgotten begins with a full bucket again, which
    is why only one that is full is forgotten, or else the one longest unseen.

    Of a bucket it is enough to know when it is full again.
    """

    def __init__(self, rate_per_s: float, burst: int, max_sources: int = MAX_SOURCES) -> None:
        assert rate_per_s > 0, "nobody could knock"
        assert burst >= 1, "nobody could knock"
        self._token_ms = 1000 / rate_per_s  # one comes in so long
        self._burst_ms = burst * self._token_ms + _ROUNDING_MS
        self._max_sources = max_sources
        self._full_ms: dict[str, float] = {}  # the longest unseen first

    def take(self, source: str, now_ms: int, tokens: int = 1) -> bool:
        """Whether this source may have so many now; without them it keeps what it has."""
        full_ms = max(self._full_ms.pop(source, now_ms), now_ms)
        after_ms = full_ms + tokens * self._token_ms
        allowed = after_ms - now_ms <= self._burst_ms
        self._full_ms[source] = after_ms if allowed else full_ms
        self.rest(now_ms)
        if len(self._full_ms) > self._max_sources:
            del self._full_ms[next(iter(self._full_ms))]
        return allowed

    def rest(self, now_ms: int) -> None:
        """Forget the full buckets, from the one longest unseen up to the first that is not full."""
        full = list(takewhile(lambda source: self._full_ms[source] <= now_ms, self._full_ms))
        for source in full:
            del self._full_ms[source]

    def forget(self, source: str) -> None:
        self._full_ms.pop(source, None)

    def __len__(self) -> int:
        return len(self._full_ms)


@dataclass(slots=True)
class Shares:
    """Places at the door, by source; each place has a number, and older ones have lower numbers."""

    max_open: int
    _places: dict[int, str] = field(default_factory=dict)  # in order of taking
    _by_source: dict[str, int] = field(default_factory=dict)
    _next: int = 0

    def __len__(self) -> int:
        return len(self._places)

    def to_evict(self, source: str) -> int | None:
        """Which place must be given up before `source` can have one; None when it cannot.

        Call it when there is no free place.
        """
        greediest = max(self._by_source, key=lambda each: self._by_source[each])
        if self._by_source[greediest] <= self._by_source.get(source, 0) + 1:
            return None
        return next(place for place, owner in self._places.items() if owner == greediest)

    @property
    def is_full(self) -> bool:
        return len(self._places) >= self.max_open

    def take(self, source: str) -> int:
        assert not self.is_full, "make room first"
        place, self._next = self._next, self._next + 1
        self._places[place] = source
        self._by_source[source] = self._by_source.get(source, 0) + 1
        return place

    def give_up(self, place: int) -> None:
        source = self._places.pop(place)
        left = self._by_source[source] - 1
        if left:
            self._by_source[source] = left
        else:
            del self._by_source[source]

    def check_invariants(self) -> None:
        assert len(self._places) <= self.max_open, "never more than there are"
        assert sum(self._by_source.values()) == len(self._places), "each has its owner"

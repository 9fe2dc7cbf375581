"""Who may knock, and how often: a token bucket for each source and fair shares of the door.

A source is an IPv4 address or an IPv6 /64, which is what one machine or one site gets. When the
door is full, the source with the most open conversations gives up its oldest, so that one source
that opens many and says nothing shuts out nobody but itself.

What this module does not know: sockets, what a conversation says. Time is monotonic milliseconds.

Invariants: at most `max_sources` buckets and `max_open` conversations are ever kept.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from dataclasses import dataclass, field

MAX_SOURCES = 1024


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
    is why only the one longest unseen is forgotten."""

    def __init__(self, rate_per_s: float, burst: int, max_sources: int = MAX_SOURCES) -> None:
        assert rate_per_s > 0, "nobody could knock"
        assert burst >= 1, "nobody could knock"
        self._rate_per_ms = rate_per_s / 1000
        self._burst = float(burst)
        self._max_sources = max_sources
        self._buckets: OrderedDict[str, tuple[float, int]] = OrderedDict()  # tokens, at

    def take(self, source: str, now_ms: int) -> bool:
        """Whether this source may knock once more now."""
        tokens, at_ms = self._buckets.pop(source, (self._burst, now_ms))
        tokens = min(self._burst, tokens + max(0, now_ms - at_ms) * self._rate_per_ms)
        allowed = tokens >= 1
        self._buckets[source] = (tokens - 1 if allowed else tokens, now_ms)
        if len(self._buckets) > self._max_sources:
            self._buckets.popitem(last=False)
        return allowed

    def __len__(self) -> int:
        return len(self._buckets)


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

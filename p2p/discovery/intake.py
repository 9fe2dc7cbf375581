"""What a source may put into the table: bad addresses are taken out, and floods are slowed.

Pure. Does not know what is in the table already. Seeds and last good peers are ours and are
never slowed; mDNS (any neighbour) and gossip (any member) each have a bucket of tokens, and
what only mDNS says must lie on our own LAN.
"""

from __future__ import annotations

from collections.abc import Sequence

from p2p.discovery.addresses import Address, IPNetwork, is_dialable, is_near, is_port
from p2p.discovery.candidate import MAX_ADDRESSES
from p2p.discovery.events import DropReason, Found, Source


class TokenBucket:
    """So many at once, then so many a second. Integers only, so that runs repeat exactly."""

    def __init__(self, *, per_s: int, burst: int) -> None:
        self._per_s = per_s
        self._full = burst * 1000
        self._millitokens = self._full
        self._filled_ms: int | None = None

    def take(self, now_ms: int) -> bool:
        """Take one token, or say that there is none."""
        if self._filled_ms is not None:
            grown = max(0, now_ms - self._filled_ms) * self._per_s
            self._millitokens = min(self._full, self._millitokens + grown)
        self._filled_ms = now_ms
        if self._millitokens < 1000:
            return False
        self._millitokens -= 1000
        return True


class Intake:
    """Judges each `Found` before the table looks at it."""

    def __init__(self, *, news_per_s: int, news_burst: int) -> None:
        self._buckets = {
            source: TokenBucket(per_s=news_per_s, burst=news_burst)
            for source in (Source.MDNS, Source.GOSSIP)
        }

    def may_be_news(self, source: Source, now_ms: int) -> bool:
        """Whether this source may bring one more new name or address now."""
        bucket = self._buckets.get(source)
        return bucket is None or bucket.take(now_ms)

    def addresses(
        self, found: Found, own_networks: Sequence[IPNetwork]
    ) -> tuple[Address, ...] | DropReason:
        """The addresses worth keeping, at most eight, or why there are none."""
        if not is_port(found.port):
            return DropReason.MALFORMED
        hosts = [host for host in dict.fromkeys(found.hosts) if is_dialable(host)]
        if not hosts:
            return DropReason.MALFORMED
        if found.source is Source.MDNS:
            hosts = [host for host in hosts if is_near(host, own_networks)]
            if not hosts:
                return DropReason.NOT_ON_LAN
        return tuple(Address(host, found.port) for host in hosts[:MAX_ADDRESSES])

"""One candidate: what is known of it, where it may be, and when it is tried next.

Pure. Does not know other candidates, caps, or events; `candidates.py` holds the rules that
concern many.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from keys import PeerId
from p2p.discovery.addresses import Address, IPNetwork, rank
from p2p.discovery.events import CandidateReport, Source

MAX_ADDRESSES = 8  # of one dial


@dataclass(frozen=True, slots=True)
class CandidateSettings:
    """Limits and paces. Times in milliseconds."""

    max_candidates: int = 2_000
    max_unproven_per_host: int = 32
    max_dials: int = 16
    max_dials_per_class: int = 12  # vouched for, or mere hints: neither class starves the other
    news_per_s: int = 20  # new names and new addresses from one source of hearsay
    news_burst: int = 100
    unwanted_tries: int = 3  # nobody wants it just now: as if it had failed so often at least
    unwanted_round_ms: int = 1_000  # all of those are offered again together
    courtesy_ms: int = 150  # of two that find each other, the greater id waits for the lesser
    backoff_min_ms: int = 250
    backoff_max_ms: int = 30_000
    refused_backoff_ms: int = 300_000  # the door said no: another network, ourselves
    slow_after_ms: int = 600_000  # absent for that long: knock less often
    slow_backoff_ms: int = 120_000
    knock_for_ms: int = 24 * 3_600_000  # a peer once met and absent since is then forgotten
    hint_for_ms: int = 3_600_000  # an unproven name nobody repeats is then forgotten
    dial_timeout_ms: int = 15_000  # a dial whose outcome was never reported counts as failed

    def __post_init__(self) -> None:
        if not 0 < self.max_dials_per_class < self.max_dials:
            raise ValueError("max_dials_per_class must leave at least one dial to the others")
        if not 0 < self.backoff_min_ms <= self.backoff_max_ms:
            raise ValueError("backoff_min_ms must be over 0 and at most backoff_max_ms")
        if self.max_candidates < 1 or self.max_unproven_per_host < 1 or self.news_burst < 1:
            raise ValueError("the caps must be at least 1")


class Said(MutableMapping[Source, tuple[Address, ...]]):
    """What each source says; one that says nothing is not in it. There is one of these for each
    candidate, and a dictionary would take three times as much."""

    __slots__ = ("_gossip", "_last_good", "_mdns", "_seed")

    def __init__(self, said: Mapping[Source, tuple[Address, ...]] = MappingProxyType({})) -> None:
        self._seed = said.get(Source.SEED, ())
        self._last_good = said.get(Source.LAST_GOOD, ())
        self._gossip = said.get(Source.GOSSIP, ())
        self._mdns = said.get(Source.MDNS, ())

    @property
    def has_seed(self) -> bool:
        return bool(self._seed)

    @property
    def is_hearsay(self) -> bool:
        """Whether nobody says anything but the LAN at large."""
        return not (self._seed or self._last_good or self._gossip)

    def __getitem__(self, source: Source) -> tuple[Address, ...]:
        addresses: tuple[Address, ...] = getattr(self, _SLOTS[source])
        if not addresses:
            raise KeyError(source)
        return addresses

    def __setitem__(self, source: Source, addresses: tuple[Address, ...]) -> None:
        setattr(self, _SLOTS[source], addresses)

    def __delitem__(self, source: Source) -> None:
        self[source] = ()

    def __iter__(self) -> Iterator[Source]:
        return (source for source, slot in _SLOTS.items() if getattr(self, slot))

    def __len__(self) -> int:
        return sum(1 for _ in self)


_SLOTS = {source: f"_{source.name.lower()}" for source in Source}


@dataclass(slots=True)
class Candidate:
    """Mutable; owned by the table."""

    key: str
    peer_id: PeerId | None
    said: Said = field(default_factory=Said)
    worked_at: Address | None = None  # where it was last met
    is_proven: bool = False  # met at least once, or kept from a run in which it was
    is_connected: bool = False
    dial: int | None = None  # number of the pending one
    attempts: int = 0  # failed since it was last met
    next_dial_ms: int = 0
    dialled_ms: int | None = None  # when the last dial began
    absent_since_ms: int = 0
    heard_ms: int = 0  # a source last named it
    failures: tuple[tuple[Address, str], ...] = ()

    @property
    def is_seed(self) -> bool:
        return self.said.has_seed

    @property
    def is_hint(self) -> bool:
        """Only the LAN at large vouches for it."""
        return not self.is_proven and self.said.is_hearsay

    @property
    def is_waiting(self) -> bool:
        return not self.is_connected and self.dial is None

    def hosts(self) -> set[str]:
        return {address.host for addresses in self.said.values() for address in addresses}

    def addresses(self, own_networks: Sequence[IPNetwork]) -> tuple[Address, ...]:
        """Where to dial: first where it was met, then by distance, seeds before hearsay.

        Several sources share the eight places fairly: none can crowd out another's first word.
        """
        by_source = [rank(addresses, own_networks) for addresses in self.said.values()]
        longest = max((len(addresses) for addresses in by_source), default=0)
        fair = [
            addresses[place]
            for place in range(longest)
            for addresses in by_source
            if place < len(addresses)
        ]
        best = rank(dict.fromkeys(fair[:MAX_ADDRESSES]), own_networks)
        if self.worked_at is None:
            return best
        first = (self.worked_at,)
        return (first + tuple(a for a in best if a != self.worked_at))[:MAX_ADDRESSES]

    def back_off(
        self, now_ms: int, settings: CandidateSettings, rng: random.Random, *, is_refusal: bool
    ) -> None:
        """Set the next try after a failed one: doubling, between half and all of the step."""
        if is_refusal:
            step = settings.refused_backoff_ms
        elif now_ms - self.absent_since_ms > settings.slow_after_ms and not self.is_seed:
            step = settings.slow_backoff_ms
        else:
            doublings = min(max(self.attempts - 1, 0), 20)
            step = min(settings.backoff_max_ms, settings.backoff_min_ms << doublings)
        self.next_dial_ms = now_ms + step // 2 + rng.randint(0, step - step // 2)

    def is_forgettable(self, now_ms: int, settings: CandidateSettings) -> bool:
        """Nobody can reach it and nobody speaks of it any more."""
        if self.is_connected or self.dial is not None or self.is_seed:
            return False
        if not self.said and self.worked_at is None:
            return True
        if self.is_proven:
            return now_ms - self.absent_since_ms > settings.knock_for_ms
        return now_ms - self.heard_ms > settings.hint_for_ms

    def report(self, now_ms: int, own_networks: Sequence[IPNetwork]) -> CandidateReport:
        if self.is_connected:
            state = "connected"
        elif self.dial is not None:
            state = "dialling"
        else:
            state = f"next try in {max(0, self.next_dial_ms - now_ms) / 1000:.1f} s"
        return CandidateReport(
            self.peer_id,
            tuple(self.said),
            self.addresses(own_networks),
            state,
            self.attempts,
            self.failures,
        )

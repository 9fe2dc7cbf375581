"""The candidates by key, the seeds among them, and who has to go when there is no room.

Pure. Does not know events or dials. A key is the peer id where it is known, and the address
where it is not (a seed not met yet).

Invariant: every seed that was ever said belongs to exactly one candidate that is here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from p2p.discovery.addresses import Address
from p2p.discovery.candidate import Candidate, CandidateSettings, Said
from p2p.discovery.events import Source


class Known:
    def __init__(self, settings: CandidateSettings) -> None:
        self._settings = settings
        self._by_key: dict[str, Candidate] = {}
        self._seeds: dict[Address, str] = {}  # seed -> key of the candidate that has it now
        self._hosts: Counter[str] | None = None  # of the unproven; counted when it is asked for

    def __len__(self) -> int:
        return len(self._by_key)

    def __iter__(self) -> Iterator[Candidate]:
        return iter(self._by_key.values())

    def get(self, key: str) -> Candidate | None:
        return self._by_key.get(key)

    def key_of_seed(self, address: Address) -> str:
        return self._seeds.get(address, str(address))

    def add(self, candidate: Candidate) -> None:
        assert candidate.key not in self._by_key
        self._by_key[candidate.key] = candidate
        if self._hosts is not None:
            self._hosts.update(_counted(candidate))
        self.index_seed(candidate)

    def index_seed(self, candidate: Candidate) -> None:
        """Note that this candidate has its seeds now; call it when it was given one."""
        for address in candidate.said.get(Source.SEED, ()):
            self._seeds[address] = candidate.key

    def remove(self, candidate: Candidate) -> None:
        """Drop it; its seeds were given to another."""
        del self._by_key[candidate.key]
        self.changed()

    def changed(self) -> None:
        """One of those that are here is not what it was."""
        self._hosts = None

    def forget(self, candidate: Candidate) -> None:
        """Drop it. A seed written down by a person survives as a bare address."""
        self.remove(candidate)
        for address in candidate.said.get(Source.SEED, ()):
            key = str(address)
            self._seeds[address] = key
            if key != candidate.key and key not in self._by_key:
                bare = Candidate(key, None, Said({Source.SEED: (address,)}))
                bare.next_dial_ms = candidate.next_dial_ms
                self._by_key[key] = bare

    def sweep(self, now_ms: int) -> None:
        """Forget whoever nobody can reach and nobody speaks of any more."""
        for candidate in list(self):
            if candidate.is_forgettable(now_ms, self._settings):
                self.forget(candidate)

    def is_crowded(self, addresses: Sequence[Address]) -> bool:
        """Whether one of these hosts has as many unproven names as one host may have."""
        if self._hosts is None:
            self._hosts = self._count_hosts()
        hosts, limit = self._hosts, self._settings.max_unproven_per_host
        return any(hosts[address.host] >= limit for address in addresses)

    def _count_hosts(self) -> Counter[str]:
        return Counter(host for candidate in self for host in _counted(candidate))

    def evict_for_room(self) -> bool:
        """Make room for one more by giving up the name that failed most often."""
        if len(self) < self._settings.max_candidates:
            return True
        evictable = [
            candidate
            for candidate in self
            if candidate.is_waiting
            and candidate.attempts
            and not candidate.is_proven
            and not candidate.is_seed
        ]
        if not evictable:
            return False
        self.forget(max(evictable, key=lambda c: (c.attempts, -c.heard_ms, c.key)))
        return True

    def check_invariants(self) -> None:
        for key, candidate in self._by_key.items():
            assert key == candidate.key
            assert candidate.peer_id is None or candidate.peer_id == key
            assert not candidate.is_connected or (candidate.peer_id and candidate.is_proven)
            has_address = candidate.said or candidate.worked_at is not None
            assert candidate.is_connected or has_address, f"nowhere to dial {key}"
        assert self._hosts is None or self._hosts == self._count_hosts()
        unproven = sum(not candidate.is_proven for candidate in self)
        assert unproven <= self._settings.max_candidates + len(self._seeds)
        for address, key in self._seeds.items():
            assert address in self._by_key[key].said[Source.SEED], f"seed {address} was lost"


def _counted(candidate: Candidate) -> set[str]:
    """The hosts at which it takes a place of those that the unproven may have."""
    return set() if candidate.is_proven or candidate.is_seed else candidate.hosts()

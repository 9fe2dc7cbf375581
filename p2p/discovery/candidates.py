"""The table of everybody who may be a peer, and the decision whom to dial when.

A pure core: `step(event, now_ms=...)` returns effects, `deadline_ms` says when it next wants
a `Tick`. It does not know sockets, mDNS, files, certificates, or the clock. Nothing in it is
believed: an entry costs at most a failed handshake now and then.

Invariants (`check_invariants`):
- at most `max_dials` are under way, and of each class (vouched for, mere hints) at most
  `max_dials_per_class`, so that dead old friends and a flood of fakes cannot starve each other;
- a peer with a live session is never dialled; one candidate has at most one dial under way;
- names that were never met are at most `max_candidates`, whoever says them.

Seeds are tried for ever. A peer once met is knocked at for a day, so that partitions heal.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence

from keys import PeerId
from p2p.discovery.addresses import Address, networks_of
from p2p.discovery.candidate import Candidate, CandidateSettings, Said
from p2p.discovery.dials import Dials
from p2p.discovery.events import (
    Banned,
    CandidateEffect,
    CandidateEvent,
    CandidateReport,
    Dial,
    DialFailed,
    Drop,
    DropReason,
    Found,
    Introduced,
    Lost,
    NetworkChanged,
    NotNow,
    PeerGone,
    Source,
    Tick,
    Told,
)
from p2p.discovery.intake import Intake
from p2p.discovery.known import Known

_SWEEP_EVERY_MS = 60_000
_TRUST = {source: place for place, source in enumerate((*Source, None))}


class CandidateTable:
    """See the module. `own_networks` are our subnets, like "192.168.1.0/24"."""

    def __init__(
        self,
        own: PeerId,
        settings: CandidateSettings,
        rng: random.Random,
        *,
        own_networks: Sequence[str] = (),
    ) -> None:
        self._own = own
        self._settings = settings
        self._rng = rng
        self._own_networks = networks_of(own_networks)
        self._intake = Intake(news_per_s=settings.news_per_s, news_burst=settings.news_burst)
        self._known = Known(settings)
        self._dials = Dials(
            limit=settings.max_dials,
            limit_per_class=settings.max_dials_per_class,
            timeout_ms=settings.dial_timeout_ms,
        )
        self._banned: set[PeerId] = set()
        self._deadline_ms: int | None = None
        self._next_sweep_ms = 0
        self._is_stale = False  # a dial may have come due: look at the end of the step
        self._phase_ms = rng.randrange(settings.unwanted_round_ms)
        self._counters: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._known)

    @property
    def deadline_ms(self) -> int | None:
        """When the next `Tick` is wanted; None while there is nothing to wait for."""
        return self._deadline_ms

    def is_due(self, dial: int) -> bool:
        """Whether a dial that was asked for, and has waited, is still worth it: it was not given
        up, and its peer has not come to us meanwhile."""
        key = self._dials.key_of(dial)
        candidate = None if key is None else self._known.get(key)
        return candidate is not None and not candidate.is_connected

    def counters(self) -> Mapping[str, int]:
        """Drops by reason, dials, and the size of the table, for metrics."""
        connected = sum(candidate.is_connected for candidate in self._known)
        return {
            **self._counters,
            "candidates": len(self._known),
            "connected": connected,
            "dials": self._dials.started,
            "dials pending": len(self._dials),
        }

    def why(self, now_ms: int) -> tuple[CandidateReport, ...]:
        """What is known of everybody, what was tried and what failed; the best sources first."""
        ordered = sorted(
            self._known,
            key=lambda candidate: (candidate.is_hint, candidate.attempts, candidate.key),
        )
        return tuple(candidate.report(now_ms, self._own_networks) for candidate in ordered)

    def step(self, event: CandidateEvent, *, now_ms: int) -> list[CandidateEffect]:
        """Take in one event and return what to do about it."""
        effects: list[CandidateEffect] = []
        self._known.changed()
        match event:
            case Found():
                self._on_found(event, now_ms, effects)
            case Told():
                for found in event.found:
                    self._on_found(found, now_ms, effects)
            case Lost():
                self._on_lost(event)
            case Introduced():
                self._on_introduced(event, now_ms, effects)
            case DialFailed():
                self._on_dial_failed(event, now_ms, effects)
            case NotNow():
                self._on_not_now(event, now_ms)
            case PeerGone():
                self._on_peer_gone(event, now_ms, effects)
            case Banned():
                self._on_banned(event)
            case NetworkChanged():
                self._on_network_changed(event, now_ms)
            case Tick():
                pass
        if self._is_stale or (self._deadline_ms is not None and now_ms >= self._deadline_ms):
            self._end_silent_dials(now_ms)
            if now_ms >= self._next_sweep_ms:
                self._next_sweep_ms = now_ms + _SWEEP_EVERY_MS
                self._known.sweep(now_ms)
            self._start_dials(now_ms, effects)
            self._deadline_ms = self._next_deadline_ms()
            self._is_stale = False
        return effects

    # -- events --------------------------------------------------------------------------------

    def _on_found(self, found: Found, now_ms: int, effects: list[CandidateEffect]) -> None:
        if found.peer_id == self._own:
            return self._drop(found.source, DropReason.OURSELVES, found.peer_id or "", effects)
        if found.peer_id in self._banned:
            return self._drop(found.source, DropReason.BANNED, found.peer_id or "", effects)
        addresses = self._intake.addresses(found, self._own_networks)
        if isinstance(addresses, DropReason):
            detail = f"{found.hosts[:2]} port {found.port}"[:200]
            return self._drop(found.source, addresses, detail, effects)
        key = found.peer_id or self._known.key_of_seed(addresses[0])
        known = self._known.get(key)
        if known is not None:
            self._refresh(known, found, addresses, now_ms)
            return None
        refusal = self._make_room(found.source, addresses, now_ms)
        if refusal is not None:
            return self._drop(found.source, refusal, key, effects)
        candidate = Candidate(key, found.peer_id, Said({found.source: addresses}))
        candidate.is_proven = found.source is Source.LAST_GOOD
        candidate.heard_ms = candidate.absent_since_ms = now_ms
        candidate.next_dial_ms = now_ms + self._courtesy_ms(found)
        self._known.add(candidate)
        self._is_stale = True
        return None

    def _refresh(
        self, known: Candidate, found: Found, addresses: tuple[Address, ...], now_ms: int
    ) -> None:
        """A new address is worth a try at once, at most one each `backoff_min_ms`."""
        known.heard_ms = now_ms
        if found.peer_id is None or found.source is Source.LAST_GOOD:
            self._known.changed()
        known.is_proven |= found.source is Source.LAST_GOOD
        if found.peer_id is None or known.said.get(found.source) == addresses:
            known.said.setdefault(found.source, addresses)
            return
        known.said[found.source] = addresses
        self._known.changed()
        self._known.index_seed(known)
        if known.is_connected or not self._intake.may_be_news(found.source, now_ms):
            return
        last_ms = known.dialled_ms
        soonest_ms = now_ms if last_ms is None else last_ms + self._settings.backoff_min_ms
        known.next_dial_ms = min(known.next_dial_ms, max(now_ms, soonest_ms))
        self._is_stale = True

    def _on_lost(self, lost: Lost) -> None:
        candidate = self._known.get(lost.peer_id)
        if candidate is None:
            return
        candidate.said.pop(lost.source, None)
        if not (candidate.said or candidate.worked_at or candidate.is_connected):
            self._known.forget(candidate)
        self._is_stale = True

    def _on_introduced(
        self, event: Introduced, now_ms: int, effects: list[CandidateEffect]
    ) -> None:
        dialled = self._end_dial(event.dial)
        if event.dial is not None and dialled is None:
            self._drop(None, DropReason.UNKNOWN_DIAL, str(event.dial), effects)
        if event.peer_id == self._own:
            if dialled is not None:
                self._fail(dialled, ((event.address, "it is ourselves"),), now_ms, refused=True)
            return
        self._banned.discard(event.peer_id)  # whoever passes the door again was pardoned
        peer = self._known.get(event.peer_id)
        if peer is None:
            self._known.evict_for_room()
            peer = Candidate(event.peer_id, event.peer_id)
            self._known.add(peer)
        peer.is_connected = peer.is_proven = True
        peer.attempts, peer.failures = 0, ()
        peer.heard_ms = now_ms
        if event.address is not None:
            peer.worked_at = event.address
        if dialled is not None and dialled is not peer:
            self._hand_over(dialled, peer, event.address, now_ms)
        self._is_stale = True

    def _hand_over(
        self, dialled: Candidate, peer: Candidate, address: Address | None, now_ms: int
    ) -> None:
        """We dialled one candidate and met another peer: the address is that peer's now."""
        if dialled.peer_id is None:
            for source, addresses in dialled.said.items():
                merged = (*peer.said.get(source, ()), *addresses)
                peer.said[source] = tuple(dict.fromkeys(merged))
            self._known.index_seed(peer)
            self._known.remove(dialled)
            return
        if address is not None:
            if address in dialled.said.get(Source.SEED, ()):
                peer.said[Source.SEED] = (*peer.said.get(Source.SEED, ()), address)
                self._known.index_seed(peer)
            for source, addresses in dialled.said.items():
                dialled.said[source] = tuple(other for other in addresses if other != address)
            if dialled.worked_at == address:
                dialled.worked_at = None
        if not dialled.said and dialled.worked_at is None and not dialled.is_connected:
            self._known.forget(dialled)
            return
        self._fail(dialled, ((address, f"{peer.peer_id} lives there now"),), now_ms)

    def _on_dial_failed(
        self, event: DialFailed, now_ms: int, effects: list[CandidateEffect]
    ) -> None:
        candidate = self._end_dial(event.dial)
        if candidate is None:
            return self._drop(None, DropReason.UNKNOWN_DIAL, str(event.dial), effects)
        if not candidate.is_connected:  # it may have come to our door meanwhile
            self._fail(candidate, event.failures, now_ms, refused=event.is_refusal)
        return None

    def _on_not_now(self, event: NotNow, now_ms: int) -> None:
        """They are offered again, the more seldom the longer they are not wanted, and together:
        that is a look at everybody each time."""
        round_ms = self._settings.unwanted_round_ms
        for number in event.dials:
            candidate = self._end_dial(number)
            if candidate is not None and not candidate.is_connected:
                least = self._settings.unwanted_tries
                candidate.attempts = max(candidate.attempts + 1, least)
                candidate.back_off(now_ms, self._settings, self._rng, is_refusal=False)
                candidate.next_dial_ms += (self._phase_ms - candidate.next_dial_ms) % round_ms

    def _on_peer_gone(self, event: PeerGone, now_ms: int, effects: list[CandidateEffect]) -> None:
        candidate = self._known.get(event.peer_id)
        if candidate is None:
            return self._drop(None, DropReason.UNKNOWN_PEER, event.peer_id, effects)
        if candidate.is_connected:
            candidate.is_connected = False
            candidate.absent_since_ms = now_ms
            candidate.next_dial_ms = now_ms + self._rng.randint(0, self._settings.backoff_min_ms)
            if not candidate.said and candidate.worked_at is None:
                self._known.forget(
                    candidate
                )  # it only ever came to us: there is no door to knock at
            self._is_stale = True
        return None

    def _on_banned(self, event: Banned) -> None:
        self._banned.add(event.peer_id)
        candidate = self._known.get(event.peer_id)
        if candidate is not None:
            self._known.forget(candidate)
        self._is_stale = True

    def _on_network_changed(self, event: NetworkChanged, now_ms: int) -> None:
        self._own_networks = networks_of(event.own_networks)
        for candidate in self._known:
            candidate.attempts = 0
            soon_ms = now_ms + self._rng.randint(0, self._settings.backoff_min_ms)
            candidate.next_dial_ms = min(candidate.next_dial_ms, soon_ms)
        self._is_stale = True

    # -- dials ---------------------------------------------------------------------------------

    def _start_dials(self, now_ms: int, effects: list[CandidateEffect]) -> None:
        due = [
            candidate
            for candidate in self._known
            if candidate.is_waiting and candidate.next_dial_ms <= now_ms
        ]
        due.sort(key=_urgency)
        for candidate in due:
            if not self._dials.has_place(candidate.is_hint):
                continue
            addresses = candidate.addresses(self._own_networks)
            if not addresses:
                continue
            candidate.dial = self._dials.start(candidate.key, candidate.is_hint, now_ms)
            candidate.dialled_ms = now_ms
            effects.append(Dial(candidate.dial, candidate.peer_id, addresses))

    def _end_dial(self, number: int | None) -> Candidate | None:
        """Free the dial's place; the candidate, unless it was forgotten meanwhile."""
        key = None if number is None else self._dials.end(number)
        if key is None:
            return None
        self._is_stale = True
        candidate = self._known.get(key)
        if candidate is None or candidate.dial != number:
            return None
        candidate.dial = None
        return candidate

    def _end_silent_dials(self, now_ms: int) -> None:
        for number in self._dials.silent(now_ms):
            candidate = self._end_dial(number)
            if candidate is not None and not candidate.is_connected:
                tried = candidate.addresses(self._own_networks)
                failures = tuple((address, "no outcome in time") for address in tried)
                self._fail(candidate, failures, now_ms)

    def _fail(
        self,
        candidate: Candidate,
        failures: Sequence[tuple[Address | None, str]],
        now_ms: int,
        *,
        refused: bool = False,
    ) -> None:
        self._counters["dials failed"] += 1
        candidate.failures = tuple(
            (address, reason[:200]) for address, reason in failures if address is not None
        )
        candidate.attempts += 1
        candidate.back_off(now_ms, self._settings, self._rng, is_refusal=refused)
        self._is_stale = True

    def _next_deadline_ms(self) -> int | None:
        times = list(self._dials.deadlines_ms())
        places = {is_hint: self._dials.has_place(is_hint) for is_hint in (True, False)}
        is_room = all(places.values())
        absent = [candidate for candidate in self._known if not candidate.is_connected]
        times += [
            candidate.next_dial_ms
            for candidate in absent
            if candidate.dial is None and (is_room or places[candidate.is_hint])
        ]
        if absent:
            times.append(self._next_sweep_ms)
        return min(times, default=None)

    # -- room ----------------------------------------------------------------------------------

    def _courtesy_ms(self, found: Found) -> int:
        """Two that find each other at once need one introduction, not two."""
        is_mutual = found.source in (Source.MDNS, Source.GOSSIP)
        if is_mutual and found.peer_id is not None and self._own > found.peer_id:
            return self._settings.courtesy_ms
        return 0

    def _make_room(
        self, source: Source, addresses: tuple[Address, ...], now_ms: int
    ) -> DropReason | None:
        if source in (Source.SEED, Source.LAST_GOOD):
            self._known.evict_for_room()
            return None  # they are few, and ours: never refused
        if not self._intake.may_be_news(source, now_ms):
            return DropReason.TOO_FAST
        if self._known.is_crowded(addresses):
            return DropReason.HOST_FULL
        return None if self._known.evict_for_room() else DropReason.TABLE_FULL

    def _drop(
        self,
        source: Source | None,
        reason: DropReason,
        detail: str,
        effects: list[CandidateEffect],
    ) -> None:
        self._counters[f"dropped: {reason}"] += 1
        effects.append(Drop(source, reason, detail))

    def check_invariants(self) -> None:
        self._known.check_invariants()
        self._dials.check_invariants({candidate.key: candidate.dial for candidate in self._known})
        for candidate in self._known:
            assert candidate.peer_id != self._own
            assert candidate.peer_id not in self._banned


def _urgency(candidate: Candidate) -> tuple[int, int, int, str]:
    """First tries before repeated ones, then by trust, then by who has waited longest."""
    most_trusted = next(iter(candidate.said), None)
    return (candidate.attempts, _TRUST[most_trusted], candidate.next_dial_ms, candidate.key)

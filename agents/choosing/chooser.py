"""The providers of one capability, and the whole decision: who is asked next.

    chooser = Chooser(rng, now_ms)
    chooser.set_providers({"5f3a...": 1, "77c1...": 2}, "")
    one = chooser.choose("", None, now_ms)         # None: nobody may be asked
    is_probe = chooser.begin(one, now_ms)
    chooser.end(one, is_probe, Outcome.ANSWERED, elapsed_us, now_ms)

Candidates are those whose breaker lets an attempt pass, without those that were tried in this call
and without outliers and degraded ones; degraded ones come back in when nobody else is left, and
outliers when not even such are. Among them a balancer picks.

What this module does not know: the network, errors, who calls, whether a repeat is safe.

Invariants: no more than half of the providers are out as outliers when one is put out; a provider
that goes takes its history with it, so a new start begins with a clean one.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from agents.choosing.balancers import BALANCERS, DEFAULT_BALANCE, Balancer
from agents.choosing.breaker import BreakerSettings, State
from agents.choosing.budget import RetryBudget
from agents.choosing.destination import Destination
from agents.choosing.outcome import Outcome
from agents.choosing.outliers import OutlierSettings, compare

NO_LOADS: Final[Mapping[str, int]] = {}


class Chooser:
    """Chooses among the providers of one capability.

    Args:
        rng: draws lots and jitter.

    Attributes:
        budget: pays for repeats of this capability.
        ejected: how many outliers were put out so far.
    """

    def __init__(
        self,
        rng: random.Random,
        now_ms: int,
        breakers: BreakerSettings | None = None,
        outliers: OutlierSettings | None = None,
    ) -> None:
        self._rng = rng
        self._breakers = breakers or BreakerSettings()
        self._outliers = outliers or OutlierSettings()
        self._all: dict[str, Destination] = {}
        self._sorted: tuple[Destination, ...] = ()
        self._balancers: dict[str, Balancer] = {}
        self._declared = DEFAULT_BALANCE
        self._is_calm = True  # no breaker is open and nobody is out: nothing to leave out
        self._times = False  # latencies are wanted by a balancer
        self._compare_at_ms = now_ms + self._outliers.interval_ms
        self.budget = RetryBudget(now_ms)
        self.ejected = 0

    def set_providers(
        self,
        weights: Mapping[str, int],
        declared: str,
        degraded: Collection[str] = (),
        loads: Mapping[str, int] = NO_LOADS,
    ) -> None:
        """Take the providers as they are now.

        Args:
            weights: by peer.
            declared: the balancer that they ask for; an unknown name or none is the default.
            degraded: who of them is not well.
            loads: how busy they say that they are, from 0 to FULL; who is left out is idle.
        """
        self._declared = declared if declared in BALANCERS else DEFAULT_BALANCE
        before = self._all
        self._all = {}
        for peer in sorted(weights):
            known = before.get(peer)
            if known is None:
                known = Destination(peer, weights[peer], self._breakers, self._rng)
            known.weight = weights[peer]
            known.is_degraded = peer in degraded
            known.load = loads.get(peer, 0)
            self._all[peer] = known
        self._sorted = tuple(self._all.values())
        self._is_calm = self._is_calm and not degraded

    @property
    def providers(self) -> tuple[Destination, ...]:
        """All of them, by id."""
        return self._sorted

    def of(self, peer: str) -> Destination | None:
        """Return one provider."""
        return self._all.get(peer)

    def choose(
        self,
        balance: str,
        key: str | None,
        now_ms: int,
        tried: Collection[Destination] = (),
    ) -> Destination | None:
        """Return whom to ask, or None when nobody is left who may be asked.

        Args:
            balance: a name of `BALANCERS`, or empty for what the providers declare.
            key: for `consistent_hash`; what has none is balanced by default.
            tried: whom this call has asked already.
        """
        candidates: Sequence[Destination] = self._sorted
        if tried or not self._is_calm:
            candidates = self._candidates(tried, now_ms)
        if not candidates:
            return None
        name = balance or self._declared
        if key is None and name == "consistent_hash":
            name = DEFAULT_BALANCE  # one place for all that have no key would be no balance
        balancer = self._balancers.get(name)
        if balancer is None:
            balancer = self._balancers[name] = BALANCERS[name](self._rng)
            self._times = self._times or name == "fastest"
        return balancer.pick(candidates, key, now_ms)

    def may_pass(self, destination: Destination, now_ms: int) -> bool:
        """Whether one provider may be asked now."""
        return destination.breaker.may_pass(now_ms)

    def begin(self, destination: Destination, now_ms: int) -> bool:
        """An attempt begins; return whether it is a breaker's probe, for `end`."""
        destination.outstanding += 1
        breaker = destination.breaker
        return breaker.state is not State.CLOSED and breaker.begin(now_ms)

    def end(
        self,
        destination: Destination,
        is_probe: bool,
        outcome: Outcome,
        elapsed_us: int,
        now_ms: int,
    ) -> None:
        """An attempt ended."""
        destination.outstanding -= 1
        destination.breaker.end(outcome, is_probe, now_ms)
        if destination.breaker.state is not State.CLOSED:
            self._is_calm = False
        if outcome is Outcome.ABANDONED:
            return
        failed = outcome is not Outcome.ANSWERED
        tally = destination.tally
        tally[0] += 1
        tally[1] += failed
        tally[2] += elapsed_us
        if self._times:
            destination.observe(elapsed_us, now_ms, is_failure=failed)
        if now_ms >= self._compare_at_ms:
            self._compare(now_ms)

    def check_invariants(self) -> None:
        assert list(self._sorted) == sorted(self._all.values(), key=lambda d: d.peer)
        self.budget.check_invariants()
        for destination in self._sorted:
            destination.check_invariants()
        if self._is_calm:
            assert all(d.breaker.state is State.CLOSED and not d.is_degraded for d in self._sorted)

    def _candidates(self, tried: Collection[Destination], now_ms: int) -> list[Destination]:
        if not self._is_calm:
            self._is_calm = all(
                d.breaker.state is State.CLOSED and d.out_until_ms <= now_ms and not d.is_degraded
                for d in self._sorted
            )
        passing = [d for d in self._sorted if d not in tried and self.may_pass(d, now_ms)]
        usual = [d for d in passing if d.out_until_ms <= now_ms]
        return [d for d in usual if not d.is_degraded] or usual or passing

    def _compare(self, now_ms: int) -> None:
        self._compare_at_ms = now_ms + self._outliers.interval_ms
        put_out = compare(self._sorted, self._outliers, now_ms)
        if put_out:
            self.ejected += put_out
            self._is_calm = False

"""One chooser for each capability that this node asks for, kept in step with the directory.

What this module does not know: how a call is made, what is sent.
"""

from __future__ import annotations

import random

from agents.choosing import Chooser, Outcome
from agents.directory import Directory
from p2p import (
    Cancelled,
    Clock,
    ConnectionLost,
    DeadlineExceeded,
    HandlerFailed,
    Overloaded,
    P2PError,
    PeerUnreachable,
    QueueFull,
    RemoteError,
)

_OUTCOMES: dict[type[P2PError], Outcome] = {
    HandlerFailed: Outcome.RAISED,
    Cancelled: Outcome.RAISED,
    Overloaded: Outcome.OVERLOADED,
    QueueFull: Outcome.OVERLOADED,
    PeerUnreachable: Outcome.FAILED,
    ConnectionLost: Outcome.FAILED,
    DeadlineExceeded: Outcome.FAILED,
}


def outcome_of(error: P2PError) -> Outcome:
    """Return what an error says of the provider: a refusal is an answer, our own misuse nothing."""
    found = _OUTCOMES.get(type(error))
    if found is not None:
        return found
    return Outcome.ANSWERED if isinstance(error, RemoteError) else Outcome.ABANDONED


class Providers:
    """Who offers one capability.

    Attributes:
        is_idempotent: all who offer it say that running it twice does no harm.
    """

    __slots__ = ("chooser", "is_idempotent", "version")

    def __init__(self, chooser: Chooser) -> None:
        self.chooser = chooser
        self.is_idempotent = False
        self.version = -1


class Choosers:
    """The providers of each capability; those of none that is not offered."""

    def __init__(self, directory: Directory, clock: Clock, rng: random.Random) -> None:
        self._directory = directory
        self._clock = clock
        self._rng = random.Random(
            rng.getrandbits(64)
        )  # lots are drawn for each call: the quick kind
        self._of: dict[str, Providers] = {}

    def of(self, capability: str) -> Providers | None:
        """Return the providers of a capability, or None where nobody offers it."""
        found = self._of.get(capability)
        if found is not None and found.version == self._directory.version:
            return found
        return self._refreshed(capability, found)

    def counters(self) -> dict[str, int]:
        """Return what happened to the providers that are known now."""
        all_ = [providers.chooser for providers in self._of.values()]
        return {
            "breakers_opened": sum(d.breaker.opened for c in all_ for d in c.providers),
            "providers_ejected": sum(c.ejected for c in all_),
            "retries_over_budget": sum(c.budget.refused for c in all_),
        }

    def _refreshed(self, capability: str, found: Providers | None) -> Providers | None:
        offering = self._directory.offering(capability)
        if not offering:
            self._of.pop(capability, None)
            return None
        if found is None:
            found = Providers(Chooser(self._rng, self._clock.now_ms()))
            self._of[capability] = found
        declared = next((offering[p].balance for p in sorted(offering) if offering[p].balance), "")
        found.chooser.set_providers(
            {p: terms.weight for p, terms in offering.items()},
            declared,
            self._directory.degraded(capability),
            self._directory.busy(capability),
        )
        found.is_idempotent = all(terms.is_idempotent for terms in offering.values())
        found.version = self._directory.version
        return found

"""Who may read a topic: where everybody may, it goes the quick way that everybody could listen to.

Whoever is admitted can subscribe to anything on the wire. So a message goes there only while every
peer that is let in may read its topic; otherwise it goes to each of those who may by itself, as
restricted messages do. It is asked again when a policy changes or somebody is let in.

What this module does not know: messages, sockets, policies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from keys import Action, Guard, Principal
from p2p.pubsub.publisher import Only

_MAX_TOPICS = 4096


class Audience:
    """
    Args:
        changes: a number that grows whenever somebody else is let in.
        everybody: who is let in.
    """

    def __init__(
        self,
        guard: Guard,
        changes: Callable[[], int],
        everybody: Callable[[], Iterable[Principal]],
    ) -> None:
        self._guard = guard
        self._changes = changes
        self._everybody = everybody
        self._seen = -1
        self._open: dict[str, bool] = {}

    def changed(self) -> None:
        """A policy has changed."""
        self._open.clear()

    def narrowed(self, topic: str, only: Only | None) -> Only | None:
        """Who may read a message that is meant for these; None for whoever listens."""
        if only is None:
            return None if self._is_open(topic) else lambda who: self.may_read(who, topic)
        return lambda who: self.may_read(who, topic) and only(who)

    def may_read(self, who: Principal, topic: str) -> bool:
        return self._guard.may(who, Action.SUBSCRIBE, topic)

    def _is_open(self, topic: str) -> bool:
        changes = self._changes()
        if changes != self._seen:
            self._seen = changes
            self._open.clear()
        known = self._open.get(topic)
        if known is None:
            if len(self._open) >= _MAX_TOPICS:
                self._open.clear()
            known = all(self.may_read(who, topic) for who in self._everybody())
            self._open[topic] = known
        return known

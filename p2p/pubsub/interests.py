"""Who listens to what, as members say it of themselves, also those without a link to us.

An entry holds the names of topics and subtrees, and an empty name for everything: whoever listens
to very many names is told of by their first levels, and then by that.

A pure core. Does not know: how an entry travels, links, what is published.

Invariants (`check_invariants`): the index holds exactly what members have said.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from keys import PeerId
from p2p.pubsub.names import SEPARATOR, is_subscription
from p2p.topic_names import subtrees_above
from p2p.wire import PayloadError, decode_payload, encode_payload

MAX_NAMES = 256
EVERYTHING = ""


def encode_interest(names: Collection[str]) -> bytes | None:
    """What a member says that it listens to; None for nothing."""
    if len(names) > MAX_NAMES:
        first_levels = (name.partition(SEPARATOR) for name in names)
        names = {level + separator for level, separator, _ in first_levels}
    if len(names) > MAX_NAMES:
        names = {EVERYTHING}
    return encode_payload(sorted(names)) if names else None


def decode_interest(data: bytes) -> frozenset[str]:
    """The names in an entry, without what is none. Never raises."""
    try:
        names = decode_payload(data)
    except PayloadError:
        return frozenset()
    if not isinstance(names, list) or len(names) > MAX_NAMES:
        return frozenset()
    return frozenset(
        name for name in names if isinstance(name, str) and (not name or is_subscription(name))
    )


class Interests:
    """See the module."""

    def __init__(self) -> None:
        self._names: dict[PeerId, frozenset[str]] = {}
        self._listeners: dict[str, set[PeerId]] = {}

    def __bool__(self) -> bool:
        return bool(self._names)

    def take(self, peer_id: PeerId, names: frozenset[str]) -> bool:
        """This member listens to these from now on, and to nothing else; whether that is news."""
        before = self._names.pop(peer_id, frozenset())
        if names:
            self._names[peer_id] = names
        for name in before - names:
            self._listeners[name].discard(peer_id)
            if not self._listeners[name]:
                del self._listeners[name]
        for name in names - before:
            self._listeners.setdefault(name, set()).add(peer_id)
        return names != before

    def listeners(self, topic: str) -> frozenset[PeerId]:
        """Who listens to a topic, or to a subtree above."""
        names = (topic, EVERYTHING, *(name.decode() for name in subtrees_above(topic.encode())))
        found = (self._listeners.get(name) for name in names)
        return frozenset().union(*(peers for peers in found if peers))

    def check_invariants(self) -> None:
        said = {(name, peer_id) for peer_id, names in self._names.items() for name in names}
        indexed: Iterable[tuple[str, PeerId]] = (
            (name, peer_id) for name, peers in self._listeners.items() for peer_id in peers
        )
        assert said == set(indexed)
        assert all(self._names.values())
        assert all(self._listeners.values())

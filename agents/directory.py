"""Who offers what: the adverts of living peers, read into agents and capabilities.

What this module does not know: the network, how a provider is chosen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from agents.hosting import Offer
from agents.scheduling import AgentView, WorkerView
from keys import PeerId
from p2p import PayloadError, decode_payload, encode_payload

ADVERT_VERSION = 1
MAX_AGENTS = 1024


@dataclass(frozen=True, slots=True)
class AgentCard:
    """One agent as others see it.

    Attributes:
        skills: what it offers, each with its usage and the first line of its documentation.
    """

    name: str
    capacity: int
    skills: Mapping[str, tuple[str, str]]


def advert_of(offers: Iterable[Offer]) -> bytes:
    """Return the advert of a node that hosts these agents."""
    agents = [
        [
            offer.name,
            offer.capacity,
            [[c, handler.usage(), handler.summary] for c, handler in offer.handlers.items()],
        ]
        for offer in offers
    ]
    return encode_payload([ADVERT_VERSION, agents])


def read_advert(advert: bytes) -> tuple[AgentCard, ...]:
    """Return the agents in an advert; what does not fit is left out."""
    try:
        value = decode_payload(advert)
    except PayloadError:
        return ()
    if not (isinstance(value, list) and len(value) >= 2 and value[0] == ADVERT_VERSION):
        return ()
    found = value[1] if isinstance(value[1], list) else []
    return tuple(card for card in map(_card, found[:MAX_AGENTS]) if card is not None)


def _card(fields: object) -> AgentCard | None:
    if not (isinstance(fields, list) and len(fields) >= 3):
        return None
    name, capacity, skills = fields[:3]
    if not (isinstance(name, str) and type(capacity) is int and isinstance(skills, list)):
        return None
    table = {
        s[0]: (s[1], s[2])
        for s in skills
        if isinstance(s, list) and len(s) >= 3 and all(isinstance(t, str) for t in s[:3])
    }
    return AgentCard(name[:63], max(0, min(capacity, 1024)), table)


class Directory:
    """The agents of every living peer, our own among them."""

    def __init__(self) -> None:
        self._cards: dict[PeerId, tuple[AgentCard, ...]] = {}

    def put(self, peer_id: PeerId, advert: bytes) -> None:
        self._cards[peer_id] = read_advert(advert)

    def remove(self, peer_id: PeerId) -> None:
        self._cards.pop(peer_id, None)

    def providers(self, capability: str) -> list[PeerId]:
        """Return the peers that offer a capability, by id."""
        return sorted(
            peer_id
            for peer_id, cards in self._cards.items()
            if any(capability in card.skills for card in cards)
        )

    def capabilities(self) -> tuple[str, ...]:
        """Return everything that is offered, by name."""
        return tuple(sorted({c for _, card in self for c in card.skills}))

    def __iter__(self) -> Iterator[tuple[PeerId, AgentCard]]:
        for peer_id in sorted(self._cards):
            for card in self._cards[peer_id]:
                yield peer_id, card

    def worker(
        self, peer_id: PeerId, incarnation: int, load: int, *, takes_work: bool
    ) -> WorkerView:
        """Return a peer as the scheduler wants it; one that takes no work is shown idle."""
        cards = self._cards.get(peer_id, ()) if takes_work else ()
        agents = tuple(AgentView(c.name, frozenset(c.skills), c.capacity) for c in cards)
        return WorkerView(peer_id, incarnation, agents, load)

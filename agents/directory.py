"""Who offers what: the adverts of living peers, read into agents and capabilities.

A peer's word counts in the namespaces that its certificate allows; what it offers elsewhere is
left out and counted.

What this module does not know: the network, how a provider is chosen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from agents.choosing import MAX_WEIGHT
from agents.errors import BadAgent
from agents.health import MAX_REASON, Condition, Health
from agents.hosting import Kind, Offer, Terms
from agents.names import at_agent, namespace_of, whoever_offers
from agents.scheduling import AgentView, WorkerView
from keys import PeerId, Permission, Principal
from p2p import PayloadError, decode_payload, encode_payload

ADVERT_VERSION = 1
WELL = Condition(Health.HEALTHY, "", 0)
MAX_AGENTS = 1024
_KINDS = frozenset(Kind)

MayOffer = Callable[[str], bool]  # in this namespace


def may_offer_in(principal: Principal | None) -> MayOffer:
    """Return where a member may offer; a stranger only in the default namespace."""
    return lambda namespace: principal is not None and principal.may_in(Permission.SERVE, namespace)


def check_namespaces(offers: Iterable[Offer], principal: Principal) -> None:
    """Check that a node's own agents are where its certificate lets them be.

    Raises:
        BadAgent: one is not; others would leave out what it offers.
    """
    may_offer = may_offer_in(principal)
    for offer in offers:
        for namespace in sorted({namespace_of(c) for c in offer.handlers} - {""}):
            if not may_offer(namespace):
                allowed = ", ".join(principal.namespaces) or "none"
                raise BadAgent(
                    f"agent {offer.name} is in the namespace {namespace!r}, and the certificate of "
                    f"{principal.name} allows: {allowed}; ask for a ticket with this namespace"
                )


class Skill(NamedTuple):
    """What is said of one capability: its usage, the first line of its documentation, its terms,
    and how it answers."""

    usage: str
    summary: str
    terms: Terms
    kind: Kind


@dataclass(frozen=True, slots=True)
class AgentCard:
    """One agent as others see it.

    Attributes:
        condition: how it is, since when by its own node's wall clock.
        note: why it offers nothing now, though it is well; for people.
    """

    name: str
    capacity: int
    skills: Mapping[str, Skill]
    condition: Condition = WELL
    note: str = ""


class Advert(NamedTuple):
    """What one start of a node offers.

    Attributes:
        start: tells its starts apart; 0 where it does not say.
    """

    start: int
    cards: tuple[AgentCard, ...]


class Told(NamedTuple):
    """What a node tells of one of its agents beside what it can do.

    Attributes:
        is_open: whether it may be asked now.
    """

    condition: Condition = WELL
    note: str = ""
    is_open: bool = True


def advert_of(offers: Iterable[Offer], start: int, told: Mapping[str, Told] | None = None) -> bytes:
    """Return the advert of a node that hosts these agents.

    An agent that runs nothing now offers nothing, so that nodes which read no conditions leave it
    alone too.
    """
    agents = [_told(offer, (told or {}).get(offer.name, Told())) for offer in offers]
    return encode_payload([ADVERT_VERSION, agents, start])


def _told(offer: Offer, told: Told) -> list[object]:
    handlers = offer.handlers.items() if told.is_open else ()
    skills = [[c, h.usage(), h.summary, *h.terms, h.kind] for c, h in handlers]
    state, reason, since_ms = told.condition
    return [offer.name, offer.capacity, skills, [state.value, reason, since_ms], told.note]


def read_advert(advert: bytes) -> Advert:
    """Return what is in an advert; what does not fit is left out."""
    try:
        value = decode_payload(advert)
    except PayloadError:
        return Advert(0, ())
    if not (isinstance(value, list) and len(value) >= 2 and value[0] == ADVERT_VERSION):
        return Advert(0, ())
    found = value[1] if isinstance(value[1], list) else []
    start = value[2] if len(value) > 2 and type(value[2]) is int else 0
    cards = (card for card in map(_card, found[:MAX_AGENTS]) if card is not None)
    return Advert(max(0, start), tuple(cards))


def _card(fields: object) -> AgentCard | None:
    if not (isinstance(fields, list) and len(fields) >= 3):
        return None
    name, capacity, skills = fields[:3]
    if not (isinstance(name, str) and type(capacity) is int and isinstance(skills, list)):
        return None
    table = {
        s[0]: Skill(s[1], s[2], _terms(s[3:6]), _kind(s[6:7]))
        for s in skills
        if isinstance(s, list) and len(s) >= 3 and all(isinstance(t, str) for t in s[:3])
    }
    condition = _condition(fields[3]) if len(fields) > 3 else WELL
    note = fields[4] if len(fields) > 4 and isinstance(fields[4], str) else ""
    return AgentCard(name[:63], max(0, min(capacity, 1024)), table, condition, note[:MAX_REASON])


def _condition(fields: object) -> Condition:
    """Return how an agent is; what newer nodes say otherwise is left to "degraded": it is asked
    when nobody else is there."""
    if not (isinstance(fields, list) and len(fields) >= 3):
        return WELL
    state, reason, since_ms = fields[:3]
    known = isinstance(state, str) and state in tuple(Health)
    return Condition(
        Health(state) if known else Health.DEGRADED,
        reason[:MAX_REASON] if isinstance(reason, str) else "",
        since_ms if type(since_ms) is int else 0,
    )


def _terms(fields: list[object]) -> Terms:
    if len(fields) < 3:
        return Terms()
    balance, weight, is_idempotent = fields
    return Terms(
        balance if isinstance(balance, str) else "",
        max(1, min(weight, MAX_WEIGHT)) if type(weight) is int else 1,
        is_idempotent is True,
    )


def _skills_for_tasks(card: AgentCard) -> frozenset[str]:
    return frozenset(c for c, skill in card.skills.items() if skill.kind is Kind.CALL)


def _kind(fields: list[object]) -> Kind:
    """Return how it answers; what a peer does not say, or newer ones say, is left to a call."""
    said = fields[0] if fields else None
    return Kind(said) if isinstance(said, str) and said in _KINDS else Kind.CALL


class Directory:
    """The agents of every living peer, our own among them.

    Attributes:
        version: another number after every change.
    """

    def __init__(self) -> None:
        self._adverts: dict[PeerId, Advert] = {}
        self._terms: dict[str, dict[PeerId, Terms]] = {}
        self._degraded: dict[str, set[PeerId]] = {}
        self.version = 0
        self.counts: Counter[str] = Counter()

    def put(self, peer_id: PeerId, advert: bytes, may_offer: MayOffer) -> None:
        """Take a peer's advert, without what it may not offer."""
        self.remove(peer_id)
        start, cards = read_advert(advert)
        allowed = tuple(self._allowed(card, may_offer) for card in cards)
        self._adverts[peer_id] = Advert(start, allowed)
        for card in allowed:
            if card.condition.state is Health.FAILED:
                continue
            for capability, skill in card.skills.items():
                for name in (capability, at_agent(capability, card.name)):
                    self._terms.setdefault(name, {})[peer_id] = skill.terms
                    if card.condition.state is Health.DEGRADED:
                        self._degraded.setdefault(name, set()).add(peer_id)

    def remove(self, peer_id: PeerId) -> None:
        self.version += 1
        gone = self._adverts.pop(peer_id, None)
        for card in gone.cards if gone is not None else ():
            for capability in card.skills:
                for name in (capability, at_agent(capability, card.name)):
                    offering = self._terms.get(name, {})
                    offering.pop(peer_id, None)
                    if not offering:
                        self._terms.pop(name, None)
                    degraded = self._degraded.get(name, set())
                    degraded.discard(peer_id)
                    if not degraded:
                        self._degraded.pop(name, None)

    def offering(self, capability: str) -> Mapping[PeerId, Terms]:
        """Return who offers a capability, or that of one agent, on what terms; changes with the
        directory."""
        return self._terms.get(capability, {})

    def providers(self, capability: str) -> list[PeerId]:
        """Return the peers that offer a capability, by id."""
        return sorted(self.offering(capability))

    def degraded(self, capability: str) -> Collection[PeerId]:
        """Return which of those are not well: to be asked when nobody else is left."""
        return self._degraded.get(capability, frozenset())

    def cards_of(self, peer_id: PeerId) -> tuple[AgentCard, ...]:
        """Return a peer's agents."""
        advert = self._adverts.get(peer_id)
        return advert.cards if advert is not None else ()

    def start_of(self, peer_id: PeerId) -> int:
        """Return which of its starts a peer is in, 0 where that is not known."""
        advert = self._adverts.get(peer_id)
        return advert.start if advert is not None else 0

    def kind_of(self, capability: str) -> Kind | None:
        """Return how a capability answers, None where nobody offers it."""
        capability = whoever_offers(capability)
        for peer_id in self.offering(capability):
            for card in self._adverts[peer_id].cards:
                if capability in card.skills:
                    return card.skills[capability].kind
        return None

    def capabilities(self) -> tuple[str, ...]:
        """Return everything that is offered, by name."""
        return tuple(sorted(name for name in self._terms if "/" not in name))

    def __iter__(self) -> Iterator[tuple[PeerId, AgentCard]]:
        for peer_id in sorted(self._adverts):
            for card in self._adverts[peer_id].cards:
                yield peer_id, card

    def worker(
        self, peer_id: PeerId, incarnation: int, load: int, *, takes_work: bool
    ) -> WorkerView:
        """Return a peer as the scheduler wants it; one that takes no work is shown idle."""
        advert = self._adverts.get(peer_id)
        cards = advert.cards if advert is not None and takes_work else ()
        agents = tuple(
            AgentView(
                c.name, _skills_for_tasks(c), c.capacity, c.condition.state is Health.DEGRADED
            )
            for c in cards
            if c.condition.state is not Health.FAILED
        )
        return WorkerView(peer_id, incarnation, agents, load)

    def _allowed(self, card: AgentCard, may_offer: MayOffer) -> AgentCard:
        kept = {}
        for capability, skill in card.skills.items():
            namespace = namespace_of(capability)
            if not namespace or may_offer(namespace):
                kept[capability] = skill
            else:
                self.counts["offer_outside_namespaces"] += 1
        return AgentCard(card.name, card.capacity, kept, card.condition, card.note)

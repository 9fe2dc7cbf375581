"""Who offers what: the adverts of living peers, read into agents and capabilities.

A peer's word counts in the namespaces that its certificate allows; what it offers elsewhere is
left out and counted. Changes come agent by agent, and cost what they change: of an agent this
keeps the bytes that its node said, shared with who received them, and beside them only what is
asked for in a hurry. All else is read again when people look.

What this module does not know: the network, how a provider is chosen.

Invariants (`check_invariants`): who is listed under a capability offers it, and has not failed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping

from agents.adverts import AgentCard, MayOffer, read_entry
from agents.busy import MACHINE, MachineSteps, decode_machine
from agents.health import Health
from agents.hosting import Kind, Terms
from agents.names import MAX_NAME_CHARS, agent_meant, at_agent, namespace_of, whoever_offers
from agents.scheduling import AgentView, WorkerView
from keys import PeerId
from p2p import Machine

MAX_SEEN = 4096


class _Entry:
    """One agent of one peer."""

    __slots__ = ("capacity", "load", "name", "peer_id", "said", "skills", "state")

    def __init__(self, peer_id: PeerId, said: bytes, card: AgentCard, allowed: list[str]) -> None:
        self.peer_id = peer_id
        self.said = said
        self.name = card.name
        self.capacity = card.capacity
        self.load = card.load
        self.state = card.condition.state
        self.skills = tuple(
            (name, card.skills[name].terms, card.skills[name].kind) for name in allowed
        )

    def card(self) -> AgentCard:
        """Read it again, without what it may not offer."""
        card = read_entry(self.name, self.said)
        assert card is not None
        allowed = {name for name, _, _ in self.skills}
        kept = {name: skill for name, skill in card.skills.items() if name in allowed}
        return AgentCard(card.name, card.capacity, kept, card.condition, card.note, card.load)

    def view(self) -> AgentView:
        skills = frozenset(name for name, _, kind in self.skills if kind is Kind.CALL)
        is_degraded = self.state is Health.DEGRADED
        return AgentView(self.name, skills, self.capacity, is_degraded, self.load)


class _Peer:
    __slots__ = ("entries", "machine", "start", "views")

    def __init__(self) -> None:
        self.machine: MachineSteps | None = None
        self.start = 0
        self.entries: dict[str, _Entry] = {}
        self.views: tuple[AgentView, ...] | None = None


class Directory:
    """The agents of every living peer, our own among them.

    Attributes:
        version: another number after every change.
    """

    def __init__(self) -> None:
        self._peers: dict[PeerId, _Peer] = {}
        # By capability. Most are offered by one agent: a list for each would be half the memory.
        self._listed: dict[str, _Entry | list[_Entry]] = {}
        self._seen: dict[str, Mapping[PeerId, Terms]] = {}  # what was asked for, until it changes
        self.version = 0
        self.counts: Counter[str] = Counter()

    def apply(
        self,
        peer_id: PeerId,
        start: int,
        changes: Mapping[str, bytes | None],
        may_offer: MayOffer,
    ) -> None:
        """Take what a peer says of some of its agents, without what it may not offer.

        Args:
            start: which of its starts says so.
        """
        self.version += 1
        peer = self._peers.setdefault(peer_id, _Peer())
        peer.start, peer.views = start, None
        for name, said in changes.items():
            if name == MACHINE:
                peer.machine = decode_machine(said) if said is not None else None
                continue
            before = peer.entries.pop(name, None)
            if before is not None:
                self._unlist(before)
            card = read_entry(name, said) if said is not None else None
            if said is not None and card is not None:
                entry = _Entry(peer_id, said, card, self._allowed(card, may_offer))
                peer.entries[name] = entry
                self._list(entry)
            elif said is not None:
                self.counts["offer_unreadable"] += 1

    def remove(self, peer_id: PeerId) -> None:
        self.version += 1
        gone = self._peers.pop(peer_id, None)
        for entry in gone.entries.values() if gone is not None else ():
            self._unlist(entry)

    def offering(self, capability: str) -> Mapping[PeerId, Terms]:
        """Return who offers a capability, or that of one agent, on what terms, at this moment."""
        found = self._seen.get(capability)
        if found is None:
            wanted = whoever_offers(capability)
            found = {
                entry.peer_id: terms
                for entry in self._offer(capability)
                for name, terms, _ in entry.skills
                if name == wanted
            }
            if len(self._seen) >= MAX_SEEN:
                self._seen.clear()
            if found:
                self._seen[capability] = found
        return found

    def providers(self, capability: str) -> list[PeerId]:
        """Return the peers that offer a capability, by id."""
        return sorted(self.offering(capability))

    def degraded(self, capability: str) -> Collection[PeerId]:
        """Return which of those are not well: to be asked when nobody else is left."""
        return {e.peer_id for e in self._offer(capability) if e.state is Health.DEGRADED}

    def busy(self, capability: str) -> Mapping[str, int]:
        """Return how busy the agents are that offer a capability, in quarters; not of idle ones."""
        return {e.peer_id: e.load for e in self._offer(capability) if e.load}

    def machine_of(self, peer_id: PeerId) -> Machine | None:
        """Return how a peer's machine is, as far as it tells."""
        peer = self._peers.get(peer_id)
        return peer.machine.machine if peer is not None and peer.machine is not None else None

    def card_of(self, peer_id: PeerId, name: str) -> AgentCard | None:
        """Return one agent of a peer, if it is there."""
        peer = self._peers.get(peer_id)
        entry = peer.entries.get(name) if peer is not None else None
        return entry.card() if entry is not None else None

    def state_of(self, peer_id: PeerId, name: str) -> Health | None:
        """Return how an agent of a peer is; None where it is not there."""
        peer = self._peers.get(peer_id)
        entry = peer.entries.get(name) if peer is not None else None
        return entry.state if entry is not None else None

    def cards_of(self, peer_id: PeerId) -> tuple[AgentCard, ...]:
        """Return a peer's agents, by name."""
        peer = self._peers.get(peer_id)
        if peer is None:
            return ()
        return tuple(peer.entries[name].card() for name in sorted(peer.entries))

    def start_of(self, peer_id: PeerId) -> int:
        """Return which of its starts a peer is in, 0 where that is not known."""
        peer = self._peers.get(peer_id)
        return peer.start if peer is not None else 0

    def failed(self) -> tuple[tuple[str, PeerId], ...]:
        """Return the agents that have failed, with their peers: what they would offer is not told
        meanwhile."""
        return tuple(
            (name, peer_id)
            for peer_id in sorted(self._peers)
            for name, entry in sorted(self._peers[peer_id].entries.items())
            if entry.state is Health.FAILED
        )

    def kind_of(self, capability: str) -> Kind | None:
        """Return how a capability answers, None where nobody offers it."""
        wanted = whoever_offers(capability)
        offering = min(self._offer(wanted), key=lambda entry: entry.peer_id, default=None)
        skills = offering.skills if offering is not None else ()
        return next((kind for name, _, kind in skills if name == wanted), None)

    def capabilities(self) -> tuple[str, ...]:
        """Return everything that is offered, by name."""
        return tuple(sorted(self._listed))

    def __len__(self) -> int:
        """How many agents there are."""
        return sum(len(peer.entries) for peer in self._peers.values())

    def __iter__(self) -> Iterator[tuple[PeerId, AgentCard]]:
        for peer_id in sorted(self._peers):
            for card in self.cards_of(peer_id):
                yield peer_id, card

    def worker(
        self, peer_id: PeerId, incarnation: int, load: int, *, takes_work: bool
    ) -> WorkerView:
        """Return a peer as the scheduler wants it; one that takes no work is shown idle."""
        peer = self._peers.get(peer_id)
        if peer is None or not takes_work:
            return WorkerView(peer_id, incarnation, (), load)
        if peer.views is None:
            able = (e for e in peer.entries.values() if e.state is not Health.FAILED)
            peer.views = tuple(entry.view() for entry in able)
        return WorkerView(peer_id, incarnation, peer.views, load)

    # -- by capability -------------------------------------------------------------------------

    def _offer(self, capability: str) -> list[_Entry]:
        """Return the agents that offer a capability, or the one of this name."""
        listed = self._listed.get(whoever_offers(capability), [])
        entries = listed if isinstance(listed, list) else [listed]
        agent = agent_meant(capability)
        return [e for e in entries if e.name == agent] if agent is not None else entries

    def _list(self, entry: _Entry) -> None:
        if entry.state is Health.FAILED:
            return
        for name, _, _ in entry.skills:
            self._forget_seen(name, entry)
            listed = self._listed.get(name)
            if listed is None:
                self._listed[name] = entry
            elif isinstance(listed, list):
                listed.append(entry)
            else:
                self._listed[name] = [listed, entry]

    def _unlist(self, entry: _Entry) -> None:
        if entry.state is Health.FAILED:
            return
        for name, _, _ in entry.skills:
            self._forget_seen(name, entry)
            listed = self._listed[name]
            if isinstance(listed, list):
                listed.remove(entry)
                if len(listed) == 1:
                    self._listed[name] = listed[0]
            else:
                assert listed is entry
                del self._listed[name]

    def _forget_seen(self, capability: str, entry: _Entry) -> None:
        if self._seen:
            self._seen.pop(capability, None)
            self._seen.pop(at_agent(capability, entry.name), None)

    def _allowed(self, card: AgentCard, may_offer: MayOffer) -> list[str]:
        kept = []
        for capability in card.skills:
            namespace = namespace_of(capability)
            if "/" in capability or len(capability) > MAX_NAME_CHARS:
                self.counts["offer_unreadable"] += 1
            elif not namespace or may_offer(namespace):
                kept.append(capability)
            else:
                self.counts["offer_outside_namespaces"] += 1
        return kept

    def check_invariants(self) -> None:
        listed = {n: e if isinstance(e, list) else [e] for n, e in self._listed.items()}
        for name, entries in listed.items():
            assert entries
            assert all(name in {n for n, _, _ in e.skills} for e in entries)
            assert all(self._peers[e.peer_id].entries[e.name] is e for e in entries)
        able = [e for p in self._peers.values() for e in p.entries.values()]
        wanted = sum(len(e.skills) for e in able if e.state is not Health.FAILED)
        assert sum(map(len, listed.values())) == wanted
        for name, seen in self._seen.items():
            assert seen.keys() == {e.peer_id for e in self._offer(name)}

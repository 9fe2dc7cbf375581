"""What this node tells of its agents, and what others tell of theirs, kept in one directory.

A change of one agent is told as that agent's entry and nothing else, and read so by the others.

What this module does not know: how adverts travel, how agents are judged.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

from agents.adverts import Told, entry_of, may_offer_in
from agents.busy import MACHINE, MachineSteps, encode_machine
from agents.directory import Directory
from agents.health.judging import Health
from agents.hosting import Offer
from agents.scheduling import WorkerView
from keys import PeerId
from p2p import AdvertSeen, Machine, MemberState, MisuseError, Peer

log = logging.getLogger("conclave.agents")

OnStates = Callable[[PeerId, Mapping[str, Health | None]], None]


class Advertising:
    """Between a node's directory and the network.

    Args:
        told: says how an agent of ours is.
        on_changed: the directory is another one.
        on_states: hears how the agents of a peer were before, of those that were told anew.

    Attributes:
        is_leaving: nothing is offered here any more.
    """

    def __init__(
        self,
        peer: Peer,
        offers: Sequence[Offer],
        directory: Directory,
        told: Callable[[str], Told],
        on_changed: Callable[[], None],
        on_states: OnStates,
    ) -> None:
        self._peer = peer
        self._offers = {offer.name: offer for offer in offers}
        self._directory = directory
        self._told = told
        self._on_changed = on_changed
        self._on_states = on_states
        self._machine = MachineSteps()
        self.is_leaving = False

    def all(self) -> None:
        """Tell everybody what is offered here.

        Raises:
            MisuseError: it is more than others would keep.
        """
        self._tell({name: entry_of(o, self._told(name)) for name, o in self._offers.items()})

    def one(self, name: str, *, is_urgent: bool = True) -> None:
        """An agent of ours changed; how busy it is is not urgent."""
        if self.is_leaving:
            return
        entry = entry_of(self._offers[name], self._told(name))
        self._tell_or_log(f"agent {name}", name, entry, is_urgent=is_urgent)

    def machine(self, steps: MachineSteps) -> None:
        """How our machine is; nobody is told anew of what did not change."""
        if not self.is_leaving and steps != self._machine:
            self._machine = steps
            self._tell_or_log("this machine", MACHINE, encode_machine(steps), is_urgent=False)

    def nothing(self) -> None:
        """From now on nothing is offered here; our own directory serves what is under way."""
        self.is_leaving = True
        self._peer.presence.adverts.offer({})

    def seen(self, event: AdvertSeen) -> None:
        """A peer told of its agents."""
        principal = self._peer.member(event.peer_id)
        self._apply(event.peer_id, event.incarnation, event.changes, may_offer_in(principal))

    def _tell_or_log(self, what: str, name: str, entry: bytes | None, *, is_urgent: bool) -> None:
        try:
            self._tell({name: entry}, is_urgent=is_urgent)
        except MisuseError as error:
            log.error("how %s is now is not told to others: %s", what, error)

    def _tell(self, entries: Mapping[str, bytes | None], *, is_urgent: bool = True) -> None:
        self._peer.presence.adverts.change(entries, is_urgent=is_urgent)
        own = self._peer.principal
        self._apply(own.peer_id, self._peer.incarnation, entries, may_offer_in(own))

    def _apply(
        self,
        peer_id: PeerId,
        start: int,
        changes: Mapping[str, bytes | None],
        may_offer: Callable[[str], bool],
    ) -> None:
        before = {name: self._directory.state_of(peer_id, name) for name in changes}
        self._directory.apply(peer_id, start, changes, may_offer)
        self._on_states(peer_id, before)
        self._on_changed()


def workers_seen(peer: Peer, directory: Directory) -> tuple[WorkerView, ...]:
    """Return who could do tasks, ourselves first; a peer that is silent takes none for now."""
    own = directory.machine_of(peer.peer_id)
    workers = [directory.worker(peer.peer_id, peer.incarnation, _load(own), takes_work=True)]
    for member in peer.presence.members():
        if member.state in (MemberState.ALIVE, MemberState.SUSPECT):
            load = _load(directory.machine_of(member.peer_id))
            takes_work = member.state is MemberState.ALIVE
            workers.append(
                directory.worker(member.peer_id, member.incarnation, load, takes_work=takes_work)
            )
    return tuple(workers)


def _load(machine: Machine | None) -> int:
    return 255 * machine.busy_permille // 1000 if machine is not None else 0

"""Clusters on one node: what it knows of them, its seats, and, while it leads the log, all of them.

What this module does not know: programs, command lines.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING, Any, Final

from agents.auditing import Audit
from agents.clusters.book import ClusterBook, Known
from agents.clusters.changes import ClusterState
from agents.clusters.fitting import Fitting
from agents.clusters.leading import ClusterLeading
from agents.clusters.model import LEADER, NOW, Need
from agents.clusters.seats import ClusterSeat, Seats
from agents.clusters.using import state_of
from agents.clusters.wire import (
    EXPLAIN,
    HOLD,
    RELEASE,
    TooFew,
    Wish,
    read_candidates,
    read_held,
)
from agents.errors import InvalidArguments, NoQuorum, OutcomeUnknown, TooFewMembers
from agents.hosting import Offer
from agents.keeping import Keeping
from agents.kept_by_log import KeptByLog, read_answer
from agents.local import Gate
from agents.tasking import Asking
from keys import PeerId
from keys.policies import Place
from p2p import Peer, World

if TYPE_CHECKING:
    from agents.directory import Directory
    from agents.net import Net
    from agents.quorum import Quorum
    from agents.steering import Steering

ASK_S: Final = 5.0


class Clusters:
    """All of it.

    Args:
        offers: the agents of this node.
    """

    def __init__(
        self,
        peer: Peer,
        world: World,
        quorum: Quorum,
        asking: Asking,
        keeping: Keeping,
        directory: Directory,
        steering: Steering,
        offers: Iterable[Offer],
        audit: Audit,
    ) -> None:
        self._peer = peer
        self._quorum = quorum
        self._asking = asking
        self.book = ClusterBook()
        self._kept = KeptByLog(peer, quorum, asking, keeping, NOW, self.book)
        fitting = Fitting(peer, directory, steering, quorum, world.clock.now_ms())
        self._leading = ClusterLeading(peer, world, quorum, self._kept, fitting, audit)
        keeping.lock_rules[LEADER] = self._leading.may_lead
        self._seats = Seats(
            peer.peer_id, self.book, offers, world.clock, world.rng.random, self._state
        )
        self._changed = asyncio.Event()
        self.book.listeners.append(self._tell)
        self._kept.on_look = self._seats.look  # whether we are sure changes without the book

    def start(self, net: Net, gate: Gate) -> None:
        """Follow the log, take our seats, look after all of them while we lead."""
        self._kept.start()
        self._leading.start()
        self._seats.start(net, gate)

    async def leave(self) -> None:
        """Give our seats back, while somebody can be told."""
        await self._seats.close()

    async def close(self) -> None:
        await self._leading.close()
        await self._kept.close()

    def changed(self) -> None:
        """Somebody came, went, or offers something else."""
        self._leading.wake()

    def seats(self, capability: str) -> dict[str, ClusterSeat]:
        """Return the clusters for a capability that this node is in, by name."""
        return self._seats.of(capability)

    # -- what programs ask ---------------------------------------------------------------------

    async def hold(
        self, name: str, need: Need, mark: str, lease_ms: int, timeout_s: float
    ) -> dict[str, Any]:
        """Hold a cluster, and form it if it is not there; return how it stands.

        Raises:
            TooFewMembers, InvalidArguments, PermissionDenied, NoQuorum: it is not held.
            OutcomeUnknown.
        """
        what, wish = f"cluster {name[:64]!r}", Wish(name, need, mark, lease_ms)
        problem = wish.problem()
        if problem:
            raise InvalidArguments(what, problem)
        held = read_held(await self._asking.ask(HOLD, wish.row(), timeout_s))
        if isinstance(held, TooFew):
            raise TooFewMembers(name, need.capability, need.min_size, held.fits, held.unfit)
        if isinstance(held, str):
            raise InvalidArguments(what, held)
        await self._kept.until_here(Place(self._kept.generation, held))
        view = self.view(name)
        if view is None:
            raise OutcomeUnknown(what, "the lease is in the log, and no roster was heard of yet")
        return view

    async def release(self, name: str, mark: str, timeout_s: float) -> None:
        """Let go of a cluster.

        Raises:
            InvalidArguments, PermissionDenied, NoQuorum: the lease is as it was.
            OutcomeUnknown.
        """
        why, _ = read_answer(await self._asking.ask(RELEASE, [name, mark], timeout_s))
        if why is not None:
            raise InvalidArguments(f"cluster {name[:64]!r}", why)

    async def explain(self, name: str) -> list[dict[str, Any]]:
        """Return who is in it, who could be, and why the others cannot, as the leader sees it.

        Raises:
            NoQuorum: nobody leads.
        """
        said = await self._asking.ask(EXPLAIN, [name], ASK_S)
        return read_candidates(said)

    async def views(self) -> list[dict[str, Any]]:
        """Return all clusters.

        Raises:
            NoQuorum: this node has come up, and has not heard yet what there is.
        """
        if not self.book.is_known:
            await self._kept.until_here(Place(self._kept.generation, 0))
        if not self.book.is_known:
            raise NoQuorum(self._quorum.why_none())
        return [self._view(known) for known in self.book.all()]

    def view(self, name: str) -> dict[str, Any] | None:
        """Return one cluster, None where there is none."""
        known = self.book.get(name)
        return None if known is None else self._view(known)

    async def watch(self, name: str | None) -> AsyncIterator[Any]:
        """Yield how a cluster stands, or all of them, now and whenever that changes."""
        told: Any = self
        while True:
            changed = self._changed
            view = await self.views() if name is None else self.view(name)
            if view != told:
                told = view
                yield view
            await changed.wait()

    # -- how they stand ------------------------------------------------------------------------

    def _view(self, known: Known) -> dict[str, Any]:
        roster, lead = known.roster, known.lead
        return {
            "name": known.name,
            "capability": roster.capability,
            "min_size": roster.min_size,
            "max_size": roster.max_size,
            "members": [self._member(peer) for peer in roster.members],
            "leader": self._member(lead.peer) if lead.peer is not None else None,
            "fence": lead.token if lead.peer is not None else 0,
            "version": known.version,
            "is_short": roster.is_short,
            "is_sure": self._is_sure,
            "formed_ms": roster.formed_ms,
            "changed_ms": roster.changed_ms,
            "why": roster.why,
        }

    def _member(self, peer: PeerId) -> list[str]:
        return [peer, self._peer.label(peer)]

    @property
    def _is_sure(self) -> bool:
        """Whether this node hears of somebody who leads the log; one that is cut off does not,
        after seconds."""
        return self._quorum.leader() is not None

    def _state(self, known: Known) -> ClusterState:
        return state_of(self._view(known), is_sure=self._is_sure)

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
        self._seats.look()

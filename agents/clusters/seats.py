"""This node's seats: the clusters that it is in, and its part in each.

    the roster has us  -> a seat: hooks of the agents that serve its capability begin, and this node
                          contends for the lead
    it has us no more  -> hooks are cancelled, the lead is given back

Who leads holds a lock of the network in whose name members alone may claim; its token is the fence.
Terms do not overlap by the holders' own clocks, and their tokens grow for ever: of two that believe
they lead, one has lost its lease by its own clock, or stands still, and whatever both write to
refuses the lower token. The best members claim first, so that one of them leads as a rule.

Nothing here is kept on disk: rosters and the lock are in the log before a member is told of them.

What this module does not know: who decides rosters, what the members do.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from agents.clusters.book import ClusterBook, Known
from agents.clusters.changes import ClusterState, ClusterView
from agents.clusters.model import LEADER
from agents.errors import AgentsError, LockLost
from agents.health import restart_delay_ms
from agents.hosting import Offer
from agents.keeping.locks import Lock
from agents.local import Gate
from keys import PeerId
from p2p import Clock, P2PError

if TYPE_CHECKING:
    from agents.net import Net

log = logging.getLogger("conclave.agents.clusters")

LEASE_S: Final = 5.0
AGAIN_S: Final = 1.0
RANK_S: Final = 0.1  # so much later claims each member behind the best
MAX_RANK: Final = 10
CLOSE_S: Final = 0.5
NOT_LEADING: Final = "this node does not lead the cluster"


class Term(Lock):
    """A term in which this node leads a cluster."""

    def __init__(self, gate: Gate, clock: Clock, name: str) -> None:
        super().__init__(gate, clock, LEADER + name, LEASE_S, None)

    def _say_lost(self, why: str) -> None:
        """The end of a term is no surprise: whoever leads waits for it."""


class ClusterSeat(ClusterView):
    """One cluster as a member has it: `Context.cluster`, and what `@agent.on_cluster` is given.

    Its state is sure while this node hears of a leader of the log; who is cut off is unsure after
    seconds, and may be out of the roster by then.

    Attributes:
        net: the network, to call the others.
    """

    def __init__(self, name: str, capability: str, net: Net) -> None:
        super().__init__(name, capability)
        self.net = net
        self._term: Term | None = None

    @property
    def is_leader(self) -> bool:
        """Whether this node leads and nobody else can."""
        return self._term is not None and self._term.is_valid()

    @property
    def fence(self) -> int | None:
        """The token of our term, greater than those of all before; None where we do not lead. Hand
        it to whatever you write to, and have that refuse lower ones."""
        return self._term.token if self._term is not None and self._term.is_valid() else None

    def check(self) -> None:
        """To be called just before what only the leader may do.

        Raises:
            LockLost: this node does not lead, or leads no more: stop the work.
        """
        if self._term is None:
            raise LockLost(LEADER + self.name, 0, NOT_LEADING)
        self._term.check()

    async def lead(self) -> int:
        """Return the token of the term as soon as this node leads."""
        while not self.is_leader:
            await self._standing.wait()
        assert self._term is not None
        return self._term.token

    async def lost(self) -> None:
        """Return when this node does not lead, or leads no more."""
        if self._term is not None:
            await self._term.lost.wait()


class SeatKeeper:
    """Keeps one seat while the roster has this node."""

    def __init__(self, seat: ClusterSeat, gate: Gate, clock: Clock, rng: Callable[[], float]):
        self.seat = seat
        self._gate = gate
        self._clock = clock
        self._rng = rng
        self._rank = MAX_RANK
        self._running: list[asyncio.Task[None]] = []

    def start(self, offers: Iterable[Offer]) -> None:
        """Contend for the lead, and begin the hooks of the agents that serve the capability."""
        begin = asyncio.get_running_loop().create_task
        self._running.append(begin(self._contend()))
        for offer in offers:
            hook = offer.life.on_cluster
            if hook is not None and self.seat.capability in offer.handlers:
                self._running.append(begin(self._run(offer.name, hook)))

    def take(self, state: ClusterState, rank: int) -> None:
        self._rank = min(rank, MAX_RANK)
        self.seat._standing.take(state)

    async def close(self) -> None:
        """Out of it: stop the hooks, give the lead back."""
        self.seat._standing.end()
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _contend(self) -> None:
        while True:
            await asyncio.sleep(self._rank * RANK_S)
            try:
                async with Term(self._gate, self._clock, self.seat.name) as term:
                    await self._serve_term(term)
            except (AgentsError, P2PError) as error:
                log.debug("cluster %s: no claim to its lead: %s", self.seat.name, error)
                await asyncio.sleep(AGAIN_S)

    async def _serve_term(self, term: Term) -> None:
        seat = self.seat
        seat._term = term
        seat._standing._wake()
        log.info("this node leads the cluster %s, token %d", seat.name, term.token)
        try:
            await term.lost.wait()
        finally:
            seat._term = None
            seat._standing._wake()
            log.info("this node leads the cluster %s no more", seat.name)

    async def _run(self, agent: str, hook: Callable[..., object]) -> None:
        """Run an agent's hook; one that raises is begun again, ever later."""
        attempt = 0
        while True:
            try:
                ended = hook(self.seat)
                if inspect.isawaitable(ended):
                    await ended
                return
            except Exception as error:  # noqa: BLE001 - the hook is not ours: all it raises is told
                said = f"{type(error).__name__}: {error}"
                log.warning("agent %s in cluster %s raised %s", agent, self.seat.name, said)
            await asyncio.sleep(restart_delay_ms(attempt, self._rng()) / 1000)
            attempt += 1


class Seats:
    """All clusters that this node is in.

    Args:
        state_of: how a cluster stands, for people and programs.
    """

    def __init__(
        self,
        own: PeerId,
        book: ClusterBook,
        offers: Iterable[Offer],
        clock: Clock,
        rng: Callable[[], float],
        state_of: Callable[[Known], ClusterState],
    ) -> None:
        self._own = own
        self._book = book
        self._offers = list(offers)
        self._clock = clock
        self._rng = rng
        self._state_of = state_of
        self._keepers: dict[str, SeatKeeper] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._net: Net | None = None
        self._gate: Gate

    def start(self, net: Net, gate: Gate) -> None:
        """Begin to take seats."""
        self._net, self._gate = net, gate
        self.look()

    async def close(self) -> None:
        """Give them all back."""
        self._net = None
        for name in list(self._keepers):
            self._leave(name)
        if self._closing:
            await asyncio.wait(self._closing, timeout=CLOSE_S)

    def of(self, capability: str) -> dict[str, ClusterSeat]:
        """Return the clusters for a capability that this node is in, by name."""
        found = {name: keeper.seat for name, keeper in self._keepers.items()}
        return {name: seat for name, seat in found.items() if seat.capability == capability}

    def look(self) -> None:
        """The book has changed, or how sure it is."""
        if self._net is None:
            return
        mine = {k.name: k for k in self._book.all() if self._own in k.roster.members}
        for name, keeper in list(self._keepers.items()):
            if name not in mine or mine[name].roster.capability != keeper.seat.capability:
                self._leave(name)
        for name, known in mine.items():
            keeper = self._keepers.get(name) or self._sit_down(known, self._net)
            keeper.take(self._state_of(known), known.roster.members.index(self._own))

    def _sit_down(self, known: Known, net: Net) -> SeatKeeper:
        seat = ClusterSeat(known.name, known.roster.capability, net)
        keeper = self._keepers[known.name] = SeatKeeper(seat, self._gate, self._clock, self._rng)
        keeper.take(self._state_of(known), known.roster.members.index(self._own))
        keeper.start(self._offers)
        log.info("this node is in the cluster %s", known.name)
        return keeper

    def _leave(self, name: str) -> None:
        keeper = self._keepers.pop(name)
        task = asyncio.get_running_loop().create_task(keeper.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
        log.info("this node is in the cluster %s no more", name)

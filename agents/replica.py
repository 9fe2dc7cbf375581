"""The one place that plugs consensus into p2p: a voter's copy of the ledger.

Messages of the log travel as notices on the control lane; the log lies in the node's directory;
committed entries are applied to the ledger here, in order, and every listener hears of each.

What this module does not know: what the ledger's commands mean, who schedules.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence
from typing import Self

from agents.ledger import Ledger, Outcome
from consensus import (
    Committed,
    Config,
    Entry,
    EntryKind,
    Role,
    Runner,
    Status,
    Storage,
)
from keys import PeerId, Permission, Roster
from p2p import Lane, P2PError, Peer, World

log = logging.getLogger("conclave.agents.replica")

MESSAGE = "consensus.message"

# Where the log of a cluster's node lies; called once, for a voter.
LogPlace = Callable[[str, str], Storage]


class _Link:
    """Sends a message of the log; what cannot be sent is lost, and the log copes."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    def send(self, to: str, data: bytes) -> None:
        try:
            self._peer.notify(PeerId(to), MESSAGE, data, lane=Lane.CONTROL)
        except P2PError as error:
            log.debug("not sent: %s", error)


class _Machine:
    """Applies committed entries to the ledger."""

    def __init__(self, ledger: Ledger, on_applied: Callable[[Entry, Outcome | None], None]) -> None:
        self._ledger = ledger
        self._on_applied = on_applied

    def apply(self, entries: Sequence[Entry]) -> list[Outcome | None]:
        outcomes: list[Outcome | None] = []
        for entry in entries:
            outcome = None
            if entry.kind is EntryKind.COMMAND:
                outcome = self._ledger.apply(entry.index, entry.data)
            outcomes.append(outcome)
            self._on_applied(entry, outcome)
        return outcomes


class Replica:
    """One voter.

    Args:
        on_applied: hears of every applied entry, in order; the outcome is None for entries that
            are the log's own.
        on_status: hears when the role, the term or the leader changes.
    """

    def __init__(
        self,
        peer: Peer,
        world: World,
        roster: Roster,
        place: LogPlace,
        ledger: Ledger,
        on_applied: Callable[[Entry, Outcome | None], None],
        on_status: Callable[[Status], None],
        on_fatal: Callable[[Exception], None],
    ) -> None:
        self.voters: tuple[PeerId, ...] = tuple(roster.voters)
        cluster_id = roster.digest.hex()[:32]
        self._storage = place(cluster_id, peer.peer_id)
        config = Config(node_id=peer.peer_id, cluster_id=cluster_id, voters=self.voters)
        self._runner = Runner(
            config,
            self._storage,
            _Link(peer),
            _Machine(ledger, on_applied),
            clock_ms=world.clock.now_ms,
            rng=random.Random(world.rng.random()),
        )
        self._runner.on_change = on_status
        self._runner.on_fatal = on_fatal
        peer.serve_notice(MESSAGE, self._runner.receive_from, permission=Permission.CONSENSUS)

    async def __aenter__(self) -> Self:
        await self._runner.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._runner.__aexit__(None, None, None)

    @property
    def status(self) -> Status:
        return self._runner.status()

    @property
    def is_leader(self) -> bool:
        return self._runner.status().role is Role.LEADER

    async def propose(self, command: bytes) -> Committed:
        """See `Runner.propose`."""
        return await self._runner.propose(command)

    async def hand_over(self, timeout_s: float) -> None:
        """Give leadership to the voter that is furthest along."""
        await self._runner.transfer(timeout_s)

    def unreachable(self, peer_id: PeerId) -> None:
        """A hint that the connection to this voter is gone."""
        if peer_id in self.voters:
            self._runner.unreachable(peer_id)

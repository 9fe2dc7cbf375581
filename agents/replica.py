"""The one place that plugs consensus into p2p: a member's copy of what the log decides.

Messages of the log travel as notices on the control lane, parts of snapshots behind everything
urgent on the data lane; the log lies in the node's directory; committed entries are applied here.

What this module does not know: what commands mean, who schedules, who should be a member.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterable
from typing import Self

from consensus import Committed, Config, Role, Runner, StateMachine, Status, Storage
from keys import PeerId
from p2p import Lane, P2PError, Peer, Priority, World

log = logging.getLogger("conclave.agents.replica")

MESSAGE = "consensus.message"
PART = "consensus.part"

# Where the log of a cluster's node lies; called once, for a member.
LogPlace = Callable[[str, str], Storage]


class _Link:
    """Sends messages of the log; what cannot be sent is lost, and the log copes."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    def send(self, to: str, data: bytes) -> None:
        try:
            self._peer.notify(PeerId(to), MESSAGE, data, lane=Lane.CONTROL)
        except P2PError as error:
            log.debug("not sent: %s", error)

    def send_part(self, to: str, data: bytes) -> None:
        try:
            self._peer.notify(PeerId(to), PART, data, lane=Lane.DATA, priority=Priority.LOW)
        except P2PError as error:
            log.debug("not sent: %s", error)


class Replica:
    """One member.

    Args:
        voters: those of the roster, if this node is one of them; a member that came later learns
            them from the log.
        on_status: hears when the role, the term, the leader or the members change.
        on_fatal: hears of the end of this replica.
    """

    def __init__(
        self,
        peer: Peer,
        world: World,
        cluster_id: str,
        voters: Iterable[PeerId],
        place: LogPlace,
        machine: StateMachine,
        on_status: Callable[[Status], None],
        on_fatal: Callable[[Exception], None],
        remember: Callable[[str], bool],
    ) -> None:
        config = Config(node_id=peer.peer_id, cluster_id=cluster_id, voters=tuple(voters))
        self._runner = Runner(
            config,
            place(cluster_id, peer.peer_id),
            _Link(peer),
            machine,
            clock_ms=world.clock.now_ms,
            rng=random.Random(world.rng.random()),
        )
        self._runner.on_change = on_status
        self._runner.on_fatal = on_fatal
        self._runner.remember = remember

    async def __aenter__(self) -> Self:
        await self._runner.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._runner.__aexit__(None, None, None)

    # -- what the network brings ---------------------------------------------------------------

    def receive(self, peer_id: PeerId, data: bytes) -> None:
        """A message, which counts if it is of this log and its sender can be remembered."""
        self._runner.receive_from(peer_id, data)

    def receive_part(self, peer_id: PeerId, data: bytes) -> None:
        """A part of a snapshot, or an answer to one."""
        self._runner.receive_part_from(peer_id, data)

    def unreachable(self, peer_id: PeerId) -> None:
        """A hint that the connection to this member is gone."""
        if peer_id in self._runner.status().membership.members:
            self._runner.unreachable(peer_id)

    # -- what the node asks --------------------------------------------------------------------

    @property
    def status(self) -> Status:
        return self._runner.status()

    @property
    def is_leader(self) -> bool:
        return self._runner.status().role is Role.LEADER

    @property
    def applied(self) -> int:
        return self._runner.applied

    def counters(self) -> dict[str, int]:
        """Messages without effect, by reason."""
        return dict(self._runner.dropped())

    async def propose(self, command: bytes) -> Committed:
        """See `Runner.propose`."""
        return await self._runner.propose(command)

    async def read_index(self, timeout_s: float) -> int:
        """See `Runner.read_index`."""
        return await self._runner.read_index(timeout_s=timeout_s)

    async def wait_applied(self, index: int, timeout_s: float) -> None:
        """See `Runner.wait_applied`."""
        await self._runner.wait_applied(index, timeout_s)

    async def change_members(
        self, voters: Iterable[PeerId], learners: Iterable[PeerId], timeout_s: float
    ) -> Status:
        """See `Runner.change_members`."""
        return await self._runner.change_members(
            tuple(voters), tuple(learners), timeout_s=timeout_s
        )

    async def hand_over(self, timeout_s: float, target: PeerId | None = None) -> None:
        """Give leadership to `target`, or to the voter that is furthest along."""
        await self._runner.transfer(timeout_s, target)

    def make_snapshot(self) -> int | None:
        """See `Runner.make_snapshot`; the index that it will hold."""
        meta = self._runner.make_snapshot()
        return None if meta is None else meta.index

    def set_priority(self, delay_ms: int) -> None:
        """See `Runner.set_priority`."""
        self._runner.set_priority(delay_ms)

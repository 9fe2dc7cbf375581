"""A node's part in the store: as a member it serves, as any node it asks, writes and follows.

What this module does not know: programs, how values look.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from agents.errors import NoQuorum
from agents.keeping.client import Client
from agents.keeping.serving import Serving
from agents.keeping.watching import Watching
from agents.keeping.wire import READ, Found, What, read_found
from agents.tasking import Asking
from agents.tasking import wire as tasking_wire
from keys import PeerId
from p2p import P2PError, Peer, PermissionDenied, World, encode_payload

if TYPE_CHECKING:
    from agents.quorum import Quorum

log = logging.getLogger("conclave.agents.keeping")

ATTEMPT_S = 1.0


class Keeping:
    """The store, as one node has it."""

    def __init__(self, peer: Peer, world: World, quorum: Quorum, asking: Asking) -> None:
        self._peer = peer
        self._clock = world.clock
        self._quorum = quorum
        self._serving = Serving(peer, world, quorum)
        self.client = Client(asking, world)
        self._watching = Watching(peer, asking, self.client, self._serving)
        self.watch = self._watching.watch
        self.lock_rules = self._serving.lock_rules

    def start(self) -> None:
        """Begin with what goes on in the background."""
        self._serving.start()

    async def close(self) -> None:
        """End our session and what goes on in the background."""
        await self.client.close()
        await self._serving.close()

    async def read_stale(self, what: What, arguments: list[Any], timeout_s: float) -> Found:
        """What a member's state says: our own if we are one, or else some other's.

        A state whose age nobody knows is the last resort.

        Raises:
            NoQuorum: no member could be asked in time.
            PermissionDenied: it is not this node's to read.
        """
        unknown: Found | None = None
        if self._serving.is_member():
            unknown = self._serving.read_here(what, arguments, self._peer.principal)
            if unknown.age_ms is not None:
                return unknown
        deadline_ms = self._clock.now_ms() + int(timeout_s * 1000)
        for peer_id in self._members():
            left_s = (deadline_ms - self._clock.now_ms()) / 1000
            if left_s <= 0:
                break
            found = await self._ask(peer_id, what, arguments, min(left_s, ATTEMPT_S))
            if found is not None and found.age_ms is not None:
                return found
            unknown = unknown or found
        if unknown is None:
            raise NoQuorum(f"no member of the log could be asked; {self._quorum.why_none()}")
        return unknown

    def _members(self) -> list[PeerId]:
        """Living members, those first that serve others least: not the leader."""
        alive = self._peer.presence.present()
        leader = self._quorum.leader()
        members = [PeerId(name) for name in self._quorum.electorate.membership.members]
        return sorted((m for m in members if m in alive), key=lambda m: m == leader)

    async def _ask(
        self, peer_id: PeerId, what: What, arguments: list[Any], timeout_s: float
    ) -> Found | None:
        sent_ms = self._clock.now_ms()
        value = encode_payload([what.value, True, arguments])
        try:
            said = await self._peer.request(peer_id, READ, value, timeout_s=timeout_s)
        except PermissionDenied:
            raise
        except P2PError as error:
            log.debug("not told: %s", error)
            return None
        tag, answer = tasking_wire.read_answer(said)
        found = read_found(answer) if tag is tasking_wire.Tag.OK else None
        if found is None or found.age_ms is None:
            return found
        return found._replace(age_ms=found.age_ms + self._clock.now_ms() - sent_ms)

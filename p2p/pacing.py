"""How often we knock at an address, whoever wishes it: so that nobody makes us knock for them.

The table of candidates has paces of its own, for each candidate; but one destination may be named
by many, and a peer that is here is knocked at when its connection is refused, which it decides. So
each address, each host and each peer has a bucket here. What is due too soon is left out; who
wished it wishes it again, or backs off.

What this module does not know: who wishes it, sockets. Time is monotonic milliseconds.
"""

from __future__ import annotations

from collections.abc import Sequence

from keys import PeerId
from p2p.admission import RateLimit, source_of
from p2p.discovery import Address

PER_ADDRESS_S, ADDRESS_BURST = 0.5, 30  # 30 a minute in the long run
PER_HOST_S, HOST_BURST = 8.0, 256  # a machine may run dozens of nodes
PER_PEER_S, PEER_BURST = 0.1, 6  # moves to another address that cost all connections
PER_TWIN_S, TWIN_BURST = 1 / 60, 2  # looks at who else is announced under our own name


class Pace:
    """One peer's knocks."""

    def __init__(self) -> None:
        self._addresses = RateLimit(PER_ADDRESS_S, ADDRESS_BURST)
        self._hosts = RateLimit(PER_HOST_S, HOST_BURST)
        self._moves = RateLimit(PER_PEER_S, PEER_BURST)
        self._twins = RateLimit(PER_TWIN_S, TWIN_BURST)

    def due(self, addresses: Sequence[Address], now_ms: int) -> tuple[Address, ...]:
        """Those of them that may be knocked at now; each is taken for one knock."""
        return tuple(each for each in addresses if self._may_knock(each, now_ms))

    def _may_knock(self, address: Address, now_ms: int) -> bool:
        return self._addresses.take(str(address), now_ms) and self._hosts.take(
            source_of(address.host), now_ms
        )

    def may_move(self, peer_id: PeerId, now_ms: int) -> bool:
        """Whether its connections may all be made anew, because it lives elsewhere now."""
        return self._moves.take(peer_id, now_ms)

    def may_look_for_twin(self, now_ms: int) -> bool:
        """Whether to knock where somebody announces our own identity."""
        return self._twins.take("", now_ms)

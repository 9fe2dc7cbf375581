"""Homes for the nodes of a run: the first makes the network, the others join it.

What this module does not know: what runs on them.
"""

from __future__ import annotations

from pathlib import Path

from keys import DoorAddress, Keystore, Role, accept_grant, make_join_request

TRANSCRIPT = b"a conversation with a door"


class Homes:
    """Makes homes of one network; without doors, since both sides are here."""

    def __init__(self) -> None:
        self._first: Keystore | None = None

    def make(self, home: Path, name: str, voters: int, wall_ms: int) -> None:
        """Make one. `voters` counts for the first."""
        if self._first is None:
            self._first = Keystore.create_network(home, "chaos", name, voters, now_ms=wall_ms)
            return
        issuer = self._first.issuer
        assert issuer is not None, "whoever makes a network can issue"
        ticket = issuer.invite(
            wall_ms,
            roles=Role.SERVICE,
            addresses=(DoorAddress("127.0.0.1", 4747),),
            namespaces=("*",),
        )
        identity = Keystore.pending_identity(home)
        request = make_join_request(ticket, identity, name, TRANSCRIPT, wall_ms)
        grant = issuer.redeem(request, TRANSCRIPT, wall_ms)
        Keystore.create_joined(home, identity, name, accept_grant(ticket, identity, grant, wall_ms))

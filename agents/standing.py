"""What this node knows by itself of those who approve work: their papers, and who votes in the log.

A member of the log knows who votes from its own log, any other node from the signed roster and from
what a majority of the voters has signed since.

What this module does not know: approvals, tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from agents.electorate import Electorate
from keys import PeerId, Permission
from p2p import Peer


class Standing:
    """The standing of others, as it is now."""

    def __init__(
        self, peer: Peer, electorate: Electorate, is_revoked: Callable[[PeerId], bool]
    ) -> None:
        self._peer = peer
        self._electorate = electorate
        self._is_revoked = is_revoked

    def may_decide(self, peer_id: PeerId) -> bool | None:
        """Whether it votes in the log, or its certificate lets it decide; None of one never met."""
        if self._is_revoked(peer_id):
            return False
        if self._electorate.is_voter(peer_id):
            return True
        principal = self._peer.principal_of(peer_id)
        return None if principal is None else principal.may(Permission.CONSENSUS)

    def is_majority(self, peer_ids: Collection[PeerId]) -> bool:
        """Whether these could decide in the log; never where nobody is known to vote."""
        return bool(self._electorate.voters) and self._electorate.has_majority(peer_ids)

    def name_of(self, peer_id: PeerId) -> str | None:
        """The name in its certificate; None of one that is not here."""
        principal = self._peer.principal_of(peer_id)
        return None if principal is None else principal.name

"""The shell around `Founding`: names the first voters, or waits to be told, and tells others.

The roster is signed by the node that made the network and stored before anyone hears of it; every
node verifies it against genesis and stores the first one for ever.

What this module does not know: what a roster leads to.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from agents.founding import Founding
from keys import KeysError, Keystore, PeerId, Permission, Roster, RosterRefused
from p2p import Clock, Lane, MemberState, P2PError, Peer

log = logging.getLogger("conclave.agents.founding")

ROSTER = "founding.roster"


class FoundingService:
    """Leads to a roster, once.

    Args:
        on_roster: begin to decide with these voters.
        on_fatal: another roster than ours exists.
        before_adopting: called before the first roster is stored: is it signed here?
    """

    def __init__(
        self,
        peer: Peer,
        keystore: Keystore,
        clock: Clock,
        on_roster: Callable[[Roster], Awaitable[None]],
        on_fatal: Callable[[Exception], None],
        before_adopting: Callable[[bool], None] = lambda is_signed: None,
    ) -> None:
        self._peer = peer
        self._keystore = keystore
        self._clock = clock
        self._on_roster = on_roster
        self._on_fatal = on_fatal
        self._before_adopting = before_adopting
        self._roster: Roster | None = None
        self._core = Founding(
            peer.peer_id,
            keystore.genesis.expected_voters,
            may_name=keystore.names_voters,
        )
        self.on_adopted: Callable[[Roster], None] = lambda roster: None  # the first time only
        self._here: dict[PeerId, int] = {}  # before there was a roster: who, and which start of it
        self._starting: asyncio.Task[None] | None = None
        peer.serve_notice(ROSTER, self._on_told, permission=Permission.MEMBERSHIP)

    @property
    def has_roster(self) -> bool:
        return self._roster is not None

    def explain(self) -> str:
        """Say in words why there is no roster yet."""
        return self._core.explain()

    async def begin(self) -> None:
        """Go on with the roster of an earlier run, or begin to wait for one."""
        stored = self._keystore.load_roster()
        if stored is not None:
            self._core.founded()
            self._roster = stored
            await self._on_roster(stored)
        else:
            self.members_changed()

    def members_changed(self) -> None:
        """Somebody came or went; perhaps there are enough of us now."""
        if self._roster is not None:
            return
        wish = self._core.eligible(p for p in self._peer.presence.present() if self._is_eligible(p))
        if wish is None:
            return
        try:
            self._note_who_is_here()
            self._before_adopting(True)
            roster = self._keystore.sign_roster(wish.voters, self._clock.wall_ms())
        except (KeysError, OSError) as error:
            self._on_fatal(error)
            return
        log.info("the first voters are named", extra={"voters": len(roster.voters)})
        self._adopt(roster)
        for peer_id in self._peer.presence.present():
            self._tell(peer_id)

    def on_heartbeat(self, peer_id: PeerId, has_roster: bool) -> None:
        """Whoever does not know the roster is told."""
        if self._roster is not None and not has_roster:
            self._tell(peer_id)

    def was_here(self, peer_id: PeerId) -> bool:
        """Whether this start of a peer was here when this start of ours signed the roster."""
        session = self._peer.session_of(peer_id)
        return session is not None and self._here.get(peer_id) == session.incarnation

    def _note_who_is_here(self) -> None:
        sessions = (self._peer.session_of(who) for who in self._peer.presence.present())
        self._here = {each.peer_id: each.incarnation for each in sessions if each is not None}

    def may_vote(self, peer_id: PeerId) -> bool:
        """Whether this peer is known and its certificate lets it vote."""
        if peer_id == self._peer.peer_id:
            return bool(self._peer.principal.permissions & Permission.CONSENSUS)
        session = self._peer.session_of(peer_id)
        return session is not None and bool(session.principal.permissions & Permission.CONSENSUS)

    def _is_eligible(self, peer_id: PeerId) -> bool:
        is_alive = self._peer.presence.state_of(peer_id) is MemberState.ALIVE
        return is_alive and self.may_vote(peer_id)

    def _tell(self, peer_id: PeerId) -> None:
        assert self._roster is not None
        try:
            self._peer.notify(peer_id, ROSTER, self._roster.raw, lane=Lane.CONTROL)
        except P2PError as error:
            log.debug("not told: %s", error)  # its next heartbeat asks again

    def _on_told(self, peer_id: PeerId, payload: bytes) -> None:
        if self._roster is not None and payload == self._roster.raw:
            return
        try:
            roster = Roster.decode(payload)
            if self._roster is None:
                self._before_adopting(False)
            self._keystore.save_roster(roster)
        except RosterRefused as error:
            log.warning("%s told a roster that is none: %s", self._peer.label(peer_id), error)
            return
        except (KeysError, OSError) as error:
            self._on_fatal(error)
            return
        if self._roster is None:
            self._adopt(roster)

    def _adopt(self, roster: Roster) -> None:
        self._core.founded()
        self._roster = roster
        self.on_adopted(roster)
        self._starting = asyncio.get_running_loop().create_task(self._begin(roster))

    async def _begin(self, roster: Roster) -> None:
        try:
            await self._on_roster(roster)
        except Exception as error:  # noqa: BLE001 - a voter without its log must stop
            self._on_fatal(error)

"""The company that a peer is in: who is alive, papers of those we have not met, links to them.

What this module does not know: what is said over links, who may be a member.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from keys import PeerId, Principal
from p2p.admission import Session
from p2p.gathering import Gathering
from p2p.links import Transport
from p2p.members import PaperBook, Reaching
from p2p.membership import MemberState
from p2p.membership.swim_settings import SwimSettings
from p2p.own_papers import OwnPapers
from p2p.presence import MemberChange, PresenceEvent
from p2p.rpc import Exchange
from p2p.streams import Stream, Streams
from p2p.swimming import Swimming
from p2p.world import World

Status = Callable[[], bytes]


class Company:
    """Of one peer.

    Args:
        part: end the session with this peer, and everything with it.
        on_garbage: this member sends too much of it.

    Attributes:
        presence: who is alive.
    """

    def __init__(
        self,
        settings: SwimSettings,
        world: World,
        own: OwnPapers,
        transport: Transport,
        exchange: Exchange,
        streams: Streams,
        gathering: Gathering,
        status: Status,
        label: Callable[[PeerId], str],
        part: Callable[[PeerId], None],
        on_garbage: Callable[[PeerId], None],
    ) -> None:
        self._exchange = exchange
        self._streams = streams
        self._gathering = gathering
        self._book = PaperBook(lambda: own.trust, world.clock.wall_ms)
        self.presence = Swimming(
            own,
            settings,
            self._book,
            world.clock,
            world.rng,
            exchange,
            status,
            gathering.knock,
            self._start_met,
            on_garbage,
        )
        self._reaching = Reaching(
            own.peer_id,
            self._book,
            self.presence,
            gathering,
            exchange,
            world.clock,
            world.rng,
            settings.links,
            sessions=self._sessions,
            has_session=gathering.sessions.__contains__,
            links=transport.links,
            is_busy=self._is_busy,
            part=part,
            label=label,
        )
        self._part = part
        self.presence.listen(self._end_earlier_start)
        exchange.reaching = self._reaching
        gathering.wants = self._reaching.wants
        self.presence.audience = self._reaching.audience
        self.presence.is_mesh = lambda: self._reaching.is_mesh
        self.presence.on_neighbours = self._reaching.look_soon

    @property
    def is_mesh(self) -> bool:
        """Whether everybody has a link to everybody."""
        return self._reaching.is_mesh

    def start(self) -> None:
        """Begin to look after links."""
        self._reaching.start()

    async def close(self) -> None:
        await self._reaching.close()
        await self.presence.close()

    def noted(self, session: Session) -> None:
        """An introduction has ended well."""
        self._book.note(session)

    def look(self) -> None:
        """Other lists are in force than before, or time has passed."""
        self.presence.look()

    def is_linked(self, peer_id: PeerId) -> bool:
        return peer_id in self._gathering.sessions

    def keep_links(self, wanted: Callable[[], Iterable[PeerId]], why: str) -> None:
        """See `Reaching.keep`; while everybody has a link to everybody there is nothing to do."""
        self._reaching.keep(wanted, why)

    def reach_soon(self, peers: Iterable[PeerId]) -> None:
        """Make links to these, without waiting for them."""
        self._reaching.soon(peers)

    async def reach(self, peer_id: PeerId, timeout_s: float) -> None:
        """Return once there is a session; at once where the transport will say that there is none.

        Raises:
            PeerUnreachable: it could not be introduced.
        """
        if peer_id in self.presence.present():
            await self._reaching.reach(peer_id, timeout_s)

    async def open_stream(
        self,
        to: PeerId,
        method: str,
        payload: bytes = b"",
        *,
        timeout_s: float = 10.0,
        deadline_s: float | None = None,
        window_bytes: int | None = None,
        what: str = "",
    ) -> Stream:
        """Open a stream to a peer; see `Streams.open`."""
        if to not in self._gathering.sessions:
            await self.reach(to, timeout_s)
        return await self._streams.open(
            to,
            method,
            payload,
            timeout_s=timeout_s,
            deadline_s=deadline_s,
            window_bytes=window_bytes,
            what=what,
        )

    def principal_of(self, peer_id: PeerId) -> Principal | None:
        """Who a member is that we may never have met, as its papers say."""
        papers = self._book.get(peer_id)
        return papers.principal if papers is not None else None

    def counters(self) -> Mapping[str, int]:
        links = {f"links_{name}": count for name, count in self._reaching.counts.items()}
        return {**self.presence.counters(), **links}

    def _end_earlier_start(self, event: PresenceEvent) -> None:
        """A link to an earlier start is none, and who is started again may be elsewhere. Where
        everybody has a link to everybody, the next introduction ends it."""
        if isinstance(event, MemberChange) and event.after is MemberState.ALIVE:
            met = self._start_met(event.peer_id)
            if met is not None and met < event.incarnation and not self.is_mesh:
                self._part(event.peer_id)

    def _is_busy(self, peer_id: PeerId) -> bool:
        return self._exchange.is_busy_with(peer_id) or self._streams.is_busy_with(peer_id)

    def _start_met(self, peer_id: PeerId) -> int | None:
        session = self._gathering.sessions.get(peer_id)
        return session.incarnation if session is not None else None

    def _sessions(self) -> Sequence[PeerId]:
        return [session.peer_id for session in self._gathering.sessions]

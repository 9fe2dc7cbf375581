"""The peer: one member of the network, everything of this package behind one face.

    async with Peer(papers, world) as peer:
        peer.serve("echo", echo, permission=Permission.CALL)
        answer = await peer.request(other, "echo", b"hello", timeout_s=1.0)

What this module does not know: agents, tasks, consensus, files.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Self

from keys import Action, CertificateRevoked, Chain, Guard, PeerId, Permission, Principal, Trust
from p2p.admission import Admitted, Session
from p2p.ageing import Ageing
from p2p.company import Company
from p2p.errors import PermissionDenied
from p2p.gathering import Gathering
from p2p.incidents import Incident, OnIncident, PeerExpelled, TransportKeyChanged
from p2p.intake import Intake
from p2p.links import Lane, LinkChanged, LinkState
from p2p.listeners import Listeners
from p2p.membership import MemberState
from p2p.membership.swim_settings import SwimSettings
from p2p.own_papers import OwnPapers, Papers
from p2p.presence import HeartbeatSeen, MemberChange, OnPresence, Presence, PresenceEvent
from p2p.pubsub import Audience, Topics
from p2p.roaming import Roaming
from p2p.rotation import Rotation
from p2p.rpc import Exchange, NoticeHandler, RequestHandler
from p2p.streams import StreamHandler, Streams
from p2p.trusting import Trusting
from p2p.world import World

log = logging.getLogger("conclave.p2p")

MAX_SHOWN_CHARS = 128


class Peer:
    """One member. Say what you serve, then enter it.

    Args:
        settings: how it is told who is alive.

    Attributes:
        guard: judges whoever asks; without policies by roles and namespaces alone.
    """

    def __init__(self, papers: Papers, world: World, settings: SwimSettings | None = None) -> None:
        self._world = world
        self._clock = world.clock
        self._own = OwnPapers(papers, world.clock, world.hosts, world.new_key())
        self.peer_id: PeerId = papers.identity.peer_id
        self.guard = Guard(world.clock.now_ms)
        self.name = papers.name
        self._transport = world.transport(self._own.keys()[0])
        self.incarnation = self._own.incarnation
        self._incident_listeners: list[OnIncident] = []
        self._gathering = Gathering(
            world,
            self._own.credentials,
            self._transport,
            self._on_admitted,
            lambda peer_id: self._presence.door_failed(peer_id),
            papers.issuer,
            self._on_incident,
        )
        self._gathering.sessions.on_rights = self._on_rights
        self._exchange = Exchange(
            self.principal,
            self._transport,
            world.clock,
            world.rng,
            self._principal_of,
            self.label,
            guard=self.guard,
        )
        self._streams = Streams(
            self.principal,
            self._transport,
            world.clock,
            world.rng,
            self._principal_of,
            self.label,
            self.incarnation,
            guard=self.guard,
        )
        self._topics = Topics(
            self.principal,
            self.incarnation,
            self._transport,
            self._exchange,
            self._principal_of,
            self.guard,
            Audience(self.guard, lambda: self._gathering.changes, self._gathering.let_in),
        )
        self.request = self._exchange.request
        self.notify = self._exchange.notify
        self.publish = self._topics.publish
        self.room_to_publish = self._topics.room_to_publish
        self.wait_subscribers = self._topics.wait_subscribers
        self.keep_history = self._topics.keep_history
        self.subscribe = self._topics.subscribe
        self.topic_figures = self._topics.figures
        self.links = self._transport.links
        self._status: Callable[[], bytes] = bytes
        self._company = Company(
            settings or SwimSettings(),
            world,
            self._own,
            self._transport,
            self._exchange,
            self._streams,
            self._gathering,
            lambda: self._status(),
            self.label,
            self._part,
            self._on_garbage,
        )
        self._listeners = Listeners(self._topics, self._company, self._transport, world.clock)
        self.open_stream = self._company.open_stream
        self.keep_links = self._company.keep_links
        self._presence = self._company.presence
        self._presence.listen(self._on_presence)
        self._rotation = Rotation(
            world, self._own, self._transport, self._gathering, self._presence.present
        )
        self._roaming = Roaming(
            world, self._own, self._transport, self._gathering, self._presence.present
        )
        self._rotation.on_rotated = lambda done: self._on_incident(
            TransportKeyChanged(done.took_ms, len(done.missed))
        )
        self.rotate_keys = self._rotation.rotate
        self.rotate_keys_every = self._rotation.every
        self.trusting = Trusting(
            self._own,
            world.clock,
            self._exchange,
            self._gathering.sessions,
            self.label,
            on_cut=self._cut_revoked,
            on_sent_away=lambda peer_id: self._expel(peer_id, "it knows other revocations than we"),
            on_own=self._on_fatal,
            on_withheld=self._become,
            known=sum(good.peer_id != self.peer_id for good in world.last_good()),
        )
        self._presence.heads = lambda: self.trusting.heads
        self.trusting.listen(self._company.look)
        self._ageing = Ageing(
            self._own,
            self._gathering,
            world.clock,
            self._roaming.show_papers,
            lambda peer_id: self._expel(peer_id, "its papers have expired"),
            self._look,
        )
        self._gathering.on_told = self.trusting.told
        self._intake = Intake(
            self._exchange,
            self._streams,
            self._topics,
            self.trusting,
            self._on_garbage,
        )
        self.counts = self._intake.counts
        self._transport.receive_with(
            self._intake.on_frame, self._on_link, self._intake.on_publication, self._on_fatal
        )
        self.failed: asyncio.Future[Exception] | None = None

    async def __aenter__(self) -> Self:
        """Bind, open the door, announce.

        Raises:
            PortInUse, TransportFailed: as the transport says.
        """
        self.failed = asyncio.get_running_loop().create_future()
        ports = dict(await self._transport.start())
        try:
            ports["door"] = await self._gathering.open_door()
            self._own.make_record(ports=ports)
            self._ageing.look()
            log.info("this node listens", extra={f"{k}_port": v for k, v in ports.items()})
            await self._gathering.open_lan()
            self._roaming.start()
            self._company.start()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._presence.say_goodbye()
        await self._close()

    async def _close(self) -> None:
        self._ageing.close()
        self._roaming.close()
        await self._rotation.close()
        self.trusting.close()
        self._listeners.close()
        await self._topics.close()
        await self._company.close()
        await self._streams.close()
        await self._exchange.close()
        await self._gathering.close()
        await self._transport.close()

    # -- messages ------------------------------------------------------------------------------

    def serve(
        self, method: str, handler: RequestHandler, *, permission: Permission, limit: int = 1024
    ) -> None:
        """Answer requests for `method` of callers who hold the permission."""
        self._exchange.serve(method, handler, permission, limit)

    def serve_notice(self, method: str, handler: NoticeHandler, *, permission: Permission) -> None:
        """Take notices of `method`; the function must neither block nor raise."""
        self._exchange.serve_notice(method, handler, permission)

    def check(self, who: Principal, action: Action, what: str) -> None:
        """Ask the guard for somebody's right; each handler does so for what it is asked.

        Raises:
            PermissionDenied: the text says who lacks what.
        """
        why = self.guard.refusal(who, action, what)
        if why is not None:
            raise PermissionDenied(self.name, f"{action} {what[:MAX_SHOWN_CHARS]!r}", why)

    def declared(self) -> Mapping[str, Permission]:
        """Return every served method with the permission it asks for."""
        return {**self._exchange.declared(), **self._streams.declared()}

    def serve_stream(
        self, method: str, handler: StreamHandler, *, permission: Permission, limit: int = 256
    ) -> None:
        """Take streams for `method` of callers who hold the permission.

        `async handler(incoming, payload, stream)`: when it returns, what it wrote is finished and
        what it left unread is thrown away; what it raises ends the stream at both sides.
        """
        self._streams.serve(method, handler, permission, limit)

    # -- who is there --------------------------------------------------------------------------

    @property
    def presence(self) -> Presence:
        return self._presence

    @property
    def gathering(self) -> Gathering:
        return self._gathering

    def watch(self, listener: OnPresence) -> None:
        """Tell this function of every change among the peers."""
        self._presence.listen(listener)

    def watch_incidents(self, listener: OnIncident) -> None:
        """Tell this function who is let in, kept out and thrown out."""
        self._incident_listeners.append(listener)

    def report_status(self, status: Callable[[], bytes]) -> None:
        """Put this into every heartbeat."""
        self._status = status

    def session_of(self, peer_id: PeerId) -> Session | None:
        return self._gathering.sessions.get(peer_id)

    def label(self, peer_id: PeerId) -> str:
        """Return how people call this peer: its name and the start of its id."""
        who = self.member(peer_id)
        return f"{who.name} ({peer_id[:8]})" if who else f"peer {peer_id[:8]}"

    def counters(self) -> Mapping[str, int]:
        """Return plain counters of all parts, by name."""
        return {
            **{f"transport_{k}": v for k, v in self._transport.counters().items()},
            **{f"admission_{k}": v for k, v in self._gathering.counters().items()},
            **{f"membership_{k}": v for k, v in self._company.counters().items()},
            **{f"rpc_{k}": v for k, v in self._exchange.counts.items()},
            **{f"topics_{k}": v for k, v in self._topics.counters().items()},
            **{f"peer_{k}": v for k, v in self.counts.items()},
            **{f"trusting_{k}": v for k, v in self.trusting.counts.items()},
            **{f"streams_{k}": v for k, v in self._streams.figures().items()},
            **{f"roaming_{k}": v for k, v in self._roaming.counts.items()},
            "rpc_pending": self._exchange.pending,
            "rpc_running": self._exchange.running,
            "key_rotations": self._rotation.count,
        }

    @property
    def ports(self) -> Mapping[str, int]:
        """Where we listen just now; all but the door's change with our key."""
        return self._own.ports

    # -- our own papers ------------------------------------------------------------------------

    @property
    def papers(self) -> OwnPapers:
        """Our certificates and trust as they are now."""
        return self._own

    @property
    def principal(self) -> Principal:
        """Ourselves as others see us."""
        return self._own.principal

    @property
    def trust(self) -> Trust:
        """What we judge others by."""
        return self._own.trust

    def adopt_chain(self, chain: Chain) -> None:
        """Show these certificates from now on, and tell everybody. Write them down before.

        Raises:
            CertificateRefused: others would refuse us with them.
            MisuseError: they are another peer's.
        """
        self._become(self.trusting.freshness.seen(self._own.adopt_chain(chain)))
        self._roaming.show_papers()

    def _become(self, principal: Principal) -> None:
        self._exchange.become(principal)
        self._streams.become(principal)
        self._topics.become(principal)
        self.guard.rights_changed()  # the last, for it has its listeners ask again

    def _look(self) -> None:
        self.trusting.look()
        self._company.look()

    def _expel(self, peer_id: PeerId, reason: str) -> None:
        """Cut a peer off; it may introduce itself again."""
        name = self._end(peer_id, reason)
        self._gathering.expel(peer_id)
        self._presence.expelled(peer_id)
        self._on_incident(PeerExpelled(peer_id, name, reason))

    def _on_garbage(self, peer_id: PeerId) -> None:
        if peer_id in self._gathering.sessions:
            self._expel(peer_id, "it sends garbage")

    def _cut_revoked(self, peer_id: PeerId, why: CertificateRevoked) -> None:
        """Nothing of it counts from now on, and it is gone once it has been told why."""
        name = self._end(peer_id, str(why))
        self._gathering.disown(peer_id)
        self._presence.expelled(peer_id)
        self._on_incident(PeerExpelled(peer_id, name, str(why)))

    def _end(self, peer_id: PeerId, reason: str) -> str:
        log.warning("%s is cut off: %s", self.label(peer_id), reason)
        session = self.session_of(peer_id)
        self._forget(peer_id, reason)
        return session.principal.name if session is not None else ""

    def _forget(self, peer_id: PeerId, reason: str) -> None:
        self._intake.forget(peer_id)
        self.trusting.ended(peer_id)
        self._exchange.lose(peer_id, reason)
        self._streams.lose(peer_id, reason)

    def _part(self, peer_id: PeerId) -> None:
        """Neither side needs this link; it is made anew when one does."""
        self._forget(peer_id, "neither side needed the link")
        self._gathering.part(peer_id)
        self._topics.is_gone(peer_id)

    def _on_incident(self, incident: Incident) -> None:
        for listener in self._incident_listeners:
            listener(incident)

    # -- what happens --------------------------------------------------------------------------

    def principal_of(self, peer_id: PeerId) -> Principal | None:
        """Who a peer proved to be when it was admitted, or this node itself; None for others."""
        return self.principal if peer_id == self.peer_id else self._principal_of(peer_id)

    def member(self, peer_id: PeerId) -> Principal | None:
        """Who a member is, also without a link: then as papers say that others passed on."""
        return self.principal_of(peer_id) or self._company.principal_of(peer_id)

    def _principal_of(self, peer_id: PeerId) -> Principal | None:
        session = self._gathering.sessions.get(peer_id)
        return self.trusting.freshness.seen(session.principal) if session is not None else None

    def _on_admitted(self, session: Session, outcome: Admitted) -> None:
        if outcome is Admitted.REPLACED:
            self._exchange.lose(session.peer_id, "it was started again")
            self._streams.lose(session.peer_id, "it was started again")
        self._ageing.sessions_changed()
        self._company.noted(session)
        self.trusting.began(session.peer_id, session.incarnation)
        if session.peer_id in self._gathering.sessions:  # and was not revoked meanwhile
            self._presence.admitted(session.peer_id, session.incarnation)
            if outcome is Admitted.NEW:
                self._listeners.linked(session.peer_id, session.incarnation)

    def _on_rights(self, session: Session) -> None:
        log.info("%s has other rights now", self.label(session.peer_id))
        self.guard.rights_changed()  # what runs on the former ones is looked at again

    def _on_presence(self, event: PresenceEvent) -> None:
        if isinstance(event, HeartbeatSeen):
            self.trusting.heartbeat(event.peer_id, event.heads)
        if isinstance(event, MemberChange):
            log.info(
                "%s is %s: %s",
                self.label(event.peer_id),
                event.after,
                event.reason,
                extra={"peer": event.peer_id},
            )
            if event.after in (MemberState.DEAD, MemberState.LEFT):
                self.trusting.away(event.peer_id)
                self._exchange.lose(event.peer_id, event.reason)
                if event.after is MemberState.LEFT:
                    self._streams.lose(event.peer_id, event.reason)
                else:
                    self._streams.doubt(event.peer_id)  # the dead may come back
                if self._company.is_mesh:  # else those that are dead are knocked at together
                    self._gathering.gone(event.peer_id)
                self._intake.forget(event.peer_id)

    def _on_link(self, change: LinkChanged) -> None:
        self._exchange.on_link(change)
        self._streams.on_link(change)
        if change.state is LinkState.UP:
            return
        if change.state is LinkState.REFUSED:
            self._gathering.knock(change.peer_id)
        elif change.lane is Lane.CONTROL:
            self._presence.link_lost(change.peer_id)

    def _on_fatal(self, error: Exception) -> None:
        log.error("this peer stops: %s", error)
        self._gathering.retire()
        if self.failed is not None and not self.failed.done():
            self.failed.set_result(error)

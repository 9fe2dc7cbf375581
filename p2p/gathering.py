"""How a peer finds the others and takes them in: hints, dials, doors, sessions.

mDNS, seeds, earlier runs and members' gossip feed one table of candidates; it says whom to dial;
an introduction at a door makes a session; a session opens the transport for that peer.

What this module does not know: sockets, heartbeats, what travels later.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from keys import PeerId, Principal, RootsSeen
from p2p.admission import (
    Admitted,
    Credentials,
    Hint,
    Refusal,
    RefusalCode,
    Session,
    SessionTable,
)
from p2p.alarm import Alarm
from p2p.discovery import (
    Address,
    CandidateEffect,
    CandidateEvent,
    CandidateReport,
    CandidateSettings,
    CandidateTable,
    Dial,
    DialFailed,
    Found,
    Introduced,
    NamedSeeds,
    NetworkChanged,
    NotNow,
    PeerGone,
    Source,
    Tick,
    Told,
    is_service,
)
from p2p.errors import IntroductionFailed
from p2p.incidents import IntroductionRefused, OnIncident, PeerAdmitted
from p2p.links import Transport
from p2p.pacing import Pace
from p2p.race import Race
from p2p.roots_shown import end_old_roots, learn_roots
from p2p.turns import Outcome, Turns
from p2p.world import DialCalls, DoorCalls, Lan, OpenDoor, World

if TYPE_CHECKING:
    from keys.issuing import Issuer

log = logging.getLogger("conclave.p2p.gathering")

# Refusals that waiting does not mend.
_FINAL = frozenset(
    {
        RefusalCode.WRONG_NETWORK,
        RefusalCode.OURSELVES,
        RefusalCode.TWIN,
        RefusalCode.BAD_PROOF,
    }
)
# Nobody is there. A door that answers, even with a no, belongs to a process that lives.
_ABSENT = frozenset({RefusalCode.UNREACHABLE, RefusalCode.DEADLINE})
_QUIET = frozenset({RefusalCode.OURSELVES, RefusalCode.UNREACHABLE, RefusalCode.STALE_RECORD})

LAST_WORDS_S = 0.2  # in which one that is cut for good is told why

OnAdmitted = Callable[[Session, Admitted], None]
OnDialFailed = Callable[[PeerId], None]


class Gathering:
    """One peer's view of who is out there.

    Args:
        on_admitted: a session began or was renewed; the transport knows it already.
        on_incident: hears who was let in, and who was not.
        on_dial_failed: a peer that we know could not be reached at any of its doors.
    """

    def __init__(
        self,
        world: World,
        credentials: Credentials,
        transport: Transport,
        on_admitted: OnAdmitted,
        on_dial_failed: OnDialFailed,
        issuer: Issuer | None,
        on_incident: OnIncident = lambda incident: None,
    ) -> None:
        self.sessions = SessionTable()
        self.counts: Counter[str] = Counter()
        self._world = world
        self._credentials = credentials
        self._transport = transport
        self._on_admitted = on_admitted
        self._on_dial_failed = on_dial_failed
        self._issuer = issuer
        self._on_incident = on_incident
        self.on_told: Callable[[bytes], None] = lambda packed: None  # by which list we are revoked
        self._table = CandidateTable(
            credentials.peer_id, CandidateSettings(), world.rng, own_networks=world.networks()
        )
        self._door: OpenDoor | None = None
        self._lan: Lan | None = None
        self._named = NamedSeeds(world.seeds(), world.resolve, self._try, world.rng)
        self._alarm = Alarm(world.clock, lambda: self._step(Tick()))
        self._dials: set[asyncio.Task[None]] = set()
        self._knocking: set[PeerId] = set()
        self._pace = Pace()
        self._turns = Turns()
        self.slowness = self._turns.slowness
        self.twin: str | None = None  # where another process has our identity
        self._unproven: list[Session] = []  # whose key is let in, and who has proved nothing yet
        self.changes = 0  # of who is let in
        self.parting: set[PeerId] = set()  # whose links end because neither side needs them
        self.wants: Callable[[PeerId], bool] = lambda peer_id: True  # worth a dial just now
        self._is_open = self._is_calling = False

    async def open_door(self) -> int:
        """Open the introduction door and return its port."""
        calls = DoorCalls(
            self.sessions, self._take_from_door, self._hints, self._issuer, self._on_refused
        )
        self._door = await self._world.open_door(self._credentials, calls)
        return self._door.port

    async def open_lan(self) -> None:
        """Announce ourselves, and begin to knock at doors; the door must be open."""
        assert self._door is not None
        self._is_open = self._is_calling = True
        self._lan = await self._world.open_lan(
            self._credentials.peer_id,
            self._credentials.trust.network_id,
            self._door.port,
            self._step,
        )
        self._named.start()
        for address in self._world.seeds():
            if not is_service(address):  # of those, nobody could dial the name itself
                self._step(Found(Source.SEED, None, (address.host,), address.port))
        for good in self._world.last_good():
            self._step(Found(Source.LAST_GOOD, good.peer_id, good.hosts, good.port))

    async def close(self) -> None:
        """Take our announcement back, close the door, stop dialling."""
        self.retire()
        self._is_open = False
        await self._named.close()
        for task in self._dials:
            task.cancel()
        await asyncio.gather(*self._dials, return_exceptions=True)
        self._world.save_good()
        closing = [part.close() for part in (self._lan, self._door) if part is not None]
        await asyncio.gather(*closing)

    def retire(self) -> None:
        """Begin no more dials: we are about to stop, and doors would only be asked in vain."""
        self._is_calling = False
        self._alarm.off()

    def issue(self, issuer: Issuer) -> None:
        """Tickets of this issuer are redeemed at our door from now on."""
        self._issuer = issuer
        if self._door is not None:
            self._door.issue(issuer)

    def knock(self, peer_id: PeerId) -> None:
        """A peer that was here is not, or does not know us: knock at its door again."""
        session = self.sessions.get(peer_id)
        if session is None:
            self._step(PeerGone(peer_id))
        elif peer_id not in self._knocking | self.parting and self._is_calling:
            hosts, port = session.hosts, session.ports["door"]
            addresses = tuple(Address(host, port) for host in hosts)
            self._knocking.add(peer_id)
            self._start(self._knock(addresses, peer_id))

    async def call_on(self, peer_id: PeerId, hosts: Sequence[str], port: int) -> bool:
        """Knock at the door of a member that we know of; whether there is a session with it."""
        if peer_id not in self.sessions and self._is_calling:
            await self._visit([Address(host, port) for host in hosts], peer_id, None)
        return peer_id in self.sessions

    def part(self, peer_id: PeerId) -> None:
        """End a session that neither side needs; its peer is not looked for."""
        self.parting.discard(peer_id)
        self.sessions.remove(peer_id)
        self.changes += 1
        self._transport.expel(peer_id)

    @property
    def dialling(self) -> int:
        """How many dials are under way."""
        return len(self._dials)

    @property
    def heard_of(self) -> int:
        """How many may be out there, as far as anybody has said."""
        return len(self._table)

    def _try(self, address: Address) -> bool:
        """Knock at an address of a seed's name, unless a peer is known to live there."""
        at_port = (each for each in self.sessions if each.ports.get("door") == address.port)
        if not self._is_calling or any(address.host in each.hosts for each in at_port):
            return False
        self._start(self._visit((address,), None, None))
        return True

    async def reach(self, address: Address, peer_id: PeerId) -> None:
        """See whether this peer, and no other, answers at this address.

        Raises:
            IntroductionFailed: with the reason.
        """
        await self._introduce(address, peer_id)

    def hears(self, peer_id: PeerId) -> bool | None:
        """Whether this peer was heard on mDNS and has not said goodbye; None without mDNS."""
        return self._lan.hears(peer_id) if self._lan is not None else None

    def network_changed(self, own_networks: Sequence[str]) -> None:
        """Our own addresses changed, or we slept: whoever is absent is worth a try now."""
        self._step(NetworkChanged(tuple(own_networks)))

    def gone(self, peer_id: PeerId) -> None:
        """A peer is dead or has left: it is knocked at for hours."""
        self._step(PeerGone(peer_id))

    def why(self) -> tuple[CandidateReport, ...]:
        """Return what was tried, and what failed."""
        return self._table.why(self._world.clock.now_ms())

    @property
    def lan_problem(self) -> str | None:
        return self._lan.problem if self._lan is not None else None

    @property
    def nodes_of_other_networks(self) -> int:
        return self._lan.nodes_of_other_networks if self._lan is not None else 0

    def counters(self) -> Mapping[str, int]:
        door = self._door.counters() if self._door is not None else {}
        return {**self.counts, **{f"door_{k}": v for k, v in door.items()}}

    def save_good(self) -> None:
        """Write down whom we have met, so that a crash does not lose it."""
        self._world.save_good()

    def disown(self, peer_id: PeerId) -> None:
        """End a session now, and its connections once what we have just said has left."""
        self.sessions.remove(peer_id)
        self.changes += 1
        asyncio.get_running_loop().call_later(LAST_WORDS_S, self._expel_disowned, peer_id)

    def _expel_disowned(self, peer_id: PeerId) -> None:
        if self._is_open and peer_id not in self.sessions:  # or it has better papers meanwhile
            self.expel(peer_id)

    def expel(self, peer_id: PeerId) -> None:
        """End a session and cut its connections."""
        self.sessions.remove(peer_id)
        self.changes += 1
        self._transport.expel(peer_id)
        self._step(PeerGone(peer_id))

    def let_in(self) -> Iterator[Principal]:
        """Whose connections are let in: those who have proved who they are, or are about to."""
        return (session.principal for session in (*self.sessions, *self._unproven))

    def expired(self) -> list[PeerId]:
        """Return whose papers are over."""
        return [s.peer_id for s in self.sessions.expired(self._world.clock.wall_ms())]

    # -- what happens --------------------------------------------------------------------------

    def _step(self, event: CandidateEvent) -> None:
        if not self._is_calling:
            return
        for each in event.found if isinstance(event, Told) else (event,):
            if isinstance(each, Found) and each.peer_id == self._credentials.peer_id:
                self._look_for_twin(each)
        now_ms = self._world.clock.now_ms()
        unwanted = self._perform(self._table.step(event, now_ms=now_ms))
        if unwanted:  # their places go to others, a few in each turn of the loop: each is a look
            asyncio.get_running_loop().call_soon(self._step, NotNow(tuple(unwanted)))
        self._alarm.set(self._table.deadline_ms)

    def _look_for_twin(self, found: Found) -> None:
        """Somebody is announced under our name: mostly ourselves. If not, both shall hear it."""
        own = self._door is not None and found.port == self._door.port
        if own and set(found.hosts) & set(self._world.hosts()):
            return
        if self._pace.may_look_for_twin(self._world.clock.now_ms()):
            addresses = tuple(Address(host, found.port) for host in found.hosts[:2])
            self._start(self._visit(addresses, None, None))

    def _perform(self, effects: Sequence[CandidateEffect]) -> list[int]:
        """Do so, and return the numbers of the dials that are not wanted."""
        unwanted: list[int] = []
        for effect in effects:
            if isinstance(effect, Dial):
                if effect.peer_id is not None and not self.wants(effect.peer_id):
                    unwanted.append(effect.number)
                    continue
                self._start(self._visit(effect.addresses, effect.peer_id, effect.number))
            else:
                self.counts[f"hint_{effect.reason.name.lower()}"] += 1
        return unwanted

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._dials.add(task)
        task.add_done_callback(self._dials.discard)

    async def _knock(self, addresses: Sequence[Address], peer_id: PeerId) -> None:
        try:
            await self._visit(addresses, peer_id, None)
        finally:
            self._knocking.discard(peer_id)

    async def _visit(
        self, addresses: Sequence[Address], wanted: PeerId | None, dial: int | None
    ) -> None:
        """Try these addresses, best first and a moment apart, until one lets us in.

        Args:
            dial: the number of the table's wish; None when a known peer is knocked at, and then
                nobody else will do.
        """
        await self._turns.begin(can_wait=dial is not None)
        began_ms, outcome = self._world.clock.now_ms(), Outcome.NOTHING
        try:
            if dial is not None and not self._table.is_due(dial):
                self._step(DialFailed(dial, (), False))
                return
            due = self._pace.due(addresses, began_ms)
            self.counts["knocks_too_often"] += len(addresses) - len(due)
            race = Race(self._introduce, self._say_failure, wanted if dial is None else None)
            session = await race.run(due)
            reasons = {error.reason for _, error in race.failures}
            if session is not None:
                outcome = Outcome.DONE
            elif RefusalCode.DEADLINE in reasons:
                outcome = Outcome.LATE
        finally:
            self._turns.end(outcome, began_ms, self._world.clock.now_ms())
        if session is not None:
            self._step(Introduced(session.peer_id, race.winner, dial))
            return
        if dial is not None:
            failures = tuple((address, error.detail) for address, error in race.failures)
            self._step(DialFailed(dial, failures, bool(reasons & _FINAL)))
        if wanted is not None and due and reasons <= _ABSENT:
            self._on_dial_failed(wanted)

    async def _introduce(self, address: Address, expected: PeerId | None) -> Session:
        let_in: list[Session] = []

        def verified(session: Session) -> None:
            # Accept the door's key before it accepts ours. Papers can be shown by anybody, so
            # what is known of a peer under this very key is not replaced before the proof.
            # Nor is one that only has a new key: until it has proved it, the old one serves.
            known = self.sessions.get(session.peer_id)
            if known is None or (
                known.curve_public != session.curve_public
                and known.incarnation != session.incarnation
            ):
                let_in.append(session)
                self._unproven.append(session)
                self.changes += 1
                self._transport.admit(session.contact())

        calls = DialCalls(verified, self._take, self._learn, lambda packed: self.on_told(packed))
        try:
            return await self._world.introduce(
                address, self._credentials, self.sessions, expected, calls
            )
        except BaseException:
            for session in let_in:
                self._take_back(session)
            raise
        finally:
            for session in let_in:
                self._unproven.remove(session)
            self.changes += 1

    def _take_back(self, shown: Session) -> None:
        """Papers were good, the proof did not come: back to what was known before."""
        known = self.sessions.get(shown.peer_id)
        self._transport.expel(shown.peer_id)
        if known is not None:
            self._transport.admit(known.contact())

    def _say_failure(self, address: Address, error: IntroductionFailed) -> None:
        self.counts[f"introduction_{error.reason}"] += 1
        level = logging.DEBUG if error.reason in _QUIET else logging.WARNING
        log.log(level, "%s", error, extra={"reason": error.reason, "address": str(address)})
        if error.reason == RefusalCode.TWIN:
            self.twin = str(address)
        if error.reason not in _QUIET | _ABSENT:
            self._on_incident(IntroductionRefused(str(address), error.reason, error.detail))

    def _on_refused(self, host: str, refusal: Refusal) -> None:
        if refusal.code is RefusalCode.TWIN:
            self.twin = host
        if refusal.code is not RefusalCode.OURSELVES:
            code, theirs = refusal.code.value, refusal.theirs
            self._on_incident(IntroductionRefused(host, code, refusal.text, theirs, True))

    def _take_from_door(self, session: Session) -> None:
        self._take(session)
        self._step(Introduced(session.peer_id))

    def _take(self, session: Session) -> None:
        admission = self.sessions.admit(session)
        self.changes += 1
        self._transport.admit(session.contact())
        has_left = admission.before is not None and session.has_left(admission.before)
        if has_left and self._pace.may_move(session.peer_id, self._world.clock.now_ms()):
            self._transport.redial(session.peer_id)
        self.counts["admitted"] += 1
        if learn_roots(self._credentials.trust.seen, session, self.sessions):
            self.counts["roots_learned"] += 1
        door = session.ports.get("door", 0)
        self._world.note_good(session.peer_id, session.hosts, door)
        if admission.outcome is not Admitted.SAME:
            host = session.hosts[0] if session.hosts else ""
            name, how = session.principal.name, admission.outcome.value
            self._on_incident(PeerAdmitted(session.peer_id, name, host, how))
        self._on_admitted(session, admission.outcome)

    def end_old_roots(self, seen: RootsSeen, sessions: Iterable[Session]) -> None:
        """Who was let in with a chain of an older root stays for as long as that one counts."""
        end_old_roots(self.sessions, seen, sessions)

    def _learn(self, hints: Sequence[Hint]) -> None:
        self._step(Told(tuple(Found(Source.GOSSIP, h.peer_id, h.hosts, h.port) for h in hints)))

    def _hints(self, asker: PeerId | None) -> Sequence[Hint]:
        return self.sessions.hints(but_for=asker)

"""How nodes come to believe who votes, and how members prove it to others.

A member that has read in its own log who votes signs that, and members exchange their signatures
with their heartbeats until each has all. Whoever hears in a heartbeat of a later decision than it
knows asks for statements, from anybody, and believes those that a majority of the voters whom it
knows has signed (`keys.voters`). So a liar gains nothing by being the only one here. Where a node
has not known for long who votes (`confirming`), old keys alone do not count: one of the signers has
to be a member now, or an administrator signs what it shows.

What is believed is written down before anybody is told of it, and a signature before it is sent;
where the disk does not take it, the node goes on with what it knows and says so: a file that is
behind makes it ask again after a restart.

What this module does not know: Raft, what follows from a change.

Invariant: what is believed only gets later.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final

from agents.cluster import Cluster
from agents.confirming import Confirming
from agents.electorate import Electorate
from agents.errors import NotFollowed
from consensus import Membership
from keys import (
    InvalidValue,
    KeystoreError,
    PeerId,
    Permission,
)
from keys.voters import MAX_KEPT, VotersBook, VoterSet, VotersRefused, VotersStatement, walk_voters
from p2p import Clock, Incoming, Lane, P2PError, PayloadError, Peer, decode_payload, encode_payload

log = logging.getLogger("conclave.agents.vouching")

MEMBERS: Final = "consensus.members"
VOUCH: Final = "consensus.vouch"
ASK_TIMEOUT_S: Final = 3.0
MAX_TOLD: Final = 24  # statements in one answer
SAY_AGAIN_MS: Final = 5_000
PAUSE_MS: Final = 400  # after an answer that proved nothing, and twice as long after the next
LONGEST_PAUSE_MS: Final = 30_000
WINDOW_MS: Final = 1_000
PER_WINDOW: Final = 16  # statements of one peer


class Vouching:
    """
    Args:
        own_cluster: the log that our replica is a member of, if we have one.
        on_believed: others vote than we knew, as this peer has proved.
    """

    def __init__(
        self,
        peer: Peer,
        clock: Clock,
        electorate: Electorate,
        book: VotersBook,
        confirming: Confirming,
        own_cluster: Callable[[], Cluster | None],
        on_believed: Callable[[PeerId], None],
    ) -> None:
        self._peer = peer
        self._clock = clock
        self._electorate = electorate
        self._book = book
        self.confirming = confirming
        self._own_cluster = own_cluster
        self._on_believed = on_believed
        self._first = electorate.known()
        self._kept: tuple[VotersStatement, ...] = ()
        self._unproven: dict[bytes, VotersStatement] = {}  # by body; see `_gathered`
        self._asked: set[PeerId] = set()  # at this moment
        self._pauses: dict[PeerId, tuple[int, int]] = {}  # until when, and how long it was
        self._told: dict[PeerId, tuple[bytes, int, int]] = {}  # what, how many signatures, when
        self._heard: dict[PeerId, tuple[int, int]] = {}  # since when, and how many
        self._tasks: set[asyncio.Task[None]] = set()
        self.counts: Counter[str] = Counter()
        peer.serve(MEMBERS, self._on_asked, permission=Permission.MEMBERSHIP)
        peer.serve_notice(VOUCH, self._on_vouch, permission=Permission.CONSENSUS)

    def begin(self, founded_ms: int) -> None:
        """The electorate knows the first roster: go on with what was believed before this start.

        Raises:
            KeystoreError: that cannot be read.
        """
        self._first = self._electorate.known()
        self._kept = self._book.load()
        if self._kept:
            self._learn(self._kept[-1])
        self.confirming.begin(founded_ms)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- what we have read ourselves -----------------------------------------------------------

    def decided(self) -> None:
        """Our own log says who votes: sign it. Before that nobody hears of it from us."""
        electorate = self._electorate
        if not electorate.index:
            return  # the first roster is signed already
        self.confirming.moved()
        try:
            statement = VotersStatement.make(self._peer.trust.network_id, electorate.known())
        except (VotersRefused, InvalidValue) as error:
            log.error("who votes cannot be stated: %s", error)
            return
        self._keep(self._sign(statement))

    def _sign(self, statement: VotersStatement) -> VotersStatement:
        papers = self._peer.papers
        may_begin = self._peer.principal.may(Permission.RAFT_ADMIN) and statement.who.generation
        chain = papers.chain.encode() if may_begin else b""
        return statement.signed(papers.credentials.identity, chain)

    # -- others --------------------------------------------------------------------------------

    def on_heartbeat(self, peer_id: PeerId, place: tuple[int, int]) -> None:
        """A peer says how far it knows; ask it if it is further, tell it what it has to sign."""
        if place > self._electorate.place:
            until_ms, _ = self._pauses.get(peer_id, (0, 0))
            if peer_id not in self._asked and self._clock.now_ms() >= until_ms:
                self._asked.add(peer_id)
                self._begin(self._ask(peer_id))
            return
        if place == self._electorate.place:
            self.confirming.heard(peer_id)
        if peer_id in self._electorate.membership.members:
            self._exchange(peer_id)

    def _exchange(self, peer_id: PeerId) -> None:
        """Tell a member what we have of the latest statement, while it may have less."""
        latest = self._latest()
        if latest is None or self._peer.peer_id not in self._electorate.membership.members:
            return
        now_ms, count = self._clock.now_ms(), len(latest.signatures)
        digest, told, at_ms = self._told.get(peer_id, (b"", 0, 0))
        is_news = (digest, told) != (latest.digest, count)
        has_signed = peer_id in latest.claimed()
        if is_news or (not has_signed and now_ms - at_ms >= SAY_AGAIN_MS):
            self._told[peer_id] = (latest.digest, count, now_ms)
            try:
                packed = encode_payload(latest.encode())
                self._peer.notify(peer_id, VOUCH, packed, lane=Lane.CONTROL)
            except P2PError as error:
                log.debug("not told who votes: %s", error)

    def _on_vouch(self, peer_id: PeerId, payload: bytes) -> None:
        if self._allows(peer_id):
            try:
                self._take(peer_id, [decode_payload(payload)])
            except PayloadError:
                self.counts["malformed"] += 1

    async def _ask(self, peer_id: PeerId) -> None:
        """Somebody knows of a later decision on who votes."""
        place = self._electorate.place
        try:
            payload = encode_payload(list(place))
            said = decode_payload(
                await self._peer.request(peer_id, MEMBERS, payload, timeout_s=ASK_TIMEOUT_S)
            )
            if isinstance(said, list) and len(said) >= 5 and isinstance(said[4], list):
                self._take(peer_id, said[4][: MAX_TOLD + 1])
        except (P2PError, PayloadError) as error:
            log.debug("not told who votes: %s", error)  # its next heartbeat says it again
        finally:
            self._asked.discard(peer_id)
            self._pause(peer_id, has_proved=self._electorate.place > place)

    def _pause(self, peer_id: PeerId, *, has_proved: bool) -> None:
        """Who says that it knows better and proves nothing is asked more and more seldom."""
        _, before_ms = self._pauses.pop(peer_id, (0, 0))
        if not has_proved:
            self.counts["unproven"] += 1
            pause_ms = min(2 * before_ms or PAUSE_MS, LONGEST_PAUSE_MS)
            self._pauses[peer_id] = (self._clock.now_ms() + pause_ms, pause_ms)
        while len(self._pauses) > 1024:
            self._pauses.pop(next(iter(self._pauses)))

    async def _on_asked(self, incoming: Incoming, payload: bytes) -> bytes:
        place = _place(payload)
        later = [each for each in self._kept if each.who.place > place]
        chosen = later if len(later) <= MAX_TOLD else [*later[:MAX_TOLD], later[-1]]
        if chosen and self._may_confirm(chosen[-1]):
            papers = self._peer.papers
            own = chosen[-1].signed(papers.credentials.identity, papers.chain.encode())
            chosen = [*chosen[:-1], own]
        packed = [each.encode() for each in chosen]
        return encode_payload([*self._electorate.to_wire(), packed])

    def _may_confirm(self, statement: VotersStatement) -> bool:
        """Whether our word helps those who knew only voters of long ago: an administrator's, who
        has known those of now all the time."""
        is_latest = statement.who.place == self._electorate.place
        may_say = self._peer.principal.may(Permission.RAFT_ADMIN)
        return is_latest and may_say and not self.confirming.is_stale

    # -- believing -----------------------------------------------------------------------------

    def _take(self, peer_id: PeerId, items: Iterable[object]) -> None:
        """What a peer shows: signatures that we lack, or what follows from what we know."""
        found: list[VotersStatement] = []
        for item in items:
            try:
                found.append(VotersStatement.decode(item if isinstance(item, bytes) else b""))
            except VotersRefused as error:
                self.counts["malformed"] += 1
                log.debug("no statement: %s", error, extra={"peer": peer_id})
        for each in found:
            self._join(each)
        known, own = self._electorate.known(), self._own_cluster()
        gathered = [self._gathered(each, known) for each in found]
        for step in self._steps(known, gathered):
            who = step.who
            if own is not None and _is_beside(own, who):
                return  # two nodes began again at once: ours is another log
            self._keep(step.only({*known.deciders, *who.members, *step.administrator()}))
            known = who
            self.counts["believed"] += 1
            if self._learn(step):
                self.confirming.moved()
                log.info("others vote now, as %s has proved", self._peer.label(peer_id))
                self._on_believed(peer_id)

    def _steps(
        self, known: VoterSet, gathered: list[VotersStatement]
    ) -> tuple[VotersStatement, ...]:
        trust, now_ms = self._peer.trust, self._clock.wall_ms()
        if not self.confirming.is_stale:
            return walk_voters(known, gathered, trust, now_ms)
        steps = walk_voters(known, gathered, trust, now_ms, self._is_certified)
        if steps != walk_voters(known, gathered, trust, now_ms):
            self.counts["long_ago"] += 1
            self.confirming.refused_ms = now_ms
            log.warning(
                "who votes is not believed of those who voted long ago, whose certificates have "
                "ended; it takes one of them who is a member now, or an administrator"
            )
        return steps

    def _is_certified(self, peer_id: PeerId) -> bool:
        return self._peer.principal_of(peer_id) is not None  # sessions end with certificates

    def _gathered(self, shown: VotersStatement, known: VoterSet) -> VotersStatement:
        """With the good signatures of voters that we know from what other peers have shown.

        Where all voters change within one heartbeat, members have no time to exchange theirs, and
        each shows its own alone. What none of the known voters has signed is not kept.
        """
        counted = known.deciders | shown.administrator()
        good = shown.only(counted)
        if shown.who.place <= known.place or not good.signatures:
            return shown
        before = self._unproven.pop(shown.body, good)
        counted |= before.administrator()
        now = self._unproven[shown.body] = good.joined(before, counted)
        while len(self._unproven) > MAX_TOLD:
            self._unproven.pop(next(iter(self._unproven)))
        return shown.joined(now, counted)

    def _join(self, other: VotersStatement) -> None:
        """The signatures of members that another copy of what we have brings."""
        ours = next((each for each in self._kept if each.body == other.body), None)
        if ours is None:
            return
        names = set(ours.who.members)
        for each in self._kept:
            names |= each.who.deciders
        joined = ours.joined(other, names)
        if joined is not ours:
            self._keep(joined)

    def _learn(self, statement: VotersStatement) -> bool:
        who = statement.who
        membership = Membership(who.voters, who.outgoing, who.learners, who.staying)
        return self._electorate.learn(Cluster(who.generation, who.log_id), who.index, membership)

    def _keep(self, statement: VotersStatement) -> None:
        """Write it down, for one at a place; as many as lead from the roster to the latest."""
        others = [each for each in self._kept if each.who.place != statement.who.place]
        kept = sorted((*others, statement), key=lambda each: each.who.place)
        self._kept = tuple(kept if len(kept) <= MAX_KEPT else self._thinned(kept))
        try:
            self._book.save(self._kept)
        except KeystoreError as error:
            self.counts["not_kept"] += 1
            log.error("who votes is not written down: %s", error)

    def _thinned(self, kept: list[VotersStatement]) -> list[VotersStatement]:
        """The steps that are needed from the first roster on; without them the latest half."""
        steps = walk_voters(self._first, kept, self._peer.trust, self._clock.wall_ms())
        leads_here = bool(steps) and steps[-1] is kept[-1] and len(steps) < MAX_KEPT
        return list(steps) if leads_here else kept[-MAX_KEPT // 2 :]

    def _latest(self) -> VotersStatement | None:
        latest = self._kept[-1] if self._kept else None
        return latest if latest and latest.who.place == self._electorate.place else None

    async def follow(self, peer_id: PeerId) -> None:
        """An administrator says that this peer's log is the one, where no voter can: after a
        disaster it was begun again on a node that is neither.

        Raises:
            NotFollowed: this node may not say so, or that peer follows nothing later.
            P2PError: it does not answer.
        """
        if not self._peer.principal.may(Permission.RAFT_ADMIN):
            raise NotFollowed("only a node whose roles let it change the voters can say so")
        said = decode_payload(
            await self._peer.request(peer_id, MEMBERS, b"", timeout_s=ASK_TIMEOUT_S)
        )
        generation = self._electorate.cluster.generation
        is_later = isinstance(said, list) and said[:1] > [generation]
        if not is_later or not self._electorate.learn_from_wire(said[:4]):
            raise NotFollowed(f"{self._peer.label(peer_id)} follows no later log than this node")
        self.decided()
        self._on_believed(peer_id)

    # -- parts ---------------------------------------------------------------------------------

    def _allows(self, peer_id: PeerId) -> bool:
        now_ms = self._clock.now_ms()
        since_ms, count = self._heard.get(peer_id, (now_ms, 0))
        if now_ms - since_ms >= WINDOW_MS:
            since_ms, count = now_ms, 0
        self._heard[peer_id] = (since_ms, count + 1)
        return count < PER_WINDOW

    def peer_died(self, peer_id: PeerId) -> None:
        """What it was told may be lost."""
        for about in (self._told, self._heard, self._pauses):
            about.pop(peer_id, None)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _is_beside(own: Cluster, who: VoterSet) -> bool:
    return own.generation == who.generation and own.cluster_id != who.log_id


def _place(payload: bytes) -> tuple[int, int]:
    """How far who asks knows; an empty question asks for everything."""
    try:
        match decode_payload(payload) if payload else None:
            case [int() as generation, int() as index, *_]:
                return generation, index
    except PayloadError:
        pass
    return -1, -1

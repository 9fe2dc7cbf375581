"""Topics between members without a link: who listens says so, and who publishes makes the link.

    subscribed here -> an entry of our adverts -> every member knows
    published here  -> whoever listens, may read it and has no link is introduced; the link is kept

While everybody has a link to everybody, none of this is needed, and nothing is said. What is
published while an introduction is under way stays due to whoever listens: it asks for that once it
is there (`topics.due`). Links to those who listen are kept for as long as something was published
for them lately. A publisher keeps so many and no more; those beyond hear nothing, and are counted.

What this module does not know: what a topic means, how an introduction is made.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Collection

from keys import PeerId
from p2p.adverts import LISTENS
from p2p.clock import Clock
from p2p.company import Company
from p2p.errors import MisuseError
from p2p.links import Transport
from p2p.membership import MemberState
from p2p.presence import MemberChange, PresenceEvent
from p2p.pubsub import Interests, Topics, decode_interest, encode_interest

MAX_LINKS = 256  # to those who listen to us
MAX_ACTIVE = 1_024  # topics
ACTIVE_MS = 10 * 60_000  # after the last publication
LINGER_S = 2.0  # after the end of a subscription: the next may be to the same
WANTED_EVERY_MS = 500


class Listeners:
    """See the module."""

    def __init__(
        self,
        topics: Topics,
        company: Company,
        transport: Transport,
        clock: Clock,
    ) -> None:
        self._topics = topics
        self._company = company
        self._transport = transport
        self._clock = clock
        self._interests = Interests()
        self._active: OrderedDict[str, int] = OrderedDict()  # when last published, or waited for
        self._missing: dict[str, set[PeerId]] = {}  # of each: who listens and is not here yet
        self._wanted: tuple[int, frozenset[PeerId]] = (-WANTED_EVERY_MS, frozenset())
        self._names: Collection[str] = ()  # what we listen to
        self._said: frozenset[str] = frozenset()
        self._linger: asyncio.TimerHandle | None = None
        self._is_sparse = False
        company.presence.listen(self._on_presence)
        company.presence.on_listens = self._on_listens
        company.keep_links(self._to_keep, "they listen to us")
        topics.on_listening = self._listening
        topics.on_publishing(self._publishing, self._activate)

    def linked(self, peer_id: PeerId, incarnation: int) -> None:
        """There is a session with this member; elsewhere nobody is told of before there is."""
        if self._is_sparse and self._company.presence.is_present(peer_id):
            self._topics.is_present(peer_id, incarnation, is_due=True)

    def close(self) -> None:
        if self._linger is not None:
            self._linger.cancel()

    # -- what we listen to ---------------------------------------------------------------------

    def _listening(self, names: Collection[str]) -> None:
        self._names = names
        if self._is_sparse and not self._said.issuperset(names):
            self._say()
        elif self._said and self._linger is None:
            self._linger = asyncio.get_running_loop().call_later(LINGER_S, self._say)

    def _say(self) -> None:
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        names = frozenset(self._names)
        if names == self._said:
            return
        try:
            self._company.presence.adverts.change({LISTENS: encode_interest(names)})
        except MisuseError:
            self._topics.counts["listening_untold"] += 1  # our agents take all the room
        else:
            self._said = names

    # -- who listens to us ---------------------------------------------------------------------

    def _on_listens(self, peer_id: PeerId, entry: bytes | None) -> None:
        names = decode_interest(entry) if entry is not None else frozenset()
        if self._interests.take(peer_id, names):
            for topic in self._active:
                if peer_id in self._interests.listeners(topic):
                    self._look_for(topic)

    def _publishing(self, topic: str, first: int) -> None:
        """These numbers of a topic are about to leave."""
        if not self._is_sparse:
            return
        self._activate(topic)
        missing = self._missing.get(topic)
        if missing:
            missing -= self._transport.subscribers(topic)
            for peer_id in missing:
                self._topics.owe(peer_id, topic, first)
            if not missing:
                del self._missing[topic]

    def _activate(self, topic: str) -> None:
        """Something is published on this topic, or will be."""
        if not self._is_sparse:
            return
        is_new = topic not in self._active
        self._active[topic] = self._clock.now_ms()
        self._active.move_to_end(topic)
        if is_new:
            if len(self._active) > MAX_ACTIVE:
                oldest, _ = self._active.popitem(last=False)
                self._missing.pop(oldest, None)
            self._look_for(topic)

    def _look_for(self, topic: str) -> None:
        """Have links to those who listen to this topic."""
        found = self._interests.listeners(topic)
        listeners = {peer_id for peer_id in found if self._may_read(peer_id, topic)}
        kept = self._to_keep()
        more = sorted(listeners - kept)[: MAX_LINKS - len(kept)]
        kept = kept.union(more)
        self._wanted = self._wanted[0], kept
        self._topics.counts["listeners_unlinked"] += len(listeners - kept)
        missing = (listeners & kept) - self._transport.subscribers(topic)
        self._missing.pop(topic, None)
        if missing:
            self._missing[topic] = missing
            self._company.reach_soon(missing)

    def _may_read(self, peer_id: PeerId, topic: str) -> bool:
        who = self._company.principal_of(peer_id)
        return who is not None and self._topics.may_read(who, topic)

    def _to_keep(self) -> frozenset[PeerId]:
        """To whom links are kept: the listeners of what was published last come first."""
        made_ms, kept = self._wanted
        now_ms = self._clock.now_ms()
        if now_ms - made_ms < WANTED_EVERY_MS:
            return kept
        while self._active and now_ms - next(iter(self._active.values())) > ACTIVE_MS:
            topic, _ = self._active.popitem(last=False)
            self._missing.pop(topic, None)
        found: set[PeerId] = set()
        for topic in reversed(self._active) if self._interests else ():
            others = self._interests.listeners(topic) - found
            found.update(sorted(p for p in others if self._may_read(p, topic))[:MAX_LINKS])
            if len(found) >= MAX_LINKS:
                break
        self._wanted = now_ms, frozenset(sorted(found)[:MAX_LINKS])
        return self._wanted[1]

    # -- what happens --------------------------------------------------------------------------

    def _on_presence(self, event: PresenceEvent) -> None:
        if not isinstance(event, MemberChange):
            return
        peer_id = event.peer_id
        if event.after is MemberState.ALIVE:
            if self._company.is_linked(peer_id):
                self._topics.is_present(peer_id, event.incarnation, is_due=self._is_sparse)
        elif event.after in (MemberState.DEAD, MemberState.LEFT):
            self._topics.is_gone(peer_id)
            self._interests.take(peer_id, frozenset())
            for missing in self._missing.values():
                missing.discard(peer_id)
        self._look_at_size()

    def _look_at_size(self) -> None:
        """Whether not everybody has a link to everybody any more."""
        was_sparse, self._is_sparse = self._is_sparse, not self._company.is_mesh
        if self._is_sparse and not was_sparse:
            self._say()
            for topic, _ in reversed(self._topics.latest(MAX_ACTIVE)):
                self._activate(topic)

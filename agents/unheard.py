"""May a member without a log begin one? It asks those who decide, by name (R23).

A vote or a confirmation counts only where it was heard, and a member writes down who speaks in its
log before it listens (`agents.blank`). So a blank member is new if nobody whose copy counts has
heard it. Who happens to be here at this moment does not decide that: the one that heard it may be
the one that is away.

    a first voter    begins when all others that decide have said so; or when the one that signed
                     the roster says that this very start of ours was there before the roster was:
                     then no earlier start of ours can have spoken in that log.
    any other        has no vote until the log gives it one, so a majority of those that decide is
                     enough: one of them knows of every decision to let it vote, and says so.

An answer from somebody who knows of a later decision on the voters than we do does not count yet:
others may decide by now. That decision comes here by itself (`agents.vouching`), and we ask again.

What is durable: `heard` at those who are asked, before they look at anybody's first message. A
disk that was lost is noticed for certain while no other one is lost with it.

What this module does not know: Raft, who leads, what is done with a member that may not begin.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.blank import Begun, Heard, LogMissing
from agents.cluster import Cluster
from agents.electorate import Electorate
from consensus import Membership
from keys import PeerId, Permission, Roster
from p2p import Incoming, P2PError, PayloadError, Peer, decode_payload, encode_payload

log = logging.getLogger("conclave.agents.unheard")

HEARD = "consensus.heard"
ANSWER_S = 1.0
AGAIN_S = 0.5
TOLD_AFTER = 10  # rounds, before people are told who keeps us waiting


@dataclass(frozen=True, slots=True)
class Word:
    """What one of those who decide has said.

    Attributes:
        heard: it has heard the asker in this log, or the log has let the asker vote.
        place: how far it knows who votes.
        founded: it signed the roster while this start of the asker was there.
    """

    heard: bool
    place: tuple[int, int]
    founded: bool

    @classmethod
    def from_plain(cls, value: object) -> Word | None:
        """None is one that cannot say yet, or that says nothing we understand."""
        if not (isinstance(value, list) and len(value) >= 4):
            return None
        heard, generation, index, founded = value[:4]
        if not (type(heard) is bool and type(founded) is bool):
            return None
        if not (type(generation) is int and type(index) is int):
            return None
        return cls(heard, (generation, index), founded)

    def to_plain(self) -> list[Any]:
        return [self.heard, *self.place, self.founded]


def who_is_missing(
    own: str,
    membership: Membership,
    place: tuple[int, int],
    words: Mapping[PeerId, Word],
    *,
    is_first: bool,
) -> tuple[PeerId, ...]:
    """Whose word is still needed before this member may begin; nobody's if it may.

    Args:
        membership: who decides, as far as this member knows, and `place` how far that is.
        words: none of them of one that has heard this member.
    """
    others = [PeerId(name) for name in membership.deciders if name != own]
    said = {who for who, word in words.items() if who in others and word.place <= place}
    if is_first and any(word.founded for word in words.values()):
        return ()
    if not is_first and membership.has_quorum(said):
        return ()
    return tuple(who for who in others if who not in said)


class Unheard:
    """Asks for this node, and answers others.

    Attributes:
        roster: once it is adopted here; nothing is answered before.
        awaited: who keeps this first voter from beginning its log.
        founded_with: whether the roster was signed here while this start of a peer was here.
    """

    def __init__(self, peer: Peer, home: Path, electorate: Electorate, begun: Begun) -> None:
        self._peer = peer
        self._home = home
        self._electorate = electorate
        self._begun = begun
        self.roster: Roster | None = None
        self.awaited: tuple[PeerId, ...] = ()
        self.founded_with: Callable[[PeerId], bool] = lambda peer_id: False
        peer.serve(HEARD, self._on_asked, permission=Permission.CONSENSUS)

    async def is_new_voter(self, roster: Roster) -> bool:
        """Whether this first voter begins its log, once that is certain; False: it votes no more.

        Raises:
            LogMissing: it has had one.
        """
        own, first = self._peer.peer_id, Cluster.first(roster)
        rounds = 0
        try:
            while self._electorate.cluster == first:
                if own not in self._electorate.membership.deciders:
                    return False
                self.awaited = await self._ask(is_first=True)
                if not self.awaited:
                    return True
                rounds += 1
                if rounds == TOLD_AFTER:
                    log.warning("this voter does not begin its log yet: %s", self.why())
                await asyncio.sleep(AGAIN_S)
            return False
        finally:
            self.awaited = ()

    async def is_new_member(self) -> bool:
        """Whether a member that was no first voter may begin; False: ask again later.

        Raises:
            LogMissing: it has had one.
        """
        return not await self._ask(is_first=False)

    def why(self) -> str:
        """Say in words what keeps us waiting."""
        names = ", ".join(self._peer.label(peer_id) for peer_id in self.awaited)
        return f"{names} must say first that nobody there has heard it vote"

    async def _ask(self, *, is_first: bool) -> tuple[PeerId, ...]:
        """One round; whose word is missing after it."""
        electorate, own = self._electorate, self._peer.peer_id
        others = [PeerId(name) for name in electorate.membership.deciders if name != own]
        asked = encode_payload(electorate.cluster.cluster_id)
        said = await asyncio.gather(*(self._ask_one(who, asked) for who in others))
        words = {who: word for who, word in zip(others, said, strict=True) if word is not None}
        for who, word in words.items():
            if word.heard:
                self._begun.settle()
                how = f"{self._peer.label(who)} has heard this voter in it"
                raise LogMissing(self._begun.path, how)
        return who_is_missing(
            own, electorate.membership, electorate.place, words, is_first=is_first
        )

    async def _ask_one(self, peer_id: PeerId, asked: bytes) -> Word | None:
        try:
            said = await self._peer.request(peer_id, HEARD, asked, timeout_s=ANSWER_S)
            return Word.from_plain(decode_payload(said))
        except (P2PError, PayloadError) as error:
            log.debug("not told whether we were heard before: %s", error)
            return None

    async def _on_asked(self, incoming: Incoming, payload: bytes) -> bytes:
        try:
            cluster_id = decode_payload(payload)
        except PayloadError:
            cluster_id = None
        if self.roster is None or not isinstance(cluster_id, str):
            return encode_payload(None)
        asker, now = incoming.caller.peer_id, self._electorate
        is_first = not now.cluster.generation and asker in self.roster.voters
        has_vote = now.cluster.cluster_id == cluster_id and now.is_voter(asker)
        heard = Heard(self._home, cluster_id).knows(cluster_id, asker)
        word = Word(heard or (has_vote and not is_first), now.place, self.founded_with(asker))
        return encode_payload(word.to_plain())

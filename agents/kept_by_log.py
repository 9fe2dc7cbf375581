"""What the network keeps for itself in the replicated store, on one node: keys below one prefix.

    somebody asks the leader -> the leader judges it and proposes -> the log decides
                             -> every node hears of it by a watch, within moments

A place is the log's generation and the index of an entry in it. With each new generation indexes
mean something else, and the watch begins again with a listing of what there is. What a follower is
told is in the order of the log, none missed; the same state may be told twice.

An answer of the leader is `[nil, entry]`, or `[why not, 0]`. Whoever asked goes on when its own
node has come to that entry, or after some seconds all the same: it is decided either way.

What this module does not know: what the keys mean, who may change them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from agents.errors import AgentsError
from agents.replicated import KV_TAG, command_for
from agents.tasking import Asking, wire
from consensus import NotLeader, OutcomeUnknown, ProposalError, Stopped
from consensus.kv import Refusal, Reply
from keys.policies import Place
from p2p import P2PError, Peer

if TYPE_CHECKING:
    from agents.keeping import Keeping
    from agents.quorum import Quorum

log = logging.getLogger("conclave.agents.kept")

ASK_S: Final = 10.0
FOLLOW_S: Final = 3.0
LOOK_S: Final = 1.0
LOOK_AGAIN_S: Final = 0.01
UNREADABLE: Final = "the leader's answer cannot be read; upgrade it"


class Row(NamedTuple):
    """One key as the log has it; the value is None where it was removed."""

    key: str
    value: bytes | None
    place: Place


class Follower(Protocol):
    """Whoever wants to know what is decided. Must not raise."""

    def replace(self, rows: Iterable[Row], place: Place) -> None:
        """All there is at this place; what was known before and is not in here is gone."""

    def change(self, row: Row) -> None:
        """One key is another one now, or gone."""


class Decision(NamedTuple):
    """What became of a proposal.

    Attributes:
        answer: for whoever asked.
        entry: its index, None where nothing was decided.
    """

    answer: bytes
    entry: int | None


class KeptByLog:
    """Keys below one prefix, on one node.

    Args:
        prefix: of the keys, or one whole key.

    Attributes:
        place: up to where the follower was told.
        on_look: called about once a second.
    """

    def __init__(
        self,
        peer: Peer,
        quorum: Quorum,
        asking: Asking,
        keeping: Keeping,
        prefix: str,
        follower: Follower,
    ) -> None:
        self._peer = peer
        self._quorum = quorum
        self._asking = asking
        self._keeping = keeping
        self._prefix = prefix
        self._follower = follower
        self._moved = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self.place = Place(-1, 0)
        self.on_look: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Begin to follow what is decided."""
        self._running = asyncio.get_running_loop().create_task(self._follow())

    async def close(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    @property
    def generation(self) -> int:
        return self._quorum.electorate.cluster.generation

    # -- who wants a change --------------------------------------------------------------------

    async def ask(
        self, method: str, value: list[Any], timeout_s: float = ASK_S
    ) -> tuple[str | None, int]:
        """Ask the leader; return why not, or None and the entry, to which this node has come then.

        Raises:
            PermissionDenied, NoQuorum: nothing has changed.
            OutcomeUnknown.
        """
        why, index = read_answer(await self._asking.ask(method, value, timeout_s))
        if why is None:
            await self.until_here(Place(self.generation, index))
        return why, index

    async def until_here(self, place: Place) -> None:
        """Return when this node has come so far, or after some seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(FOLLOW_S):
                while self.place < place:
                    await self._moved.wait()

    # -- on the leader -------------------------------------------------------------------------

    async def decide(self, command: bytes) -> Decision:
        """Have a command of the store decided; one that finds nothing to remove is content.

        It carries the leader's reading of time: what shall last for a while must not begin in a
        past in which the log stood still.
        """
        replica, leading = self._quorum.own_replica(), self._quorum.leading
        if replica is None or leading is None or not self._quorum.leads:
            return Decision(self.not_leader(), None)
        try:
            committed = await replica.propose(command_for(KV_TAG, leading.reading_ms(), command))
        except NotLeader as error:
            return Decision(wire.answer(wire.Tag.NOT_LEADER, error.leader_hint), None)
        except OutcomeUnknown:
            return Decision(wire.answer(wire.Tag.UNDECIDED, False), None)
        except (ProposalError, Stopped):
            return Decision(wire.answer(wire.Tag.BUSY, None), None)
        reply = committed.result
        assert isinstance(reply, Reply)
        refusals = [result.refusal for result in reply.results] or [reply.refusal]
        for refusal in refusals:
            if refusal not in (None, Refusal.NOT_FOUND):
                return Decision(refused(f"the store refuses it: {refusal}"), None)
        return Decision(accepted(reply.log_index), reply.log_index)

    def not_leader(self) -> bytes:
        """The answer to whoever takes this node for the leader."""
        hint = self._quorum.leader()
        return wire.answer(wire.Tag.NOT_LEADER, None if hint == self._peer.peer_id else hint)

    # -- following -----------------------------------------------------------------------------

    async def _follow(self) -> None:
        """Watch; begin again with each new log."""
        while True:
            generation = self.generation
            watching = asyncio.get_running_loop().create_task(self._watch(generation))
            try:
                while not watching.done() and generation == self.generation:
                    self.on_look()
                    await asyncio.wait((watching,), timeout=LOOK_S)
            finally:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)
            await asyncio.sleep(LOOK_AGAIN_S if generation != self.generation else LOOK_S)

    async def _watch(self, generation: int) -> None:
        rows: list[Row] = []
        try:
            async with aclosing(self._keeping.watch(self._prefix, None, is_listed=True)) as items:
                async for item in items:
                    if generation != self.generation:
                        return
                    if item[0] == "changes":
                        for (index, _, key, value), _ in item[1]:
                            self._follower.change(Row(key, value, Place(generation, index)))
                            self._come_to(Place(generation, index))
                        continue
                    _, as_of, _, listed, is_last = item
                    for key, (value, version, *_) in listed:
                        rows.append(Row(key, value, Place(generation, version)))
                    if is_last:
                        self._follower.replace(rows, Place(generation, as_of))
                        self._come_to(Place(generation, as_of))
                        rows = []
        except (AgentsError, P2PError) as error:
            log.debug("%s is not followed just now: %s", self._prefix, error)

    def _come_to(self, place: Place) -> None:
        if place > self.place:
            self.place = place
            self._moved.set()
            self._moved = asyncio.Event()


def accepted(index: int) -> bytes:
    return wire.answer(wire.Tag.OK, [None, index])


def refused(why: str) -> bytes:
    return wire.answer(wire.Tag.OK, [why, 0])


def read_answer(said: Any) -> tuple[str | None, int]:
    """Return why not, or None and the entry."""
    if isinstance(said, list) and len(said) == 2 and type(said[1]) is int:
        return (None if said[0] is None else str(said[0])), said[1]
    return UNREADABLE, 0

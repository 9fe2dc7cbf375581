"""Asking the leader, wherever it is: for submissions, results and lists.

The leader may die or change while it is asked; everything asked is idempotent, so it is asked
again until the deadline. Only then does the asker hear that there is no quorum, or that the
outcome is unknown.

What this module does not know: the log, the ledger.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from agents.errors import NoQuorum, OutcomeUnknown
from agents.tasking import wire
from keys import PeerId
from p2p import (
    ConnectionLost,
    DeadlineExceeded,
    NoSuchMethod,
    Overloaded,
    P2PError,
    Peer,
    PeerUnreachable,
    RemoteError,
    World,
    encode_payload,
)

ATTEMPT_TIMEOUT_S = 3.0
PAUSE_S = 0.05
HOPELESS_S = 1.0  # a voter that restarts is back by then


class Asking:
    """Finds the leader and asks it.

    Args:
        leader: who leads, as far as this node knows, or None.
        why_none: says in words why nobody does.
        is_hopeless: whether nobody can, because too few voters are reachable.
    """

    def __init__(
        self,
        peer: Peer,
        world: World,
        leader: Callable[[], PeerId | None],
        why_none: Callable[[], str],
        is_hopeless: Callable[[], bool],
    ) -> None:
        self._peer = peer
        self._clock = world.clock
        self._leader = leader
        self._why_none = why_none
        self._is_hopeless = is_hopeless
        self._changed = asyncio.Event()

    def leader_changed(self) -> None:
        """Wake whoever waits for a leader."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def ask(
        self,
        method: str,
        value: Any,
        timeout_s: float,
        *,
        attempt_s: float = ATTEMPT_TIMEOUT_S,
        on_lost: Callable[[], None] = lambda: None,
    ) -> Any:
        """Return the leader's answer.

        Args:
            on_lost: hears of every attempt that may have been served, but whose answer is lost.

        Raises:
            NoQuorum: nobody could be asked in time; nothing happened.
            OutcomeUnknown: somebody was asked and did not say; asking again is safe.
        """
        deadline_ms = self._clock.now_ms() + int(timeout_s * 1000)
        payload = encode_payload(value)
        hint: PeerId | None = None
        maybe_done = ""
        while (left_s := (deadline_ms - self._clock.now_ms()) / 1000) > 0:
            leader, hint = hint or self._leader(), None
            if leader is None:
                waited_s = timeout_s - left_s
                if self._is_hopeless() and waited_s >= HOPELESS_S and not maybe_done:
                    break
                await self._pause(min(left_s, HOPELESS_S))
                continue
            try:
                said = await self._peer.request(
                    leader, method, payload, timeout_s=min(left_s, attempt_s)
                )
            except (DeadlineExceeded, ConnectionLost) as error:
                maybe_done = str(error)
                on_lost()
                # One that has just left would be dialled for seconds: its goodbye is heard next.
                if isinstance(error, ConnectionLost):
                    await self._pause(min(left_s, PAUSE_S))
                continue
            except (PeerUnreachable, NoSuchMethod, Overloaded):
                await self._pause(min(left_s, PAUSE_S))
                continue
            except RemoteError:
                raise
            except P2PError as error:
                maybe_done = str(error)
                on_lost()
                await self._pause(min(left_s, PAUSE_S))
                continue
            tag, answer = wire.read_answer(said)
            if tag is wire.Tag.OK:
                return answer
            if tag is wire.Tag.UNDECIDED and not answer:
                maybe_done = "the leader changed while it was decided"
                on_lost()
            if tag is wire.Tag.NOT_LEADER and isinstance(answer, str) and answer != leader:
                hint = PeerId(answer)
            await self._pause(min(left_s, PAUSE_S))
        if maybe_done:
            raise OutcomeUnknown(method, maybe_done)
        raise NoQuorum(self._why_none())

    async def _pause(self, limit_s: float) -> None:
        changed = self._changed
        try:
            async with asyncio.timeout(limit_s):
                await changed.wait()
        except TimeoutError:
            pass

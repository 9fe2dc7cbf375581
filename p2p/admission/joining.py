"""Joining over TCP: every address of the ticket is tried, the first grant wins.

Attempts start a moment apart, or as soon as the one before has failed, so that a dead address in
front costs a quarter of a second and not a timeout (the idea of RFC 8305). A door that is no
issuer names others; those are tried too, up to a bound.

What this module does not know: where the ticket's text came from, and where the result is kept.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence

from keys import Identity, JoinedNetwork, Ticket
from p2p.admission.errors import JoinFailed, failure_of
from p2p.admission.handshake import Effect, Joined, Learn
from p2p.admission.introduce import address_text, knock
from p2p.admission.joiner import JoinerHandshake
from p2p.admission.messages import NONCE_BYTES, Hint
from p2p.errors import IntroductionFailed

STAGGER_S = 0.25
MAX_ADDRESSES = 16  # those of the ticket, and what doors without an issuer's key have named


async def join(
    ticket: Ticket, identity: Identity, name: str, *, timeout_s: float, now_ms: int
) -> JoinedNetwork:
    """Be issued a certificate for `identity` by an issuer that the ticket leads to.

    Nothing is stored. Trying again with the same identity and ticket is safe and gets the same
    certificate, also when an answer was lost.

    Raises:
        JoinFailed: names every address tried and why it failed.
        keys.InvalidName: `name` cannot be a node's name.
    """
    race = _Race(ticket, identity, name, timeout_s, now_ms)
    return await race.run()


class _Race:
    def __init__(
        self, ticket: Ticket, identity: Identity, name: str, timeout_s: float, now_ms: int
    ) -> None:
        self._ticket = ticket
        self._identity = identity
        self._name = name
        self._timeout_s = timeout_s
        self._now_ms = now_ms
        self._tried: set[tuple[str, int]] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._turn = asyncio.Event()  # of the attempt to come
        self._failures: list[IntroductionFailed] = []
        self._asked = False
        self._network: JoinedNetwork | None = None

    async def run(self) -> JoinedNetwork:
        self._new_handshake()  # a name that cannot be one is found before anything is sent
        self._turn.set()
        self._deadline_s = asyncio.get_running_loop().time() + self._timeout_s
        async with asyncio.TaskGroup() as self._group:
            for host, port in self._ticket.addresses:
                self._start(host, port)
        if self._network is None:
            raise JoinFailed(self._failures, asked=self._asked)
        return self._network

    def _start(self, host: str, port: int) -> None:
        if (host, port) in self._tried or len(self._tried) >= MAX_ADDRESSES:
            return
        self._tried.add((host, port))
        turn, self._turn = self._turn, asyncio.Event()
        attempt = self._attempt(host, port, turn, self._turn)
        self._tasks.append(self._group.create_task(attempt))

    async def _attempt(
        self, host: str, port: int, turn: asyncio.Event, turn_of_next: asyncio.Event
    ) -> None:
        await turn.wait()
        loop = asyncio.get_running_loop()
        loop.call_later(STAGGER_S, turn_of_next.set)
        handshake = self._new_handshake()
        left_s = max(0.0, self._deadline_s - loop.time())
        refusal = await knock(host, port, handshake, self._clock, left_s, self._on_effect)
        self._asked = self._asked or handshake.asked
        turn_of_next.set()
        if refusal is not None:
            self._failures.append(failure_of(address_text(host, port), refusal))

    def _on_effect(self, effect: Effect) -> None:
        match effect:
            case Joined(network):
                self._network = network
                self._stop_others()
            case Learn(hints):
                self._follow(hints)
            case _:
                raise AssertionError(f"a joiner has no {type(effect).__name__}")

    def _stop_others(self) -> None:
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()

    def _follow(self, hints: Sequence[Hint]) -> None:
        for hint in hints:
            self._start(hint.hosts[0], hint.port)

    def _clock(self) -> int:
        return self._now_ms

    def _new_handshake(self) -> JoinerHandshake:
        nonce = secrets.token_bytes(NONCE_BYTES)
        return JoinerHandshake(self._ticket, self._identity, self._name, nonce)

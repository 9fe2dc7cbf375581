"""Calls: find who offers a capability, ask, and try another where that is safe.

A call is sent at most once to a peer that may have begun it. It goes to the next provider only
after a refusal that is definite: unreachable, overloaded, or no longer offered there.

What this module does not know: how handlers run, CLI, tasks.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

from agents.directory import Directory
from agents.errors import NoProvider
from agents.hosting import Context, from_bytes, to_bytes
from agents.hosting.host import AgentHost
from keys import PeerId, Permission
from p2p import (
    BadRequest,
    Clock,
    Incoming,
    NoSuchMethod,
    Overloaded,
    PayloadError,
    Peer,
    PeerUnreachable,
    QueueFull,
)

CALL = "agents.call"
MAX_RUNNING = 16_384
PROVIDER_WAIT_S = 1.0  # a node that has just come up may not have met its peers yet

MakeContext = Callable[[Incoming, str], Context]


class Calling:
    """The calls of one node in both directions."""

    def __init__(
        self,
        peer: Peer,
        host: AgentHost,
        directory: Directory,
        clock: Clock,
        make_context: MakeContext,
    ) -> None:
        self._peer = peer
        self._host = host
        self._directory = directory
        self._clock = clock
        self._make_context = make_context
        self._turns: Counter[str] = Counter()
        self._waiting: list[tuple[str, asyncio.Event]] = []
        self._notices: set[asyncio.Task[bytes]] = set()
        peer.serve(CALL, self._serve, permission=Permission.CALL, limit=MAX_RUNNING)

    async def call(
        self, capability: str, arguments: bytes, timeout_s: float, to: PeerId | None
    ) -> bytes:
        """Ask a provider and return its encoded answer; see `Net.call` for what it raises."""
        deadline_ms = self._clock.now_ms() + int(timeout_s * 1000)
        if to is None and not self._directory.providers(capability):
            await self.wait_for(capability, min(timeout_s, PROVIDER_WAIT_S))
        candidates = [to] if to is not None else self._in_turn(capability)
        payload = to_bytes([capability, arguments])
        failure: Exception = self._nobody(capability)
        for candidate in candidates:
            left_s = max(0.001, (deadline_ms - self._clock.now_ms()) / 1000)
            try:
                return await self._peer.request(
                    candidate, CALL, payload, timeout_s=left_s, what=capability
                )
            except (PeerUnreachable, QueueFull, Overloaded, NoSuchMethod) as error:
                failure = error
        raise failure

    def notify(self, capability: str, arguments: bytes, to: PeerId | None) -> None:
        """Ask a provider without waiting for an answer."""
        candidates = [to] if to is not None else self._in_turn(capability)
        if not candidates:
            raise self._nobody(capability)
        work = self._peer.request(candidates[0], CALL, to_bytes([capability, arguments]))
        task = asyncio.get_running_loop().create_task(work)
        self._notices.add(task)
        task.add_done_callback(self._noticed)

    async def wait_for(self, capability: str, timeout_s: float) -> None:
        """Return when somebody offers it.

        Raises:
            NoProvider: nobody does in time.
        """
        arrived = asyncio.Event()
        entry = (capability, arrived)
        self._waiting.append(entry)
        try:
            self.changed()
            async with asyncio.timeout(timeout_s):
                await arrived.wait()
        except TimeoutError:
            raise self._nobody(capability) from None
        finally:
            self._waiting.remove(entry)

    def changed(self) -> None:
        """The directory changed: wake whoever waits for what is offered now."""
        for capability, arrived in self._waiting:
            if self._directory.providers(capability):
                arrived.set()

    async def close(self) -> None:
        for task in self._notices:
            task.cancel()
        await asyncio.gather(*self._notices, return_exceptions=True)

    def _noticed(self, task: asyncio.Task[bytes]) -> None:
        self._notices.discard(task)
        if not task.cancelled():
            task.exception()  # nobody waits for it; marking it as seen keeps the loop quiet

    def _in_turn(self, capability: str) -> list[PeerId]:
        """Return the providers, beginning with the one whose turn it is."""
        providers = self._directory.providers(capability)
        if not providers:
            return []
        self._turns[capability] += 1
        first = self._turns[capability] % len(providers)
        return providers[first:] + providers[:first]

    def _nobody(self, capability: str) -> NoProvider:
        peers = len(self._peer.presence.present()) + 1
        return NoProvider(capability, self._directory.capabilities(), peers)

    async def _serve(self, incoming: Incoming, payload: bytes) -> bytes:
        try:
            fields = from_bytes(payload)
        except PayloadError as error:
            raise BadRequest(self._peer.name, CALL, str(error)) from None
        if not (
            isinstance(fields, list)
            and len(fields) == 2
            and isinstance(fields[0], str)
            and isinstance(fields[1], bytes)
        ):
            raise BadRequest(self._peer.name, CALL, "a call is [capability, arguments]")
        capability, arguments = fields
        return await self._host.run_call(
            capability,
            arguments,
            self._make_context(incoming, capability),
            incoming.caller.permissions,
        )

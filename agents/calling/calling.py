"""The calls, notices and messages of one node in both directions, behind one face.

What this module does not know: how handlers run, CLI, tasks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from agents.calling.caller import Caller, Wishes, as_asked
from agents.calling.choosers import Choosers
from agents.calling.sending import Sending
from agents.calling.serving import Serving
from agents.directory import Directory
from agents.errors import NoProvider
from agents.hosting.host import AgentHost, MakeContext
from keys import PeerId
from p2p import DeadlineExceeded, P2PError, Peer, World

PROVIDER_WAIT_S = 1.0  # a node that has just come up may not have met its peers yet
AT_ONCE = 64  # acknowledged messages of one broadcast


class Calling:
    """What one node asks of others and is asked by them.

    Attributes:
        caller, choosers: how a provider is found, for those who ask in other ways.
    """

    def __init__(
        self,
        peer: Peer,
        host: AgentHost,
        directory: Directory,
        world: World,
        make_context: MakeContext,
    ) -> None:
        clock, rng = world.clock, world.rng
        self._now_ms = clock.now_ms
        self._peer = peer
        self._directory = directory
        self.choosers = Choosers(directory, clock, rng)
        self.caller = Caller(peer, self.choosers, clock, rng, self.nobody)
        self._sending = Sending(peer, self.caller, self.choosers, directory, clock, rng)
        self._serving = Serving(peer, host, clock, make_context)
        self._waiting: list[tuple[str, asyncio.Event]] = []

    async def call(
        self, capability: str, message: bytes, timeout_s: float, wishes: Wishes
    ) -> bytes:
        """Ask a provider and return its encoded answer; see `Net.call` for what it raises."""
        wishes.check(capability)
        deadline_ms = self.caller.deadline_ms(timeout_s)
        is_open = wishes.to is None and wishes.among is None
        if is_open and not self._directory.offering(capability):
            await self._wait_shortly(capability, deadline_ms)
        try:
            return await self.caller.call(capability, message, deadline_ms, wishes)
        except DeadlineExceeded as error:
            raise as_asked(error, timeout_s, deadline_ms, self._now_ms()) from None

    def notify(self, capability: str, message: bytes, wishes: Wishes) -> None:
        """Send a notice to a provider; see `Net.notify`."""
        wishes.check(capability)
        if not self._sending.notify(capability, message, wishes):
            raise self.nobody(capability)

    async def send(self, capability: str, message: bytes, timeout_s: float, wishes: Wishes) -> None:
        """Have a provider accept a message; see `Net.send`."""
        wishes.check(capability)
        deadline_ms = self.caller.deadline_ms(timeout_s)
        if wishes.to is None and not self._directory.offering(capability):
            await self._wait_shortly(capability, deadline_ms)
        try:
            was_known = await self._sending.send(capability, message, deadline_ms, wishes)
        except DeadlineExceeded as error:
            raise as_asked(error, timeout_s, deadline_ms, self._now_ms()) from None
        if not was_known:
            raise self.nobody(capability)

    def notify_all(self, capability: str, message: bytes, priority: int, *, everyone: bool) -> int:
        """Send a notice to each provider, or each living member; return to how many it was sent."""
        count = 0
        for peer in self._audience(capability, everyone=everyone):
            try:
                self._sending.notify_peer(peer, message, priority)
            except P2PError:
                self._serving.counts["broadcast_unsent"] += 1
            else:
                count += 1
        return count

    async def send_all(
        self,
        capability: str,
        message: bytes,
        timeout_s: float,
        priority: int,
        *,
        everyone: bool,
    ) -> dict[PeerId, Exception | None]:
        """Have each provider, or each living member, accept it; return what came of each."""
        deadline_ms = self.caller.deadline_ms(timeout_s)
        places = asyncio.Semaphore(AT_ONCE)
        outcomes: dict[PeerId, Exception | None] = {}

        async def one(peer: PeerId) -> None:
            async with places:
                try:
                    await self._sending.deliver(peer, capability, message, deadline_ms, priority)
                except P2PError as error:
                    outcomes[peer] = error
                else:
                    outcomes[peer] = None

        async with asyncio.TaskGroup() as group:
            for peer in self._audience(capability, everyone=everyone):
                group.create_task(one(peer))
        return {peer: outcomes[peer] for peer in sorted(outcomes)}

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
            raise self.nobody(capability) from None
        finally:
            self._waiting.remove(entry)

    def changed(self) -> None:
        """The directory changed: wake whoever waits for what is offered now."""
        for capability, arrived in self._waiting:
            if self._directory.offering(capability):
                arrived.set()

    def counters(self) -> Mapping[str, int]:
        """Return plain counters, by name."""
        return {**self._serving.counts, **self.choosers.counters()}

    async def close(self) -> None:
        await self._serving.close()

    async def _wait_shortly(self, capability: str, deadline_ms: int) -> None:
        left_s = (deadline_ms - self._now_ms()) / 1000
        await self.wait_for(capability, min(max(0.0, left_s), PROVIDER_WAIT_S))

    def _audience(self, capability: str, *, everyone: bool) -> list[PeerId]:
        """Return whom a broadcast is for.

        Raises:
            NoProvider: it is for those who offer the capability, and nobody does.
        """
        if everyone:
            return [self._peer.peer_id, *self._peer.presence.present()]
        providers = self._directory.providers(capability)
        if not providers:
            raise self.nobody(capability)
        return providers

    def nobody(self, capability: str) -> NoProvider:
        """Return the error for a capability that nobody offers."""
        peers = len(self._peer.presence.present()) + 1
        label, failed = self._peer.label, self._directory.failed()
        named = tuple(f"{name} on {label(peer)}" for name, peer in failed)
        return NoProvider(capability, self._directory.capabilities(), peers, named)

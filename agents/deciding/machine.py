"""The register of decisions as one of the machines that the log drives.

The cluster that questions, ballots and certificates name is the network, by the digest of its root
key: it stays the same when the log is begun again after a disaster, and everybody who knows the
network knows it.

What this module does not know: the log, the network, why somebody wants to hear of commands.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator

from agents.deciding.signing import SCHEME
from consensus.ballots import Register, Reply
from keys import NetworkId

_Listener = Callable[[int, Reply], None]


class Decisions:
    """One replica's register, and who wants to hear of what was applied to it."""

    def __init__(self, network_id: NetworkId) -> None:
        self.network_id = network_id
        self.register = Register(network_id, SCHEME)
        self.listeners: list[_Listener] = []
        self._changed: asyncio.Event | None = None

    def apply(self, index: int, time_ms: int, command: bytes) -> Reply:
        """One command at its place in the log."""
        reply = self.register.apply(index, time_ms, command)
        for listener in self.listeners:
            listener(index, reply)
        self._wake()
        return reply

    def snapshot(self) -> Iterator[bytes]:
        return self.register.snapshot()

    def restore(self, chunks: Iterable[bytes]) -> None:
        """
        Raises:
            SnapshotInvalid: see `Register.restore`.
        """
        self.register.restore(chunks)
        self._wake()

    async def changed(self, limit_s: float) -> None:
        """Return when something was applied, or after so long."""
        if self._changed is None:
            self._changed = asyncio.Event()
        changed = self._changed
        try:
            async with asyncio.timeout(limit_s):
                await changed.wait()
        except TimeoutError:
            pass

    def _wake(self) -> None:
        if self._changed is not None:
            self._changed.set()
            self._changed = None

"""Introductions at several addresses of one peer at once: the first that lets us in wins.

What this module does not know: where addresses come from, what follows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from keys import PeerId
from p2p.admission import Session
from p2p.discovery import Address
from p2p.errors import IntroductionFailed

STAGGER_S = 0.25


class Race:
    """Introductions at several addresses of one peer, begun a moment apart; the first one wins.

    A dead address in front costs a quarter of a second and not a timeout (the idea of RFC 8305).
    """

    def __init__(
        self,
        introduce: Callable[[Address, PeerId | None], Coroutine[Any, Any, Session]],
        say_failure: Callable[[Address, IntroductionFailed], None],
        expected: PeerId | None,
    ) -> None:
        self._introduce = introduce
        self._say_failure = say_failure
        self._expected = expected
        self.failures: list[tuple[Address, IntroductionFailed]] = []
        self.winner: Address | None = None

    async def run(self, addresses: Sequence[Address]) -> Session | None:
        """Return the session of the first that lets us in, or None when none does."""
        waiting = list(addresses)
        running: dict[asyncio.Task[Session], Address] = {}
        try:
            while waiting or running:
                if waiting:
                    address = waiting.pop(0)
                    work = self._introduce(address, self._expected)
                    running[asyncio.get_running_loop().create_task(work)] = address
                done, _ = await asyncio.wait(
                    running,
                    timeout=STAGGER_S if waiting else None,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                for task in done:
                    address = running.pop(task)
                    try:
                        session = task.result()
                    except IntroductionFailed as error:
                        self.failures.append((address, error))
                        self._say_failure(address, error)
                    else:
                        self.winner = address
                        return session
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        return None

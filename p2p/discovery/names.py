"""Seeds that are names, like a cluster's headless service: one name, many addresses that change.

Every half minute each name is resolved again, in a thread of its own, since a resolver may hang for
long; and each address where nobody is known is knocked at. Meeting one of them is not enough:
nodes that started together may each have met another one, and would stay islands for ever.

An address that leads nowhere is knocked at less often, down to every fourth round. What a name
stands for no more is forgotten, so that the addresses of machines long gone do not pile up.

What this module does not know: doors, peers, what a knock leads to.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import threading
from collections.abc import Awaitable, Callable, Iterable, Sequence

from p2p.discovery.addresses import Address, as_ip, is_dialable

RESOLVE_EVERY_S = 30.0
FIRST_PAUSE_S = 2.0  # doubled until it is the above: at the start others come up just now, too
JITTER = 0.2
LONGEST_WAIT = 4  # rounds
MAX_ADDRESSES = 32  # of one name in one round
TIMEOUT_S = 5.0

Resolve = Callable[[Address], Awaitable[Sequence[Address]]]


class NamedSeeds:
    """
    Args:
        seeds: those that are addresses already are left alone.
        resolve: returns what a name stands for now; nothing when it does not know.
        knock: called on the loop for an address; must not block or raise. False: a peer is known to
            live there, and nothing was tried.
    """

    def __init__(
        self,
        seeds: Iterable[Address],
        resolve: Resolve,
        knock: Callable[[Address], bool],
        rng: random.Random,
    ) -> None:
        self._names = tuple(seed for seed in seeds if as_ip(seed.host) is None)
        self._resolve = resolve
        self._knock = knock
        self._rng = rng
        self._tries: dict[Address, int] = {}  # rounds since we began, of what leads nowhere so far
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, if there is a name among them."""
        if self._names:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="named seeds")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _run(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            found: list[Address] = []
            for name in self._names:
                usable = (each for each in await self._resolve(name) if is_dialable(each.host))
                found += list(dict.fromkeys(usable))[:MAX_ADDRESSES]
            self._tries = {address: self._visit(address) for address in found}
            await asyncio.sleep(pause_s * (1 + JITTER * self._rng.uniform(-1, 1)))
            pause_s = min(RESOLVE_EVERY_S, pause_s * 2)

    def _visit(self, address: Address) -> int:
        """Knock if it is time to; returns the rounds in vain after it."""
        rounds = self._tries.get(address, 0)
        is_due = rounds in (0, 1, 2) or rounds % LONGEST_WAIT == 0
        if is_due and not self._knock(address):
            return 0
        return rounds + 1


async def resolve_name(seed: Address, timeout_s: float = TIMEOUT_S) -> tuple[Address, ...]:
    """Ask this machine's resolver; returns nothing when it fails, or does not answer in time."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[tuple[Address, ...]] = loop.create_future()

    def give(found: tuple[Address, ...]) -> None:
        if not answer.done():
            answer.set_result(found)

    def ask() -> None:
        try:
            rows = socket.getaddrinfo(seed.host, seed.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            rows = []
        found = tuple(dict.fromkeys(Address(str(row[4][0]), seed.port) for row in rows))
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(give, found)

    # A thread of a pool would be waited for when the process ends, for as long as a resolver hangs.
    threading.Thread(target=ask, name="resolving", daemon=True).start()
    try:
        async with asyncio.timeout(timeout_s):
            return await answer
    except TimeoutError:
        return ()

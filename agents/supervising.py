"""`conclave up --restart`: a process that begins its node anew when the node has ended badly.

The node runs as a child. Between the two there is a pair of sockets: the child says that it is up,
and it leaves in peace when this process is gone, so that no node stays behind unsupervised.

    the node ended                                  what follows
    well, or after a signal that was passed on      this process ends with its status
    badly, and never was up in any of its lives     the same: what is wrong has to be mended first
    because it was revoked                          the same: it will be so in every life
    badly                                           it begins again, after about 1, 2, 4 ... 60 s
    badly, more than N times in ten minutes         this process ends with the last status

What this module does not know: what the child does, arguments of the command line.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from agents.health import restart_delay_ms

LINK: Final = "CONCLAVE_SUPERVISOR"  # the number of the child's socket
DEFAULT_RESTARTS: Final = 5
WINDOW_MS: Final = 600_000
GRACE_S: Final = 10.0
UP: Final = b"u"
_SIGNALED: Final = 128
REVOKED_STATUS: Final = 77  # sysexits.h: EX_NOPERM


class Again(NamedTuple):
    """Begin it anew, after a while."""

    after_ms: int
    number: int


class End(NamedTuple):
    """End with its status.

    Attributes:
        why: what a person has to know, if anything.
    """

    why: str = ""


class Restarts:
    """What follows when a node ends; reads no clock.

    Args:
        limit: how many restarts there may be within the window.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._times: deque[int] = deque()
        self._has_been_up = False

    def ended(self, status: int, now_ms: int, draw: float, *, was_up: bool) -> Again | End:
        """A node has ended that nobody asked to.

        Args:
            status: as a process has it, negative for a signal.
            draw: from 0 to 1, for the delay.
        """
        self._has_been_up = self._has_been_up or was_up
        if status == 0:
            return End()
        if status == REVOKED_STATUS:
            return End("it was revoked, and would be refused again")
        if not self._has_been_up:
            return End("" if status > 0 else "it was killed before it was up")
        while self._times and now_ms - self._times[0] >= WINDOW_MS:
            self._times.popleft()
        if len(self._times) >= self._limit:
            minutes = WINDOW_MS // 60_000
            return End(
                f"it was begun anew {len(self._times)} times within {minutes} minutes; "
                "look into its log, and bring it up again when the reason is mended"
            )
        self._times.append(now_ms)
        count = len(self._times)
        return Again(restart_delay_ms(count - 1, draw), count)


def status_of(status: int) -> int:
    """Return a process's status as a shell shows it."""
    return status if status >= 0 else _SIGNALED - status


# -- the child's side --------------------------------------------------------------------------


class Supervisor:
    """The process above this one."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link

    def say_up(self) -> None:
        """This node is up."""
        with contextlib.suppress(OSError):
            self._link.send(UP)

    def when_gone(self, leave: Callable[[], None]) -> None:
        """Have a function called on the running loop when nobody supervises us any more."""
        loop = asyncio.get_running_loop()

        def gone() -> None:
            loop.remove_reader(self._link)
            leave()

        loop.add_reader(self._link, gone)


def supervisor() -> Supervisor | None:
    """Return the process above, if there is one; what this process starts is not its child."""
    number = os.environ.pop(LINK, "")
    try:
        link = socket.socket(fileno=int(number))
        link.setblocking(False)
        link.set_inheritable(False)
    except (ValueError, OSError):
        return None
    return Supervisor(link)


# -- the parent's side -------------------------------------------------------------------------


def supervise(command: Sequence[str], limit: int) -> int:
    """Run a command, again and again if need be, and return the last one's status."""
    return asyncio.run(_Parent(command, limit).run())


class _Parent:
    def __init__(self, command: Sequence[str], limit: int) -> None:
        self._command = list(command)
        self._restarts = Restarts(limit)
        self._rng = random.SystemRandom()
        self._stop = asyncio.Event()
        self._signal = signal.SIGTERM
        self._child: asyncio.subprocess.Process | None = None

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._asked_to_stop, number)
        while True:
            status, was_up = await self._life()
            if self._stop.is_set():
                return status_of(status)
            next_ = self._restarts.ended(
                status, time.monotonic_ns() // 1_000_000, self._rng.random(), was_up=was_up
            )
            how = f"by signal {-status}" if status < 0 else f"with status {status}"
            if isinstance(next_, End):
                if next_.why:
                    _say(f"the node has ended {how}: {next_.why}")
                return status_of(status)
            after_s = next_.after_ms / 1000
            _say(f"the node has ended {how}; restart {next_.number} in {after_s:.1f} s")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(after_s):
                    await self._stop.wait()
                return status_of(status)

    async def _life(self) -> tuple[int, bool]:
        """Run it once; its status, and whether it was up."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self._child = await asyncio.create_subprocess_exec(
                *self._command,
                env={**os.environ, LINK: str(theirs.fileno())},
                pass_fds=(theirs.fileno(),),
            )
            theirs.close()
            if self._stop.is_set():
                self._pass_on(self._signal)
            killing = asyncio.ensure_future(self._kill_late())
            status = await self._child.wait()
            killing.cancel()
            self._child = None
            ours.setblocking(False)
            try:
                was_up = ours.recv(1) == UP
            except OSError:
                was_up = False
        return status, was_up

    def _asked_to_stop(self, number: signal.Signals) -> None:
        self._signal = signal.SIGTERM if number == signal.SIGHUP else number
        self._stop.set()
        self._pass_on(self._signal)

    def _pass_on(self, number: signal.Signals) -> None:
        if self._child is not None:
            with contextlib.suppress(ProcessLookupError):
                self._child.send_signal(number)

    async def _kill_late(self) -> None:
        """A node that was asked to leave and does not is ended."""
        await self._stop.wait()
        await asyncio.sleep(GRACE_S)
        _say(f"the node has not left within {GRACE_S:g} s and is killed")
        self._pass_on(signal.SIGKILL)


def _say(text: str) -> None:
    sys.stderr.write(f"conclave: {text}\n")


def own_command(words: Sequence[str]) -> list[str]:
    """Return how to run this program with these words in another process."""
    return [sys.executable, "-m", "agents.cli", *words]

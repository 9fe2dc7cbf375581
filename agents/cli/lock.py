"""`conclave lock NAME -- COMMAND...`: run a command while this machine holds a lock.

The command runs in a session of its own, so that all it has started can be stopped with it. When
this process is killed without a word the command goes on, and the lock ends with its lease: what
must not be done twice checks CONCLAVE_LOCK_TOKEN.

What this module does not know: how the lock is held.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
from asyncio.subprocess import Process

from agents.cli.attached import ask_node
from agents.keeping.locks import Lock
from agents.net import Net

TOKEN = "CONCLAVE_LOCK_TOKEN"  # noqa: S105 - the name of a variable
EXIT_SIGNAL = 128


def run(arguments: argparse.Namespace) -> int:
    """Hold the lock, run the command, return its exit status.

    Raises:
        LockLost: the lock was lost, and the command stopped.
        LockHeld, NoQuorum: it was not run.
    """

    async def ask(net: Net) -> int:
        lock = net.lock(arguments.name, lease=arguments.lease, timeout=arguments.wait)
        async with lock:
            return await _run(lock, arguments.words, arguments.grace)

    return ask_node(arguments, ask)


async def _run(lock: Lock, words: list[str], grace_s: float) -> int:
    environment = {**os.environ, TOKEN: str(lock.token)}
    command = await asyncio.create_subprocess_exec(*words, env=environment, start_new_session=True)
    loop = asyncio.get_running_loop()
    stops = (signal.SIGINT, signal.SIGTERM)
    for number in stops:
        loop.add_signal_handler(number, _send, command, number)
    ended = asyncio.ensure_future(command.wait())
    lost = asyncio.ensure_future(lock.lost.wait())
    try:
        await asyncio.wait({ended, lost}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        lost.cancel()
        if not ended.done():
            await _stop(command, grace_s)
        await ended
        for number in stops:
            loop.remove_signal_handler(number)
    status = ended.result()
    return status if status >= 0 else EXIT_SIGNAL - status


async def _stop(command: Process, grace_s: float) -> None:
    """Ask it to end, and end it after a while."""
    _send(command, signal.SIGTERM)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(grace_s):
            await command.wait()
    _send(command, signal.SIGKILL)


def _send(command: Process, number: signal.Signals) -> None:
    """To it and whatever it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(command.pid, number)

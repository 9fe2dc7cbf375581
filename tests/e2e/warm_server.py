"""Processes of `conclave` that begin where their imports have ended.

A command imports some hundreds of modules, which costs more than most commands do. This process
imports them once and forks: each child is a process of its own, with a pid, signals, descriptors,
an environment and an end of its own, and runs `agents.cli.main` as `python -m agents.cli` does, or
a script as `python SCRIPT` does.

Asked over the socket that is descriptor 0, or by `warm_client.py` over one that listens as the
descriptor in the only argument: one JSON object a datagram, with four descriptors, which are the
child's standard input, output and error, and a pipe. On the pipe stand a line with the child's pid
and a line with its wait status, once it has ended. When the first socket ends, so do this and all
children.

What this module does not know: what the commands do; who asks.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import sys
import threading
import traceback
from typing import Any, NoReturn

from agents.cli.main import main

LARGEST = 1 << 20


class Became(Exception):
    """No error: this is a child now, and has this to run."""

    def __init__(self, asked: dict[str, Any]) -> None:
        self.asked = asked


def preload() -> None:
    """Everything that a command may import."""
    for name in ("agents", "agents.cli"):
        package = importlib.import_module(name)
        for module in pkgutil.iter_modules(package.__path__, f"{name}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    gc.collect()
    gc.freeze()  # nothing of this is looked at again, so it stays shared


def serve(asking: socket.socket, door: socket.socket) -> None:
    """Fork for whoever asks, until nobody can any more; a child leaves by `Became`."""
    woken, wakes = os.pipe()
    os.set_blocking(wakes, False)
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(wakes)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever runs the tests
    pipes: dict[int, int] = {}
    try:
        while True:
            ready, _, _ = select.select([asking, door, woken], [], [])
            if woken in ready:
                os.read(woken, 4096)
                reap(pipes)
            if door in ready:
                knocking, _ = door.accept()
                with knocking:
                    began(knocking, pipes, (woken, wakes))
            if asking in ready and not began(asking, pipes, (woken, wakes)):
                return
    finally:
        for pid in pipes:
            os.kill(pid, signal.SIGKILL)


def began(asking: socket.socket, pipes: dict[int, int], own: tuple[int, int]) -> bool:
    """Fork for one who asks; whether somebody did."""
    data, given, _, _ = socket.recv_fds(asking, LARGEST, 4)
    if not data:
        return False
    pid = os.fork()
    if pid == 0:
        signal.set_wakeup_fd(-1)
        for each in (*own, given[3], *pipes.values()):
            os.close(each)
        pipes.clear()
        become(given[:3])
        raise Became(json.loads(data))
    for each in given[:3]:
        os.close(each)
    pipes[pid] = given[3]
    tell(given[3], pid)
    return True


def tell(pipe: int, number: int) -> None:
    with contextlib.suppress(BrokenPipeError):  # who asked may have been killed
        os.write(pipe, b"%d\n" % number)


def reap(pipes: dict[int, int]) -> None:
    """Tell of those that have ended."""
    while pipes:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        pipe = pipes.pop(pid)
        tell(pipe, status)
        os.close(pipe)


def become(standard: list[int]) -> None:
    """Put a child's standard files in place, as the interpreter would at its start."""
    for number, each in enumerate(standard):
        os.dup2(each, number)
        os.close(each)
    sys.stdin = sys.__stdin__ = open(0, closefd=False)  # noqa: SIM115 - until the end
    sys.stdout = sys.__stdout__ = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.__stderr__ = open(  # noqa: SIM115
        2, "w", buffering=1, errors="backslashreplace", closefd=False
    )
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def run(asked: dict[str, Any]) -> int:
    """What the interpreter would do, and its exit status."""
    os.environ.clear()
    os.environ.update(asked["env"])
    os.chdir(asked["cwd"])
    script = asked.get("script")
    sys.argv = [script or "conclave", *asked["words"]]
    try:
        if script is not None:
            sys.path.insert(0, os.path.dirname(script))
            runpy.run_path(script, run_name="__main__")
            return 0
        sys.exit(main())
    except SystemExit as end:
        if not isinstance(end.code, int | None):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - the interpreter, too, prints whatever it is
        traceback.print_exc()
        return 1


def leave(status: int) -> NoReturn:
    """The end of an interpreter, without the taking down of all its modules."""
    threading._shutdown()
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
    except OSError:
        status = 120
    os._exit(status)


if __name__ == "__main__":
    del sys.path[0]  # the tests' own directory
    channel = socket.socket(fileno=os.dup(0))
    knocked = socket.socket(fileno=int(sys.argv[1]))
    preload()
    try:
        serve(channel, knocked)
    except Became as child:
        channel.close()
        knocked.close()
        wanted = child.asked
    else:
        sys.exit()
    leave(run(wanted))

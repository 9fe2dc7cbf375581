"""The asking side of `warm_server.py`: processes that cost a fork and no imports.

`Warm` is to a test what `subprocess.Popen` is: a pid, an end, signals. Where the start of the
interpreter or what it imports is what a test is about, that test starts `python -m agents.cli`.

What this module does not know: what the processes do.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]


@cache
def _server() -> tuple[socket.socket, Path]:
    """One for each process of pytest, and where scripts find it; it ends with it."""
    place = tempfile.TemporaryDirectory(prefix="warm-")
    door = Path(place.name) / "door"
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listening.bind(str(door))
    listening.listen(64)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    env = {k: v for k, v in os.environ.items() if not k.startswith("CONCLAVE_")}
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("warm_server.py")), str(listening.fileno())],
        stdin=theirs,
        env={**env, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        pass_fds=[listening.fileno()],
    )
    theirs.close()
    listening.close()

    def end() -> None:
        ours.close()
        process.wait()
        place.cleanup()

    atexit.register(end)
    return ours, door


def program(directory: Path, script: Path | None = None) -> Path:
    """Make a program `conclave` there, for scripts that have it on their PATH."""
    _, door = _server()
    directory.mkdir()
    file = directory / "conclave"
    client = Path(__file__).with_name("warm_client.py")
    file.write_text(
        f'#!/bin/sh\nexec {sys.executable} -I -S {client} {door} {script or "-"} "$@"\n'
    )
    file.chmod(0o755)
    return file


class Warm:
    """A running `conclave`, or a script in its place; the names are those of `subprocess.Popen`."""

    def __init__(
        self,
        words: Sequence[str],
        *,
        stdin: int,
        stdout: int,
        stderr: int,
        env: Mapping[str, str],
        cwd: Path = ROOT,
        script: Path | None = None,
    ) -> None:
        told, tells = os.pipe()
        asked = {"words": list(words), "env": dict(env), "cwd": str(cwd)}
        asked |= {} if script is None else {"script": str(script)}
        socket.send_fds(_server()[0], [json.dumps(asked).encode()], [stdin, stdout, stderr, tells])
        os.close(tells)
        self._told, self._said = told, b""
        self.returncode: int | None = None
        while b"\n" not in self._said:
            self._listen(None)
        self.pid = int(self._said.split(b"\n")[0])

    def poll(self) -> int | None:
        if self.returncode is None:
            while self._listen(0):
                pass
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        until = None if timeout is None else time.monotonic() + timeout
        while self.returncode is None:
            left = None if until is None else until - time.monotonic()
            if left is not None and left <= 0:
                raise subprocess.TimeoutExpired("conclave", timeout or 0)
            self._listen(left)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it has ended, and we have not been told
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _listen(self, seconds: float | None) -> bool:
        """Take what the server tells; whether there was something, and may be more."""
        if self.returncode is not None or not select.select([self._told], [], [], seconds)[0]:
            return False
        data = os.read(self._told, 64)
        self._said += data
        lines = self._said.split(b"\n")
        if len(lines) > 2:
            self.returncode = os.waitstatus_to_exitcode(int(lines[1]))
        assert data or self.returncode is not None, "the server of warm processes has ended"
        if self.returncode is not None:
            os.close(self._told)
            return False
        return True

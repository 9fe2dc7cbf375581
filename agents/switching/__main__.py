"""The switch that the cables of all hosts of one run end in: a process, in a namespace of its own.

`python -m agents.switching`. It reads commands from its standard input, one JSON a line, and
answers each by one line. When its input ends it ends too, and with it every device it made: so
whatever ends the run, no cable is left.

    {"add": "a", "address": "020000000001"}  ->  {"device": "p1"}: a new device, which is to be
                                                 moved to its host
    {"cuts": [["a", "b"]], "links": [["a", "b", {"loss": 0.1}]]}  ->  {}
    {"counts": []}  ->  {"passed": 120}

What this module does not know: what bad links do (`links`), where devices are moved.

Source: the kernel's Documentation/networking/tuntap.rst.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import select
import struct
import time
from typing import Any

from agents.switching.links import Links
from agents.switching.trouble import LinkTrouble, Trouble

TUN = "/dev/net/tun"
TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI = 0x0002, 0x1000
INPUT, OUTPUT = 0, 1
FRAME_BYTES = 2048  # an ethernet frame has 1514; checksums are made by then, none is joined
COMMAND_BYTES = 1 << 20
TURN = 64  # frames of one host before the next one's
MOST_WAIT_S = 10.0
HASTE = -10  # a switch does not become slow when its nodes are busy


class Switch:
    """Devices, and what is read from each."""

    def __init__(self) -> None:
        self._links = Links(random.SystemRandom())
        self._names: dict[int, str] = {}
        self._files: dict[str, int] = {}
        self._said = b""

    def serve(self) -> None:
        """Do it until the input ends."""
        os.set_blocking(INPUT, False)
        while True:
            ready, _, _ = select.select([INPUT, *self._names], [], [], self._wait_s())
            self._deliver()
            if INPUT in ready:
                words = os.read(INPUT, COMMAND_BYTES)
                if not words:
                    return
                self._hear(words)
            for file in ready:
                if file in self._names:
                    self._take(file)
            self._deliver()

    def _wait_s(self) -> float:
        deadline_us = self._links.deadline_us
        if deadline_us is None:
            return MOST_WAIT_S
        return min(MOST_WAIT_S, max(0.0, (deadline_us - _now_us()) / 1e6))

    # -- frames --------------------------------------------------------------------------------

    def _take(self, file: int) -> None:
        name, now_us = self._names[file], _now_us()
        for _ in range(TURN):
            try:
                frame = os.read(file, FRAME_BYTES)
            except BlockingIOError:
                return
            except OSError:  # the host's namespace is gone, and the device with it
                self._forget(file)
                return
            for target in self._links.arrived(name, frame, now_us):
                self._write(target, frame)

    def _deliver(self) -> None:
        for target, frame in self._links.due(_now_us()):
            self._write(target, frame)

    def _write(self, target: str, frame: bytes) -> None:
        file = self._files.get(target)
        if file is not None:
            with contextlib.suppress(OSError):  # not up yet, or gone: as with a real cable
                os.write(file, frame)

    # -- commands ------------------------------------------------------------------------------

    def _hear(self, words: bytes) -> None:
        *lines, self._said = (self._said + words).split(b"\n")
        for line in lines:
            try:
                answer = self._do(json.loads(line))
            except OSError as error:
                answer = {"error": str(error)}
            os.write(OUTPUT, json.dumps(answer).encode() + b"\n")

    def _do(self, command: dict[str, Any]) -> dict[str, Any]:
        if "counts" in command:
            return dict(self._links.counts)
        if "add" in command:
            return {"device": self._add(command["add"], bytes.fromhex(command["address"]))}
        trouble = Trouble(
            frozenset((a, b) for a, b in command["cuts"]),
            tuple((a, b, LinkTrouble(**fields)) for a, b, fields in command["links"]),
        )
        self._links.apply(trouble, _now_us())
        return {}

    def _add(self, name: str, address: bytes) -> str:
        device = f"p{len(self._files) + 1}"
        file = os.open(TUN, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            asked = struct.pack("16sH22x", device.encode(), IFF_TAP | IFF_NO_PI)
            fcntl.ioctl(file, TUNSETIFF, asked)
        except OSError:
            os.close(file)
            raise
        self._names[file], self._files[name] = name, file
        self._links.add(name, address)
        return device

    def _forget(self, file: int) -> None:
        os.close(file)
        del self._files[self._names.pop(file)]


def _now_us() -> int:
    return time.monotonic_ns() // 1000


def main() -> None:
    """Be one."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, HASTE)
    Switch().serve()


if __name__ == "__main__":
    main()

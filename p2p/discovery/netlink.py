"""When the addresses and links of this machine were changed, as the kernel tells it (rtnetlink).

A look at all interfaces is two milliseconds of work, and they hardly ever change; to ask whether
anything was told is one call of the system. Where the kernel tells nothing (not Linux, or a
sandbox) every second is a reason to look, and elsewhere every half minute is, whatever was told.

What this module does not know: interfaces, and what is done about a change.
"""

from __future__ import annotations

import atexit
import os
import socket
from typing import Final

GROUPS: Final = 0x1 | 0x10 | 0x100  # RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR
UNTOLD_MS: Final = 1_000  # where nothing is told, it may have changed in so long
SURELY_MS: Final = 30_000
MOST: Final = 64  # messages at once; what is left is a change the next time
BYTES: Final = 4_096


class MachineChanges:
    """One for a process: whoever asks takes what was told, and all see that it was."""

    def __init__(self) -> None:
        self._pid = 0  # a forked process would share the socket, and each take from the other
        self._socket: socket.socket | None = None
        self._count = 0

    def turn(self, now_ms: int) -> tuple[int, int]:
        """Another pair than before where the machine may have changed since."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._socket = _listen()
            self._count += 1
        if self._socket is None:
            return self._count, now_ms // UNTOLD_MS
        self._count += _has_told(self._socket)
        return self._count, now_ms // SURELY_MS


def _listen() -> socket.socket | None:
    family = getattr(socket, "AF_NETLINK", None)
    if family is None:
        return None
    try:
        route = socket.socket(family, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    except OSError:
        return None
    try:
        route.bind((0, GROUPS))
    except OSError:
        route.close()
        return None
    atexit.register(route.close)  # the process has it until then, and ends without a warning
    return route


def _has_told(route: socket.socket) -> bool:
    """Whether anything came since this was asked; what it says does not matter."""
    for came in range(MOST):
        try:
            route.recv(BYTES)
        except BlockingIOError:
            return came > 0
        except OSError:
            continue  # more was told than the kernel keeps: it is a change all the same
    return True

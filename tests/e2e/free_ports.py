"""Ports for doors: free now, and asked for by no other worker of the same run.

Below those that the kernel hands out by itself, which another test's connection could take between
this look and the node's start.
"""

from __future__ import annotations

import os
import random
import socket
from contextlib import ExitStack

LOOPBACK = "127.0.0.1"
PORTS = 9  # a door, and what may be bound behind it
WORKERS = 16
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % WORKERS


def free_port() -> int:
    """A port that is free now, and so are the eight after it."""
    while True:
        port = 10_000 + (random.SystemRandom().randrange(125) * WORKERS + WORKER) * 10
        with ExitStack() as stack:
            try:
                for further in range(PORTS):
                    stack.enter_context(socket.socket()).bind((LOOPBACK, port + further))
            except OSError:
                continue
            return port

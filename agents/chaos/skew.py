"""The time of day of one node: wrong by as much as a script says, while its process runs.

Linux has no namespaces for the time of day (its time namespaces know only clocks that measure
durations), and `libfaketime` 0.9.10 breaks `time.sleep` of Python 3.11 and later, whose waits end
at a moment of the monotonic clock. So the kit starts its nodes by a module of its own, `skewed`,
which puts another clock into Python's `time` and then does what `conclave` does. Nothing in a node
knows of it, and `conclave up` has no such switch.

What this module does not know: nodes, scripts; who starts the processes.

Invariant: whoever reads the file reads a whole offset: it is written at once, in its place.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from mmap import ACCESS_READ, ACCESS_WRITE, mmap
from pathlib import Path

OFFSET = struct.Struct("=q")  # nanoseconds
MODULE = "agents.chaos.skewed"


class Skew:
    """How far one node's clock is off.

    Args:
        file: tells the node's processes; it is made.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.offset_ms = 0
        file.write_bytes(OFFSET.pack(0))
        self._there = _mapped(file, ACCESS_WRITE)

    def set(self, offset_ms: int) -> None:
        """From now on, for processes that run and for those to come."""
        self.offset_ms = offset_ms
        self._there[:] = OFFSET.pack(offset_ms * 1_000_000)

    def words(self) -> tuple[str, ...]:
        """What Python runs instead of `conclave`'s module."""
        return ("-m", MODULE, str(self._file))


def offset_reader(file: Path) -> Callable[[], int]:
    """Return what says how many nanoseconds the clock is off just now."""
    there = _mapped(file, ACCESS_READ)
    return lambda: int(OFFSET.unpack_from(there)[0])


def _mapped(file: Path, access: int) -> mmap:
    with file.open("r+b" if access == ACCESS_WRITE else "rb") as opened:
        return mmap(opened.fileno(), OFFSET.size, access=access)

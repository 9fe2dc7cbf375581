"""Makes the thread that encrypts bulk stand back behind all others, and never stand still.

On a machine with few cores the encryption of a stream would otherwise take turns with the event
loop and with the heartbeats' thread, and small calls would wait for it. libzmq has one priority for
all threads of a context, so the one thread is found by its name. On Linux only; elsewhere the
scheduler decides.

- NICE gives it a tenth of a core beside a program that never rests. Under SCHED_IDLE it had a 300th
  part: beside two such programs on two cores streams did 4 MB/s instead of 140, and on a
  machine with more to do no bulk connection came up before its time was over.
- SCHED_BATCH: it never takes the processor from somebody who runs.
- SLICE_NS, understood since Linux 6.12: whoever wakes up waits for the end of the slice that runs,
  which is otherwise 3 ms here. Small calls beside a stream wait a little longer than under
  SCHED_IDLE all the same: docs/performance.md has the figures.

What this module does not know: sockets, lanes.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import struct
import time
from collections.abc import Iterator
from pathlib import Path

NICE = 10
SLICE_NS = 100_000  # the shortest that there is
LOOKS, LOOK_AGAIN_S = 20, 0.001
_BULK_NAME = "ZMQbg/IO/1"
_TASKS = Path("/proc/self/task")
# The number of the system call sched_setattr; Python has no word for it.
_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274, "riscv64": 274}
_ATTRIBUTES = struct.Struct("=IIQiIQQQ")  # `struct sched_attr` as it was first


@contextlib.contextmanager
def gentle_bulk_thread() -> Iterator[None]:
    """Whatever bulk thread is started inside the block stands back."""
    before = _threads()
    yield
    for thread in _threads() - before:
        with contextlib.suppress(OSError):
            if _name_of(thread) == _BULK_NAME:
                nice = min(os.getpriority(os.PRIO_PROCESS, thread) + NICE, 19)
                os.sched_setscheduler(thread, os.SCHED_BATCH, os.sched_param(0))
                os.setpriority(os.PRIO_PROCESS, thread, nice)
                _shorten_slice(thread, nice)


def _shorten_slice(thread: int, nice: int) -> None:
    """An older kernel takes no notice, and a stricter one refuses: it is nice in any case."""
    number = _SCHED_SETATTR.get(platform.machine())
    if number is None or struct.calcsize("P") != 8:
        return
    size = _ATTRIBUTES.size
    told = _ATTRIBUTES.pack(size, os.SCHED_BATCH, 0, nice, 0, SLICE_NS, 0, 0)
    ctypes.CDLL(None).syscall(number, thread, ctypes.c_char_p(told), 0)


def _name_of(thread: int) -> str:
    """A thread of libzmq gives itself its name a moment after it was started."""
    name = ""
    for _ in range(LOOKS):
        name = (_TASKS / str(thread) / "comm").read_text().strip()
        if name.startswith("ZMQ"):
            break
        time.sleep(LOOK_AGAIN_S)
    return name


def _threads() -> set[int]:
    try:
        return {int(entry) for entry in os.listdir(_TASKS)}
    except OSError:  # no such directory: not Linux
        return set()

"""Makes the thread that encrypts bulk give way to all others.

On a machine with few cores the encryption of a stream would otherwise take turns with the event
loop and with the heartbeats' thread, and small calls would wait for it. libzmq has one priority for
all threads of a context, so the one thread is found by its name. On Linux only; elsewhere the
scheduler decides.

A nice thread is not enough: whoever wakes up waits for the end of its slice, which without
high-resolution ticks is up to 4 ms. One under SCHED_IDLE is preempted at once, and a processor that
runs nothing else counts as free when the scheduler looks for a place. The thread does get its turns
on a machine that is never idle, though fewer.

What this module does not know: sockets, lanes.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

NICE = 19
LOOKS, LOOK_AGAIN_S = 20, 0.001
_BULK_NAME = "ZMQbg/IO/1"
_TASKS = Path("/proc/self/task")


@contextlib.contextmanager
def gentle_bulk_thread() -> Iterator[None]:
    """Whatever bulk thread is started inside the block gives way."""
    before = _threads()
    yield
    for thread in _threads() - before:
        with contextlib.suppress(OSError):
            if _name_of(thread) == _BULK_NAME:
                own = os.getpriority(os.PRIO_PROCESS, thread)
                os.setpriority(os.PRIO_PROCESS, thread, min(own + NICE, 19))
                os.sched_setscheduler(thread, os.SCHED_IDLE, os.sched_param(0))


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

"""A process that gets a tenth of a processor, as on a machine with far too much to do.

Where control groups may be made, by a quota that it shares with one that never rests: the kernel
then stops both for most of each tenth of a second. Elsewhere by SIGSTOP and SIGCONT.

What this module does not know: what the process is.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PERIOD_S = 0.1
SHARE = 0.1
GROUPS_1 = Path("/sys/fs/cgroup/cpu")
GROUPS_2 = Path("/sys/fs/cgroup")
BURN = "while True: pass"


@contextmanager
def starved(pid: int) -> Iterator[str]:
    """Starve a process; yields by what means."""
    group = _new_group()
    if group is None:
        with _stopped_and_continued(pid):
            yield f"runs {SHARE:.0%} of each {PERIOD_S:g} s (SIGSTOP, SIGCONT)"
        return
    burner = subprocess.Popen([sys.executable, "-c", BURN])
    home = _group_of(pid, group)
    try:
        for each in (burner.pid, pid):
            (group / "cgroup.procs").write_text(str(each))
        yield f"shares {SHARE:.0%} of a processor with a busy loop (quota of a control group)"
    finally:
        with suppress(OSError):  # it has ended, or its group has
            (home / "cgroup.procs").write_text(str(pid))
        burner.kill()
        burner.wait()
        _remove(group)


def _new_group() -> Path | None:
    """Make a group with the quota, or return None where that is not permitted."""
    period_us, quota_us = round(PERIOD_S * 1e6), round(PERIOD_S * SHARE * 1e6)
    name = f"conclave-starved-{os.getpid()}"
    for groups, files in (
        (GROUPS_1, {"cpu.cfs_period_us": f"{period_us}", "cpu.cfs_quota_us": f"{quota_us}"}),
        (GROUPS_2, {"cpu.max": f"{quota_us} {period_us}"}),
    ):
        if not (groups / "cgroup.procs").exists():
            continue
        group = groups / name
        try:
            group.mkdir()
            for file, text in files.items():
                if not (group / file).exists():  # the controller is not there for us
                    raise FileNotFoundError(file)
                (group / file).write_text(text)
        except OSError:
            with suppress(OSError):
                group.rmdir()
            continue
        return group
    return None


def _group_of(pid: int, group: Path) -> Path:
    """Return where a process is now, to put it back there."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        wanted = "cpu" if group.parent == GROUPS_1 else ""
        if wanted in controllers.split(","):
            return group.parent / path.lstrip("/")
    return group.parent


def _remove(group: Path) -> None:
    until_s = time.monotonic() + 5
    while time.monotonic() < until_s:
        with suppress(OSError):  # who was in it has not quite gone
            group.rmdir()
            return
        time.sleep(0.05)


@contextmanager
def _stopped_and_continued(pid: int) -> Iterator[None]:
    over = threading.Event()

    def hold() -> None:
        while not over.is_set():
            os.kill(pid, signal.SIGSTOP)
            over.wait(PERIOD_S * (1 - SHARE))
            os.kill(pid, signal.SIGCONT)
            over.wait(PERIOD_S * SHARE)

    thread = threading.Thread(target=hold, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()

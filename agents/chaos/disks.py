"""Disks for the nodes of one run: file systems in memory, which can be made full.

A full one is made as small as what it holds: nothing more can be written, as on a disk whose rest
somebody else has filled. What is there can still be read and removed.

What this module does not know: nodes, what they write.

Invariants: `close` leaves no mount behind; `detach` does so for a directory whose owner is dead.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from agents.chaos.errors import ChaosError
from agents.chaos.programs import run_program

SIZE_BYTES = 1 << 30  # memory is taken for what is written, no more
TRIES = 20  # what the node writes or removes meanwhile may make a size wrong
MOUNTS = Path("/proc/self/mountinfo")
MOUNT_POINT = 4  # the field there; see proc(5)


class Disks:
    """
    Args:
        directory: the mount points are made there.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._made: list[Path] = []

    def add(self, name: str) -> Path:
        """Make one, and return its root.

        Raises:
            ChaosError: this machine cannot.
        """
        place = self._directory / name
        place.mkdir(mode=0o700)
        words = [
            "-t",
            "tmpfs",
            "-o",
            f"size={SIZE_BYTES},mode=0700",
            f"conclave-{name}",
            str(place),
        ]
        run_program(["mount", *words])
        self._made.append(place)
        return place

    def fill(self, name: str) -> None:
        """Let it be full.

        Raises:
            ChaosError: this machine cannot.
        """
        place = self._directory / name
        for number in range(TRIES):
            before = os.statvfs(place)
            used_bytes = (before.f_blocks - before.f_bfree) * before.f_frsize
            try:
                _resize(place, used_bytes)
            except ChaosError:  # the node has written meanwhile: it does not fit any more
                if number == TRIES - 1:
                    raise
                continue
            if os.statvfs(place).f_bavail == 0:
                return
        raise ChaosError(f"{place}: the node removes files faster than its disk can be filled")

    def free(self, name: str) -> None:
        """Let it have room again."""
        _resize(self._directory / name, SIZE_BYTES)

    def close(self) -> None:
        """Take them all away, with what they hold."""
        for place in self._made:
            with contextlib.suppress(ChaosError):
                _unmount(place)
        self._made.clear()


def detach(directory: Path) -> None:
    """Take away whatever is mounted below a directory."""
    for line in MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        place = Path(re.sub(r"\\(\d{3})", _character, line.split()[MOUNT_POINT]))
        if directory in place.parents:
            with contextlib.suppress(ChaosError):
                _unmount(place)


def _resize(place: Path, size_bytes: int) -> None:
    run_program(["mount", "-o", f"remount,size={size_bytes}", str(place)])


def _unmount(place: Path) -> None:
    run_program(["umount", "--lazy", str(place)])  # also where a process that dies still has files


def _character(found: re.Match[str]) -> str:
    """Spaces and the like stand in that file as octal numbers."""
    return chr(int(found[1], 8))

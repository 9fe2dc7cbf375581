"""Disks for the nodes of one run: file systems in memory, which can be made full.

A full one is made about as small as what it holds, and the rest is taken by a file beside: nothing
more can be written, as on a disk that somebody else has filled. What is there can still be read and
removed; what is removed makes room.

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
REST_BYTES = 256 << 10  # what its node may write while it is being resized; then more is tried
TRIES = 10
BALLAST = "taken"
BLOCK_BYTES = 4096
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
        """Let it be full, also while its node writes.

        Raises:
            ChaosError: this machine cannot.
        """
        place = self._directory / name
        for number in range(TRIES):
            has = os.statvfs(place)
            used_bytes = (has.f_blocks - has.f_bfree) * has.f_frsize
            with contextlib.suppress(ChaosError):  # more was written meanwhile: it does not fit
                _resize(place, used_bytes + (REST_BYTES << number))
                break
        else:
            raise ChaosError(f"{place}: the node writes faster than its disk can be filled")
        with (place / BALLAST).open("ab", buffering=0) as ballast, contextlib.suppress(OSError):
            while True:
                ballast.write(bytes(BLOCK_BYTES))

    def free(self, name: str) -> None:
        """Let it have room again."""
        place = self._directory / name
        (place / BALLAST).unlink(missing_ok=True)
        _resize(place, SIZE_BYTES)

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

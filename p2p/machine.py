"""How busy the machine is and how much memory it has left, as its system says.

What this module does not know: who is told, what the other programs do.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, NamedTuple

MEMINFO: Final = Path("/proc/meminfo")
GROUP: Final = Path("/sys/fs/cgroup")


class Machine(NamedTuple):
    """Both from 0 to 1000.

    Attributes:
        busy_permille: the share of its processors that was wanted in the last minute.
        free_permille: of its memory, or of what this container may have.
    """

    busy_permille: int = 0
    free_permille: int = 1000


def look_at_machine(meminfo: Path = MEMINFO, group: Path = GROUP) -> Machine:
    """Return how the machine is now; where the system does not say, that it is idle and empty."""
    try:
        wanted = os.getloadavg()[0]
    except OSError:
        wanted = 0.0
    busy = int(1000 * wanted / (os.cpu_count() or 1))
    return Machine(max(0, min(1000, busy)), min(_free(meminfo), _free_of_group(group)))


def _free(path: Path) -> int:
    rows = _rows(path)
    return _share(rows.get("MemAvailable:", 0), rows.get("MemTotal:", 0))


def _free_of_group(folder: Path) -> int:
    """Of what a container may have: files that are only cached can go."""
    try:
        most = int((folder / "memory.max").read_text(encoding="ascii"))
        used = int((folder / "memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 1000  # there is no limit: it says "max", or no such file is there
    cached = _rows(folder / "memory.stat").get("inactive_file", 0)
    return _share(most - max(0, used - cached), most)


def _rows(path: Path) -> dict[str, int]:
    try:
        rows = [line.split() for line in path.read_text(encoding="ascii").splitlines()]
        return {row[0]: int(row[1]) for row in rows if len(row) > 1}
    except (OSError, ValueError):
        return {}


def _share(part: int, whole: int) -> int:
    return max(0, min(1000, 1000 * part // whole)) if whole > 0 else 1000

"""The doors that a ticket named, kept for the first start after a join.

Where multicast does not pass, a newcomer could not find anybody although it has just talked to a
member. It knocks at these as at seeds; from then on it knows peers of its own.

What this module does not know: tickets, who is behind a door.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from pathlib import Path

from p2p import BadSeed, parse_seed

FILE_NAME = "doors"
MAX_DOORS = 4


def remember_doors(home: Path, addresses: Iterable[str]) -> None:
    """Write down where doors were; a disk that refuses costs only the convenience."""
    path = home / FILE_NAME
    with contextlib.suppress(OSError):
        path.touch(mode=0o600)
        path.write_text(json.dumps(list(addresses)[:MAX_DOORS]) + "\n")


def remembered_doors(home: Path) -> tuple[str, ...]:
    """Return what was written down; missing or damaged means none."""
    try:
        said = json.loads((home / FILE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ()
    found = []
    for text in said if isinstance(said, list) else ():
        if isinstance(text, str):
            with contextlib.suppress(BadSeed):
                parse_seed(text)
                found.append(text)
    return tuple(found[:MAX_DOORS])

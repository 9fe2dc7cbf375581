"""Numbers on the command line: what argparse calls to read them, with the bounds in words.

What this module does not know: which options there are.
"""

from __future__ import annotations

import argparse
import math

MAX_SECONDS = 30 * 86_400.0
MAX_AGO = 1e9
MAX_COUNT = 1_000_000
MAX_PORT = 65_535
MAX_INDEX = 2**62
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def seconds(word: str) -> float:
    """Read a time from 0 to 30 days."""
    return _number(word, 0.0, MAX_SECONDS, "seconds from 0 to 2592000")


def minutes(word: str) -> float:
    """Read a time of at least a second and at most 30 days, in minutes."""
    return _number(word, 1 / 60, MAX_SECONDS / 60, "minutes from 0.017 to 43200")


def ago(word: str) -> float:
    """Read how long ago, in seconds: 90, 90s, 15m, 1h or 2d."""
    unit = _UNITS.get(word[-1:])
    digits = word if unit is None else word[:-1]
    return _number(digits, 0.0, MAX_AGO, "a time such as 90s, 15m, 1h or 2d") * (unit or 1)


def count(word: str) -> int:
    """Read how many: 0 or more."""
    return _whole(word, MAX_COUNT, "a whole number from 0 to 1000000")


def index(word: str) -> int:
    """Read an index of the log, which versions are too."""
    return _whole(word, MAX_INDEX, "a version: a whole number of 0 or more")


def port(word: str) -> int:
    """Read a port; 0 means any."""
    return _whole(word, MAX_PORT, "a port from 0 to 65535")


def _number(word: str, least: float, most: float, wanted: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not least <= value <= most:
        raise argparse.ArgumentTypeError(f"{word!r} is not {wanted}")
    return value


def _whole(word: str, most: int, wanted: str) -> int:
    try:
        value = int(word)
    except ValueError:
        value = -1
    if not 0 <= value <= most:
        raise argparse.ArgumentTypeError(f"{word!r} is not {wanted}")
    return value

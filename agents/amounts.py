"""Seconds and counts that a program gives: judged where they come in.

Infinity, NaN, text and None would fail deep inside, under a name that helps nobody, or wait for
ever. Every part of `Net` that takes a number asks here first, so that it says the same whether the
node is in this process or attached.

What this module does not know: what the number is for; a narrower range is its owner's.
"""

from __future__ import annotations

from typing import Final

from agents.errors import InvalidArguments

LONGEST_S: Final = 100 * 365 * 86_400
MOST: Final = 2**31 - 1


def seconds(what: str, name: str, value: float) -> float:
    """Return a length of time as it was given; one below zero is for its owner to judge.

    Raises:
        InvalidArguments: it is no number, or none of at most a hundred years.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and -LONGEST_S <= value <= LONGEST_S:
        return value
    raise InvalidArguments(
        what, f"{name}={_shown(value)} is no number of seconds up to {LONGEST_S:,}"
    )


def seconds_if_any(what: str, name: str, value: float | None) -> float | None:
    """As `seconds`, where there may be no limit."""
    return None if value is None else seconds(what, name, value)


def millis(what: str, name: str, value: float) -> int:
    """Return a length of time in whole milliseconds.

    Raises:
        InvalidArguments: as for `seconds`.
    """
    return int(seconds(what, name, value) * 1000)


def whole(what: str, name: str, value: int, least: int = 0) -> int:
    """Return a whole number of things.

    Raises:
        InvalidArguments: it is none, or below `least`, or does not fit 31 bits.
    """
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if is_number and least <= value <= MOST:
        return value
    raise InvalidArguments(
        what, f"{name}={_shown(value)} is no whole number from {least:,} to {MOST:,}"
    )


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."

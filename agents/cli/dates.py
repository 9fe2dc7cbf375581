"""Moments as people read them."""

from __future__ import annotations

from datetime import UTC, datetime


def day_of(wall_ms: int) -> str:
    """Return a moment, given in Unix milliseconds, in UTC: 2026-11-21 13:05 UTC."""
    try:
        return f"{datetime.fromtimestamp(wall_ms / 1000, UTC):%Y-%m-%d %H:%M} UTC"
    except (OverflowError, ValueError, OSError):
        return "a time beyond all calendars"

"""Counts what happens again and again, so that nobody can fill an audit log from afar.

The first of a kind, from one source, for one reason is written at once; the same within the minute
is counted, and at its end one entry says how often. So many sources are told apart; what the
others do is counted together. Hence a flood of any size makes a bounded number of entries a
minute. Pure: time comes with the notes.

What this module does not know: files, which kinds are counted.
"""

from __future__ import annotations

from dataclasses import replace

from keys.auditing import AuditNote

WINDOW_MS = 60_000
MAX_SOURCES = 64
OTHERS = "others"

_Key = tuple[str, str, str, str, str]


class Repeats:
    """What was seen in the minute behind us, by kind, source and reason."""

    def __init__(self) -> None:
        self._seen: dict[_Key, tuple[AuditNote, int]] = {}  # the first of each, and how many more

    def take(self, note: AuditNote) -> AuditNote | None:
        """Return what is to be written now, if it is not only counted."""
        key = (note.kind, note.outcome, note.by, note.subject, str(note.detail.get("why", "")))
        known = self._seen.get(key)
        if known is None and len(self._seen) >= MAX_SOURCES:
            key = (note.kind, note.outcome, OTHERS, "", "")
            note = replace(note, by=OTHERS, subject="", detail={}, trace=b"")
            known = self._seen.get(key)
        if known is None:
            self._seen[key] = (note, 0)
            return note
        self._seen[key] = (known[0], known[1] + 1)
        return None

    @property
    def due_ms(self) -> int | None:
        """When the first of the counts is to be written or forgotten."""
        if not self._seen:
            return None
        first, _ = next(iter(self._seen.values()))
        return first.monotonic_ms + WINDOW_MS

    def due(self, now_ms: int, wall_ms: int) -> list[AuditNote]:
        """Return the counts whose minute is over."""
        over = [k for k, (n, _) in self._seen.items() if n.monotonic_ms + WINDOW_MS <= now_ms]
        return self._told(over, now_ms, wall_ms)

    def close(self, now_ms: int, wall_ms: int) -> list[AuditNote]:
        """Return all counts."""
        return self._told(list(self._seen), now_ms, wall_ms)

    def _told(self, keys: list[_Key], now_ms: int, wall_ms: int) -> list[AuditNote]:
        told = []
        for key in keys:
            note, more = self._seen.pop(key)
            if more:
                detail = {**note.detail, "within_ms": now_ms - note.monotonic_ms}
                told.append(
                    replace(
                        note,
                        wall_ms=wall_ms,
                        monotonic_ms=now_ms,
                        times=more,
                        detail=detail,
                        trace=b"",
                    )
                )
        return told

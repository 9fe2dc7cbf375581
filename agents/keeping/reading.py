"""Reading the store of one replica: what is asked, as plain data, and how old the answer can be.

What this module does not know: the network, who leads, whether the reader wants the latest.

Source for the age: `consensus.raft.reads`; a heartbeat proves that a follower's state was the
leader's at a time, unless its sender had been deposed without knowing, for at most two election
timeouts.
"""

from __future__ import annotations

from typing import Any, Final

from agents.keeping.wire import MAX_ANSWER_BYTES, What
from consensus import Config, Role, Status
from consensus.kv import Change, Changes, Entry, FeedCompacted, KvStore

PAGE_KEYS: Final = 1000
PAGE_CHANGES: Final = 1000
ROW_BYTES: Final = 64  # what a row takes beside its key and value

_ELECTION_MS: Final = Config("-", "-").election_timeout_ms
DEPOSED_MS: Final = 2 * _ELECTION_MS + _ELECTION_MS // 16  # on a clock that may be slow


def age_ms(status: Status, now_ms: int, *, leads: bool) -> int | None:
    """The state is no older than this; None if it may be of any age.

    Args:
        leads: whether this member leads and has caught up with its own election.
    """
    if leads:
        return DEPOSED_MS
    if status.role is Role.LEADER or status.fresh_ms is None:
        return None
    return max(0, now_ms - status.fresh_ms) + DEPOSED_MS


def answer(kv: KvStore, what: What, arguments: list[Any]) -> Any:
    """Return what was asked for.

    Raises:
        ValueError: the arguments are not those of such a question.
    """
    match what, arguments:
        case What.INDEX, []:
            return None
        case What.GET, [str(key)]:
            return entry_row(kv.get(key))
        case What.LIST, [str(prefix), (None | str()) as after, int(limit)]:
            return _page(kv, prefix, after, limit)
        case What.LOCK, [str(name), int(), int()]:
            lock = kv.lock(name)
            return None if lock is None else [lock.token, lock.holder, lock.deadline_ms]
    raise ValueError(f"these are not the arguments of {what}")


def entry_row(entry: Entry | None) -> list[Any] | None:
    return None if entry is None else list(entry)


def _page(kv: KvStore, prefix: str, after: str | None, limit: int) -> list[Any]:
    """One page of keys, of as many as fit into an answer, and whether there are more."""
    wanted = max(1, min(limit, PAGE_KEYS))
    rows: list[Any] = []
    size_bytes = 0
    for key, entry in kv.list(prefix, after=after, limit=wanted + 1):
        size_bytes += ROW_BYTES + len(key) * 4 + len(entry.value)
        if rows and (len(rows) >= wanted or size_bytes > MAX_ANSWER_BYTES):
            return [rows, True]
        rows.append([key, list(entry)])
    return [rows, False]


def changes(kv: KvStore, prefix: str, since: int) -> Changes | FeedCompacted:
    """Changes behind `since`, of as many whole commands as fit into an answer."""
    found = kv.changes_since(since, PAGE_CHANGES, prefix=prefix)
    if isinstance(found, FeedCompacted):
        return found
    size_bytes = begun = 0
    for place, change in enumerate(found.changes):
        if place and change.log_index != found.changes[place - 1].log_index:
            begun = place
        size_bytes += ROW_BYTES + len(change.key) * 4 + len(change.value or b"")
        if size_bytes > MAX_ANSWER_BYTES and begun:
            kept = found.changes[:begun]
            return Changes(kept, kept[-1].log_index)
    return found


def change_row(change: Change) -> list[Any]:
    return [change.log_index, change.cause.value, change.key, change.value]

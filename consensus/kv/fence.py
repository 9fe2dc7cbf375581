"""Fences: the resource remembers the highest token that wrote to it, and refuses lower ones (L2).

A lease cannot stop a holder that stands still at the wrong moment, or a write that is under way for
long. The resource can: it compares tokens in the same step that changes it. `Fence` is that step
for whatever one process serves; `fenced_update` puts it into a database's own transaction;
`fenced_file` is the one for files.

A token that equals the highest passes: it is the same holder.

Invariants: the highest token of a resource never falls, and no resource is ever forgotten.
What this module does not know: locks, leases, whether a token was ever granted, databases.

Source: M. Kleppmann, "How to do distributed locking", 2016.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from consensus.kv.errors import FenceFull, IdentifierInvalid, StaleToken

_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}", re.ASCII)

ParamStyle = Literal["qmark", "format"]
_MARKS: Final[Mapping[ParamStyle, str]] = {"qmark": "?", "format": "%s"}


class Fence:
    """Highest tokens in memory, for a server that owns its resources while it runs.

    It starts knowing nothing: a server that keeps its resources over a restart keeps their tokens
    beside them, and calls `check` with each before it serves.

    Args:
        max_resources: how many it guards; none is ever forgotten, so more are refused.
    """

    def __init__(self, max_resources: int) -> None:
        assert max_resources > 0
        self._max_resources = max_resources
        self._highest: dict[str, int] = {}

    def check(self, resource: str, token: int) -> None:
        """Let a write pass, and none with a lower token after it.

        Raises:
            StaleToken: a higher one was seen.
            FenceFull: one resource too many.
        """
        assert token > 0, token
        highest = self._highest.get(resource, 0)
        if token < highest:
            raise StaleToken(resource, token, highest)
        if not highest and len(self._highest) >= self._max_resources:
            raise FenceFull(resource, self._max_resources)
        self._highest[resource] = token

    def highest(self, resource: str) -> int:
        """The highest token seen, 0 if none was."""
        return self._highest.get(resource, 0)

    def __len__(self) -> int:
        return len(self._highest)


@dataclass(frozen=True, slots=True)
class FencedStatement:
    """An SQL statement that changes one row, unless a higher token wrote it."""

    sql: str
    parameters: tuple[object, ...]
    resource: str
    token: int

    def check(self, changed_rows: int) -> None:
        """What the database said about how many rows it changed, before the commit.

        Raises:
            StaleToken: none, so a higher token wrote the row, or it does not exist.
        """
        assert 0 <= changed_rows <= 1, (self.sql, changed_rows)
        if not changed_rows:
            raise StaleToken(self.resource, self.token, None)


def fenced_update(
    table: str,
    key: object,
    values: Mapping[str, object],
    token: int,
    *,
    key_column: str = "id",
    token_column: str = "fencing_token",  # noqa: S107 - the name of a column
    paramstyle: ParamStyle = "qmark",
) -> FencedStatement:
    """Set `values` and the token in the row with this key, if its token is not higher.

    The token's column is an integer of 64 bits that is not null, 0 in new rows; the key's is
    unique. Compare and set are one statement, so no transaction level is too weak for it.

    Raises:
        IdentifierInvalid: a name that is more than letters, digits and underscores.
    """
    assert token > 0, token
    assert values, "nothing to set"
    for name in (table, key_column, token_column, *values):
        if not _IDENTIFIER.fullmatch(name):
            raise IdentifierInvalid(name)
    mark = _MARKS[paramstyle]
    sets = ", ".join(f"{column} = {mark}" for column in (*values, token_column))
    return FencedStatement(
        f"UPDATE {table} SET {sets} WHERE {key_column} = {mark} AND {token_column} <= {mark}",
        (*values.values(), token, key, token),
        f"{table}[{key!r}]",
        token,
    )

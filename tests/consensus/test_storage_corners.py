"""The log in SQLite: what only a mutant has asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
from storage_lab import batch, entries, opened

from consensus import StorageBroken


def test_every_transaction_is_synced_before_it_counts(tmp_path: Path) -> None:
    storage = opened(tmp_path / "log.db")
    settings = [
        storage._db.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous", "fullfsync")
    ]
    storage.close()
    assert settings == ["wal", 2, 1], "2 is FULL: with NORMAL a power cut loses commits (R2)"


def test_what_is_no_lack_of_space_is_the_end_and_not_tried_again(tmp_path: Path) -> None:
    storage = opened(tmp_path / "log.db")
    storage.recover()
    storage._db.execute("PRAGMA query_only=ON")
    with pytest.raises(StorageBroken):
        storage.write([batch(1, new=entries(1, 3))])
    storage.close()

"""The real storage code under a simulated disk: SQLite on a database that only memory holds.

A crash rolls back what was under way, at any step of it; a full disk is SQLite's own; rot changes
what lies in tables and snapshots, as a bad sector would.

What this module does not know: when any of this happens, what must come of it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from consensus.errors import StorageError, StorageFull
from consensus.raft import NodeId, Recovered, StoreBatch
from consensus.sim.weather import CLUSTER
from consensus.storage import SnapshotStore, SqliteStorage
from consensus.storage.memory import MemorySnapshots

MAX_STEPS = 400  # of SQLite's machine, in which a small transaction is over


class RealLog:
    """The log of one node, over all its processes."""

    def __init__(self, name: NodeId) -> None:
        self._storage = SqliteStorage.in_memory(CLUSTER, name)

    @property
    def snapshots(self) -> SnapshotStore:
        return self._storage.snapshots

    def recover(self) -> Recovered:
        """What the next process finds.

        Raises:
            StorageError: it cannot be trusted.
        """
        self._storage = self._storage.after_crash()
        return self._storage.recover()

    def write(self, batches: Sequence[StoreBatch]) -> None:
        self._storage.write(batches)
        if self._storage.checkpoint_due:
            self._storage.checkpoint()

    def write_when_full(self, batches: Sequence[StoreBatch]) -> bool:
        """Try it while the file must not grow; whether there was room all the same."""
        db = self._storage._db
        (pages,) = db.execute("PRAGMA page_count").fetchone()
        db.execute(f"PRAGMA max_page_count={pages}")
        try:
            self._storage.write(batches)
        except StorageFull:
            return False
        finally:
            db.execute("PRAGMA max_page_count=1073741823")
        return True

    def break_off(self, batches: Sequence[StoreBatch], rng: random.Random) -> bool:
        """Write, and die at some step of it; whether the end was reached before that."""
        db = self._storage._db
        left = rng.randrange(MAX_STEPS)

        def dies() -> bool:
            nonlocal left
            left -= 1
            return left < 0

        db.set_progress_handler(dies, 1)
        try:
            self._storage.write(batches)
        except StorageError:
            return False
        finally:
            db.set_progress_handler(None, 0)
        return True

    def rot(self, rng: random.Random) -> str:
        """Change something that lies there; what it was."""
        db = self._storage._db
        kinds = ["hard state", "commit hint", "no hard state"]
        rows = [index for (index,) in db.execute("SELECT idx FROM log ORDER BY idx")]
        if rows:
            kinds += ["row", "row", "term of a row"]
        if len(rows) > 1:
            kinds += ["missing row", "missing row"]  # the last one would be missed by nobody
        if isinstance(self.snapshots, MemorySnapshots) and self.snapshots.latest() is not None:
            kinds += ["snapshot", "snapshot", "no snapshot"]
        kind = rng.choice(kinds)
        row = rng.choice(rows) if rows else 0
        match kind:
            case "hard state":
                db.execute("UPDATE hard SET term = term + ?", (rng.choice((-1, 1, 7)),))
            case "commit hint":
                db.execute("UPDATE hard SET commit_hint = commit_hint + ?", (rng.choice((-1, 3)),))
            case "no hard state":
                db.execute("DELETE FROM hard")
            case "row":
                (data,) = db.execute("SELECT data FROM log WHERE idx = ?", (row,)).fetchone()
                changed = _flipped(data, rng) if data else b"\0"
                db.execute("UPDATE log SET data = ? WHERE idx = ?", (changed, row))
            case "term of a row":
                db.execute("UPDATE log SET term = term + 1 WHERE idx = ?", (row,))
            case "missing row":
                db.execute("DELETE FROM log WHERE idx = ?", (rng.choice(rows[:-1]),))
            case _:
                self._rot_snapshot(rng, is_missing=kind == "no snapshot")
        return kind

    def _rot_snapshot(self, rng: random.Random, *, is_missing: bool) -> None:
        store = self.snapshots
        assert isinstance(store, MemorySnapshots)
        at = max(store._files)
        meta, data = store._files[at]
        if is_missing:
            del store._files[at]
        else:
            store._files[at] = (meta, _flipped(data, rng))


def _flipped(data: bytes, rng: random.Random) -> bytes:
    """One bit is another."""
    changed = bytearray(data)
    changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)

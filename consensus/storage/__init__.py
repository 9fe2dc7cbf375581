"""Where a log lies."""

from consensus.storage.base import (
    SnapshotFile,
    SnapshotReader,
    SnapshotStore,
    SnapshotWriter,
    Storage,
)
from consensus.storage.memory import MemoryStorage
from consensus.storage.snapshots import FileSnapshots
from consensus.storage.sqlite import SqliteStorage

__all__ = [
    "FileSnapshots",
    "MemoryStorage",
    "SnapshotFile",
    "SnapshotReader",
    "SnapshotStore",
    "SnapshotWriter",
    "SqliteStorage",
    "Storage",
]

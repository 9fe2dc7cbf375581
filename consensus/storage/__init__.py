"""Where a log lies."""

from consensus.storage.base import Storage
from consensus.storage.memory import MemoryStorage
from consensus.storage.sqlite import SqliteStorage

__all__ = ["MemoryStorage", "SqliteStorage", "Storage"]

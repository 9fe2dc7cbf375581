"""Which log this network follows: the first one, or one that was begun again after a disaster.

The first log's id is the digest of the signed roster. When a quorum is lost for ever, one node can
begin again from what it has, or from a backup: a new id, one generation higher. Messages of other
logs are not understood, so the old one can never be mixed in; nodes that do not vote follow the
highest generation that they hear of, and a member of a lower one stops.

What this module does not know: what a log holds, how anybody hears of it.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from consensus import ConsensusError
from keys import Roster

FILE = "cluster"
LEFT = "left"  # a file with the logs that this node has left for ever
ID_CHARS = 32
MAX_GENERATION = 2**31  # nobody begins again so often: what is beyond was never written here


class ClusterReplaced(ConsensusError):
    """This node is a member of a log that the others have left."""

    def __init__(self, own: int, found: int, who: str) -> None:
        super().__init__(
            f"this node follows generation {own} of the log, {who} follows generation {found},"
            " which was begun again: run `conclave raft rejoin` here and bring the node up again"
        )


class ClusterDamaged(ConsensusError):
    """The file that names the log cannot be read."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path}: {why}: restore it, or let the node rejoin under a new identity")


@dataclass(frozen=True, slots=True, order=True)
class Cluster:
    """One log. Higher generations win."""

    generation: int
    cluster_id: str

    @classmethod
    def first(cls, roster: Roster) -> Cluster:
        """The one that the roster began."""
        return cls(0, roster.digest.hex()[:ID_CHARS])

    def next(self) -> Cluster:
        """One that begins again. Two nodes that do this get different ones."""
        seed = f"{self.generation}/{self.cluster_id}/".encode() + secrets.token_bytes(16)
        return Cluster(self.generation + 1, blake2b(seed, digest_size=16).hexdigest())

    @classmethod
    def load(cls, home: Path) -> Cluster | None:
        """The one that this node was told to follow, if it is not the first.

        Raises:
            ClusterDamaged.
        """
        path = home / "raft" / FILE
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
            cluster = cls(fields["generation"], fields["cluster_id"])
            cluster.check()
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise ClusterDamaged(path, str(error)) from error
        if cluster.generation < 1:
            raise ClusterDamaged(path, "it names no log")
        return cluster

    def check(self) -> None:
        """
        Raises:
            ValueError: what was read names no log.
        """
        is_number = type(self.generation) is int and 0 <= self.generation <= MAX_GENERATION
        is_name = isinstance(self.cluster_id, str) and len(self.cluster_id) == ID_CHARS
        if not (is_number and is_name):
            raise ValueError("it names no log")

    def leave(self, home: Path) -> None:
        """Never be a member of this one again: its votes are forgotten, and could be cast twice.

        Raises:
            ClusterDamaged.
        """
        left = sorted({*Cluster.left(home), self})
        write_durably(home / "raft" / LEFT, left_text(left))
        (home / "raft" / FILE).unlink(missing_ok=True)

    @classmethod
    def left(cls, home: Path) -> frozenset[Cluster]:
        """Those that this node has left.

        Raises:
            ClusterDamaged.
        """
        path = home / "raft" / LEFT
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
            rows = said["left"] if isinstance(said, dict) else said  # older nodes wrote no sum
            if isinstance(said, dict) and said["sum"] != _sum(rows):
                raise ValueError("its checksum does not match")
            left = frozenset(cls(*row) for row in rows)
            for cluster in left:
                cluster.check()
        except FileNotFoundError:
            return frozenset()
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise ClusterDamaged(path, str(error)) from error
        return left

    def save(self, home: Path) -> None:
        """Follow this one from now on, durably."""
        fields = {"generation": self.generation, "cluster_id": self.cluster_id}
        write_durably(home / "raft" / FILE, json.dumps(fields))


def left_text(left: Iterable[Cluster]) -> str:
    """What the file with the logs that were left says."""
    rows = [[cluster.generation, cluster.cluster_id] for cluster in left]
    return json.dumps({"left": rows, "sum": _sum(rows)})


def _sum(rows: object) -> str:
    """A bit that turned must not name another log: this node could vote in the one it left."""
    return blake2b(json.dumps(rows).encode(), digest_size=16).hexdigest()


def write_durably(path: Path, text: str) -> None:
    """Whole or not at all, private, and there after a power cut when this returns."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""After a quorum is lost for ever: begin again from what one node has, or from a backup.

All of it works on the files of a node that is down. Beginning again makes a new log with a new id,
one generation higher, whose only voter is this node and whose first state is the old one; the
files of the old log are put aside, never deleted. What the old log had decided and this node had
not heard of is lost, and what it had not decided may be kept: nobody can tell any more.

What this module does not know: the network, other nodes.
"""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path

from agents.blank import BEGUN, LOG
from agents.cluster import Cluster
from agents.deciding import Decisions
from agents.ledger import Ledger
from agents.quorum import machines_of
from agents.replicated import Replicated
from consensus import (
    Config,
    ConsensusError,
    FileSnapshots,
    HardState,
    MachineReplica,
    Membership,
    Recovered,
    SnapshotMeta,
    SnapshotStore,
    SqliteStorage,
    StoreBatch,
)
from consensus.kv import KvStore
from keys import Keystore

PAGE = 512
FORMAT = 1
ABOUT = "about.json"
MAX_ABOUT_BYTES = 65_536

# Folders of a new log: while it is made, when it is whole, and when the old files are put aside.
MAKING, WHOLE, MOVING = "new-making", "new-whole", "new-moving"


class NothingToBeginFrom(ConsensusError):
    """This node holds no log."""

    def __init__(self, why: str) -> None:
        super().__init__(f"there is nothing to begin again from: {why}")


@dataclass(frozen=True, slots=True)
class BegunAgain:
    """What a new log began with."""

    cluster: Cluster
    index: int
    tasks: int
    keys: int
    put_aside: Path | None


def cluster_of(keystore: Keystore) -> Cluster:
    """The log that this node follows.

    Raises:
        NothingToBeginFrom: the network has never had one.
    """
    roster = keystore.load_roster()
    if roster is None:
        raise NothingToBeginFrom("the first voters were never named")
    return Cluster.load(keystore.home) or Cluster.first(roster)


def force_new_cluster(keystore: Keystore) -> BegunAgain:
    """Begin again from this node's own log, as far as it goes.

    Raises:
        NothingToBeginFrom, StorageError: the log is missing or cannot be trusted.
    """
    _finish(keystore.home)
    cluster = cluster_of(keystore)
    path = keystore.home / "raft" / LOG
    if not path.exists():
        raise NothingToBeginFrom(f"{path} does not exist; this node is no member")
    own = keystore.identity.peer_id
    storage = SqliteStorage(path, cluster.cluster_id, own)
    try:
        state = _State(keystore)
        state.take_log(storage.recover(), storage.snapshots)
    finally:
        storage.close()
    return _begin_again(keystore, cluster, state)


def back_up(keystore: Keystore, cluster: Cluster, snapshot: Path, target: Path) -> int:
    """Pack a snapshot file of this node so that `restore` knows what it is; return its bytes.

    Raises:
        FileExistsError, OSError.
    """
    about = {
        "format": FORMAT,
        "network_id": keystore.genesis.network_id,
        "generation": cluster.generation,
        "cluster_id": cluster.cluster_id,
        "snapshot": snapshot.name,
    }
    temporary = target.with_name(target.name + ".tmp")
    if target.exists():
        raise FileExistsError(f"{target} exists already")
    temporary.unlink(missing_ok=True)  # of one that was killed
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w+b") as file:
            with zipfile.ZipFile(file, "w") as archive:
                archive.writestr(zipfile.ZipInfo(ABOUT), json.dumps(about))
                with (
                    snapshot.open("rb") as source,
                    archive.open(zipfile.ZipInfo(snapshot.name), "w", force_zip64=True) as packed,
                ):
                    shutil.copyfileobj(source, packed)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return target.stat().st_size


def restore(keystore: Keystore, backup: Path) -> BegunAgain:
    """Begin again from a backup, which any member of the network may have made.

    Raises:
        NothingToBeginFrom, StorageError, SnapshotInvalid: the backup is not one of this network.
    """
    _finish(keystore.home)
    folder = keystore.home / "raft" / "restoring"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
    try:
        made_by = _unpack(keystore, backup, folder)
        snapshots = FileSnapshots(folder, made_by.cluster_id)
        meta = snapshots.latest()
        if meta is None:
            raise NothingToBeginFrom(f"the snapshot in {backup} is damaged")
        state = _State(keystore)
        state.take_log(Recovered(snapshot=meta), snapshots)
        newest = max(made_by, cluster_of(keystore))
        return _begin_again(keystore, newest, state)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def rejoin(keystore: Keystore) -> Path | None:
    """Put this node's log aside, so that it can be made a member of the one that was begun again.

    Returns:
        where the old files lie now; None if there were none.
    """
    cluster_of(keystore).leave(keystore.home)
    for name in (MAKING, WHOLE, MOVING):
        shutil.rmtree(keystore.home / "raft" / name, ignore_errors=True)
    (keystore.home / BEGUN).unlink(missing_ok=True)
    return _put_aside(keystore.home)


class _State:
    """Everything that a log has led to."""

    def __init__(self, keystore: Keystore) -> None:
        own = keystore.identity.peer_id
        decisions = Decisions(keystore.genesis.network_id)
        self.ledger, self.kv = Ledger(decisions.register), KvStore()
        machines = machines_of(self.kv, decisions)
        machine = Replicated(self.ledger, machines, lambda entry, outcome: None)
        config = Config(own, "-")
        self.replica = MachineReplica(
            machine, config, Recovered(), snapshot_entries=2**62, max_bytes=2**62
        )

    def take_log(self, recovered: Recovered, snapshots: SnapshotStore) -> None:
        snapshot = recovered.snapshot
        if snapshot is not None:
            reader = snapshots.open(snapshot)
            try:
                self.replica.restore(snapshot, reader.chunks())
            finally:
                reader.close()
        entries = [entry for entry in recovered.entries if entry.index > self.replica.applied]
        for first in range(0, len(entries), PAGE):
            self.replica.apply(entries[first : first + PAGE])


def _begin_again(keystore: Keystore, cluster: Cluster, state: _State) -> BegunAgain:
    """The new log is made whole in a folder of its own, then takes the place of the old one."""
    own, before = keystore.identity.peer_id, state.replica.meta()
    if before is None:
        raise NothingToBeginFrom("the log is empty")
    new = cluster.next()
    meta = SnapshotMeta(before.index, before.term, Membership((own,)), before.index)
    folder = keystore.home / "raft" / WHOLE
    making = folder.with_name(MAKING)
    shutil.rmtree(making, ignore_errors=True)
    storage = SqliteStorage(making / LOG, new.cluster_id, own)
    try:
        storage.recover()
        storage.snapshots.write(meta, state.replica.snapshot())
        hard = HardState(before.term, None)
        storage.write([StoreBatch(1, hard, None, (), before.index, install=meta)])
    finally:
        storage.close()
    new.save(making)
    making.rename(folder)
    put_aside = _put_aside(keystore.home)
    folder.rename(folder.with_name(MOVING))
    _move_in(keystore.home)
    return BegunAgain(new, before.index, len(state.ledger), len(state.kv), put_aside)


def _finish(home: Path) -> None:
    """Go on with a beginning that was interrupted when the old log was put aside already. One that
    had not come so far is forgotten: the node may have been up since."""
    folder = home / "raft" / WHOLE
    if folder.exists() and (home / "raft" / LOG).exists():
        shutil.rmtree(folder)
    elif folder.exists():
        _put_aside(home)
        folder.rename(folder.with_name(MOVING))
    if folder.with_name(MOVING).exists():
        _move_in(home)


def _move_in(home: Path) -> None:
    folder = home / "raft" / MOVING
    new = Cluster.load(folder)
    assert new is not None, "it is written before the folder has its name"
    for path in sorted(folder.iterdir()):
        if path.is_file():
            path.rename(home / "raft" / path.name)
    new.save(home)
    (home / BEGUN).touch(mode=0o600)
    shutil.rmtree(folder)


def _put_aside(home: Path) -> Path | None:
    folder = home / "raft"
    files = [p for pattern in ("log.db*", "snapshot-*") for p in folder.glob(pattern)]
    if not files:
        return None
    number = 1
    while (aside := folder / f"old-{number}").exists():
        number += 1
    aside.mkdir(mode=0o700)
    for path in sorted(files):
        path.rename(aside / path.name)
    return aside


def _unpack(keystore: Keystore, backup: Path, folder: Path) -> Cluster:
    """The snapshot of a backup into a folder; the log that it was made of."""
    try:
        with zipfile.ZipFile(backup) as archive:
            if archive.getinfo(ABOUT).file_size > MAX_ABOUT_BYTES:
                raise ValueError(f"{ABOUT} is too large")
            about = json.loads(archive.read(ABOUT))
            network, form = about["network_id"], about["format"]
            if form != FORMAT:
                raise ValueError(f"it has format {form}, this program knows {FORMAT}")
            if network != keystore.genesis.network_id:
                raise ValueError(f"it is of another network, {network}")
            made_by = Cluster(about["generation"], about["cluster_id"])
            made_by.check()
            name = Path(str(about["snapshot"])).name
            with archive.open(name) as source, (folder / name).open("wb") as target:
                shutil.copyfileobj(source, target)
    except Exception as error:  # a foreign file can fail in any way that its reader knows
        raise NothingToBeginFrom(f"{backup} is no backup that can be used: {error}") from error
    return made_by

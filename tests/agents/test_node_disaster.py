"""A quorum is lost for ever: beginning again from a log or a backup, with whole nodes."""

from __future__ import annotations

import asyncio
import errno
import json
import shutil
import zipfile
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from node_lab import NodeLab, in_lab, until

from agents.cluster import Cluster, ClusterDamaged, ClusterReplaced
from agents.disaster import NothingToBeginFrom, force_new_cluster, rejoin, restore
from agents.errors import InvalidArguments
from agents.node import Node
from agents.operations_raft import _Raft
from agents.replicated import KV_TAG, command_for
from consensus import FileSnapshots, StorageFull
from consensus.kv import encode_put
from keys import Keystore, Role


async def three(lab: NodeLab) -> tuple[Node, Node, Node]:
    nodes = [await lab.up(name) for name in "abc"]
    await until(lambda: lab.leader() is not None)
    return nodes[0], nodes[1], nodes[2]


async def put(lab: NodeLab, key: str, value: bytes) -> int:
    leader = lab.leader()
    assert leader is not None
    assert leader.quorum.replica is not None
    done = await leader.quorum.replica.propose(command_for(KV_TAG, 0, encode_put(key, value)))
    return done.index


def value_of(node: Node, key: str) -> bytes | None:
    entry = node.quorum.kv.get(key)
    return None if entry is None else entry.value


def test_a_survivor_begins_again_and_the_others_follow_it(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await three(lab)
        await put(lab, "x", b"1")
        await until(lambda: all(value_of(node, "x") == b"1" for node in nodes))
        survivor, other, _ = nodes
        for node in nodes:
            await node.__aexit__(None, None, None)
        begun = force_new_cluster(survivor.keystore)
        assert (begun.cluster.generation, begun.keys) == (1, 1)
        assert begun.put_aside is not None
        assert (begun.put_aside / "log.db").exists()
        first = Node(survivor.keystore, lab.worlds["a"], (), local_door=False)
        async with first:
            await until(lambda: first.quorum.leads)
            assert first.quorum.electorate.voters == (first.peer.peer_id,)
            assert value_of(first, "x") == b"1"
            # A member of the old log is told, and stops instead of deciding without the others.
            stale = Node(other.keystore, lab.worlds["b"], (), local_door=False)
            async with stale:
                await until(lambda: stale.failure is not None)
                assert isinstance(stale.failure, ClusterReplaced)
            assert rejoin(other.keystore) is not None
            again = Node(other.keystore, lab.worlds["b"], (), local_door=False)
            async with again:
                await until(lambda: again.quorum.leader() == first.peer.peer_id)
                await first.governing.add_voter(again.peer.peer_id)
                await until(lambda: value_of(again, "x") == b"1")
                assert Cluster.load(again.home) == begun.cluster
                assert set(again.quorum.electorate.voters) == {
                    first.peer.peer_id,
                    again.peer.peer_id,
                }

    in_lab(tmp_path, scenario)


def test_of_two_that_began_again_one_is_kept_and_the_other_follows_it(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await three(lab)
        await put(lab, "x", b"1")
        await until(lambda: all(value_of(node, "x") == b"1" for node in nodes))
        for node in nodes:
            await node.__aexit__(None, None, None)
        kept = force_new_cluster(nodes[0].keystore).cluster
        other = force_new_cluster(nodes[1].keystore).cluster
        assert kept.generation == other.generation
        assert kept != other
        rejoin(nodes[1].keystore)
        assert Cluster.left(nodes[1].home) == {other}
        first = Node(nodes[0].keystore, lab.worlds["a"], (), local_door=False)
        follower = Node(nodes[1].keystore, lab.worlds["b"], (), local_door=False)
        async with first, follower:
            await until(lambda: follower.quorum.leader() == first.peer.peer_id)
            await first.governing.add_voter(follower.peer.peer_id)
            await until(lambda: value_of(follower, "x") == b"1")
            assert Cluster.load(follower.home) == kept

    in_lab(tmp_path, scenario)


def test_a_backup_brings_back_what_was_there_when_it_was_made(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await three(lab)
        await put(lab, "x", b"1")
        leader = lab.leader()
        assert leader is not None
        file = tmp_path / "backup"
        said = await leader.net.raft.backup(str(file))
        assert said["bytes"] == file.stat().st_size
        await put(lab, "x", b"2")
        for node in nodes:
            await node.__aexit__(None, None, None)
        begun = restore(nodes[1].keystore, file)
        assert begun.index == said["index"]
        node = Node(nodes[1].keystore, lab.worlds["b"], (), local_door=False)
        async with node:
            await until(lambda: node.quorum.leads)
            assert value_of(node, "x") == b"1"
        # A second disaster leads to a third generation.
        assert force_new_cluster(nodes[1].keystore).cluster.generation == 2

    in_lab(tmp_path, scenario)


def test_what_is_no_backup_of_this_network_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await three(lab)
        await put(lab, "x", b"1")
        leader = lab.leader()
        assert leader is not None
        file = tmp_path / "backup"
        await leader.net.raft.backup(str(file))
        with pytest.raises(Exception, match="exists already"):
            await leader.net.raft.backup(str(file))
        for node in nodes:
            await node.__aexit__(None, None, None)
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        damaged = tmp_path / "damaged"
        damaged.write_bytes(data)
        log = nodes[0].home / "raft" / "log.db"
        before = log.read_bytes()
        for bad in (damaged, tmp_path / "nothing", log):
            with pytest.raises(NothingToBeginFrom):
                restore(nodes[0].keystore, bad)
        assert log.read_bytes() == before
        assert Cluster.load(nodes[0].home) is None

    in_lab(tmp_path, scenario)


def test_beginning_again_can_be_killed_between_any_two_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await three(lab)
        await put(lab, "x", b"1")
        await until(lambda: all(value_of(node, "x") == b"1" for node in nodes))
        for node in nodes:
            await node.__aexit__(None, None, None)

    class Killed(BaseException):
        pass

    in_lab(tmp_path / "lab", scenario)
    rename, touch, left = Path.rename, Path.touch, 0

    def step() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed

    def renamed(self: Path, target: Path) -> Path:
        step()
        return rename(self, target)

    def touched(self: Path, mode: int = 0o666, exist_ok: bool = True) -> None:
        step()
        touch(self, mode, exist_ok)

    for steps in range(40):
        home = tmp_path / f"home-{steps}"
        shutil.copytree(tmp_path / "lab" / "a", home)
        keystore, left = Keystore.open(home), steps
        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", renamed)
            patch.setattr(Path, "touch", touched)
            try:
                force_new_cluster(keystore)
                break
            except Killed:
                pass
        begun = force_new_cluster(keystore)
        assert begun.keys == 1, steps
        assert Cluster.load(home) == begun.cluster
        assert not list((home / "raft").glob("new-*"))
        assert (home / "voter").exists()
    assert steps > 5


def test_a_snapshot_that_is_asked_for_is_not_an_older_one_that_is_under_way(
    tmp_path: Path,
) -> None:
    (tmp_path / "raft").mkdir()
    for index in (10, 20):
        (tmp_path / "raft" / f"snapshot-{index}-1.snap").touch()
    under_way: list[int | None] = [None, None, 20]
    status = SimpleNamespace(snapshot_index=10)

    def make_snapshot() -> int | None:
        made = under_way.pop(0)
        if made is not None:
            status.snapshot_index = made
        return made

    replica = SimpleNamespace(applied=20, status=status, make_snapshot=make_snapshot)
    quorum = SimpleNamespace(own_replica=lambda: replica)
    node: Any = SimpleNamespace(quorum=quorum, home=tmp_path)
    said = asyncio.run(_Raft(node).snapshot({}))
    assert said["index"] == 20
    assert said["path"].endswith("snapshot-20-1.snap")


def test_no_room_for_a_backup_is_said_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    async def scenario(lab: NodeLab) -> None:
        await three(lab)
        await put(lab, "x", b"1")
        leader = lab.leader()
        assert leader is not None
        folder = tmp_path / "backups"
        folder.mkdir()
        with monkeypatch.context() as patch:
            patch.setattr("agents.disaster.shutil.copyfileobj", full)
            with pytest.raises(InvalidArguments, match="No space left"):
                await leader.net.raft.backup(str(folder / "backup"))
        assert list(folder.iterdir()) == []
        await put(lab, "x", b"2")
        with monkeypatch.context() as patch:
            patch.setattr(FileSnapshots, "write", no_room)
            with pytest.raises(InvalidArguments, match="look for room"):
                await leader.net.raft.backup(str(folder / "backup"))
        assert list(folder.iterdir()) == []
        assert leader.failure is None
        assert (await leader.net.raft.backup(str(folder / "backup")))["bytes"] > 0

    in_lab(tmp_path, scenario)


def no_room(self: FileSnapshots, *_: object) -> None:
    raise StorageFull("there")


@pytest.mark.parametrize(
    "about",
    [
        b"",
        b"null",
        b"[]",
        b"[" * 50_000,
        b'{"generation": Infinity}',
        b" " * 100_000,
        {"generation": 2**40},
        {"generation": -1},
        {"generation": "0"},
        {"cluster_id": "short"},
        {"snapshot": ".."},
        {"snapshot": "\0"},
        {"snapshot": 5},
        {"network_id": "another"},
        {"format": 99},
    ],
)
def test_odd_backups_are_refused_by_name(tmp_path: Path, about: bytes | dict[str, object]) -> None:
    keystore = Keystore.create_network(tmp_path / "a", "lab", "a", 1, now_ms=1_700_000_000_000)
    if isinstance(about, dict):
        true = {
            "format": 1,
            "network_id": keystore.genesis.network_id,
            "generation": 0,
            "cluster_id": "f" * 32,
            "snapshot": "snapshot-1-1.snap",
        }
        about = json.dumps(true | about).encode()
    backup = tmp_path / "backup"
    with zipfile.ZipFile(backup, "w") as archive:
        archive.writestr("about.json", about)
        archive.writestr("snapshot-1-1.snap", b"x" * 100)
    with pytest.raises(NothingToBeginFrom, match="backup is no backup that can be used"):
        restore(keystore, backup)
    assert not (keystore.home / "raft" / "restoring").exists()


@pytest.mark.parametrize(
    "text", ["", "null", '{"generation": 1e999, "cluster_id": ""}', "[" * 50_000, "{}"]
)
def test_a_damaged_name_of_the_log_is_said(tmp_path: Path, text: str) -> None:
    (tmp_path / "raft").mkdir()
    (tmp_path / "raft" / "cluster").write_text(text)
    with pytest.raises(ClusterDamaged, match="raft/cluster"):
        Cluster.load(tmp_path)


def test_a_log_that_was_left_stays_left_or_the_damage_is_said(tmp_path: Path) -> None:
    first, second = Cluster(0, "a" * 32), Cluster(1, "b" * 32)
    first.leave(tmp_path)
    second.leave(tmp_path)
    assert Cluster.left(tmp_path) == {first, second}
    path = tmp_path / "raft" / "left"
    whole = path.read_bytes()
    for place in range(len(whole)):
        for bit in (1, 4, 16):
            changed = bytearray(whole)
            changed[place] ^= bit
            path.write_bytes(bytes(changed))
            with suppress(ClusterDamaged):
                assert Cluster.left(tmp_path) == {first, second}, place  # a space, say
    path.write_text(f'[[0, "{first.cluster_id}"]]')  # as an older node wrote it
    assert Cluster.left(tmp_path) == {first}


def test_the_autopilot_leaves_alone_what_a_person_did_until_it_is_switched_on(
    tmp_path: Path,
) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = [await lab.up(name) for name in "abc"]
        await until(lambda: lab.leader() is not None)
        spare = await lab.up("d", roles=Role.SERVICE | Role.ADMIN)
        await until(lambda: len(spare.peer.presence.present()) == 3)
        await spare.governing.add_voter(spare.peer.peer_id)
        leader = lab.leader()
        assert leader is not None
        assert not leader.steering.is_automatic
        await asyncio.sleep(120)
        assert len(leader.quorum.electorate.voters) == 4
        await spare.governing.autopilot(on=True)
        await until(lambda: len(nodes[0].quorum.electorate.voters) == 3, 120)

    in_lab(tmp_path, scenario)

"""Runners whose log is cut behind snapshots: restarts, late followers, new members, reads."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest
from runner_lab import Lab, Machine, until

from consensus import ChangeRefused, NotLeader, OutcomeUnknown, Runner, StateDiverged
from consensus.errors import AppliedTimeout, StorageBroken
from p2p.memory import run_virtual


async def feed(runner: Runner, first: int, count: int, size: int = 8) -> None:
    await asyncio.gather(
        *(runner.propose(b"%d" % n + b"." * size) for n in range(first, first + count))
    )


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_follower_that_was_away_gets_a_snapshot(tmp_path: Path, on_disk: bool) -> None:
    async def main() -> None:
        lab = Lab(tmp_path if on_disk else None, snapshot_entries=40, keep_entries=5)
        await lab.start()
        leader = await lab.leader()
        await feed(leader, 0, 10)
        away = next(node for node in lab.ids if lab.running[node] is not leader)
        await lab.kill(away)
        await feed(leader, 10, 300, size=3000)
        await until(lambda: leader.status().base_index > 200)
        lab.lost_parts = 3
        await lab.start(away)
        log = await lab.agree()
        assert len(log) == 310
        assert lab.running[away].status().base_index > 200
        await feed(await lab.leader(), 310, 20)
        assert len(await lab.agree()) == 330
        await lab.stop()
        assert not lab.fatal

    run_virtual(main())


def test_a_snapshot_that_is_cut_while_its_node_runs_is_made_anew(tmp_path: Path) -> None:
    async def main() -> None:
        lab = Lab(tmp_path, snapshot_entries=40, keep_entries=5)
        await lab.start()
        leader = await lab.leader()
        await feed(leader, 0, 10)
        away = next(node for node in lab.ids if lab.running[node] is not leader)
        await lab.kill(away)
        await feed(leader, 10, 100, size=3000)
        await until(lambda: leader.status().base_index > 80)
        name = next(node for node in lab.ids if lab.running.get(node) is leader)
        for path in (tmp_path / name).glob("snapshot-*.snap"):
            with path.open("r+b") as file:
                file.truncate(100)
        await lab.start(away)
        assert len(await lab.agree()) == 110
        assert not lab.fatal
        await lab.stop()

    run_virtual(main())


def test_a_restart_begins_at_the_snapshot(tmp_path: Path) -> None:
    async def main() -> None:
        lab = Lab(tmp_path, snapshot_entries=50, keep_entries=10)
        await lab.start()
        await feed(await lab.leader(), 0, 230)
        before = list(await lab.agree())
        await until(lambda: all(r.status().base_index > 100 for r in lab.running.values()))
        await lab.stop()
        await lab.start()
        assert await lab.agree() == before
        await feed(await lab.leader(), 230, 5)
        assert len(await lab.agree()) == 235
        await lab.stop()
        assert not lab.fatal

    run_virtual(main())


def test_a_new_member_listens_then_votes_and_the_old_ones_can_go(tmp_path: Path) -> None:
    async def main() -> None:
        lab = Lab(tmp_path, snapshot_entries=30, keep_entries=3)
        await lab.start()
        leader = await lab.leader()
        await feed(leader, 0, 100)
        await lab.start("d")
        with pytest.raises(ChangeRefused, match="caught up"):
            await leader.change_members(("a", "b", "c", "d"))
        await leader.change_members(lab.ids, ("d",))
        await until(lambda: leader.status().match.get("d", 0) > 90)
        status = await leader.change_members(("a", "b", "c", "d"))
        assert status.membership.voters == ("a", "b", "c", "d")
        gone = next(node for node in lab.ids if lab.running[node] is leader)
        rest = tuple(name for name in ("a", "b", "c", "d") if name != gone)
        with contextlib.suppress(OutcomeUnknown, NotLeader):  # it may not see the end of it
            await leader.change_members(rest)
        await lab.kill(gone)
        after = await lab.leader()
        await until(lambda: after.status().membership.voters == rest)
        await feed(after, 100, 10)
        assert len(await lab.agree()) == 110
        await lab.stop()
        assert not lab.fatal

    run_virtual(main())


def test_reads_are_served_by_a_leader_that_a_quorum_confirms() -> None:
    async def main() -> None:
        lab = Lab()
        await lab.start()
        leader = await lab.leader()
        done = await leader.propose(b"x")
        indexes = await asyncio.gather(*(leader.read_index() for _ in range(50)))
        assert all(index >= done.index for index in indexes)
        follower = next(r for r in lab.running.values() if r is not leader)
        with pytest.raises(NotLeader):
            await follower.read_index()
        name = next(node for node in lab.ids if lab.running[node] is leader)
        lab.deaf.add(name)
        with pytest.raises((NotLeader, AppliedTimeout)):
            await leader.read_index(timeout_s=2)
        lab.deaf.clear()
        await lab.stop()

    run_virtual(main())


def test_a_machine_that_differs_is_found_out_and_its_node_stops() -> None:
    async def main() -> None:
        lab = Lab(snapshot_entries=20, keep_entries=5)
        await lab.start()
        leader = await lab.leader()
        wrong = next(node for node in lab.ids if lab.running[node] is not leader)
        await feed(leader, 0, 5)
        await lab.agree()
        machine: Machine = lab.machines[wrong]
        machine.applied[0] = b"something else"
        await feed(leader, 5, 60)
        await until(lambda: wrong in lab.fatal)
        assert isinstance(lab.fatal[wrong], StateDiverged)
        assert set(lab.fatal) == {wrong}
        await lab.stop()

    run_virtual(main())


def test_a_snapshot_can_be_asked_for() -> None:
    async def main() -> None:
        lab = Lab(keep_entries=0)
        await lab.start()
        leader = await lab.leader()
        await feed(leader, 0, 30)
        meta = leader.make_snapshot()
        assert meta is not None
        await until(lambda: leader.status().snapshot_index == meta.index)
        assert leader.status().base_index == meta.index
        await feed(leader, 30, 5)
        assert len(await lab.agree()) == 35
        await lab.stop()

    run_virtual(main())


def test_a_disk_that_fails_under_a_snapshot_stops_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        lab = Lab(ids=("a",), snapshot_entries=5)
        await lab.start()
        leader = await lab.leader()

        def broken(*arguments: object) -> None:
            raise OSError("I/O error")

        monkeypatch.setattr(lab.storage("a").snapshots, "write", broken)
        await feed(leader, 0, 5)
        await until(lambda: "a" in lab.fatal)
        assert isinstance(lab.fatal["a"], StorageBroken), "never go on with such a disk (R24)"
        await lab.stop()

    run_virtual(main())

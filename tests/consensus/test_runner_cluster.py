"""The runner on a real loop: three voters, real files where it says so."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from runner_lab import PATIENCE_S, Lab, until

from consensus import (
    MachineFailed,
    NotLeader,
    OutcomeUnknown,
    ProposalTooLarge,
    Role,
    Stopped,
    StorageBroken,
    StorageFull,
    TransferFailed,
)
from p2p.memory import run_virtual


def test_a_proposal_is_applied_everywhere_and_returns_its_result() -> None:
    async def main() -> None:
        lab = Lab()
        await lab.start()
        committed = await (await lab.leader()).propose(b"four")
        assert committed.result == 4
        assert await lab.agree() == [b"four"]
        await lab.stop()

    run_virtual(main())


def test_what_was_confirmed_survives_the_death_of_all(tmp_path: Path) -> None:
    async def main() -> None:
        lab = Lab(tmp_path)
        await lab.start()
        leader = await lab.leader()
        for n in range(20):
            await leader.propose(b"%d" % n)
        await lab.stop()
        await lab.start()
        await (await lab.leader()).propose(b"after")
        assert await lab.agree() == [b"%d" % n for n in range(20)] + [b"after"]
        await lab.stop()

    run_virtual(main())


def test_the_death_of_the_leader_loses_nothing_and_another_one_leads(tmp_path: Path) -> None:
    async def main() -> None:
        lab = Lab(tmp_path)
        await lab.start()
        leader = await lab.leader()
        await asyncio.gather(*(leader.propose(b"%d" % n) for n in range(50)))
        name = leader.status().node_id
        await lab.kill(name)
        await (await lab.leader()).propose(b"next")
        await lab.start(name)
        applied = await lab.agree()
        assert sorted(applied[:-1]) == sorted(b"%d" % n for n in range(50))
        assert applied[-1] == b"next"
        await lab.stop()

    run_virtual(main())


def test_a_follower_refuses_and_names_the_leader() -> None:
    async def main() -> None:
        lab = Lab()
        await lab.start()
        leader = (await lab.leader()).status().node_id
        follower = next(r for n, r in lab.running.items() if n != leader)
        await until(lambda: follower.status().leader == leader)
        with pytest.raises(NotLeader) as caught:
            await follower.propose(b"x")
        assert caught.value.leader_hint == leader
        assert caught.value.definite
        await lab.stop()

    run_virtual(main())


def test_a_leader_that_is_cut_off_says_unknown_as_soon_as_it_steps_down() -> None:
    async def main() -> None:
        lab = Lab()
        await lab.start()
        leader = await lab.leader()
        lab.deaf.add(leader.status().node_id)
        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(OutcomeUnknown) as caught:
                await leader.propose(b"lost?", timeout_s=600)
        assert not caught.value.definite
        assert leader.status().role is not Role.LEADER
        await lab.stop()

    run_virtual(main())


def test_a_lone_voter_of_three_never_leads() -> None:
    async def main() -> None:
        lab = Lab()
        await lab.start("a")
        lone = lab.running["a"]
        with pytest.raises(NotLeader):
            await lone.propose(b"x")
        # Several election timeouts of trying; pre-votes change no term.
        start_ms = int(asyncio.get_running_loop().time() * 1000)
        await until(lambda: int(asyncio.get_running_loop().time() * 1000) > start_ms + 1000)
        assert lone.status().role is not Role.LEADER
        assert lone.status().term == 0
        await lab.stop()

    run_virtual(main())


def test_leadership_is_handed_over() -> None:
    async def main() -> None:
        lab = Lab()
        await lab.start()
        before = await lab.leader()
        await before.propose(b"x")
        await before.transfer(5.0)
        await until(lambda: before.status().role is not Role.LEADER)
        assert (await lab.leader()) is not before
        await lab.stop()

    run_virtual(main())


def test_a_handover_to_nobody_fails_with_a_typed_error() -> None:
    async def main() -> None:
        lab = Lab(ids=("a",))
        await lab.start()
        with pytest.raises(TransferFailed):
            await (await lab.leader()).transfer(1.0)
        await lab.stop()

    run_virtual(main())


def test_a_command_that_is_too_large_is_refused_with_its_size() -> None:
    async def main() -> None:
        lab = Lab(ids=("a",))
        await lab.start()
        with pytest.raises(ProposalTooLarge) as caught:
            await (await lab.leader()).propose(bytes(1_000_000))
        assert caught.value.size_bytes == 1_000_000
        await lab.stop()

    run_virtual(main())


def test_after_the_end_a_proposal_is_refused() -> None:
    async def main() -> None:
        lab = Lab(ids=("a",))
        await lab.start()
        leader = await lab.leader()
        await lab.stop()
        with pytest.raises(Stopped):
            await leader.propose(b"x")

    run_virtual(main())


def test_a_state_machine_that_raises_stops_the_node_and_says_so() -> None:
    async def main() -> None:
        lab = Lab(ids=("a",))
        await lab.start()
        leader = await lab.leader()
        lab.machines["a"].applied = None  # type: ignore[assignment]
        with pytest.raises(OutcomeUnknown):
            await leader.propose(b"x")
        assert isinstance(lab.fatal["a"], MachineFailed)
        await lab.stop()

    run_virtual(main())


def test_a_full_disk_makes_the_leader_step_down_and_it_recovers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        lab = Lab(ids=("a",))
        await lab.start()
        leader = await lab.leader()
        await leader.propose(b"before")
        storage = lab.storage("a")
        write = storage.write

        def full(batches: object) -> None:
            raise StorageFull("log.db")

        monkeypatch.setattr(storage, "write", full)
        with pytest.raises(OutcomeUnknown):
            await leader.propose(b"full")
        assert leader.status().storage_full
        monkeypatch.setattr(storage, "write", write)
        await until(lambda: leader.status().role is Role.LEADER)
        await leader.propose(b"again")
        assert lab.machines["a"].applied[-1] == b"again"
        assert "a" not in lab.fatal
        await lab.stop()

    run_virtual(main())


def test_a_broken_disk_stops_the_node_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        lab = Lab(ids=("a",))
        await lab.start()
        leader = await lab.leader()

        def broken(batches: object) -> None:
            raise StorageBroken("log.db", "I/O error")

        monkeypatch.setattr(lab.storage("a"), "write", broken)
        with pytest.raises(OutcomeUnknown):
            await leader.propose(b"x")
        assert isinstance(lab.fatal["a"], StorageBroken)
        await lab.stop()

    run_virtual(main())


def test_garbage_and_messages_of_others_are_counted_and_change_nothing() -> None:
    async def main() -> None:
        lab = Lab(ids=("a",))
        await lab.start()
        leader = await lab.leader()
        for garbage in (b"", b"x", bytes(1000), b"\x01" * 60):
            leader.receive_from("b", garbage)
        assert sum(leader.refused.values()) == 4
        assert (await leader.propose(b"x")).result == 1
        await lab.stop()

    run_virtual(main())

"""What a worker knows of the approvals that have served: over restarts, crashes and full disks."""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import pytest

import agents.tasking.used
from agents.tasking.used import FILES, PER_FILE, UsedApprovals, UsedFile, parse_used
from keys import HomeDamaged, HomeUnreadable

AGAIN = "it has served already, before this node was started again"
ELSEWHERE = "it has served for another assignment already"


def question(number: int) -> str:
    return f"{number:032x}"


def take(used: UsedApprovals, *numbers: int, token: int = 7) -> list[str | None]:
    async def all_at_once() -> list[str | None]:
        return await asyncio.gather(*(used.take(question(n), token) for n in numbers))

    return asyncio.run(all_at_once())


def test_each_serves_for_one_assignment_and_for_no_later_start(tmp_path: Path) -> None:
    used = UsedApprovals(tmp_path)
    assert take(used, 1, 2, 1) == [None] * 3
    assert take(used, 1, 3, token=8) == [ELSEWHERE, None]
    again = UsedApprovals(tmp_path)
    assert take(again, 1, 2, 3, 4) == [AGAIN, AGAIN, AGAIN, None]
    assert (tmp_path / "approvals-0.used").stat().st_mode & 0o777 == 0o600


def test_a_network_without_votes_has_no_file(tmp_path: Path) -> None:
    UsedApprovals(tmp_path)
    assert not os.listdir(tmp_path)


def test_what_comes_while_a_write_is_under_way_shares_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes: list[int] = []
    write = agents.tasking.used.write_atomic

    def counted(path: Path, data: bytes) -> None:
        writes.append(len(parse_used(data).questions))
        write(path, data)

    monkeypatch.setattr(agents.tasking.used, "write_atomic", counted)
    assert take(UsedApprovals(tmp_path), *range(200)) == [None] * 200
    assert writes == [1, 200]


def test_nothing_is_let_pass_that_the_disk_did_not_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = UsedApprovals(tmp_path)
    take(used, 1)
    with monkeypatch.context() as patch:

        def full(path: Path, data: bytes) -> None:
            raise HomeUnreadable(path, "write", OSError(28, "No space left on device"))

        patch.setattr(agents.tasking.used, "write_atomic", full)
        for _ in range(2):
            with pytest.raises(HomeUnreadable, match="No space"):
                take(used, 2)
        assert take(UsedApprovals(tmp_path), 1) == [AGAIN]
    assert take(used, 2, token=8) == [ELSEWHERE]
    assert take(used, 2) == [None], "there is room again"
    assert take(UsedApprovals(tmp_path), 1, 2) == [AGAIN, AGAIN]


def test_one_that_stops_waiting_stops_no_write(tmp_path: Path) -> None:
    async def scenario() -> None:
        used = UsedApprovals(tmp_path)
        gone = asyncio.ensure_future(used.take(question(1), 7))
        await asyncio.sleep(0)
        stays = asyncio.ensure_future(used.take(question(2), 7))
        await asyncio.sleep(0)
        gone.cancel()
        assert await stays is None
        assert gone.cancelled()

    asyncio.run(scenario())
    assert take(UsedApprovals(tmp_path), 1, 2) == [AGAIN, AGAIN]


def test_the_oldest_file_makes_room_and_the_latest_are_known(tmp_path: Path) -> None:
    names = [n.to_bytes(16, "big") for n in range(FILES * PER_FILE)]
    for number in range(FILES):
        file = UsedFile(number, tuple(names[number * PER_FILE : (number + 1) * PER_FILE]))
        (tmp_path / f"approvals-{number}.used").write_bytes(file.encode())
    used, count = UsedApprovals(tmp_path), FILES * PER_FILE
    assert take(used, count) == [None]
    again = UsedApprovals(tmp_path)
    assert take(again, 0, PER_FILE - 1) == [None, None], "known no more"
    assert take(again, PER_FILE, count - 1, count) == [AGAIN] * 3
    assert parse_used((tmp_path / "approvals-0.used").read_bytes()).number == FILES


def test_any_bit_of_a_file_that_turned_is_said_with_its_name(tmp_path: Path) -> None:
    take(UsedApprovals(tmp_path), 1, 2, 3)
    path = tmp_path / "approvals-0.used"
    good = path.read_bytes()
    rng = random.Random(5)
    for _ in range(100):
        at = rng.randrange(len(good))
        path.write_bytes(good[:at] + bytes([good[at] ^ 1 << rng.randrange(8)]) + good[at + 1 :])
        with pytest.raises(HomeDamaged, match=r"approvals-0\.used"):
            take(UsedApprovals(tmp_path), 9)
    path.rename(tmp_path / "approvals-3.used")
    (tmp_path / "approvals-3.used").write_bytes(good)
    with pytest.raises(HomeDamaged, match="belongs elsewhere"):
        take(UsedApprovals(tmp_path), 9)

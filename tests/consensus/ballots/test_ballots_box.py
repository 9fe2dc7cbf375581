"""The ballot box: durable before it says so, nobody else's, and it never forgets silently (V4)."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from ballots_lab import CLUSTER, identity, proposal

from consensus.ballots.ballot import Ballot, Choice
from consensus.ballots.box import BallotBox, MemoryBox
from consensus.ballots.errors import AlreadyVoted, BoxDamaged, BoxExposed, EpochForgotten
from consensus.ballots.sqlite_box import SqliteBox
from consensus.errors import (
    ForeignStorage,
    NewerFormat,
    StorageBroken,
    StorageError,
    WrongCluster,
    WrongNode,
)

ME = identity(1)


def opened(path: Path) -> SqliteBox:
    return SqliteBox(path / "ballots.db", CLUSTER, ME.public_key)


def ballot(number: int = 1, choice: Choice = Choice.APPROVE, epoch: int = 7) -> Ballot:
    return Ballot.sign(ME, proposal(4, number=number, epoch=epoch), choice)


@pytest.fixture(params=["memory", "sqlite"])
def box(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BallotBox]:
    in_memory = request.param == "memory"
    made: BallotBox = MemoryBox(CLUSTER, ME.public_key) if in_memory else opened(tmp_path)
    yield made
    made.close()


def test_v4_one_ballot_a_proposal_and_round_for_ever(box: BallotBox) -> None:
    box.store(ballot())
    box.store(ballot())
    with pytest.raises(AlreadyVoted):
        box.store(ballot(choice=Choice.REJECT))
    with pytest.raises(AlreadyVoted):
        box.store(Ballot.sign(ME, proposal(4, question="Another text?"), Choice.APPROVE))
    box.store(ballot(2, Choice.REJECT))
    assert box.find(f"{1:032x}", 0) == ballot()
    assert box.find(f"{1:032x}", 1) is None
    assert box.ballots() == (ballot().raw, ballot(2, Choice.REJECT).raw)


def test_v4_a_forgotten_epoch_is_never_voted_in_again(box: BallotBox) -> None:
    box.store(ballot())
    box.store(ballot(2, epoch=9))
    box.forget_below(9)
    box.forget_below(3)
    assert box.floor() == 9
    assert box.ballots() == (ballot(2, epoch=9).raw,)
    with pytest.raises(EpochForgotten):
        box.store(ballot(choice=Choice.REJECT))
    box.store(ballot(2, epoch=9))


def test_a_box_takes_its_own_voters_ballots_only(box: BallotBox) -> None:
    with pytest.raises(WrongNode):
        box.store(Ballot.sign(identity(2), proposal(4), Choice.APPROVE))
    with pytest.raises(WrongCluster):
        box.store(Ballot.sign(ME, proposal(4, cluster="other"), Choice.APPROVE))


def test_v4_a_box_that_is_opened_again_holds_all(tmp_path: Path) -> None:
    box = opened(tmp_path)
    for number in range(5):
        box.store(ballot(number))
    box.forget_below(3)
    box.close()
    box = opened(tmp_path)
    assert box.ballots() == tuple(ballot(number).raw for number in range(5))
    assert box.floor() == 3
    box.close()


def test_v4_files_copied_at_each_step_hold_every_ballot_that_was_confirmed(tmp_path: Path) -> None:
    steps = []

    def copy() -> None:
        target = tmp_path / f"copy-{len(steps)}"
        shutil.copytree(tmp_path / "live", target)
        steps.append((target, box.ballots(), box.floor()))

    box = opened(tmp_path / "live")
    copy()
    for number in range(6):
        box.store(ballot(number, epoch=number + 1))
        copy()
        if number == 3:
            box.forget_below(2)
            copy()
    box.close()
    for path, ballots, floor in steps:
        again = opened(path)
        assert (again.ballots(), again.floor()) == (ballots, floor)
        again.store(ballot(9, epoch=9))
        again.close()


def test_v4_files_copied_within_a_store_hold_it_or_not_and_nothing_else(tmp_path: Path) -> None:
    """SQLite is stopped at every instruction of the transaction, as a kill would."""
    box = opened(tmp_path / "live")
    box.store(ballot(1))
    copies: list[Path] = []

    def copy() -> int:
        if len(copies) < 200:
            copies.append(tmp_path / f"copy-{len(copies)}")
            shutil.copytree(tmp_path / "live", copies[-1])
        return 0

    box._db.set_progress_handler(copy, 3)
    box.store(ballot(2))
    box._db.set_progress_handler(None, 0)
    box.close()
    assert copies
    for path in copies:
        again = opened(path)
        assert again.ballots() in {(ballot(1).raw,), (ballot(1).raw, ballot(2).raw)}
        again.close()


def test_v4_a_cut_or_changed_file_opens_with_all_ballots_or_not_at_all(tmp_path: Path) -> None:
    box = opened(tmp_path / "live")
    for number in range(3):
        box.store(ballot(number))
    box.forget_below(5)
    expected = box.ballots()
    box.close()
    good = (tmp_path / "live" / "ballots.db").read_bytes()
    broken = [good[: len(good) * part // 16] for part in range(1, 16)]
    for at in range(0, len(good), 97):
        broken.append(good[:at] + bytes([good[at] ^ 0x55]) + good[at + 1 :])
    refused = 0
    for number, data in enumerate(broken):
        place = tmp_path / f"broken-{number}" / "ballots.db"
        place.parent.mkdir()
        place.write_bytes(data)
        place.chmod(0o600)
        try:
            again = SqliteBox(place, CLUSTER, ME.public_key)
        except StorageError:
            refused += 1
            continue
        assert (again.ballots(), again.floor()) == (expected, 5)
        again.close()
    assert refused > 20


def test_the_file_is_private_and_one_that_is_not_is_refused(tmp_path: Path) -> None:
    box = opened(tmp_path)
    box.store(ballot())
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    box.close()
    (tmp_path / "ballots.db").chmod(0o644)
    with pytest.raises(BoxExposed, match="0644"):
        opened(tmp_path)


def test_a_link_is_no_box(tmp_path: Path) -> None:
    opened(tmp_path / "live").close()
    (tmp_path / "ballots.db").symlink_to(tmp_path / "live" / "ballots.db")
    with pytest.raises(BoxExposed):
        opened(tmp_path)


def test_somebody_elses_file_is_refused(tmp_path: Path) -> None:
    opened(tmp_path).close()
    path = tmp_path / "ballots.db"
    with pytest.raises(WrongCluster):
        SqliteBox(path, "other", ME.public_key)
    with pytest.raises(WrongNode):
        SqliteBox(path, CLUSTER, identity(2).public_key)
    _edit(path, "PRAGMA user_version=3")
    with pytest.raises(NewerFormat):
        opened(tmp_path)
    foreign = tmp_path / "foreign" / "ballots.db"
    foreign.parent.mkdir()
    foreign.touch(0o600)
    _edit(foreign, "CREATE TABLE theirs (x)")
    with pytest.raises(ForeignStorage):
        opened(tmp_path / "foreign")
    foreign.write_bytes(b"a letter to somebody else" * 400)
    with pytest.raises(ForeignStorage):
        opened(tmp_path / "foreign")


def test_a_box_whose_rows_were_moved_or_lost_does_not_open(tmp_path: Path) -> None:
    for number, statement in enumerate(
        (
            "UPDATE ballot SET round = 5",
            "UPDATE ballot SET raw = x'00'",
            "UPDATE ballot SET epoch = 1",
            "DELETE FROM owner",
            "UPDATE owner SET floor = 3",
            "UPDATE ballot SET sum = x'00'",
            "UPDATE owner SET floor = 'x'",
        )
    ):
        folder = tmp_path / str(number)
        box = opened(folder)
        box.store(ballot())
        box.close()
        _edit(folder / "ballots.db", statement)
        with pytest.raises(BoxDamaged):
            opened(folder)


def test_a_second_process_gets_no_box(tmp_path: Path) -> None:
    box = opened(tmp_path)
    box.store(ballot())
    path = str(tmp_path / "ballots.db")
    with pytest.raises(sqlite3.OperationalError), sqlite3.connect(path, timeout=0) as second:
        second.execute("SELECT * FROM ballot").fetchall()
    second.close()
    box.close()


def test_a_failed_write_is_typed_and_nothing_was_stored(tmp_path: Path) -> None:
    box = opened(tmp_path)
    box._db.execute("CREATE TRIGGER no BEFORE INSERT ON ballot BEGIN SELECT RAISE(FAIL, 'no'); END")
    with pytest.raises(StorageBroken):
        box.store(ballot())
    assert box.ballots() == ()
    box._db.execute("DROP TRIGGER no")
    box.store(ballot(choice=Choice.REJECT))
    box.close()


@pytest.mark.skipif(os.name != "posix", reason="there are no such links elsewhere")
def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageBroken):
        opened(tmp_path / "file")


def _edit(path: Path, statement: str) -> None:
    db = sqlite3.connect(path)
    with db:
        db.execute(statement)
    db.close()

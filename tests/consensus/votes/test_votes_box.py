"""V4 on disk: what was stored is there after any kill, and nothing else ever is."""

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from votes_lab import CLUSTER, cast, electorate, people, proposal, signed

from consensus.errors import (
    ForeignStorage,
    LogCorrupted,
    StorageBroken,
    StorageError,
    StorageFull,
    WrongCluster,
    WrongNode,
)
from consensus.raft import Entry, EntryKind, StoreBatch
from consensus.storage import SqliteStorage
from consensus.votes.ballot import Choice
from consensus.votes.ballot_box import (
    FILE_NAME,
    BallotBox,
    MemoryBallotBox,
    SqliteBallotBox,
)
from consensus.votes.errors import BallotConflict
from consensus.votes.voter import CastRecord, SendBallot, Store, VotingCore
from keys import verify_signature

NODE = people(4)[0].peer_id


def record(number: int, choice: Choice = Choice.APPROVE) -> CastRecord:
    asked = proposal(electorate(4), proposal_id=number.to_bytes(16, "big"))
    return CastRecord(cast(asked, 0, choice), signed(asked).signed_header)


def opened(folder: Path) -> SqliteBallotBox:
    return SqliteBallotBox(folder, CLUSTER, NODE)


def found(folder: Path) -> tuple[CastRecord, ...]:
    with opened(folder) as box:
        return box.records()


@pytest.fixture(params=["memory", "sqlite"])
def box(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BallotBox]:
    if request.param == "memory":
        yield MemoryBallotBox()
        return
    with opened(tmp_path) as made:
        yield made


def test_v4_a_box_keeps_one_ballot_a_slot(box: BallotBox) -> None:
    for _ in range(2):
        box.store(record(1))
        box.store(record(2))
    with pytest.raises(BallotConflict, match="must not be sent"):
        box.store(record(1, Choice.REJECT))
    assert box.records() == (record(1), record(2))


def test_v4_a_box_holds_after_a_restart_what_it_held(tmp_path: Path) -> None:
    for number in range(5):
        with opened(tmp_path) as box:
            assert box.records() == tuple(record(n) for n in range(number))
            box.store(record(number))
    with opened(tmp_path) as box, pytest.raises(BallotConflict):
        box.store(record(3, Choice.ABSTAIN))


def test_a_box_is_private_and_of_one_voter_of_one_cluster(tmp_path: Path) -> None:
    with opened(tmp_path / "box") as box:
        box.store(record(1))
        for path in (tmp_path / "box").iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE((tmp_path / "box").stat().st_mode) == 0o700
        with pytest.raises(StorageBroken, match="locked"):
            opened(tmp_path / "box")
    with pytest.raises(WrongCluster):
        SqliteBallotBox(tmp_path / "box", "other", NODE)
    with pytest.raises(WrongNode, match="its votes would be cast twice"):
        SqliteBallotBox(tmp_path / "box", CLUSTER, people(4)[1].peer_id)


def test_a_log_of_raft_is_no_box_and_a_box_no_log(tmp_path: Path) -> None:
    SqliteStorage(tmp_path / FILE_NAME, CLUSTER, NODE).close()
    with pytest.raises(WrongCluster):
        opened(tmp_path)
    opened(tmp_path / "box").close()
    with pytest.raises(WrongCluster):
        SqliteStorage(tmp_path / "box" / FILE_NAME, CLUSTER, NODE)
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / FILE_NAME).write_bytes(b"not a database at all" * 100)
    with pytest.raises(ForeignStorage):
        opened(tmp_path / "text")


def test_v4_a_kill_between_any_two_stores_loses_nothing(tmp_path: Path) -> None:
    """A copy of the files at a moment is what a process that dies there leaves."""
    live = tmp_path / "live"
    with opened(live) as box:
        for number in range(6):
            shutil.copytree(live, tmp_path / f"{number}")
            box.store(record(number))
    shutil.copytree(live, tmp_path / "6")
    for number in range(7):
        assert found(tmp_path / f"{number}") == tuple(record(n) for n in range(number))


def test_v4_a_kill_within_a_store_leaves_all_of_it_or_nothing(tmp_path: Path) -> None:
    """Every length that SQLite's own log can have had while the third ballot was written."""
    live = tmp_path / "live"
    wal = f"{FILE_NAME}-wal"
    with opened(live) as box:
        box.store(record(0))
        box.store(record(1))
        before = (live / wal).stat().st_size
        box.store(record(2))
        after = (live / wal).stat().st_size
        shutil.copytree(live, tmp_path / "whole")
    assert before < after
    seen = set()
    for length in [*range(before, after, 509), after - 1, after]:
        cut = tmp_path / f"cut{length}"
        shutil.copytree(tmp_path / "whole", cut)
        os.truncate(cut / wal, length)
        records = found(cut)
        assert records in ((record(0), record(1)), (record(0), record(1), record(2)))
        seen.add(len(records))
        with opened(cut) as box:
            box.store(record(2))
            assert len(box.records()) == 3
    assert seen == {2, 3}


def test_v4_damage_is_refused_or_has_no_effect(tmp_path: Path) -> None:
    with opened(tmp_path / "live") as box:
        for number in range(4):
            box.store(record(number))
    data = (tmp_path / "live" / FILE_NAME).read_bytes()
    whole = found(tmp_path / "live")
    refused = 0
    folder = tmp_path / "damaged"
    folder.mkdir()
    for at in range(0, len(data), 211):
        (folder / FILE_NAME).write_bytes(data[:at] + bytes((data[at] ^ 0x55,)) + data[at + 1 :])
        try:
            assert found(folder) == whole
        except StorageError:
            refused += 1
        for rest in folder.glob("*-*"):
            rest.unlink()
    assert refused > 3


@pytest.mark.parametrize(
    ("records", "why"),
    [
        ([record(1), record(1)], "a second ballot"),
        ([record(1), record(1, Choice.REJECT)], "a second ballot"),
        ([b"junk"], "does not begin like"),
    ],
)
def test_a_file_with_what_no_box_writes_is_refused(
    tmp_path: Path, records: list[CastRecord | bytes], why: str
) -> None:
    storage = SqliteStorage(tmp_path / FILE_NAME, f"{CLUSTER}/ballots", NODE)
    for index, each in enumerate(records, 1):
        data = each if isinstance(each, bytes) else each.to_bytes()
        entry = Entry(index, 1, EntryKind.COMMAND, data)
        storage.write([StoreBatch(index, None, None, (entry,), 0)])
    storage.close()
    with pytest.raises(LogCorrupted, match=why):
        opened(tmp_path)


def test_a_ballot_of_another_voter_is_refused(tmp_path: Path) -> None:
    other = people(4)[1].peer_id
    with SqliteBallotBox(tmp_path, CLUSTER, other) as box:
        box.store(record(1))
    with pytest.raises(LogCorrupted, match="a ballot of"):
        SqliteBallotBox(tmp_path, CLUSTER, other)


WRITER = """
import sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from test_votes_box import opened, record
box = opened(Path(sys.argv[1]))
while True:
    box.store(record(len(box.records())))
    print(len(box.records()), flush=True)
"""


@pytest.mark.e2e
def test_v4_a_killed_process_has_lost_no_ballot_that_it_said_was_stored(tmp_path: Path) -> None:
    said = 0
    for kills_after in (1, 7, 20):
        here = Path(__file__).resolve().parent
        child = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), str(here)],
            stdout=subprocess.PIPE,
            cwd=here.parents[2],
            text=True,
        )
        assert child.stdout is not None
        for _ in range(kills_after):
            said = int(child.stdout.readline())
        child.kill()
        said = max([said, *(int(line) for line in child.stdout if line.endswith("\n"))])
        child.wait(30)
        child.stdout.close()
        held = len(found(tmp_path))
        assert said <= held <= said + 1


def test_v4_a_full_disk_stores_nothing_and_the_same_ballot_may_be_tried_again(
    tmp_path: Path,
) -> None:
    with opened(tmp_path) as box:
        limit = box._storage._db.execute
        limit("PRAGMA max_page_count=12")
        number = 0
        with pytest.raises(StorageFull):
            for number in range(1000):
                box.store(record(number))
        assert len(box.records()) == number > 3
        limit("PRAGMA max_page_count=100000")
        box.store(record(number))
    assert found(tmp_path) == tuple(record(n) for n in range(number + 1))


class BrokenOnce(SqliteStorage):
    """A disk that fails at one write and would take the next one."""

    failure: StorageError | None = None

    def write(self, batches: object) -> None:
        failure, self.failure = self.failure, None
        if failure is not None:
            raise failure
        super().write(batches)  # type: ignore[arg-type]


def test_v4_a_ballot_that_could_not_be_stored_is_not_sent_and_a_broken_disk_stays_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consensus.votes.ballot_box.SqliteStorage", BrokenOnce)
    core = VotingCore(people(4)[0], verify_signature, CLUSTER)
    core.know(electorate(4))
    asked = proposal()
    core.on_proposal(signed(asked).to_bytes(), "anna")
    effects = core.on_choice(asked.slot, Choice.APPROVE)
    with opened(tmp_path) as box:
        storage = box._storage
        assert isinstance(storage, BrokenOnce)
        storage.failure = StorageFull("disk")
        sent = []

        def carry_out() -> None:
            for effect in effects:
                if isinstance(effect, Store):
                    box.store(effect.record)
                elif isinstance(effect, SendBallot):
                    sent.append(effect)

        with pytest.raises(StorageFull):
            carry_out()
        assert (sent, box.records()) == ([], ())
        effects = core.on_proposal(signed(asked).to_bytes(), "anna")
        carry_out()
        assert len(sent) == 1
        storage.failure = StorageBroken("disk", "I/O error")
        for _ in range(2):
            with pytest.raises(StorageBroken):
                box.store(record(7))
    assert found(tmp_path) == (effects[0].record,)  # type: ignore[union-attr]

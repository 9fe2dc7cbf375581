"""Old ballots are let go, and nothing is ever signed again where one was."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from ballots_lab import CLUSTER, identity, proposal

from consensus.ballots.ballot import Ballot, Choice
from consensus.ballots.box import BallotBox, MemoryBox
from consensus.ballots.errors import BallotForgotten
from consensus.ballots.sqlite_box import SqliteBox
from consensus.ballots.voter import (
    ChoiceMade,
    EpochBegan,
    ProposalOpened,
    ProposalReceived,
    Refusal,
    Refused,
    Voter,
)
from consensus.errors import StorageError

ME = identity(1)
FIRST, SECOND = (f"{number:032x}" for number in (1, 2))


def opened(path: Path) -> SqliteBox:
    return SqliteBox(path / "ballots.db", CLUSTER, ME.public_key)


def ballot(number: int = 1, choice: Choice = Choice.APPROVE) -> Ballot:
    return Ballot.sign(ME, proposal(4, number=number), choice)


@pytest.fixture(params=["memory", "sqlite"])
def box(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BallotBox]:
    in_memory = request.param == "memory"
    made: BallotBox = MemoryBox(CLUSTER, ME.public_key) if in_memory else opened(tmp_path)
    yield made
    made.close()


def test_what_is_let_go_is_stored_no_more_also_if_it_is_the_same(box: BallotBox) -> None:
    box.store(ballot(1))
    box.store(ballot(2))
    box.forget([(FIRST, 0), (FIRST, 1), ("f" * 32, 0)])
    assert box.ballots() == (ballot(2).raw,)
    assert box.forgotten() == {(FIRST, 0)}
    for choice in Choice:
        if choice is not Choice.VETO:
            with pytest.raises(BallotForgotten):
                box.store(ballot(1, choice))
    box.store(Ballot.sign(ME, proposal(4, round=1), Choice.REJECT))  # another round is another
    assert box.find(FIRST, 1) is not None


def test_it_is_known_after_any_number_of_starts(tmp_path: Path) -> None:
    with closing(opened(tmp_path)) as box:
        box.store(ballot(1))
        box.forget([(FIRST, 0)])
    for _ in range(2):
        with closing(opened(tmp_path)) as box:
            assert box.forgotten() == {(FIRST, 0)}
            assert box.ballots() == ()
            with pytest.raises(BallotForgotten):
                box.store(ballot(1))


def test_a_box_of_format_1_is_taken_over_with_its_ballots(tmp_path: Path) -> None:
    with closing(opened(tmp_path)) as box:
        box.store(ballot(1))
    with closing(sqlite3.connect(tmp_path / "ballots.db")) as db, db:
        db.execute("DROP TABLE gone")
        db.execute("PRAGMA user_version=1")
    with closing(opened(tmp_path)) as box:
        assert box.ballots() == (ballot(1).raw,)
        box.forget([(FIRST, 0)])
    with closing(opened(tmp_path)) as box:
        assert box.forgotten() == {(FIRST, 0)}


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE gone SET round = 1",
        "UPDATE gone SET proposal = '" + "e" * 32 + "'",
        "UPDATE gone SET sum = x'00'",
        "UPDATE gone SET proposal = 7",
        "DROP TABLE gone",
    ],
)
def test_damage_to_what_was_let_go_is_said(tmp_path: Path, damage: str) -> None:
    with closing(opened(tmp_path)) as box:
        box.store(ballot(1))
        box.forget([(FIRST, 0)])
    with closing(sqlite3.connect(tmp_path / "ballots.db")) as db, db:
        db.execute(damage)
    with pytest.raises(StorageError):
        opened(tmp_path)


def test_a_voter_signs_nothing_where_a_ballot_was(tmp_path: Path) -> None:
    on = proposal(4)
    for again in (False, True):  # in the same run, and after a start
        held, gone = ([], [(FIRST, 0)]) if again else ([ballot().raw], [])
        voter = Voter(ME, CLUSTER, held, 0, gone)
        if not again:
            voter.forget([(FIRST, 0), (SECOND, 0)])
        voter.step(EpochBegan(on.epoch, on.electors))
        refused = Refused(None, Refusal.FORGOTTEN_BALLOT)
        assert voter.step(ProposalOpened(on.raw)) == [refused]
        asked = voter.step(ProposalReceived(on.proposer, on.raw))
        assert asked == [Refused(on.proposer, Refusal.FORGOTTEN_BALLOT)]
        made = voter.step(ChoiceMade(FIRST, 0, Choice.REJECT))
        assert made == [Refused(None, Refusal.UNKNOWN_PROPOSAL)]
        other = proposal(4, number=2)
        assert len(voter.step(ProposalOpened(other.raw))) == 1

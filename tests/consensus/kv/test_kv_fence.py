"""Fences: a stale token never passes, in memory, in a file, in a database."""

import multiprocessing
import os
import sqlite3
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.kv import (
    Fence,
    FenceDamaged,
    FencedFile,
    FencedStatement,
    FenceFull,
    FenceUnavailable,
    IdentifierInvalid,
    StaleToken,
    fenced_file,
    fenced_update,
)

# -- in memory --------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 9)), max_size=40))
def test_tokens_that_pass_never_fall(writes: list[tuple[str, int]]) -> None:
    fence = Fence(2)
    highest = {"a": 0, "b": 0}
    for resource, token in writes:
        if token < highest[resource]:
            with pytest.raises(StaleToken) as caught:
                fence.check(resource, token)
            assert caught.value.resource == resource
            assert (caught.value.token, caught.value.highest) == (token, highest[resource])
        else:
            fence.check(resource, token)
            highest[resource] = token
        assert fence.highest(resource) == highest[resource]


def test_a_fence_forgets_nobody_and_is_bounded() -> None:
    fence = Fence(2)
    fence.check("a", 5)
    fence.check("b", 5)
    with pytest.raises(FenceFull, match="guards 2"):
        fence.check("c", 5)
    fence.check("a", 6)
    assert (len(fence), fence.highest("c")) == (2, 0)


# -- a file -----------------------------------------------------------------------------------


def test_a_file_takes_the_same_or_a_higher_token(tmp_path: Path) -> None:
    file = FencedFile(tmp_path / "data")
    assert file.highest() == 0
    file.write(b"one", 5)
    file.write(b"two", 5)
    file.write(b"three", 9)
    with pytest.raises(StaleToken, match="token 5 is stale, 9 was seen"):
        file.write(b"late", 5)
    assert file.path.read_bytes() == b"three"
    assert FencedFile(tmp_path / "data").highest() == 9


def test_a_file_can_be_closed_to_earlier_holders_before_it_is_written(tmp_path: Path) -> None:
    file = FencedFile(tmp_path / "data")
    file.write(b"one", 5)
    file.check(7)
    with pytest.raises(StaleToken):
        file.write(b"late", 6)
    with pytest.raises(StaleToken):
        file.check(6)
    assert file.path.read_bytes() == b"one"


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"conclave-fence 1 7 00000000\n",
        b"conclave-fence 1 5",
        b"conclave-fence 2 7 7b8af1c2\n",
        bytes(40),
    ],
)
def test_a_damaged_token_is_not_taken_for_none(tmp_path: Path, damage: bytes) -> None:
    file = FencedFile(tmp_path / "data")
    file.write(b"one", 5)
    (tmp_path / "data.fence").write_bytes(damage)
    with pytest.raises(FenceDamaged, match=r"data\.fence"):
        file.write(b"two", 9)
    assert file.path.read_bytes() == b"one"


def test_the_format_of_the_token_file(tmp_path: Path) -> None:
    FencedFile(tmp_path / "data").write(b"one", 1234)
    assert (tmp_path / "data.fence").read_bytes() == b"conclave-fence 1 1234 2a9ed11c\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "data",
        "data.fence",
        "data.fence.lock",
    ]


@pytest.mark.parametrize("stop_at", range(1, 9))
def test_a_crash_leaves_old_or_new_data_and_never_a_lower_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    file = FencedFile(tmp_path / "data")
    file.write(b"old", 5)
    calls = 0

    def crashing(call):
        def wrapped(*args):
            nonlocal calls
            calls += 1
            if calls == stop_at:
                raise KeyboardInterrupt
            return call(*args)

        return wrapped

    with monkeypatch.context() as patch:
        patch.setattr(fenced_file.os, "fsync", crashing(os.fsync))
        patch.setattr(fenced_file.os, "replace", crashing(os.replace))
        if stop_at <= 6:
            with pytest.raises(KeyboardInterrupt):
                file.write(b"new", 9)
        else:
            file.write(b"new", 9)
    data = file.path.read_bytes()
    assert (data, file.highest()) in [(b"old", 5), (b"old", 9), (b"new", 9)]
    file.write(b"after", 9)
    assert file.path.read_bytes() == b"after"


def test_an_owner_s_permissions_stay(tmp_path: Path) -> None:
    file = FencedFile(tmp_path / "data")
    file.write(b"one", 1)
    assert file.path.stat().st_mode & 0o777 == 0o600
    file.path.chmod(0o640)
    file.write(b"two", 2)
    assert file.path.stat().st_mode & 0o777 == 0o640


def test_without_file_locks_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fenced_file, "fcntl", None)
    with pytest.raises(FenceUnavailable, match="no flock"):
        FencedFile(tmp_path / "data").write(b"one", 1)
    assert list(tmp_path.iterdir()) == []


def _write_all(path: Path, tokens: range) -> None:
    file = FencedFile(path)
    for token in tokens:
        with suppress(StaleToken):
            file.write(b"%d" % token, token)


def test_two_processes_never_write_behind_each_other(tmp_path: Path) -> None:
    path = tmp_path / "data"
    context = multiprocessing.get_context("spawn")
    writers = [
        context.Process(target=_write_all, args=(path, range(first, 41, 2))) for first in (1, 2)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    assert FencedFile(path).highest() == 40
    assert path.read_bytes() == b"40"


# -- a database -------------------------------------------------------------------------------


@pytest.fixture
def database():
    with sqlite3.connect(":memory:") as connection:
        connection.execute(
            "CREATE TABLE job (id TEXT PRIMARY KEY, state TEXT, fencing_token INTEGER NOT NULL)"
        )
        connection.execute("INSERT INTO job VALUES ('a', 'new', 0)")
        yield connection
    connection.close()


def run(database: sqlite3.Connection, statement: FencedStatement) -> None:
    cursor = database.execute(statement.sql, statement.parameters)
    statement.check(cursor.rowcount)


def test_a_row_takes_the_same_or_a_higher_token(database: sqlite3.Connection) -> None:
    run(database, fenced_update("job", "a", {"state": "one"}, 5))
    run(database, fenced_update("job", "a", {"state": "two"}, 5))
    run(database, fenced_update("job", "a", {"state": "three"}, 9))
    with pytest.raises(StaleToken, match=r"job\['a'\]: token 5 is stale, a higher one"):
        run(database, fenced_update("job", "a", {"state": "late"}, 5))
    assert database.execute("SELECT * FROM job").fetchall() == [("a", "three", 9)]


def test_a_row_that_does_not_exist_is_not_written(database: sqlite3.Connection) -> None:
    with pytest.raises(StaleToken):
        run(database, fenced_update("job", "b", {"state": "one"}, 5))


def test_values_are_parameters_and_names_are_checked() -> None:
    evil = "x'; DROP TABLE job; --"
    statement = fenced_update("job", evil, {"state": evil}, 5, paramstyle="format")
    assert statement.sql == (
        "UPDATE job SET state = %s, fencing_token = %s WHERE id = %s AND fencing_token <= %s"
    )
    assert statement.parameters == (evil, 5, evil, 5)
    for names in ((evil, "id", "t"), ("job", evil, "t"), ("job", "id", "\u00e9"), ("", "id", "t")):
        with pytest.raises(IdentifierInvalid):
            fenced_update(names[0], "a", {"s": 1}, 5, key_column=names[1], token_column=names[2])
    with pytest.raises(IdentifierInvalid):
        fenced_update("job", "a", {"state = 1, x": 1}, 5)

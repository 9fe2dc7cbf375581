"""Looking after a home: what lies in it, another passphrase, backups; cut off between any steps."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from keys_lab import NOW_MS

from keys import (
    HomeExists,
    HomeInUse,
    Identity,
    InsecurePermissions,
    InvalidValue,
    KeysError,
    Keystore,
    KeystoreError,
    NoNetworkYet,
    PassphraseNeeded,
    PassphraseWrong,
    accept_grant,
    files,
    make_join_request,
    rekeying,
)
from keys.backups import (
    BackupClosed,
    BackupMalformed,
    BackupNeedsKey,
    TooEarlyForBackup,
    back_up,
    load_backup_key,
    make_backup_key,
    open_backup,
    parse_public,
    public_text,
    read_head,
    restore,
)
from keys.canonical import decode, encode
from keys.safekeeping import change_passphrase, key_notes, load_passphrase
from keys.sealed import Cost, is_sealed, seal
from keys.sealing.suites import SealingSecret, Suite

CHEAP = Cost(1, 8 << 10)
OLD, NEW = "old one", "new one"


class Killed(BaseException):
    """The process is gone."""


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Argon2id at its cheapest; its cost is not what is tested here."""

    def cheap(purpose: str, secret: bytes, passphrase: str | None) -> bytes:
        return seal(purpose, secret, passphrase, cost=CHEAP)

    for module in ("keys.keystore", "keys.rekeying", "keys.home"):
        monkeypatch.setattr(f"{module}.seal", cheap)


def network(home: Path, passphrase: str | None = None) -> Keystore:
    return Keystore.create_network(home, "lab", "ada", 1, passphrase=passphrase, now_ms=NOW_MS)


def member(first: Keystore, home: Path) -> Keystore:
    assert first.issuer is not None
    ticket, identity = first.issuer.invite(NOW_MS), Identity.generate()
    request = make_join_request(ticket, identity, home.name, b"t", NOW_MS)
    grant = first.issuer.redeem(request, b"t", NOW_MS)
    joined = accept_grant(ticket, identity, grant, NOW_MS)
    return Keystore.create_joined(home, identity, home.name, joined)


def founded(home: Path, passphrase: str | None = None) -> Keystore:
    store = network(home, passphrase)
    store.sign_roster([store.identity.peer_id], NOW_MS)
    return store


def opens(home: Path, passphrase: str | None) -> bool:
    try:
        Keystore.open(home, passphrase)
    except (PassphraseWrong, PassphraseNeeded):
        return False
    return True


def killed_at_each_step(
    act: Callable[[Path], object], home: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """Homes in which `act` was killed before its first call of the system, its second, ..."""
    calls = ("open", "replace", "fsync", "link")
    real = {name: getattr(os, name) for name in calls}
    unlink = Path.unlink
    for limit in range(10_000):
        copy = home.with_name(f"{home.name}-{limit}")
        shutil.copytree(home, copy)
        left = [limit]

        def spend(left: list[int] = left) -> None:
            if left[0] == 0:
                raise Killed
            left[0] -= 1

        with monkeypatch.context() as patch:
            for name in calls:

                def step(*arguments: object, name: str = name, **more: object) -> object:
                    spend()
                    return real[name](*arguments, **more)

                patch.setattr(files.os, name, step)

            def removing(path: Path, **more: bool) -> None:
                spend()
                unlink(path, **more)

            patch.setattr(Path, "unlink", removing)
            try:
                act(copy)
                is_over = True
            except Killed:
                is_over = False
        yield copy
        if is_over:
            return
    raise AssertionError("it never ends")


# -- passphrases -------------------------------------------------------------------------------


@pytest.mark.parametrize(("old", "new"), [(OLD, NEW), (None, NEW), (OLD, None)])
def test_a_change_that_is_killed_anywhere_leaves_a_home_with_one_passphrase(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str | None, new: str | None
) -> None:
    store = founded(tmp_path / "ada", old)
    seen, count = set(), 0
    act = lambda home: change_passphrase(home, old, new)  # noqa: E731 - shorter where it is used
    for home in killed_at_each_step(act, store.home, monkeypatch):
        count += 1
        for name in ("identity.key", "issuer.key", "root.key"):
            data, purpose = (home / name).read_bytes(), name.removesuffix(".key")
            assert any(_opens(home / name, purpose, data, word) for word in (old, new))
        which = [word for word in (old, new) if opens(home, word)]
        # An open home opens whatever passphrase is given, so ask for one that is nobody's.
        is_new = not opens(home, "other") if new is not None else opens(home, "other")
        assert which, "nobody can open it"
        seen.add(is_new if old is None or new is None else which == [new])
        reopened = Keystore.open(home, which[0])
        assert reopened.identity.peer_id == store.identity.peer_id
        with reopened.lock():
            assert not [p for p in home.iterdir() if ".new-" in p.name]
            change_passphrase(home, which[0], "third")
        assert opens(home, "third")
        assert not opens(home, old or new)
        shutil.rmtree(home)
    assert seen == {False, True}, "both sides of the moment were tried"
    assert count > 15


def _opens(path: Path, purpose: str, data: bytes, passphrase: str | None) -> bool:
    from keys.sealed import unseal

    try:
        unseal(path, purpose, data, passphrase)
    except KeystoreError:
        return False
    return True


def test_a_wrong_passphrase_changes_nothing(tmp_path: Path) -> None:
    store = founded(tmp_path / "ada", OLD)
    before = {p.name: p.read_bytes() for p in store.home.glob("*.key")}
    for wrong in ("wrong", None):
        with pytest.raises((PassphraseWrong, PassphraseNeeded)):
            change_passphrase(store.home, wrong, NEW)
    with pytest.raises(InvalidValue):
        change_passphrase(store.home, OLD, "")
    assert {p.name: p.read_bytes() for p in store.home.glob("*.key")} == before
    assert opens(store.home, OLD)


def test_a_mark_that_says_nothing_is_damage_and_names_of_others_are_left_alone(
    tmp_path: Path,
) -> None:
    store = founded(tmp_path / "ada")
    (store.home / "notes.new-1").write_text("mine")
    with store.lock():
        pass
    assert (store.home / "notes.new-1").exists()
    for mark in (b"", b"../../x", b"0" * 17, b"Z" * 16):
        (store.home / rekeying.MARK).write_bytes(mark)
        with pytest.raises(KeystoreError, match="rekeying"):
            Keystore.open(store.home)


def test_a_passphrase_file_is_one_line_that_nobody_else_may_read(tmp_path: Path) -> None:
    file = tmp_path / "pass"
    file.write_text("correct horse\n")
    file.chmod(0o640)
    with pytest.raises(InsecurePermissions, match=f"chmod 600 {file}"):
        load_passphrase(file)
    assert load_passphrase(file, private=False) == "correct horse"
    file.chmod(0o600)
    assert load_passphrase(file) == "correct horse"
    for bad in (b"", b"\n", b"\xff\xfe", b"x" * 5000):
        file.write_bytes(bad)
        with pytest.raises(ValueError):
            load_passphrase(file)
    with pytest.raises(ValueError, match="no such file"):
        load_passphrase(tmp_path / "none")


# -- what there is -----------------------------------------------------------------------------


def test_the_inventory_names_keys_and_needs_no_passphrase(tmp_path: Path) -> None:
    store = founded(tmp_path / "ada", OLD)
    notes = {note.file: note for note in key_notes(store.home)}
    assert set(notes) == {"identity.key", "issuer.key", "root.key"}
    assert all(note.is_sealed for note in notes.values())
    assert notes["identity.key"].key_id == store.identity.peer_id
    assert notes["root.key"].key_id == store.genesis.network_id
    assert store.issuer is not None
    assert notes["issuer.key"].key_id == store.issuer.chain.leaf.peer_id
    other = member(store, tmp_path / "bob")
    (note,) = key_notes(other.home)
    assert (note.is_sealed, note.name) == (False, "bob")
    (other.home / "identity.key").chmod(0o644)
    with pytest.raises(InsecurePermissions, match="chmod 600"):
        key_notes(other.home)
    with pytest.raises(NoNetworkYet):
        key_notes(tmp_path / "none")


# -- backups -----------------------------------------------------------------------------------


def test_a_home_comes_back_whole_but_for_what_must_not(tmp_path: Path) -> None:
    store = founded(tmp_path / "ada", OLD)
    assert store.issuer is not None
    store.issuer.invite(NOW_MS)
    member(store, tmp_path / "bob")
    (store.home / "policy.toml").write_text("version = 1\n")
    (store.home / "raft").mkdir()
    (store.home / "raft" / "log.db").write_text("votes")
    (store.home / "sealing.ring").write_text("keys")
    store.next_incarnation(NOW_MS)
    data = back_up(store.home, NOW_MS, passphrase="backup", cost=CHEAP)
    for name in ("identity.key", "chain", "policy.toml"):
        assert (store.home / name).read_bytes() not in data
    opened = open_backup(data, passphrase="backup")
    home = tmp_path / "again"
    restore(home, opened, {"raft/left": b"x"}, NOW_MS + 5)
    with pytest.raises(PassphraseWrong):
        Keystore.open(home, "backup")
    again = Keystore.open(home, OLD)
    assert again.identity.peer_id == store.identity.peer_id
    assert again.load_roster() == store.load_roster()
    assert again.issuer is not None
    assert len(list(again.issuer.issued)) == 2
    assert (home / "policy.toml").exists()
    assert (home / "raft" / "left").read_bytes() == b"x"
    for name in ("raft/log.db", "sealing.ring"):
        assert not (home / name).exists()
    assert not list((home / "tickets").iterdir())
    assert again.next_incarnation(NOW_MS) > store.next_incarnation(NOW_MS) - (1 << 20)
    for path in home.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_restored_home_speaks_with_newer_numbers_than_the_one_that_went_on(
    tmp_path: Path,
) -> None:
    store = founded(tmp_path / "ada")
    data = back_up(store.home, NOW_MS, passphrase="b", cost=CHEAP)
    for _ in range(5):
        last = store.next_incarnation(NOW_MS + 1000)
    later_ms = NOW_MS + 1000 + 6 * (1 << 20)
    restore(tmp_path / "again", open_backup(data, passphrase="b"), {}, later_ms)
    assert Keystore.open(tmp_path / "again").next_incarnation(later_ms) > last


def test_a_backup_for_a_key_opens_with_that_key_alone(tmp_path: Path) -> None:
    store = founded(tmp_path / "ada")
    key = make_backup_key(tmp_path / "backup.key", None)
    with pytest.raises(InvalidValue, match="already"):
        make_backup_key(tmp_path / "backup.key", None)
    word = public_text(key.public)
    data = back_up(store.home, NOW_MS, recipient=parse_public(word))
    assert read_head(data).recipient == key.public
    found = load_backup_key(tmp_path / "backup.key", None)
    assert open_backup(data, key=found).files["chain"] == store.chain.encode()
    with pytest.raises(BackupNeedsKey, match=word):
        open_backup(data, passphrase="x")
    with pytest.raises(BackupClosed):
        open_backup(data, key=SealingSecret.generate(Suite.X25519))


def test_a_backup_with_a_passphrase_opens_with_it_alone(tmp_path: Path) -> None:
    data = back_up(founded(tmp_path / "ada").home, NOW_MS, passphrase="right", cost=CHEAP)
    with pytest.raises(BackupClosed):
        open_backup(data, passphrase="wrong")
    with pytest.raises(BackupNeedsKey, match="--passphrase-file"):
        open_backup(data)
    with pytest.raises(BackupNeedsKey):
        open_backup(data, key=SealingSecret.generate(Suite.X25519))


def test_a_backup_is_never_open(tmp_path: Path) -> None:
    home = founded(tmp_path / "ada").home
    for how in ({}, {"passphrase": ""}, {"passphrase": "x", "recipient": bytes(32)}):
        with pytest.raises(InvalidValue):
            back_up(home, NOW_MS, **how)
    with pytest.raises(InvalidValue):
        back_up(home, NOW_MS, recipient=bytes(32))  # of small order: nobody's


def test_whoever_has_yet_to_name_the_voters_has_no_copy(tmp_path: Path) -> None:
    store = network(tmp_path / "ada")
    with pytest.raises(TooEarlyForBackup):
        back_up(store.home, NOW_MS, passphrase="x")
    other = member(store, tmp_path / "bob")
    assert back_up(other.home, NOW_MS, passphrase="x", cost=CHEAP)


def test_nothing_is_restored_over_what_is_there(tmp_path: Path) -> None:
    store = founded(tmp_path / "ada")
    opened = open_backup(back_up(store.home, NOW_MS, passphrase="b", cost=CHEAP), passphrase="b")
    with pytest.raises(HomeExists):
        restore(store.home, opened, {}, NOW_MS)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "photo.jpg").touch()
    with pytest.raises(KeystoreError, match=r"photo\.jpg"):
        restore(tmp_path / "full", opened, {}, NOW_MS)
    half = tmp_path / "half"
    half.mkdir(mode=0o700)
    holder = Keystore(half, store.identity, store.chain, store.genesis, None)
    with holder.lock(), pytest.raises(HomeInUse):
        restore(half, opened, {}, NOW_MS)


def test_a_restoration_that_is_killed_anywhere_is_no_home_or_a_whole_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = founded(tmp_path / "ada")
    data = back_up(store.home, NOW_MS, passphrase="b", cost=CHEAP)
    opened = open_backup(data, passphrase="b")
    empty = tmp_path / "empty"
    empty.mkdir(mode=0o700)
    act = lambda home: restore(home, opened, {"raft/left": b"x"}, NOW_MS)  # noqa: E731
    homes, whole = 0, 0
    for home in killed_at_each_step(act, empty, monkeypatch):
        homes += 1
        try:
            Keystore.open(home)
        except KeystoreError:
            assert not (home / "FORMAT").exists()
        else:
            whole += 1
            assert (home / "raft" / "left").read_bytes() == b"x"
    assert homes > 20
    assert 1 <= whole < 5


def test_no_byte_of_a_backup_can_be_changed_and_none_is_missing(tmp_path: Path) -> None:
    data = back_up(founded(tmp_path / "ada").home, NOW_MS, passphrase="b", cost=CHEAP)
    for position in [*range(220), *range(220, len(data), 97)]:
        broken = bytearray(data)
        broken[position] ^= 1
        with pytest.raises((BackupMalformed, BackupClosed, BackupNeedsKey)):
            open_backup(bytes(broken), passphrase="b")
        with pytest.raises(BackupMalformed):
            open_backup(data[:position], passphrase="b")


@pytest.mark.parametrize(
    "changes", [{8: 7}, {8: 0}, {9: 2**30}, {9: 2**53 - 1}, {9: 1}, {7: b""}, {10: bytes(32)}]
)
def test_a_header_that_demands_absurd_work_is_refused_before_any(
    tmp_path: Path, changes: dict[int, object]
) -> None:
    data = back_up(founded(tmp_path / "ada").home, NOW_MS, passphrase="b", cost=CHEAP)
    header, wrapped, box = decode(data, 1 << 20)  # type: ignore[misc]
    fields = decode(header, 4096)
    assert isinstance(fields, dict)
    with pytest.raises(BackupMalformed):
        open_backup(encode([encode({**fields, **changes}), wrapped, box]), passphrase="b")


def test_names_that_lead_elsewhere_are_refused() -> None:
    from keys.backups.archive import _pack, _unpack

    assert _unpack(_pack({f"issued/{'a' * 52}": b"x"}))
    many = {
        f"issued/{'a' * 49}{a}{b}{c}": b"" for a in "bcdefg" for b in "bcdefghi" for c in "bcdefghi"
    }
    assert _unpack(_pack(many)) == many
    for name in ("../x", "issued/../../x", "/etc/x", "issued/", "FORMAT", "lock", "raft/log.db"):
        with pytest.raises(BackupMalformed, match="which no backup has"):
            _unpack(_pack({name: b"x"}))


@given(st.binary(max_size=300))
def test_random_bytes_are_no_backup(data: bytes) -> None:
    with pytest.raises(BackupMalformed):
        open_backup(data, passphrase="x")


@given(st.text(max_size=80))
def test_random_text_is_no_key(text: str) -> None:
    with pytest.raises(KeysError):
        parse_public(text)


def test_a_key_file_says_whether_it_is_sealed(tmp_path: Path) -> None:
    store = founded(tmp_path / "ada")
    path = store.home / "identity.key"
    assert not is_sealed(path, path.read_bytes())
    change_passphrase(store.home, None, NEW)
    assert is_sealed(path, path.read_bytes())

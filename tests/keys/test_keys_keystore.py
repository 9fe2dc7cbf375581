"""The data directory: every way it can be wrong has its own error, and nothing comes twice."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from keys_lab import BOTH, NOW_MS, key

from keys import Identity, JoinedNetwork, Keystore, Role, accept_grant, make_join_request
from keys.errors import (
    CertificateRefused,
    ForeignDirectory,
    GrantRefused,
    HomeDamaged,
    HomeExists,
    HomeIncomplete,
    HomeInUse,
    HomeUnreadable,
    InsecurePermissions,
    InvalidName,
    InvalidValue,
    IssuerKeyMissing,
    KeystoreError,
    NewerHome,
    NoNetworkYet,
    NotTheIssuer,
    PassphraseNeeded,
    PassphraseWrong,
    RosterConflict,
    RosterRefused,
    SecretUnreadable,
)
from keys.keystore import INCARNATION_STRIDE
from keys.roster import Roster

TALK = b"t" * 32


def create(home: Path, voters: int = 3, passphrase: str | None = None) -> Keystore:
    return Keystore.create_network(
        home, "lan", "alpha", voters, passphrase=passphrase, now_ms=NOW_MS
    )


def joined_by(issuing: Keystore, identity: Identity, name: str = "beta") -> JoinedNetwork:
    assert issuing.issuer is not None
    ticket = issuing.issuer.invite(NOW_MS)
    request = make_join_request(ticket, identity, name, TALK, NOW_MS)
    return accept_grant(ticket, identity, issuing.issuer.redeem(request, TALK, NOW_MS), NOW_MS)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    create(tmp_path / "alpha")
    return tmp_path / "alpha"


def test_what_was_created_opens_as_the_same_node(tmp_path: Path) -> None:
    made = create(tmp_path / "alpha")
    opened = Keystore.open(tmp_path / "alpha")
    assert opened.identity.peer_id == made.identity.peer_id
    assert (opened.name, opened.chain, opened.genesis) == ("alpha", made.chain, made.genesis)
    assert opened.principal(NOW_MS).roles == BOTH
    assert opened.genesis.expected_voters == 3
    assert opened.issuer is not None
    assert opened.load_roster() is None


def test_two_networks_of_one_name_are_two_networks(tmp_path: Path) -> None:
    assert create(tmp_path / "a").trust != create(tmp_path / "b").trust


def test_a_joined_node_opens_without_an_issuer(home: Path, tmp_path: Path) -> None:
    identity = Keystore.pending_identity(tmp_path / "beta")
    joined = joined_by(Keystore.open(home), identity)
    Keystore.create_joined(tmp_path / "beta", identity, "beta", joined)
    opened = Keystore.open(tmp_path / "beta")
    assert opened.issuer is None
    assert opened.principal(NOW_MS).roles == Role.SERVICE
    assert opened.trust == Keystore.open(home).trust
    assert not (tmp_path / "beta" / "root.key").exists()


def test_directories_are_0700_and_files_0600(home: Path) -> None:
    for path in (home, *home.rglob("*")):
        wanted = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path


def test_no_temporary_file_is_left(home: Path) -> None:
    assert not [path for path in home.rglob("*") if path.name.endswith(".tmp")]


def test_nothing_there_is_no_network_yet(tmp_path: Path) -> None:
    for name in ("missing", "empty", "mounted"):
        path = tmp_path / name
        if name != "missing":
            path.mkdir()
        if name == "mounted":
            (path / "lost+found").mkdir()
            (path / "conclave.toml").write_text("")
        with pytest.raises(NoNetworkYet, match="conclave init"):
            Keystore.open(path)


def test_an_empty_directory_with_loose_modes_is_tightened(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    create(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


def test_a_directory_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    for attempt in (create, Keystore.open, Keystore.pending_identity):
        with pytest.raises(ForeignDirectory, match=r"thesis\.tex"):
            attempt(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_in_place_of_the_directory_is_told(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    for attempt in (create, Keystore.open):
        with pytest.raises(HomeUnreadable):
            attempt(tmp_path / "home")


def test_a_network_is_never_overwritten(home: Path) -> None:
    before = (home / "identity.key").read_bytes()
    with pytest.raises(HomeExists):
        create(home)
    with pytest.raises(HomeExists):
        Keystore.pending_identity(home)
    identity = key(9)
    with pytest.raises(HomeExists):
        Keystore.create_joined(home, identity, "beta", joined_by(Keystore.open(home), identity))
    assert (home / "identity.key").read_bytes() == before


def test_an_interrupted_init_is_told(home: Path) -> None:
    (home / "FORMAT").unlink()
    for attempt in (Keystore.open, create, Keystore.pending_identity):
        with pytest.raises(HomeIncomplete):
            attempt(home)


def test_a_join_cut_off_at_any_file_can_be_repeated(home: Path, tmp_path: Path) -> None:
    """Files are written in this order, each whole or not at all."""
    order = ["tickets", "identity.key", "chain", "genesis", "incarnation", "FORMAT"]
    identity = Keystore.pending_identity(tmp_path / "whole")
    joined = joined_by(Keystore.open(home), identity)
    Keystore.create_joined(tmp_path / "whole", identity, "beta", joined)
    for count in range(1, len(order)):
        cut = tmp_path / f"cut-{count}"
        shutil.copytree(tmp_path / "whole", cut)
        for name in order[count:]:
            if name != "identity.key":  # there since before anybody was asked
                (cut / name).unlink()
        (cut / ".chain.0123456789abcdef.tmp").write_bytes(b"half")
        again = Keystore.pending_identity(cut)
        assert again.peer_id == identity.peer_id
        Keystore.create_joined(cut, again, "beta", joined)
        assert Keystore.open(cut).principal(NOW_MS).peer_id == identity.peer_id


def test_a_join_that_was_begun_is_no_network_yet_and_may_become_another(tmp_path: Path) -> None:
    pending = Keystore.pending_identity(tmp_path)
    with pytest.raises(NoNetworkYet):
        Keystore.open(tmp_path)
    assert create(tmp_path).identity.peer_id != pending.peer_id


def test_a_grant_for_another_key_or_name_is_not_stored(home: Path, tmp_path: Path) -> None:
    joined = joined_by(Keystore.open(home), key(9))
    with pytest.raises(GrantRefused):
        Keystore.create_joined(tmp_path / "b", key(10), "beta", joined)
    with pytest.raises(GrantRefused):
        Keystore.create_joined(tmp_path / "b", key(9), "gamma", joined)
    assert not (tmp_path / "b").exists()


def test_bad_names_and_counts_leave_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(InvalidName):
        Keystore.create_network(tmp_path / "x", "two words", "alpha", 3, now_ms=NOW_MS)
    with pytest.raises(InvalidName):
        Keystore.create_network(tmp_path / "x", "lan", "", 3, now_ms=NOW_MS)
    with pytest.raises(InvalidValue):
        create(tmp_path / "x", voters=2)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("name", ["identity.key", "issuer.key"])
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620])
def test_a_secret_that_others_may_reach_is_refused(home: Path, name: str, mode: int) -> None:
    (home / name).chmod(mode)
    with pytest.raises(InsecurePermissions, match="chmod 600"):
        Keystore.open(home)


def test_a_directory_that_others_may_reach_is_refused(home: Path) -> None:
    home.chmod(0o750)
    with pytest.raises(InsecurePermissions, match="chmod 700"):
        Keystore.open(home)


def test_a_newer_format_is_refused_and_a_strange_one_foreign(home: Path) -> None:
    (home / "FORMAT").write_text("conclave-home 2\n")
    with pytest.raises(NewerHome):
        Keystore.open(home)
    (home / "FORMAT").write_text("conclave-home 0\n")
    with pytest.raises(HomeDamaged):
        Keystore.open(home)
    (home / "FORMAT").write_text("ext4")
    with pytest.raises(ForeignDirectory):
        Keystore.open(home)


@pytest.mark.parametrize("name", ["identity.key", "chain", "genesis"])
@pytest.mark.parametrize("contents", [None, b"", b"\xc1", b"x" * 10_000])
def test_a_missing_or_damaged_file_is_named(home: Path, name: str, contents: bytes | None) -> None:
    if contents is None:
        (home / name).unlink()
    else:
        (home / name).write_bytes(contents)
    with pytest.raises((HomeDamaged, SecretUnreadable)) as refused:
        Keystore.open(home)
    assert name in str(refused.value)


def test_no_byte_of_what_open_reads_can_be_changed(home: Path) -> None:
    for name in ("identity.key", "issuer.key", "chain", "genesis"):
        whole = (home / name).read_bytes()
        for position in range(len(whole)):
            changed = bytearray(whole)
            changed[position] ^= 1
            (home / name).write_bytes(bytes(changed))
            with pytest.raises(KeystoreError):
                Keystore.open(home)
        (home / name).write_bytes(whole)
    assert Keystore.open(home)


def test_files_of_two_homes_do_not_mix(home: Path, tmp_path: Path) -> None:
    create(tmp_path / "other")
    for name, error in (
        ("identity.key", HomeDamaged),
        ("chain", HomeDamaged),
        ("genesis", HomeDamaged),
        ("issuer.key", IssuerKeyMissing),
    ):
        mixed = tmp_path / f"mixed-{name}"
        shutil.copytree(home, mixed)
        shutil.copy(tmp_path / "other" / name, mixed / name)
        with pytest.raises(error):
            Keystore.open(mixed)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_cannot_be_read_is_told(home: Path) -> None:
    (home / "chain").chmod(0)
    with pytest.raises(HomeUnreadable):
        Keystore.open(home)


def test_a_directory_in_place_of_a_file_is_told(home: Path) -> None:
    (home / "chain").unlink()
    (home / "chain").mkdir()
    with pytest.raises(HomeUnreadable):
        Keystore.open(home)


def test_an_ended_certificate_still_opens_so_that_it_can_be_renewed(home: Path) -> None:
    opened = Keystore.open(home)
    with pytest.raises(CertificateRefused):
        opened.principal(opened.chain.leaf.not_after_ms + 10**9)


def test_a_passphrase_seals_every_key(tmp_path: Path) -> None:
    made = create(tmp_path / "a", passphrase="correct horse")
    for path in (tmp_path / "a").rglob("*"):
        assert path.is_dir() or made.identity.export_secret() not in path.read_bytes()
    with pytest.raises(PassphraseNeeded):
        Keystore.open(tmp_path / "a")
    with pytest.raises(PassphraseWrong):
        Keystore.open(tmp_path / "a", "wrong")
    opened = Keystore.open(tmp_path / "a", "correct horse")
    assert opened.identity.peer_id == made.identity.peer_id


def test_a_running_node_does_not_need_the_root_key(home: Path) -> None:
    (home / "root.key").unlink()
    opened = Keystore.open(home)
    assert opened.issuer is not None
    assert opened.issuer.invite(NOW_MS)


def test_an_incarnation_never_comes_twice(home: Path) -> None:
    given = [Keystore.open(home).next_incarnation() for _ in range(3)]
    assert given == [INCARNATION_STRIDE * count for count in (1, 2, 3)]


def test_an_incarnation_follows_the_clock_and_not_back(home: Path) -> None:
    opened = Keystore.open(home)
    assert opened.next_incarnation(now_ms=NOW_MS) == NOW_MS
    assert opened.next_incarnation(now_ms=NOW_MS + 1) == NOW_MS + INCARNATION_STRIDE
    assert opened.next_incarnation(now_ms=0) == NOW_MS + 2 * INCARNATION_STRIDE


@pytest.mark.parametrize("contents", [None, b"", b"x\n", b"12", b"-1\n", b"9007199254740991\n"])
def test_a_lost_incarnation_is_not_begun_anew(home: Path, contents: bytes | None) -> None:
    path = home / "incarnation"
    path.unlink()
    if contents is not None:
        path.write_bytes(contents)
    with pytest.raises(HomeDamaged):
        Keystore.open(home).next_incarnation()


def test_the_first_roster_is_the_only_one(home: Path) -> None:
    store = Keystore.open(home)
    voters = [store.identity.peer_id, key(8).peer_id, key(9).peer_id]
    roster = store.sign_roster(voters, NOW_MS)
    assert store.load_roster() == roster
    assert store.sign_roster(reversed(voters), NOW_MS + 99) == roster
    store.save_roster(roster)
    others = [store.identity.peer_id, key(8).peer_id, key(10).peer_id]
    with pytest.raises(RosterConflict):
        store.sign_roster(others, NOW_MS)
    assert Keystore.open(home).load_roster() == roster


def test_another_roster_of_the_same_voters_is_another_roster(home: Path, tmp_path: Path) -> None:
    twin = tmp_path / "twin"
    shutil.copytree(home, twin)
    voters = [key(seed).peer_id for seed in (7, 8, 9)]
    first = Keystore.open(home).sign_roster(voters, NOW_MS)
    second = Keystore.open(twin).sign_roster(voters, NOW_MS + 1)
    with pytest.raises(RosterConflict):
        Keystore.open(home).save_roster(second)
    assert Keystore.open(home).load_roster() == first


def test_a_roster_of_another_network_is_not_stored(home: Path, tmp_path: Path) -> None:
    voters = [key(seed).peer_id for seed in (7, 8, 9)]
    foreign = create(tmp_path / "other").sign_roster(voters, NOW_MS)
    store = Keystore.open(home)
    with pytest.raises(RosterRefused):
        store.save_roster(foreign)
    assert store.load_roster() is None
    (home / "roster").write_bytes(foreign.raw)
    with pytest.raises(HomeDamaged):
        store.load_roster()


def test_a_node_that_is_no_issuer_signs_no_roster_and_keeps_one(home: Path, tmp_path: Path) -> None:
    first = Keystore.open(home)
    joined = joined_by(first, key(9))
    store = Keystore.create_joined(tmp_path / "beta", key(9), "beta", joined)
    voters = [key(seed).peer_id for seed in (7, 8, 9)]
    with pytest.raises(NotTheIssuer):
        store.sign_roster(voters, NOW_MS)
    roster = first.sign_roster(voters, NOW_MS)
    store.save_roster(Roster.decode(roster.encode()))
    assert Keystore.open(tmp_path / "beta").load_roster() == roster


def test_one_process_holds_a_home(home: Path) -> None:
    first, second = Keystore.open(home), Keystore.open(home)
    with first.lock():
        with pytest.raises(HomeInUse) as refused, second.lock():
            raise AssertionError("two hold the lock")
        assert refused.value.pid == os.getpid()
    with second.lock():
        pass


@pytest.mark.e2e
def test_a_killed_holder_leaves_the_home_free(home: Path) -> None:
    program = (
        "import pathlib, sys; from keys import Keystore\n"
        "with Keystore.open(pathlib.Path(sys.argv[1])).lock():\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(HomeInUse) as refused, Keystore.open(home).lock():
            raise AssertionError("two hold the lock")
        assert refused.value.pid == holder.pid
    finally:
        holder.kill()
        holder.wait(10)
        holder.stdin.close()
        holder.stdout.close()
    with Keystore.open(home).lock():
        pass


def test_neither_text_nor_repr_shows_a_secret(home: Path) -> None:
    opened = Keystore.open(home)
    secret = opened.identity.export_secret()
    for text in (repr(opened), str(opened), repr(opened.issuer), repr(opened.identity)):
        assert secret.hex() not in text
        assert repr(secret)[2:-1] not in text

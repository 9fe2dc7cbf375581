"""A node that becomes an issuer, and a home that remembers roots, cut off anywhere."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from keys_lab import DAY_MS, NOW_MS, key
from roots_lab import quorum, single

from keys import (
    ALL_ROLES,
    Authority,
    Chain,
    HomeDamaged,
    Identity,
    InvalidValue,
    IssuerKeyMissing,
    JoinedNetwork,
    Keystore,
    NotTheIssuer,
    Role,
    accept_grant,
    custodian_text,
    make_join_request,
    make_renewal_request,
    parse_custodian,
    verify,
)
from keys.ceremonies import (
    IssuerRequest,
    Paper,
    asking_key,
    install_issuer,
    read_key_file,
    write_key_file,
)
from keys.errors import HomeExists, PassphraseNeeded, PassphraseWrong, SecretUnreadable
from keys.refusals import RootSuperseded, RotationConflict
from keys.renewal import accept_renewal
from keys.trust import SKEW_MS

TALK = b"t" * 32
LATER_MS = NOW_MS + DAY_MS


def join(issuing: Keystore, home: Path, now_ms: int = NOW_MS, **rights: object) -> Keystore:
    assert issuing.issuer is not None
    ticket = issuing.issuer.invite(now_ms, **rights)  # type: ignore[arg-type]
    identity = Identity.generate()
    request = make_join_request(ticket, identity, home.name, TALK, now_ms)
    grant = issuing.issuer.redeem(request, TALK, now_ms)
    joined: JoinedNetwork = accept_grant(ticket, identity, grant, now_ms)
    return Keystore.create_joined(home, identity, home.name, joined)


@pytest.fixture
def first(tmp_path: Path) -> Keystore:
    return Keystore.create_network(tmp_path / "a", "lan", "a", 3, now_ms=NOW_MS)


@pytest.fixture
def member(first: Keystore, tmp_path: Path) -> Keystore:
    return join(first, tmp_path / "b")


def root_of(store: Keystore) -> Identity:
    return read_key_file(store.home / "root.key", "root", None)


def asked(store: Keystore, **wish: object) -> Paper:
    said: dict[str, object] = {"roles": ALL_ROLES, "namespaces": ["*"], "days": 300, **wish}
    request = IssuerRequest.make(
        asking_key(store.home, None),
        store.genesis.network_id,
        f"{store.name}-issuer",
        said["roles"],  # type: ignore[arg-type]
        said["namespaces"],  # type: ignore[arg-type]
        said["days"],  # type: ignore[arg-type]
        NOW_MS,
    )
    assert store.trust.seen is not None
    return Paper.issuing(request, store.trust.seen.roots or store.chain.roots)


def issued(store: Keystore, root: Identity, **wish: object) -> Chain:
    return asked(store, **wish).drafted(NOW_MS).sign(root).issuer_chain(NOW_MS)


def rotated(first: Keystore, grace_ms: int = 30 * DAY_MS) -> Paper:
    line = first.chain.roots
    paper = Paper.rotation(line, single(50).authority, grace_ms, NOW_MS)
    return paper.sign(root_of(first)).sign(key(50))


def reissued(store: Keystore, rotation: Paper) -> Chain:
    drafted = asked(store).drafted(NOW_MS, line=rotation.roots())
    return drafted.sign(key(50)).issuer_chain(NOW_MS)


def test_a_member_becomes_an_issuer_and_lets_others_in(
    first: Keystore, member: Keystore, tmp_path: Path
) -> None:
    made = install_issuer(member, issued(member, root_of(first)), NOW_MS, None)
    assert made.issuer is not None
    assert not made.names_voters
    assert first.names_voters
    joined = join(made, tmp_path / "c")
    principal = verify(joined.chain, first.trust, NOW_MS)
    assert principal.issuer_key_id == made.issuer.chain.leaf.key_id
    assert Keystore.open(member.home).issuer is not None
    with pytest.raises(NotTheIssuer):
        made.sign_roster([made.identity.peer_id] * 3, NOW_MS)


def test_it_gives_no_more_than_the_root_let_it(
    first: Keystore, member: Keystore, tmp_path: Path
) -> None:
    chain = issued(member, root_of(first), roles=Role.SERVICE, namespaces=["shop"], days=10)
    made = install_issuer(member, chain, NOW_MS, None)
    assert made.issuer is not None
    for rights in ({"roles": Role.MANAGER, "namespaces": ["shop"]}, {"namespaces": ["bank"]}, {}):
        with pytest.raises(InvalidValue):
            made.issuer.invite(NOW_MS, **rights)  # type: ignore[arg-type]
    joined = join(made, tmp_path / "c", roles=Role.SERVICE, namespaces=["shop.eu"])
    assert joined.chain.leaf.namespaces == ("shop.eu",)
    assert joined.chain.leaf.not_after_ms <= NOW_MS + 10 * DAY_MS


def test_the_key_that_asks_is_the_same_until_it_is_installed(member: Keystore) -> None:
    assert asking_key(member.home, None).peer_id == asking_key(member.home, None).peer_id
    assert Keystore.open(member.home).issuer is None


def test_a_certificate_for_another_nodes_key_is_not_installed(
    first: Keystore, member: Keystore, tmp_path: Path
) -> None:
    other = join(first, tmp_path / "c")
    chain = issued(other, root_of(first))
    with pytest.raises(IssuerKeyMissing):
        install_issuer(member, chain, NOW_MS, None)
    assert Keystore.open(member.home).issuer is None


def crash_points(
    home: Path, act: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> list[Path]:
    """Copies of the home as it was before each durable step of `act`."""
    import keys.files as files

    copies: list[Path] = []

    def copying(name: str) -> None:
        real = getattr(files, name)

        def step(*arguments: object) -> object:
            copies.append(home.with_name(f"{home.name}-{len(copies)}"))
            shutil.copytree(home, copies[-1])
            return real(*arguments)

        for module in (
            "keys.ceremonies.installing",
            "keys.keystore",
            "keys.home",
            "keys.issuing.issued_book",
        ):
            import importlib

            if hasattr(importlib.import_module(module), name):
                monkeypatch.setattr(f"{module}.{name}", step)

    for name in ("write_atomic", "rename_file", "create_exclusive"):
        copying(name)
    act()
    monkeypatch.undo()
    copies.append(home)
    return copies


def test_an_installation_that_is_cut_off_anywhere_is_run_again(
    first: Keystore, member: Keystore, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = issued(member, root_of(first))
    homes = crash_points(
        member.home, lambda: install_issuer(member, chain, NOW_MS, None), monkeypatch
    )
    assert len(homes) > 2
    for home in homes:
        opened = Keystore.open(home)  # whole at every moment, issuer or not
        assert install_issuer(opened, chain, NOW_MS, None).issuer is not None


def test_a_rotation_that_is_cut_off_anywhere_is_run_again(
    first: Keystore, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = reissued(first, rotated(first))
    homes = crash_points(
        first.home, lambda: install_issuer(first, chain, NOW_MS, None), monkeypatch
    )
    assert len(homes) > 3
    for home in homes:
        made = install_issuer(Keystore.open(home), chain, NOW_MS, None)
        assert made.chain.rotations == 1
        assert made.principal(NOW_MS).roles == first.chain.leaf.roles
        assert made.trust.seen is not None
        assert made.trust.seen.number == 1


def test_a_rotated_network_goes_on_and_lets_in_newcomers(
    first: Keystore, member: Keystore, tmp_path: Path
) -> None:
    made = install_issuer(first, reissued(first, rotated(first)), NOW_MS, None)
    assert made.genesis.network_id == first.genesis.network_id
    assert made.names_voters, "genesis names a key, and it is the same"
    newcomer = join(made, tmp_path / "c")
    assert newcomer.chain.rotations == 1
    assert verify(newcomer.chain, member.trust, NOW_MS), "who has seen no rotation believes it"
    reopened = Keystore.open(newcomer.home)
    assert reopened.trust.seen is not None
    assert reopened.trust.seen.number == 1, "it remembers what it was given"


def test_members_renew_under_the_new_root_while_the_old_one_counts(
    first: Keystore, member: Keystore
) -> None:
    made = install_issuer(first, reissued(first, rotated(first)), NOW_MS, None)
    assert made.issuer is not None
    request = make_renewal_request(member.identity, member.chain, LATER_MS)
    chain = accept_renewal(
        made.issuer.renew(request, LATER_MS), member.chain, member.trust, LATER_MS
    )
    member.replace_chain(chain)
    assert Keystore.open(member.home).chain.rotations == 1
    over_ms = NOW_MS + 30 * DAY_MS + SKEW_MS + 1
    late = make_renewal_request(member.identity, Chain(first.chain.certificates), over_ms)
    with pytest.raises(RootSuperseded):
        made.issuer.renew(late, over_ms)


def test_a_shorter_certificate_under_the_new_root_is_better_than_a_longer_one_under_the_old(
    first: Keystore, member: Keystore
) -> None:
    drafted = asked(first).drafted(NOW_MS, line=rotated(first).roots(), days=5)
    made = install_issuer(first, drafted.sign(key(50)).issuer_chain(NOW_MS), NOW_MS, None)
    assert made.issuer is not None
    request = make_renewal_request(member.identity, member.chain, NOW_MS)
    answer = made.issuer.renew(request, NOW_MS)
    chain = accept_renewal(answer, member.chain, member.trust, NOW_MS)
    assert chain.leaf.not_after_ms < member.chain.leaf.not_after_ms


def test_a_home_that_knows_a_rotation_refuses_another_one(
    first: Keystore, member: Keystore
) -> None:
    assert member.trust.seen is not None
    member.trust.seen.learn(rotated(first).roots())
    thief = Paper.rotation(first.chain.roots, single(51).authority, 0, NOW_MS)
    line = thief.sign(root_of(first)).sign(key(51)).roots()
    again = Keystore.open(member.home)
    assert again.trust.seen is not None
    with pytest.raises(RotationConflict):
        again.trust.seen.judge(line, NOW_MS, SKEW_MS)
    drafted = asked(member).drafted(NOW_MS, line=line)
    chain = drafted.sign(key(51)).issuer_chain(NOW_MS)
    with pytest.raises(RotationConflict):
        install_issuer(again, chain, NOW_MS, None)


def test_without_grace_old_chains_are_refused_at_once(first: Keystore, member: Keystore) -> None:
    assert first.trust.seen is not None
    first.trust.seen.learn(rotated(first, grace_ms=0).roots())
    assert verify(member.chain, first.trust, NOW_MS + SKEW_MS)
    with pytest.raises(RootSuperseded, match="ended 2 min ago"):
        verify(member.chain, first.trust, NOW_MS + SKEW_MS + 1)


@pytest.mark.parametrize("name", ["roots", "issuer.chain"])
def test_a_file_that_is_damaged_is_named(first: Keystore, name: str) -> None:
    install_issuer(first, reissued(first, rotated(first)), NOW_MS, None)
    path = first.home / name
    whole = path.read_bytes()
    for data in (b"", whole[:-1], whole[1:], bytes([whole[0] ^ 1]) + whole[1:]):
        path.write_bytes(data)
        with pytest.raises(HomeDamaged, match=name):
            Keystore.open(first.home)


def test_the_roots_of_another_network_are_damage(first: Keystore, tmp_path: Path) -> None:
    other = Keystore.create_network(tmp_path / "z", "lan", "z", 1, now_ms=NOW_MS)
    install_issuer(other, reissued(other, rotated(other)), NOW_MS, None)
    shutil.copy(other.home / "roots", first.home / "roots")
    with pytest.raises(HomeDamaged, match="roots"):
        Keystore.open(first.home)


# -- founding --------------------------------------------------------------------------------------


def test_a_founding_that_is_cut_off_anywhere_is_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    several = quorum(2, 4, 5, 6)
    assert several.authority.quorum is not None
    home = tmp_path / "a"
    own, issuer = Keystore.pending_founder(home)
    again = Keystore.pending_founder(home)
    assert [each.peer_id for each in again] == [own.peer_id, issuer.peer_id]
    paper = Paper.founding(several.authority.quorum, "lan", "a", issuer.public_key, 1, NOW_MS)
    founded = paper.sign(key(4)).sign(key(6)).founded()
    homes = crash_points(
        home, lambda: Keystore.create_founded(home, "a", founded, now_ms=NOW_MS), monkeypatch
    )
    assert len(homes) > 5
    for each in homes[:-1]:
        try:
            Keystore.create_founded(each, "a", founded, now_ms=NOW_MS)
        except HomeExists:
            assert (each / "FORMAT").exists(), "it was made before it was cut off"
        made = Keystore.open(each)
        assert made.identity.peer_id == own.peer_id
        assert made.names_voters
        assert made.sign_roster([own.peer_id], NOW_MS)
    with pytest.raises(InvalidValue, match="not the key"):
        Keystore.create_founded(tmp_path / "b", "b", founded, now_ms=NOW_MS)


def test_a_custodians_key_is_kept_sealed_and_never_written_over(tmp_path: Path) -> None:
    path = tmp_path / "root.key"
    write_key_file(path, "root", key(4), "correct horse")
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_key_file(path, "root", "correct horse").peer_id == key(4).peer_id
    with pytest.raises(PassphraseNeeded):
        read_key_file(path, "root", None)
    with pytest.raises(PassphraseWrong):
        read_key_file(path, "root", "wrong")
    with pytest.raises(SecretUnreadable, match="in place of"):
        read_key_file(path, "identity", "correct horse")
    with pytest.raises(SecretUnreadable, match="no such file"):
        read_key_file(tmp_path / "x", "root", None)
    with pytest.raises(InvalidValue, match="never written over"):
        write_key_file(path, "root", key(5), None)
    word = custodian_text(key(4).public_key)
    assert Authority(parse_custodian(word)).threshold == 1

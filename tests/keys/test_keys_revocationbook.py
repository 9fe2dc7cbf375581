"""Revocation lists on disk: nothing that was in force is forgotten, whenever we stopped."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from keys_lab import NOW_MS

import keys.revocationbook as book_module
from keys import HomeDamaged, Keystore, Revocations, entry_of_key, next_list, verify
from keys.home import read_key
from keys.refusals import CertificateRevoked
from keys.trust import Chain


def home(tmp_path: Path) -> Keystore:
    return Keystore.create_network(tmp_path / "n", "lab", "alpha", 1, now_ms=NOW_MS)


def revoked(keystore: Keystore) -> Revocations:
    assert keystore.issuer is not None
    entry = entry_of_key(keystore.chain.leaf.key_id, keystore.issuer.chain.leaf, NOW_MS)
    known = keystore.trust.revocations
    return known.taking(keystore.issuer.revoke(known, [entry], NOW_MS))


def by_root(keystore: Keystore, known: Revocations) -> Revocations:
    """The root takes back the issuer's key."""
    root = read_key(keystore.home, "root", None)
    assert root is not None
    top = keystore.chain.root
    entry = entry_of_key(keystore.chain.certificates[1].key_id, top, NOW_MS)
    return known.taking(next_list(root, Chain((top,)), known, [entry], NOW_MS))


def test_what_is_in_force_is_in_force_after_a_restart(tmp_path: Path) -> None:
    keystore = home(tmp_path)
    keystore.put_in_force(revoked(keystore))
    again = Keystore.open(keystore.home)
    assert again.trust.revocations.head == keystore.trust.revocations.head != Revocations().head
    with pytest.raises(CertificateRevoked):
        verify(again.chain, again.trust, NOW_MS)
    assert again.issuer is not None
    assert again.issuer.trust is again.trust


def test_the_files_are_private_and_one_for_each_signer(tmp_path: Path) -> None:
    keystore = home(tmp_path)
    keystore.put_in_force(revoked(keystore))
    (path,) = (keystore.home / "revocations").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    keystore.put_in_force(revoked(keystore))
    assert list((keystore.home / "revocations").iterdir()) == [path]


@pytest.mark.parametrize("stops_before", ["write_atomic", "remove_file"])
def test_a_stop_between_two_steps_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stops_before: str
) -> None:
    class Stopped(Exception):
        pass

    def stop(*_: object) -> None:
        raise Stopped

    keystore = home(tmp_path)
    keystore.put_in_force(revoked(keystore))
    before = keystore.trust
    after = by_root(keystore, before.revocations)
    with monkeypatch.context() as patched:
        patched.setattr(book_module, stops_before, stop)
        with pytest.raises(Stopped):
            keystore.put_in_force(after)
    assert keystore.trust is before
    found = Keystore.open(keystore.home).trust.revocations
    assert found.head == (before.revocations if stops_before == "write_atomic" else after).head


@pytest.mark.parametrize("text", [b"", b"garbage", None])
def test_a_damaged_list_is_an_error_and_never_skipped(tmp_path: Path, text: bytes | None) -> None:
    keystore = home(tmp_path)
    keystore.put_in_force(revoked(keystore))
    (path,) = (keystore.home / "revocations").iterdir()
    path.write_bytes(path.read_bytes()[:-1] if text is None else text)
    with pytest.raises(HomeDamaged, match=path.name):
        Keystore.open(keystore.home)


def test_what_was_left_of_an_unfinished_write_is_not_read(tmp_path: Path) -> None:
    keystore = home(tmp_path)
    keystore.put_in_force(revoked(keystore))
    place = keystore.home / "revocations"
    (path,) = place.iterdir()
    os.link(path, place / f".{path.name}.0011.tmp")
    assert len(Keystore.open(keystore.home).trust.revocations) == 1

"""The file of last good peers: small, atomic, and never a reason to fail."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keys import PeerId
from p2p.discovery import GoodPeer, LastGoodPeers
from p2p.discovery.lastgood import FORMAT

ANN, BOB = (PeerId(letter * 52) for letter in "ab")


def _kept(path: Path) -> LastGoodPeers:
    kept = LastGoodPeers(path)
    kept.load()
    return kept


def test_what_was_saved_is_there_after_a_restart_newest_first(tmp_path: Path) -> None:
    kept = _kept(tmp_path / "peers")
    kept.note(ANN, ["10.0.0.1", "fd00::1"], 4747, 100)
    kept.note(BOB, ["10.0.0.2"], 4748, 200)
    assert kept.save()
    again = LastGoodPeers(tmp_path / "peers")
    assert again.load() == (
        GoodPeer(BOB, ("10.0.0.2",), 4748, 200),
        GoodPeer(ANN, ("10.0.0.1", "fd00::1"), 4747, 100),
    )
    assert again.warning is None


def test_no_file_is_no_peers_and_no_warning(tmp_path: Path) -> None:
    kept = LastGoodPeers(tmp_path / "peers")
    assert kept.load() == ()
    assert kept.warning is None


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    kept = LastGoodPeers(tmp_path / "peers", limit=3)
    letters = "abcde"
    for met_ms, letter in enumerate(letters):
        kept.note(PeerId(letter * 52), ["10.0.0.1"], 4747, met_ms)
    assert [peer.peer_id[0] for peer in kept.peers] == ["e", "d", "c"]


def test_a_peer_that_may_not_come_back_is_forgotten(tmp_path: Path) -> None:
    kept = _kept(tmp_path / "peers")
    kept.note(ANN, ["10.0.0.1"], 4747, 100)
    kept.save()
    kept.forget(ANN)
    assert kept.save()
    assert _kept(tmp_path / "peers").peers == ()


def test_nothing_is_written_when_nothing_changed(tmp_path: Path) -> None:
    kept = _kept(tmp_path / "peers")
    kept.note(ANN, ["10.0.0.1"], 4747, 100)
    kept.save()
    (tmp_path / "peers").unlink()
    kept.note(ANN, ["10.0.0.1"], 4747, 60_000)
    kept.save()
    assert not (tmp_path / "peers").exists()
    kept.note(ANN, ["10.0.0.1"], 4747, 4_000_000)
    kept.save()
    assert (tmp_path / "peers").exists(), "but an hour is a change worth writing"


@pytest.mark.parametrize(
    ("content", "warning"),
    [
        (b"", "damaged"),
        (b"\xff\xfe", "damaged"),
        (b'{"format": "conclave-pe', "damaged"),
        (b"[" * 100_000, "damaged"),
        (b"[]", "format"),
        (b'{"format": "conclave-peers 2", "peers": []}', "format"),
        (b" " * 300_000, "over"),
    ],
)
def test_a_damaged_file_is_no_peers_and_a_warning(
    tmp_path: Path, content: bytes, warning: str
) -> None:
    path = tmp_path / "peers"
    path.write_bytes(content)
    kept = LastGoodPeers(path)
    assert kept.load() == ()
    assert kept.warning is not None
    assert warning in kept.warning
    kept.note(ANN, ["10.0.0.1"], 4747, 1)
    assert kept.save(), "the next save mends it"
    assert len(_kept(path).peers) == 1


def test_one_damaged_entry_does_not_cost_the_others(tmp_path: Path) -> None:
    good = {"peer_id": ANN, "hosts": ["10.0.0.1"], "port": 4747, "met_ms": 1}
    bad = [
        {**good, "peer_id": "short"},
        {**good, "port": 0},
        {**good, "port": True},
        {**good, "hosts": []},
        {**good, "hosts": ["0.0.0.0"]},
        {**good, "hosts": "10.0.0.1"},
        {**good, "met_ms": "now"},
        None,
    ]
    path = tmp_path / "peers"
    path.write_text(json.dumps({"format": FORMAT, "peers": [*bad, good]}))
    kept = LastGoodPeers(path)
    assert [peer.peer_id for peer in kept.load()] == [ANN]
    assert kept.warning is not None
    assert "8 damaged" in kept.warning


def test_a_file_that_cannot_be_read_is_a_warning(tmp_path: Path) -> None:
    kept = LastGoodPeers(tmp_path)  # a directory
    assert kept.load() == ()
    assert kept.warning is not None


def test_a_disk_that_refuses_is_a_warning_and_the_old_file_stays(tmp_path: Path) -> None:
    kept = LastGoodPeers(tmp_path / "gone" / "peers")
    kept.note(ANN, ["10.0.0.1"], 4747, 1)
    assert not kept.save()
    assert kept.warning is not None
    (tmp_path / "gone").mkdir()
    assert kept.save(), "and it is tried again"


def test_the_file_is_ours_alone_and_leaves_no_temporary_ones(tmp_path: Path) -> None:
    kept = _kept(tmp_path / "peers")
    kept.note(ANN, ["10.0.0.1"], 4747, 1)
    kept.save()
    assert os.listdir(tmp_path) == ["peers"]
    if os.name == "posix":
        assert (tmp_path / "peers").stat().st_mode & 0o777 == 0o600


def test_what_cannot_be_dialled_is_not_noted(tmp_path: Path) -> None:
    kept = _kept(tmp_path / "peers")
    kept.note(ANN, ["0.0.0.0"], 4747, 1)
    kept.note(BOB, ["10.0.0.1"], 0, 1)
    assert kept.peers == ()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_in_the_file_load(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "peers"
    path.write_bytes(content)
    LastGoodPeers(path).load()

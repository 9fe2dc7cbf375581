"""The doors of a ticket, remembered for the first start."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from agents.doors import remember_doors, remembered_doors


def test_what_was_remembered_comes_back_and_is_private(tmp_path: Path) -> None:
    remember_doors(tmp_path, ["192.168.1.20:4747", "[2001:db8::1]:4747"])
    assert remembered_doors(tmp_path) == ("192.168.1.20:4747", "[2001:db8::1]:4747")
    assert stat.S_IMODE((tmp_path / "doors").stat().st_mode) == 0o600


@pytest.mark.parametrize("text", ["", "{", "{}", "7", '["a:b:c", 7, null, "ok:1"]', "\xff"])
def test_a_damaged_file_never_stops_a_node(tmp_path: Path, text: str) -> None:
    (tmp_path / "doors").write_text(text, encoding="latin-1")
    assert set(remembered_doors(tmp_path)) <= {"ok:1"}


def test_a_disk_that_refuses_costs_only_the_convenience(tmp_path: Path) -> None:
    remember_doors(tmp_path / "none", ["a:1"])
    assert remembered_doors(tmp_path / "none") == ()

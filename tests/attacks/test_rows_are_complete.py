"""The table in README.md and the tests name the same rows, and none is missing."""

from __future__ import annotations

import ast
import re
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROWS = range(1, 66)


def _tests() -> dict[int, set[str]]:
    found: dict[int, set[str]] = {}
    for path in HERE.glob("test_rows_*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef):
                match = re.match(r"test_row_(\d\d)_", node.name)
                if match:
                    found.setdefault(int(match[1]), set()).add(node.name)
    return found


def test_every_row_has_a_test_and_stands_in_the_table_with_it() -> None:
    tests = _tests()
    assert sorted(tests) == list(ROWS)
    listed: dict[int, set[str]] = {}
    for line in (HERE / "README.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0].isdigit():
            listed[int(cells[0])] = {
                f"test_row_{name}" for name in re.findall(r"`(\w+)`", cells[3])
            }
    assert listed == tests

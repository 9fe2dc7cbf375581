"""Every command says which permission it needs."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from agents.cli.main import parser
from agents.cli.permissions import NEEDED, permission_for
from keys import roles_with


def commands(of: argparse.ArgumentParser, above: str = "") -> Iterator[str]:
    """The words of every command that does something."""
    found = [a for a in of._actions if isinstance(a, argparse._SubParsersAction)]
    if not found and above:
        yield above
    for action in found:
        for name, one in action.choices.items():
            yield from commands(one, f"{above} {name}".strip())


def test_every_command_has_its_row_and_every_row_its_command() -> None:
    there = set(commands(parser()))
    assert not there - set(NEEDED), "say in agents/cli/permissions.py what these need"
    assert not set(NEEDED) - there, "these commands are gone"


def test_every_permission_that_is_needed_is_some_role_s() -> None:
    for words in NEEDED:
        permission = permission_for(words)
        assert permission is None or roles_with(permission)

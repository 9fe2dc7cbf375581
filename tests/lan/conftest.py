"""What the scenarios share. Where no namespaces can be made they are skipped, and say why."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lan_lab import Lan, lan, why_not


@pytest.fixture(autouse=True, scope="session")
def _permitted() -> None:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, _permitted: None) -> Iterator[Lan]:
    """A LAN with nothing on it yet."""
    with lan(tmp_path_factory.mktemp("lan")) as made:
        yield made

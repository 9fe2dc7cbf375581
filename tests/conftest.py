"""What all tests share: how Hypothesis draws, in which order files go to several workers, and how
to count without being disturbed."""

from __future__ import annotations

import gc
from collections import defaultdict
from collections.abc import Iterator
from itertools import chain, zip_longest

import pytest
from hypothesis import HealthCheck, settings

# A busy machine makes no test fail: what may take how long is said where it is tested. The same is
# drawn in each run, so that what fails for one change fails for it everywhere; `make orders` draws
# anew, with `--hypothesis-profile=hunt`.
_EITHER = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("suite", derandomize=True, **_EITHER)
settings.register_profile("hunt", **_EITHER)
settings.load_profile("suite")

# Files that take long go first, so that no worker is alone with one at the end.
LONG = (
    "tests/fuzz/test_fuzz_decoders.py",
    "tests/e2e/test_e2e_restart.py",
    "tests/e2e/test_e2e_ceremonies.py",
    "tests/consensus/test_sim.py",
    "tests/fuzz/test_second_opinion.py",
)
WAITING = ("tests/e2e/", "tests/lan/")


@pytest.fixture
def uncollected() -> Iterator[None]:
    """No garbage is collected: whoever counts the lines or calls of this thread would count what
    runs then, too. From its first test on, Hypothesis is told of each collection."""
    gc.disable()
    yield
    gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With several workers: by turns a file that waits for processes, and one that computes."""
    if not config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        return
    files = defaultdict[str, list[pytest.Item]](list)
    for item in items:
        files[item.nodeid.partition("::")[0]].append(item)
    waiting = [name for name in files if name not in LONG and name.startswith(WAITING)]
    computing = [name for name in files if name not in LONG and not name.startswith(WAITING)]
    step = max(1, len(computing) // (len(waiting) or 1))
    turns = [computing[at : at + step] for at in range(0, len(computing), step)]
    by_turns = chain.from_iterable(
        ([one] if one else []) + (some or []) for one, some in zip_longest(waiting, turns)
    )
    order = [name for name in LONG if name in files] + list(by_turns)
    items[:] = [item for name in order for item in files[name]]

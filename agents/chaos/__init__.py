"""The chaos kit: a script hurts a network, and checks say whether what is promised still holds.

Everything is imported when it is first used: nodes of a run start from here, too (`skewed`).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agents.chaos.checks import CheckResult, Result
    from agents.chaos.driving import RealNetwork
    from agents.chaos.errors import (
        BadScenario,
        CannotHere,
        ChaosError,
        CheckFailed,
        NoSuchNode,
        NotPermitted,
        NotSettled,
    )
    from agents.chaos.net import ChaosNet
    from agents.chaos.picture import picture_of
    from agents.chaos.running import Run, load_scenario, run_real_scenario, run_virtual_scenario

__all__ = [
    "BadScenario",
    "CannotHere",
    "ChaosError",
    "ChaosNet",
    "CheckFailed",
    "CheckResult",
    "NoSuchNode",
    "NotPermitted",
    "NotSettled",
    "RealNetwork",
    "Result",
    "Run",
    "load_scenario",
    "picture_of",
    "run_real_scenario",
    "run_virtual_scenario",
]

_HOMES = {
    "BadScenario": "agents.chaos.errors",
    "CannotHere": "agents.chaos.errors",
    "ChaosError": "agents.chaos.errors",
    "ChaosNet": "agents.chaos.net",
    "CheckFailed": "agents.chaos.errors",
    "CheckResult": "agents.chaos.checks",
    "NoSuchNode": "agents.chaos.errors",
    "NotPermitted": "agents.chaos.errors",
    "NotSettled": "agents.chaos.errors",
    "RealNetwork": "agents.chaos.driving",
    "Result": "agents.chaos.checks",
    "Run": "agents.chaos.running",
    "load_scenario": "agents.chaos.running",
    "picture_of": "agents.chaos.picture",
    "run_real_scenario": "agents.chaos.running",
    "run_virtual_scenario": "agents.chaos.running",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)

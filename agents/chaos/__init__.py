"""The chaos kit: a script hurts a network, and checks say whether what is promised still holds."""

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

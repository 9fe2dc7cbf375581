"""Conclave for the Chaos Toolkit: a control that brings a network up, actions and probes.

An experiment names `agents.chaostoolkit.control` among its controls; what that brought up is what
actions and probes of the same run are about. See `examples/chaos/experiment.yaml`.

What this package does not know: how faults are made and judged (`agents.chaos`).
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

__all__ = ["discover"]

EXTENSION = "conclave"
PACKAGE = "conclave-mesh"


def discover(discover_system: bool = True) -> dict[str, Any]:
    """Return the actions and probes there are, as `chaos discover` asks for them."""
    from chaoslib.discovery.discover import (
        discover_actions,
        discover_probes,
        initialize_discovery_result,
    )

    found: dict[str, Any] = initialize_discovery_result(EXTENSION, version(PACKAGE), EXTENSION)
    found["activities"] += discover_actions(f"{__name__}.actions")
    found["activities"] += discover_probes(f"{__name__}.probes")
    return found

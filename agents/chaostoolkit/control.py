"""The control of the Chaos Toolkit that brings a network up before an experiment, and ends it.

    controls:
      - name: conclave
        provider:
          type: python
          module: agents.chaostoolkit.control
          arguments: {nodes: 5, voters: 3, agents: ["worker.py"]}

When the experiment is over, all faults are ended and the checks of `agents.chaos` are made. The run
is written into the journal under "conclave"; one that failed makes the experiment deviate.

What this module does not know: what experiments do.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from chaoslib.exceptions import InterruptExecution

from agents.chaos import RealNetwork, picture_of
from agents.chaostoolkit.current import SLOT
from agents.errors import AgentsError

_LOG = logging.getLogger("chaostoolkit")
NAME = "conclave"


def before_experiment_control(
    context: dict[str, Any],
    nodes: int = 3,
    voters: int = 3,
    agents: list[str] | None = None,
    seed: int = 0,
    loopback: bool = False,
    picture: str = "",
) -> None:
    """Bring the network up.

    Args:
        nodes: how many; they are called a, b, c and on.
        voters: how many of them elect a leader.
        agents: what `conclave up` shall serve, on every node.
        seed: of what is drawn, such as who "follower" is.
        loopback: all on 127.0.0.1, where only processes and clocks can be hurt.
        picture: where to draw the run at the end.

    Raises:
        InterruptExecution: it does not come up; the experiment ends there.
    """
    network = RealNetwork(seed, loopback=loopback)
    try:
        network.__enter__()
        network.do(lambda net: net.up(nodes, agents=agents or [], voters=voters))
    except AgentsError as error:
        network.close()
        raise InterruptExecution(f"conclave: {error}") from error
    left = SLOT.put(network)
    if left is not None:
        left.close()


def after_experiment_control(
    context: dict[str, Any], state: dict[str, Any], picture: str = "", **_: Any
) -> None:
    """End all faults, judge, and end the network."""
    network = SLOT.take()
    if network is None:
        return
    try:
        run = network.finish()
    finally:
        network.close()
    state[NAME] = run.to_json()
    for check in run.checks:
        _LOG.info("conclave: %s", check)
    if not run.passed:
        state["deviated"] = True
        _LOG.error("conclave: the run failed: %s", run.error or "see the checks above")
    if picture:
        Path(picture).write_text(picture_of(run.to_json(), NAME), encoding="utf-8")


def cleanup_control() -> None:
    """Whatever happened: nothing is left."""
    network = SLOT.take()
    if network is not None:
        network.close()

"""`conclave up`: a node in the foreground."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from agents.cli.loading import load_agents
from agents.cli.places import home_of
from agents.running import run_agents
from agents.supervising import LINK, own_command, supervise
from keys import NoNetworkYet


def run(arguments: argparse.Namespace) -> int:
    """Load the agents, bring the node up, serve until Ctrl-C."""
    if arguments.restart is not None and LINK not in os.environ:
        return supervise(own_command(arguments.argv), arguments.restart)
    home = home_of(arguments)
    offers = load_agents(arguments.agents)
    for agent in offers if arguments.standby else ():
        agent.stand_by()
    settings: dict[str, Any] = {
        "host": arguments.host,
        "port": arguments.port,
        "seeds": arguments.seed,
        "interfaces": arguments.interface,
        "mdns": False if arguments.no_mdns else None,
        "metrics_port": arguments.metrics,
        "metrics_host": arguments.metrics_host,
        "log_level": arguments.log_level,
        "log_style": arguments.log_style,
    }
    try:
        run_agents(offers, home=home, **settings)
    except NoNetworkYet as error:
        print(f"conclave: {error}", file=sys.stderr)
        return 1
    return 0

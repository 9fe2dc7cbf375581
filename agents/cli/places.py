"""Which directory a command is about, and what a node is called if nobody says."""

from __future__ import annotations

import argparse
import re
import socket
from pathlib import Path

from agents.settings import default_home
from keys import name_problem


def home_of(arguments: argparse.Namespace) -> Path:
    """Return the node's directory that the command is about."""
    return Path(arguments.home).expanduser() if arguments.home else default_home()


def node_name_of(arguments: argparse.Namespace) -> str:
    """Return the name that was given, or one made of the host's."""
    if arguments.name:
        return str(arguments.name)
    name = re.sub(r"[^a-z0-9-]+", "-", socket.gethostname().partition(".")[0].lower()).strip("-")
    return name if name and name_problem(name) is None else "node"

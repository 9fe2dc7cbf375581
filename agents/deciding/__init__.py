"""Questions that a quorum answers with signed ballots: what a node needs beside the log.

`agents.deciding_service` puts these parts together; the rules of proposals, ballots and
certificates are those of `consensus.ballots`.
"""

from agents.deciding.machine import Decisions
from agents.deciding.signing import SCHEME

__all__ = ["SCHEME", "Decisions"]

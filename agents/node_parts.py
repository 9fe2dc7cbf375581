"""What a node consists of, for those who look at all of it: operations, the doctor, metrics.

It stands between them and `agents.node`, which builds the operations, so that neither imports the
other.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from agents.auditing_service import Auditing
    from agents.calling import Calling
    from agents.clusters.service import Clusters
    from agents.deciding_service import Deciding
    from agents.directory import Directory
    from agents.figures import Figures
    from agents.governing import Governing
    from agents.health.service import HealthService
    from agents.hosting.host import AgentHost
    from agents.keeping import Keeping
    from agents.measuring import Measuring
    from agents.policing import Policing
    from agents.quorum import Quorum
    from agents.renewing import Renewing
    from agents.rereading import Rereading
    from agents.sealing import SealedTasks, SealedTopics, Sealing
    from agents.steering import Steering
    from agents.streaming import Opening
    from agents.tasking import Asking, Working
    from agents.tokens import TokenService
    from agents.trusting import Trusting
    from agents.watching import Watching
    from keys import Keystore
    from p2p import Peer, World


class NodeParts(Protocol):
    """A node that is up."""

    auditing: Auditing
    keystore: Keystore
    world: World
    health: HealthService
    host: AgentHost
    directory: Directory
    figures: Figures
    governing: Governing
    home: Path
    watching: Watching
    peer: Peer
    policing: Policing
    quorum: Quorum
    renewing: Renewing
    rereading: Rereading
    trusting: Trusting
    asking: Asking
    calling: Calling
    clusters: Clusters
    deciding: Deciding
    keeping: Keeping
    opening: Opening
    sealed_tasks: SealedTasks
    sealed_topics: SealedTopics
    sealing: Sealing
    steering: Steering
    measuring: Measuring
    tokens: TokenService
    working: Working

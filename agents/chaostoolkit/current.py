"""The network that the experiment of this process is about, and names of its nodes.

Wherever a node is named, "leader" is whoever leads just now, and "follower" one that does not,
drawn by the experiment's seed.

What this module does not know: actions, probes.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from typing import TypeVar

from agents.chaos import ChaosError, ChaosNet, RealNetwork

T = TypeVar("T")
LEADER = "leader"
FOLLOWER = "follower"


class NoNetwork(ChaosError):
    def __init__(self) -> None:
        super().__init__(
            "no network runs: name the module agents.chaostoolkit.control among the controls of "
            "the experiment"
        )


class _Slot:
    """At most one network; activities in the background are threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._network: RealNetwork | None = None

    def put(self, network: RealNetwork) -> RealNetwork | None:
        with self._lock:
            before, self._network = self._network, network
        return before

    def take(self) -> RealNetwork | None:
        with self._lock:
            network, self._network = self._network, None
        return network

    def get(self) -> RealNetwork:
        """
        Raises:
            NoNetwork.
        """
        with self._lock:
            if self._network is None:
                raise NoNetwork
            return self._network


SLOT = _Slot()


def do(work: Callable[[ChaosNet], Awaitable[T]]) -> T:
    """Do something to the current network.

    Raises:
        NoNetwork: no control has brought one up.
    """
    return SLOT.get().do(work)


async def node_of(net: ChaosNet, word: str) -> str:
    """The name of a node.

    Raises:
        NotSettled: it is a word for one, and nobody leads.
    """
    if word == LEADER:
        return await net.leader()
    if word == FOLLOWER:
        leader = await net.leader()
        others = [name for name in net.living if name != leader]
        if not others:
            raise ChaosError("there is no follower: only the leader runs")
        return net.random.choice(others)
    return word


async def nodes_of(net: ChaosNet, words: list[str]) -> list[str]:
    """The same for several."""
    return [await node_of(net, word) for word in words]

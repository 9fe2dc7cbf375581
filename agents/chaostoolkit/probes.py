"""Probes of the Chaos Toolkit: what an experiment asks of a network.

Those that wait return as soon as the answer is yes, and no when the time is over; why not, the log
of the run says.

What this module does not know: how a network is brought up (`control`).
"""

# Without `annotations` from the future: the toolkit reads the types for `chaos discover`.

import logging

from agents.chaos import ChaosNet, NotSettled
from agents.chaostoolkit.current import do

__all__ = [
    "leader_known",
    "members_agree",
    "no_lost_task",
    "one_leader_per_term",
    "peers_alive",
]

_LOG = logging.getLogger("chaostoolkit")


def peers_alive() -> int:
    """How many nodes are seen alive, itself included, by the running node that sees fewest."""

    async def work(net: ChaosNet) -> int:
        seen = await net.seen_alive()
        _LOG.debug("alive, as seen by each node: %s", seen)
        return min((len(names) for names in seen.values()), default=0)

    return do(work)


def leader_known(within: float = 10.0) -> bool:
    """Whether within so many seconds one node leads, and most running nodes follow it."""

    async def work(net: ChaosNet) -> bool:
        return bool(await net.leader(within=within))

    return _settles(work)


def members_agree(within: float = 30.0) -> bool:
    """Whether within so many seconds all running nodes see each other, and the same leader."""

    async def work(net: ChaosNet) -> bool:
        await net.settle(within=within)
        return True

    return _settles(work)


def no_lost_task(within: float = 60.0) -> bool:
    """Whether every task that the action `submit` was promised has ended within so many seconds."""

    async def work(net: ChaosNet) -> bool:
        lost = net.checks.lost_tasks(await net.task_views(within))
        for words in lost:
            _LOG.warning("lost: %s", words)
        return not lost

    return do(work)


def one_leader_per_term() -> bool:
    """Whether until now no two nodes have said that they lead in the same term."""

    async def work(net: ChaosNet) -> bool:
        return not net.checks.has_two_leaders

    return do(work)


def _settles(work: object) -> bool:
    try:
        return bool(do(work))  # type: ignore[arg-type]
    except NotSettled as error:
        _LOG.warning("%s", error)
        return False

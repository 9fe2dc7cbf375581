"""Actions of the Chaos Toolkit: what an experiment does to a network.

A node is a name such as "a", or "leader", or "follower". Each action returns what it did to whom;
one that cannot be done fails with the words of `agents.chaos`.

What this module does not know: how a network is brought up (`control`).
"""

# Without `annotations` from the future: the toolkit reads the types for `chaos discover`.

from typing import Any

from agents.chaos import ChaosNet
from agents.chaostoolkit.current import FOLLOWER, LEADER, do, node_of, nodes_of

__all__ = [
    "cut",
    "delay",
    "duplicate",
    "fill_disk",
    "free_disk",
    "freeze",
    "heal",
    "isolate",
    "kill",
    "loss",
    "partition",
    "reorder",
    "restart",
    "set_clock",
    "slow_link",
    "stop",
    "submit",
    "thaw",
]


def kill(node: str = LEADER) -> str:
    """Kill a node's process, as kill -9 does, and return its name."""

    async def work(net: ChaosNet) -> str:
        name = await node_of(net, node)
        await net.crash(name)
        return name

    return do(work)


def stop(node: str = LEADER) -> str:
    """Stop a node as Ctrl-C does, and return its name."""

    async def work(net: ChaosNet) -> str:
        name = await node_of(net, node)
        await net.stop(name)
        return name

    return do(work)


def restart(node: str = "") -> list[str]:
    """Start a node on the files that it left, killing it before if it runs; without a name all that
    are down. Returns the names."""

    async def work(net: ChaosNet) -> list[str]:
        names = [await node_of(net, node)] if node else list(net.down)
        for name in names:
            await net.restart(name)
        return names

    return do(work)


def freeze(node: str = LEADER, seconds: float = 0.0) -> str:
    """Let a node stand still, as SIGSTOP does: for so long, or until `thaw`; return its name."""

    async def work(net: ChaosNet) -> str:
        name = await node_of(net, node)
        await net.pause(name, seconds or None)
        return name

    return do(work)


def thaw(node: str = "") -> list[str]:
    """Let a node that stands still go on, as SIGCONT does; without a name all of them."""

    async def work(net: ChaosNet) -> list[str]:
        names = [node] if node else list(net.paused)
        for name in names:
            await net.resume(name)
        return names

    return do(work)


def partition(groups: list[list[str]]) -> list[list[str]]:
    """Nodes of different groups no longer reach each other; those in none are one more group."""

    async def work(net: ChaosNet) -> list[list[str]]:
        sides = [await nodes_of(net, group) for group in groups]
        await net.partition(*sides)
        return sides

    return do(work)


def isolate(node: str = LEADER) -> str:
    """Nobody reaches this node, nor it anybody; return its name."""

    async def work(net: ChaosNet) -> str:
        name = await node_of(net, node)
        await net.isolate(name)
        return name

    return do(work)


def cut(sources: list[str], targets: list[str]) -> list[list[str]]:
    """One way only: from these nodes nothing reaches those."""

    async def work(net: ChaosNet) -> list[list[str]]:
        ends = [await nodes_of(net, sources), await nodes_of(net, targets)]
        await net.cut(*ends)
        return ends

    return do(work)


def loss(a: str, b: str, share: float) -> list[str]:
    """Between the two this share of all packets is lost, 0 to below 1."""

    async def work(net: ChaosNet) -> list[str]:
        one, other = await nodes_of(net, [a, b])
        await net.loss(one, other, share)
        return [one, other]

    return do(work)


def slow_link(a: str, b: str, bytes_per_s: float) -> list[str]:
    """Between the two no more passes, each way."""

    async def work(net: ChaosNet) -> list[str]:
        one, other = await nodes_of(net, [a, b])
        await net.slow_link(one, other, bytes_per_s)
        return [one, other]

    return do(work)


def delay(a: str, b: str, low_ms: float, high_ms: float = 0.0) -> list[str]:
    """Between the two everything takes so much longer each way, and stays in order."""

    async def work(net: ChaosNet) -> list[str]:
        one, other = await nodes_of(net, [a, b])
        await net.delay(one, other, low_ms, max(low_ms, high_ms))
        return [one, other]

    return do(work)


def duplicate(a: str, b: str, share: float) -> list[str]:
    """Between the two this share of all packets arrives twice, 0 to below 1."""

    async def work(net: ChaosNet) -> list[str]:
        one, other = await nodes_of(net, [a, b])
        await net.duplicate(one, other, share)
        return [one, other]

    return do(work)


def reorder(a: str, b: str, share: float) -> list[str]:
    """Between the two this share of all packets comes after some that were sent later."""

    async def work(net: ChaosNet) -> list[str]:
        one, other = await nodes_of(net, [a, b])
        await net.reorder(one, other, share)
        return [one, other]

    return do(work)


def set_clock(node: str = FOLLOWER, offset_s: float = 0.0) -> str:
    """A node's time of day is wrong by so many seconds, or right again; return its name."""

    async def work(net: ChaosNet) -> str:
        name = await node_of(net, node)
        await net.clock(name, offset_s)
        return name

    return do(work)


def fill_disk(node: str = FOLLOWER) -> str:
    """A node's disk has no room, until `free_disk`; return its name."""

    async def work(net: ChaosNet) -> str:
        name = await node_of(net, node)
        await net.disk_full(name)
        return name

    return do(work)


def free_disk(node: str = "") -> list[str]:
    """A node's disk has room again; without a name every disk that is full. Returns the names."""

    async def work(net: ChaosNet) -> list[str]:
        names = [await node_of(net, node)] if node else list(net.full)
        for name in names:
            await net.disk_full(name, False)
        return names

    return do(work)


def heal() -> None:
    """End everything that is wrong with the network."""

    async def work(net: ChaosNet) -> None:
        await net.heal()

    do(work)


def submit(
    skill: str,
    arguments: dict[str, Any],
    count: int = 1,
    node: str = FOLLOWER,
    timeout: float = 30.0,
) -> int:
    """Submit a task so many times at a node, without waiting for results, and return how many were
    acknowledged. The probe `no_lost_task` holds the network to them."""

    async def work(net: ChaosNet) -> int:
        client = net.client(await node_of(net, node))
        batch = await client.submit_many(skill, [arguments] * count, timeout=timeout)
        return len(batch)

    return do(work)

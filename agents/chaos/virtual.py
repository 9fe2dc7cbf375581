"""Whole nodes in virtual time, which can be hurt in every way that a script knows.

Keystores and logs are real files in memory where there is such a place. A crash leaves the files as
they are at that moment, and the next start gets a copy of them, so nothing that a dead process left
half done can reach the new one.

What this module does not know: scripts, checks, real processes.
"""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from agents.agent import Agent
from agents.chaos.errors import CannotHere
from agents.chaos.founding import Homes
from agents.chaos.world import Ability, AgentSource
from agents.cli.loading import load_agents
from agents.errors import NodeNotUp
from agents.local import DirectGate, GateChannel
from agents.node import Node
from agents.switching import Trouble
from consensus import Recovered, SnapshotStore, Storage, StorageFull, StoreBatch
from keys import Keystore
from p2p import Clock
from p2p.memory import FaultyNetwork, Life, LifeLoop, LinkFaults, LivingWorld

T = TypeVar("T")
CLOSE_S = 30.0


class FragileLog:
    """A log on a disk that may be full."""

    def __init__(self, log: Storage, is_full: Callable[[], bool]) -> None:
        self._log = log
        self._is_full = is_full

    @property
    def snapshots(self) -> SnapshotStore:
        return self._log.snapshots

    def recover(self) -> Recovered:
        return self._log.recover()

    def write(self, batches: Sequence[StoreBatch]) -> None:
        if self._is_full():
            raise StorageFull("the simulated disk")
        self._log.write(batches)

    @property
    def checkpoint_due(self) -> bool:
        return self._log.checkpoint_due

    def checkpoint(self) -> None:
        if self._is_full():
            raise StorageFull("the simulated disk")
        self._log.checkpoint()

    def close(self) -> None:
        self._log.close()


class _Process:
    """One start of a node."""

    def __init__(self, node: Node, world: LivingWorld, life: Life) -> None:
        self.node = node
        self.world = world
        self.life = life
        self.asked: dict[asyncio.Future[None], None] = {}  # what programs wait for
        self.closing: set[asyncio.Task[None]] = set()
        self.looking: asyncio.Task[None] | None = None

    def end_later(self, close: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Have the process end something, when it comes to it."""
        task = self.life.call(asyncio.get_running_loop().create_task, _begun(close))
        self.closing.add(task)
        task.add_done_callback(self.closing.discard)

    def end(self, name: str) -> None:
        """Whoever waits for an answer hears that the process is gone."""
        if self.looking is not None:
            self.looking.cancel()
        for waiting in list(self.asked):
            if not waiting.done():
                waiting.set_exception(NodeNotUp(name))


class _Machine:
    """What outlives a process."""

    def __init__(self, home: Path, agents: tuple[AgentSource, ...]) -> None:
        self.home = home
        self.agents = agents
        self.starts = 0
        self.is_full = False
        self.offset_ms = 0
        self.process: _Process | None = None


class VirtualWorld:
    """See `ChaosWorld`. Make it on a `LifeLoop`.

    Args:
        directory: for the homes; empty.
    """

    name = "virtual"
    abilities = frozenset(Ability) - {Ability.DUPLICATE, Ability.REORDER}
    starts_together = False  # in an order that a reader of the timeline can follow

    def __init__(self, directory: Path, seed: int) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, LifeLoop), "run it with `run_on_lives`"
        self._loop = loop
        self._directory = directory
        self._rng = random.Random(f"world/{seed}")
        self._network = FaultyNetwork(random.Random(f"network/{seed}"))
        self._machines: dict[str, _Machine] = {}
        self._ended: list[_Process] = []
        self._homes = Homes()
        self.on_stopped: Callable[[str, str], None] = lambda name, why: None

    def now_us(self) -> int:
        return int(self._loop.time() * 1e6)

    # -- starting ------------------------------------------------------------------------------

    async def make(self, name: str, agents: Sequence[AgentSource], voters: int) -> None:
        home = self._directory / f"{name}-0"
        wall_ms = self._loop.wall_ms()
        self._homes.make(home, name, voters, wall_ms)
        self._machines[name] = _Machine(home, tuple(agents))

    async def start(self, name: str) -> None:
        machine = self._machines[name]
        assert machine.process is None, "it runs"
        life = Life(name)
        world = LivingWorld(self._network, self._rng.getrandbits(63), life)
        world.own_clock.offset_ms = machine.offset_ms
        keystore = Keystore.open(machine.home)
        agents = [agent for source in machine.agents for agent in _agents_of(source)]
        process = _Process(_FragileNode(keystore, world, agents, machine), world, life)
        machine.process = process
        await self.within(process, lambda: process.node.__aenter__(), name)
        process.looking = self._loop.create_task(self._look_after(name, process))

    async def _look_after(self, name: str, process: _Process) -> None:
        error = await process.node.until_failed()
        await self.crash(name)
        self.on_stopped(name, str(error))

    # -- reaching ------------------------------------------------------------------------------

    def gate(self, name: str) -> ProcessGate:
        return ProcessGate(self, name)

    def clock_of(self, name: str) -> Clock:
        return _MachineClock(self._loop, self._machines[name])

    def process(self, name: str) -> _Process:
        """
        Raises:
            NodeNotUp.
        """
        process = self._machines[name].process
        if process is None:
            raise NodeNotUp(name)
        return process

    async def within(
        self, process: _Process, work: Callable[[], Coroutine[Any, Any, T]], name: str
    ) -> T:
        """Run something as a part of a process, and return what comes of it.

        Raises:
            NodeNotUp: the process ended before.
        """
        task = process.life.call(self._loop.create_task, _begun(work))
        answered: asyncio.Future[None] = self._loop.create_future()

        def tell(_: object) -> None:
            if not answered.done():
                answered.set_result(None)

        task.add_done_callback(tell)
        process.asked[answered] = None
        try:
            await answered
        except asyncio.CancelledError:
            process.life.call(task.cancel)
            raise
        finally:
            process.asked.pop(answered, None)
        return task.result()  # type: ignore[no-any-return]

    # -- hurting -------------------------------------------------------------------------------

    async def crash(self, name: str) -> None:
        machine = self._machines[name]
        process, machine.process = machine.process, None
        if process is None:
            return
        process.life.die()
        process.world.crash()
        machine.starts += 1
        home = machine.home.with_name(f"{name}-{machine.starts}")
        shutil.copytree(machine.home, home)
        machine.home = home
        self._ended.append(process)
        process.end(name)

    async def stop(self, name: str) -> None:
        process = self.process(name)
        await self.within(process, lambda: process.node.__aexit__(None, None, None), name)
        self._machines[name].process = None
        self._network.remove(process.world.host)
        process.life.die()
        process.end(name)

    async def pause(self, name: str) -> None:
        self.process(name).life.stop()

    async def resume(self, name: str) -> None:
        process = self._machines[name].process
        if process is not None:
            process.life.go_on()

    async def apply(self, trouble: Trouble) -> None:
        if any(link.duplicate or link.reorder for _, _, link in trouble.links):
            why = "what is sent here is a message of a connection: it arrives once, and in order"
            raise CannotHere("duplicate, reorder", self.name, why)
        self._network.set_cuts(trouble.cuts)
        self._network.clear_links()
        for source, target, link in trouble.links:
            faults = LinkFaults(link.loss, link.delay_ms, link.bytes_per_s)
            self._network.set_link(source, target, faults)

    async def set_clock(self, name: str, offset_ms: int) -> None:
        machine = self._machines[name]
        machine.offset_ms = offset_ms
        if machine.process is not None:
            machine.process.world.own_clock.offset_ms = offset_ms

    async def fill_disk(self, name: str, *, is_full: bool) -> None:
        self._machines[name].is_full = is_full

    def facts(self) -> str:
        counts = self._network.counts
        words = ", ".join(f"{counts[key]} {key}" for key in ("delivered", "cut", "lost"))
        return f"frames: {words}; {self.now_us() / 1e6:.6f} s of virtual time"

    async def close(self) -> None:
        """Let every process come to its end, the dead ones too: they hold files."""
        processes = [m.process for m in self._machines.values() if m.process is not None]
        for process in (*processes, *self._ended):
            if process.looking is not None:
                process.looking.cancel()
            process.life.bury()
        for process in (*processes, *self._ended):
            leaving = process.life.call(self._loop.create_task, _left(process.node))
            # One that crashed while it started, or on a full disk, may not be able to leave.
            await asyncio.wait([leaving], timeout=CLOSE_S)
            if leaving.done() and not leaving.cancelled():
                leaving.exception()


class _FragileNode(Node):
    """A node whose disk may be full, and which no local program attaches to."""

    def __init__(
        self, keystore: Keystore, world: LivingWorld, agents: list[Agent], machine: _Machine
    ) -> None:
        super().__init__(keystore, world, agents, local_door=False)
        self._machine = machine

    def _build(self) -> None:
        super()._build()
        machine = self._machine
        self.quorum.dress_log = lambda log: FragileLog(log, lambda: machine.is_full)


class _MachineClock:
    """What a program on a node's machine reads; it goes on while the node does not run."""

    def __init__(self, loop: LifeLoop, machine: _Machine) -> None:
        self._loop = loop
        self._machine = machine

    def now_ms(self) -> int:
        return self._loop.now_ms()

    def wall_ms(self) -> int:
        return self._loop.wall_ms() + self._machine.offset_ms


class ProcessGate:
    """A gate to whatever process of a node runs just now."""

    def __init__(self, world: VirtualWorld, name: str) -> None:
        self._world = world
        self._name = name

    async def request(self, operation: str, params: Mapping[str, Any]) -> Any:
        """See `Gate.request`.

        Raises:
            NodeNotUp: the node is down, or went down in between.
        """
        process = self._world.process(self._name)
        gate = _direct(process)
        return await self._world.within(
            process, lambda: gate.request(operation, params), self._name
        )

    async def stream(self, operation: str, params: Mapping[str, Any]) -> AsyncIterator[Any]:
        """See `Gate.stream`."""
        process = self._world.process(self._name)
        items = _direct(process).stream(operation, params)
        try:
            while True:
                try:
                    yield await self._world.within(process, lambda: _next(items), self._name)
                except StopAsyncIteration:
                    return
        finally:
            closing = getattr(items, "aclose", None)
            if closing is not None:
                process.end_later(closing)  # a process that stands still lets nobody wait for it

    async def open(self, operation: str, params: Mapping[str, Any]) -> GateChannel:
        """See `Gate.open`."""
        process = self._world.process(self._name)
        gate = _direct(process)
        return await self._world.within(process, lambda: gate.open(operation, params), self._name)


def _direct(process: _Process) -> DirectGate:
    return DirectGate(process.node.operations.table)


async def _left(node: Node) -> None:
    """Nothing of it runs before the task does."""
    await node.__aexit__(None, None, None)


async def _next(items: AsyncIterator[T]) -> T:
    return await anext(items)


async def _begun(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Nothing of it runs before the task does."""
    return await work()


def _agents_of(source: AgentSource) -> tuple[Agent, ...]:
    """
    Raises:
        BadAgent: a word that names none.
        CannotHere: what was given makes none.
    """
    if isinstance(source, Agent):
        return (source,)
    if isinstance(source, str):
        return load_agents([source])
    made = source()
    if not isinstance(made, Agent):
        raise CannotHere(f"agents=[{source!r}]", "virtual", "it makes no Agent")
    return (made,)

"""Real nodes: processes of `conclave up`, which are killed, stopped and started.

Everything is as in real life: sockets, CURVE, the disk, time; so runs differ, whatever the seed.
On loopback only processes and clocks can be hurt. In network namespaces the network and disks can
be, too: see `spaces`, `disks`.

What this module does not know: scripts, checks, how namespaces are made.

Invariants: no process outlives `close`; where `setpriv` is there, none outlives ours either,
however it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
import sys
import time
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

from agents.agent import Agent
from agents.chaos.disks import Disks
from agents.chaos.errors import CannotHere, ChaosError
from agents.chaos.founding import Homes
from agents.chaos.programs import leash
from agents.chaos.skew import Skew
from agents.chaos.spaces import Spaces
from agents.chaos.world import Ability, AgentSource
from agents.errors import NodeNotUp
from agents.local import AttachedGate, GateChannel, attach
from agents.switching import Trouble
from p2p import Clock, SystemClock

LOOPBACK = "127.0.0.1"
PORT = 4747
PORTS = 9  # of a node, with those of a change of keys
UP_S = 30.0
STOP_S = 10.0
LOOK_S = 0.05
TOLD_LINES = 3
NO_DISK = "all nodes have this machine's disk; without --loopback each has one"


class _Machine:
    """A node's home and place, and its process while there is one."""

    def __init__(
        self, home: Path, host: str, port: int, words: tuple[str, ...], skew: Skew
    ) -> None:
        self.home = home
        self.host = host
        self.port = port
        self.words = words
        self.skew = skew
        self.process: Process | None = None
        self.looking: asyncio.Task[None] | None = None
        self.gate: AttachedGate | None = None
        self.is_wanted = False


class ProcessWorld:
    """See `ChaosWorld`. All nodes are on loopback.

    Args:
        directory: for the homes; empty.
    """

    name = "real"
    abilities = frozenset({Ability.CLOCK})
    starts_together = True  # each takes a second

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._leash = leash()
        self._began_ns = time.monotonic_ns()
        self._homes = Homes()
        self._machines: dict[str, _Machine] = {}
        self.on_stopped: Callable[[str, str], None] = lambda name, why: None

    def now_us(self) -> int:
        return (time.monotonic_ns() - self._began_ns) // 1000

    # -- starting ------------------------------------------------------------------------------

    async def make(self, name: str, agents: Sequence[AgentSource], voters: int) -> None:
        words = tuple(_word_of(source) for source in agents)
        home = await self._disk(name)
        self._homes.make(home, name, voters, time.time_ns() // 1_000_000)
        skew = Skew(self._directory / f"{name}.clock")
        self._machines[name] = _Machine(home, *await self._place(name), words, skew)

    async def _disk(self, name: str) -> Path:
        """Where its home shall be."""
        return self._directory / name

    async def _place(self, name: str) -> tuple[str, int]:
        """Its address, and its port."""
        return LOOPBACK, _free_port(machine.port for machine in self._machines.values())

    def _where(self, name: str) -> tuple[str, ...]:
        """The words before the command that make it run there."""
        return ()

    async def start(self, name: str) -> None:
        machine = self._machines[name]
        seeds = [
            word
            for other in self._machines.values()
            if other is not machine
            for word in ("--seed", f"{other.host}:{other.port}")
        ]
        place = ("--home", str(machine.home), "--host", machine.host, "--port", str(machine.port))
        with (self._directory / f"{name}.log").open("ab") as log:
            machine.process = await asyncio.create_subprocess_exec(
                *(*self._leash, *self._where(name)),
                *(sys.executable, *machine.skew.words(), "up", *machine.words),
                *(*place, "--no-mdns", *seeds),
                stdin=DEVNULL,
                stdout=DEVNULL,
                stderr=log,
                start_new_session=True,
            )
        machine.is_wanted = True
        await self._until_up(name, machine)
        machine.looking = asyncio.get_running_loop().create_task(self._look_after(name, machine))

    async def _until_up(self, name: str, machine: _Machine) -> None:
        assert machine.process is not None
        began_s = time.monotonic()
        while True:
            try:
                machine.gate = await attach(machine.home)
                return
            except NodeNotUp:
                took_s = time.monotonic() - began_s - _queued_s(machine.process.pid)
                if machine.process.returncode is not None or took_s > UP_S:
                    raise ChaosError(f"{name} does not come up: {self._told(name)}") from None
            await asyncio.sleep(LOOK_S)

    async def _look_after(self, name: str, machine: _Machine) -> None:
        assert machine.process is not None
        await machine.process.wait()
        if machine.is_wanted:
            machine.is_wanted = False
            self.on_stopped(name, self._told(name))

    def _told(self, name: str) -> str:
        """The last that the process said."""
        text = (self._directory / f"{name}.log").read_text(encoding="utf-8", errors="replace")
        return " / ".join(text.splitlines()[-TOLD_LINES:]) or "it said nothing"

    # -- reaching ------------------------------------------------------------------------------

    def gate(self, name: str) -> RestartedGate:
        return RestartedGate(self, name)

    async def attached(self, name: str) -> AttachedGate:
        """The connection to the process that runs now.

        Raises:
            NodeNotUp.
        """
        machine = self._machines[name]
        if not machine.is_wanted:
            raise NodeNotUp(str(machine.home))
        if machine.gate is None:
            machine.gate = await attach(machine.home)
        return machine.gate

    def clock_of(self, name: str) -> Clock:
        return _MachineClock(self._machines[name])

    # -- hurting -------------------------------------------------------------------------------

    async def crash(self, name: str) -> None:
        await self._end(self._machines[name], signal.SIGKILL)

    async def stop(self, name: str) -> None:
        await self._end(self._machines[name], signal.SIGINT)

    async def pause(self, name: str) -> None:
        _send(self._machines[name].process, signal.SIGSTOP)

    async def resume(self, name: str) -> None:
        _send(self._machines[name].process, signal.SIGCONT)

    async def apply(self, trouble: Trouble) -> None:
        if trouble != Trouble():
            why = "all nodes are on loopback; without --loopback they have a network"
            raise CannotHere("a fault of the network", self.name, why)

    async def set_clock(self, name: str, offset_ms: int) -> None:
        self._machines[name].skew.set(offset_ms)

    async def fill_disk(self, name: str, *, is_full: bool) -> None:
        raise CannotHere(f"disk_full({name!r})", self.name, NO_DISK)

    def facts(self) -> str:
        return f"{len(self._machines)} processes on loopback"

    async def close(self) -> None:
        machines = self._machines.values()
        await asyncio.gather(*(self._end(machine, signal.SIGKILL) for machine in machines))

    async def _end(self, machine: _Machine, number: signal.Signals) -> None:
        process, gate = machine.process, machine.gate
        machine.is_wanted, machine.gate = False, None
        if gate is not None:
            with contextlib.suppress(OSError):
                await gate.close()
        if process is None:
            return
        _send(process, number)
        try:
            async with asyncio.timeout(STOP_S):
                await process.wait()
        except TimeoutError:
            _send(process, signal.SIGKILL)
            await process.wait()
        if machine.looking is not None:
            await machine.looking


class SpaceWorld(ProcessWorld):
    """Each node on a host of its own. `opened` it has to be, and closed whatever happens.

    Raises:
        NotPermitted: network namespaces cannot be made here.
    """

    abilities = frozenset(Ability)

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._spaces = Spaces.opened(directory)
        self._disks = Disks(directory)

    async def _disk(self, name: str) -> Path:
        return await asyncio.to_thread(self._disks.add, name) / "home"

    async def _place(self, name: str) -> tuple[str, int]:
        return await asyncio.to_thread(self._spaces.add, name), PORT

    def _where(self, name: str) -> tuple[str, ...]:
        return self._spaces.inside(name)

    async def apply(self, trouble: Trouble) -> None:
        try:
            await asyncio.to_thread(self._spaces.apply, trouble)
        except ChaosError as error:
            raise CannotHere("a fault of the network", self.name, str(error)) from None

    async def fill_disk(self, name: str, *, is_full: bool) -> None:
        doing = self._disks.fill if is_full else self._disks.free
        try:
            await asyncio.to_thread(doing, name)
        except ChaosError as error:
            raise CannotHere(f"disk_full({name!r})", self.name, str(error)) from None

    def facts(self) -> str:
        counts = self._spaces.counts()
        frames = ", ".join(f"{count} {word}" for word, count in sorted(counts.items()))
        return f"{len(self._machines)} processes in network namespaces; frames: {frames}"

    async def close(self) -> None:
        try:
            await super().close()
        finally:
            await asyncio.to_thread(self._spaces.close)
            await asyncio.to_thread(self._disks.close)


class _MachineClock(SystemClock):
    """What a program on a node's machine reads."""

    def __init__(self, machine: _Machine) -> None:
        super().__init__()
        self._machine = machine

    def wall_ms(self) -> int:
        return super().wall_ms() + self._machine.skew.offset_ms


class RestartedGate:
    """A gate to whatever process of a node runs just now."""

    def __init__(self, world: ProcessWorld, name: str) -> None:
        self._world = world
        self._name = name

    async def request(self, operation: str, params: Any) -> Any:
        """See `Gate.request`."""
        return await (await self._world.attached(self._name)).request(operation, params)

    async def stream(self, operation: str, params: Any) -> AsyncIterator[Any]:
        """See `Gate.stream`."""
        gate = await self._world.attached(self._name)
        items = gate.stream(operation, params)
        async with contextlib.aclosing(items):
            async for item in items:
                yield item

    async def open(self, operation: str, params: Any) -> GateChannel:
        """See `Gate.open`."""
        return await (await self._world.attached(self._name)).open(operation, params)


def _word_of(source: AgentSource) -> str:
    """What `conclave up` calls an agent.

    Raises:
        CannotHere: it has no name in a file.
    """
    if isinstance(source, str):
        return source
    if isinstance(source, Agent):
        for module in list(sys.modules.values()):
            path = getattr(module, "__file__", None)
            for name, value in list(vars(module).items()) if path else ():
                if value is source:
                    return f"{Path(str(path)).resolve()}:{name}"
    why = "a process finds only an Agent that a file calls by a name of its own"
    raise CannotHere(f"agents=[{source!r}]", ProcessWorld.name, why)


def _queued_s(pid: int) -> float:
    """How long it has waited for a processor: what a busy machine takes is not the node's."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[1]) / 1e9
    except (OSError, IndexError):  # it has ended, or this kernel does not count
        return 0.0


def _send(process: Process | None, number: signal.Signals) -> None:
    if process is not None and process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)


def _free_port(taken: Any) -> int:
    """A port that is free now, and those behind it too."""
    others = set(taken)
    draw = random.SystemRandom()
    for _ in range(200):
        port = 12_000 + draw.randrange(1_800) * 10
        if port in others:
            continue
        with contextlib.ExitStack() as stack:
            try:
                for further in range(PORTS):
                    stack.enter_context(socket.socket()).bind((LOOPBACK, port + further))
            except OSError:
                continue
            return port
    raise ChaosError("no ports are free on loopback")

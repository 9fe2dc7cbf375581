"""Running a scenario in either world, and what came of it.

What this module does not know: command lines.

Invariant: a run is green only if the script ended well, every check that has a verdict holds, and
nothing that the script started beside it failed.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib.util
import inspect
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.chaos.checks import UNSEEN, CheckResult, Result
from agents.chaos.entropy import seeded
from agents.chaos.errors import BadScenario, CheckFailed
from agents.chaos.net import ChaosNet
from agents.chaos.processes import ProcessWorld, SpaceWorld
from agents.chaos.spaces import PREFIX
from agents.chaos.timeline import Event
from agents.chaos.virtual import VirtualWorld
from p2p.memory import LifeLoop

Scenario = Callable[[ChaosNet], Awaitable[None]]
IN_MEMORY = Path("/dev/shm")  # noqa: S108 - a place for files that need not outlive us
CLEAN_S = 60.0


@dataclass(frozen=True)
class Run:
    """What came of one run.

    Attributes:
        error: what the script raised, with its lines; "" if it ended well.
        digest: of the timeline; equal runs have equal ones.
    """

    seed: int
    world: str
    checks: tuple[CheckResult, ...]
    events: tuple[Event, ...]
    error: str
    digest: str
    lasted_s: float
    took_s: float

    @property
    def passed(self) -> bool:
        return not self.error and all(c.result is Result.HOLDS for c in self.checks)

    def to_json(self, *, with_events: bool = True) -> dict[str, Any]:
        said: dict[str, Any] = {
            "seed": self.seed,
            "world": self.world,
            "passed": self.passed,
            "error": self.error,
            "digest": self.digest,
            "lasted_s": round(self.lasted_s, 3),
            "took_s": round(self.took_s, 3),
            "checks": [one.to_json() for one in self.checks],
        }
        if with_events:
            said["events"] = [event.to_json() for event in self.events]
        return said


def load_scenario(path: Path) -> Scenario:
    """Read the file anew and return its `scenario`.

    Raises:
        BadScenario: it has none, or cannot be read.
    """
    if not path.is_file():
        raise BadScenario(f"there is no file {path}")
    name = path.stem
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise BadScenario(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # annotations are looked up by the module's name
    if str(path.parent.resolve()) not in sys.path:
        sys.path.insert(0, str(path.parent.resolve()))
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a user's module may raise anything
        raise BadScenario(f"{path}: {type(error).__name__}: {error}") from None
    found = getattr(module, "scenario", None)
    if not inspect.iscoroutinefunction(found):
        raise BadScenario(f"{path} has no `async def scenario(net)`")
    return found


def run_virtual_scenario(scenario: Scenario, seed: int) -> Run:
    """Run it once in virtual time. The same seed gives the same run, as long as the scenario draws
    from `net.random` and Python's hash seed is the same."""
    began_s = time.perf_counter()
    loop = LifeLoop()
    collects = gc.isenabled()
    gc.disable()  # a collection may end what nobody holds at any moment: here it has its place
    if gc.get_freeze_count() == 0:  # what was there before need not be searched after every run
        gc.collect()
        gc.freeze()  # once: what this run leaves is let go after the next
    place = IN_MEMORY if IN_MEMORY.is_dir() else None
    try:
        with tempfile.TemporaryDirectory(prefix="conclave-chaos-", dir=place) as directory:
            asyncio.set_event_loop(loop)
            with seeded(seed, lambda: int(loop.time() * 1e9)):
                net, error = loop.run_until_complete(_run(scenario, Path(directory), seed))
                lasted_s = loop.time()
                _let_go(loop)
    finally:
        asyncio.set_event_loop(None)
        loop.close()
        gc.collect()
        if collects:
            gc.enable()
    return run_of(net, error, lasted_s, time.perf_counter() - began_s)


async def _run(scenario: Scenario, directory: Path, seed: int) -> tuple[ChaosNet, str]:
    world = VirtualWorld(directory, seed)
    net = ChaosNet(world, seed)
    asyncio.get_running_loop().set_exception_handler(lambda _, said: _unseen(net, said))
    try:
        error = await play(net, scenario)
    finally:
        await net.close()
        await world.close()
    return net, error


def run_real_scenario(scenario: Scenario, seed: int, *, loopback: bool = False) -> Run:
    """Run it once on processes of this machine. The seed decides what the script draws, and no
    more.

    Args:
        loopback: all nodes on 127.0.0.1; otherwise each in a network namespace.

    Raises:
        NotPermitted: network namespaces cannot be made here.
        KeyboardInterrupt: Ctrl-C, or SIGTERM, as from a pipeline that gives up; all is removed.
    """
    began_s = time.perf_counter()

    async def main(directory: Path) -> tuple[ChaosNet, str]:
        this = asyncio.current_task()
        assert this is not None
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):  # another thread
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)
        world = real_world(directory, loopback=loopback)
        net = ChaosNet(world, seed)
        try:
            error = await play(net, scenario)
        finally:
            await net.close()
            await world.close()
        return net, error

    with tempfile.TemporaryDirectory(prefix=PREFIX) as directory:
        try:
            net, error = asyncio.run(main(Path(directory)))
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None
    took_s = time.perf_counter() - began_s
    return run_of(net, error, took_s, took_s)


def real_world(directory: Path, *, loopback: bool) -> ProcessWorld:
    """A world of processes.

    Raises:
        NotPermitted: network namespaces cannot be made here.
    """
    return ProcessWorld(directory) if loopback else SpaceWorld(directory)


async def play(net: ChaosNet, scenario: Scenario) -> str:
    """Run the script and the checks behind it; return what it raised."""
    try:
        await scenario(net)
        await net.finish()
    except CheckFailed:
        return ""  # it is among the checks
    except Exception as error:  # noqa: BLE001 - a user's script may raise anything: it is the report
        return _told(error)
    return ""


def run_of(net: ChaosNet, error: str, lasted_s: float, took_s: float) -> Run:
    """What came of it."""
    return Run(
        seed=net.seed,
        world=net.world,
        checks=net.checks.results,
        events=tuple(net.timeline),
        error=error,
        digest=net.timeline.digest(),
        lasted_s=lasted_s,
        took_s=took_s,
    )


def _let_go(loop: LifeLoop) -> None:
    """End every task that is left, as `asyncio.run` does, but wait for none for ever."""
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.wait(left, timeout=CLEAN_S))
    loop.run_until_complete(loop.shutdown_asyncgens())


def _unseen(net: ChaosNet, said: dict[str, Any]) -> None:
    """Something failed where nobody waits for it."""
    error = said.get("exception")
    if isinstance(error, Exception) and not net.timeline.is_closed:
        where = _told(error) if error.__traceback__ is not None else repr(error)
        net.checks.note(UNSEEN, Result.FAILED, f"{said['message'].split('<')[0].strip()}: {where}")


def _told(error: Exception) -> str:
    """The error and the lines of the script that led to it, without ours."""
    frames = traceback.extract_tb(error.__traceback__)
    own = Path(__file__).parent.parent
    lines = [
        f"{Path(f.filename).name}:{f.lineno} in {f.name}: {f.line}"
        for f in frames
        if own not in Path(f.filename).parents and "asyncio" not in f.filename
    ]
    text = str(error) or type(error).__name__
    return "\n  ".join([f"{type(error).__name__}: {text}", *lines])

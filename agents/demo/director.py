"""The demo's plot: find each other, elect, survey; kill the leader, later a worker; compare.

The director watches from the outside, as any program of this machine can: it is attached to every
node's local door. What it reports it has seen there, with the time when it saw it.

What this module does not know: how the story is shown.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from agents.demo.processes import DemoFailed, DemoNode, Processes
from agents.demo.story import Killing, Line, Story
from agents.errors import AgentsError
from agents.net import Net
from agents.reduction import Progress, map_reduce
from p2p import P2PError

NAMES = ("ada", "ben", "cleo", "dan", "eve", "finn", "gina", "hugo", "iris")
KILL_LEADER_AT, KILL_WORKER_AT = 0.2, 0.55
TOGETHER_TIMEOUT_S = 15.0
LOOK_EVERY_S = 0.05
RECOVERY_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What the demo is about."""

    path: Path
    agents: int
    agent_file: Path
    survey: ModuleType
    keep: bool = False


@dataclass(slots=True)
class Picture:
    """What is to be seen just now; the view reads it."""

    leader: str | None = None
    states: dict[str, str] = field(default_factory=dict)
    done_by: Counter[str] = field(default_factory=Counter)
    counts: dict[str, int] = field(default_factory=dict)
    done: int = 0
    total: int = 0


@dataclass(slots=True)
class Outcome:
    """What came of it."""

    report: dict[str, Any]
    summary: dict[str, Any]
    story: Story


async def play(options: DemoOptions, tell: Callable[[Line], None], picture: Picture) -> Outcome:
    """Play the demo from its beginning to its end.

    Raises:
        DemoFailed: it could not be; the text says where the logs of the nodes are.
    """
    directory = Path(tempfile.mkdtemp(prefix="conclave-demo-"))  # 0700, as mkdtemp makes it
    names = list(NAMES[: options.agents])
    voters = 5 if options.agents >= 5 else 3
    processes = Processes(directory, names, voters, options.agent_file)
    keep = options.keep
    try:
        return await _Director(options, processes, voters, Story(tell), picture).play()
    except (AgentsError, P2PError, TimeoutError) as error:
        keep = True
        raise DemoFailed(f"{error} (logs of the nodes: {directory})") from error
    finally:
        await processes.stop()
        if not keep:
            _remove(directory)


def _remove(directory: Path) -> None:
    import shutil

    shutil.rmtree(directory, ignore_errors=True)


class _Director:
    def __init__(
        self,
        options: DemoOptions,
        processes: Processes,
        voters: int,
        story: Story,
        picture: Picture,
    ) -> None:
        self._options = options
        self._processes = processes
        self._voters = voters
        self._story = story
        self._picture = picture
        self._killings: list[Killing] = []
        self._files: list[str] = []
        self._executions = 0
        self._progressed = asyncio.Event()
        self._finished = False
        self._leaders: list[str] = []

    async def play(self) -> Outcome:
        self._files = self._options.survey.python_files(self._options.path)
        if not self._files:
            raise DemoFailed(f"there is no Python file below {self._options.path}")
        alone = asyncio.create_task(self._survey_alone())
        try:
            await self._gather()
            elected_s = self._story.now_s()
            async with self._watched():
                report = await self._survey()
            alone_report = await alone
        finally:
            alone.cancel()
            await asyncio.gather(alone, return_exceptions=True)
        return self._conclude(report, alone_report, elected_s)

    # -- acts ----------------------------------------------------------------------------------

    async def _gather(self) -> None:
        """Everybody up, everybody found, somebody elected."""
        count = self._options.agents
        self._story.say(f"starting {count} agent processes, one fresh network")
        await self._processes.start()
        for node in self._processes.nodes:
            self._picture.states[node.name] = "up"
        how = "by mDNS" if self._processes.seed is None else "by seed (no multicast here)"
        self._story.say(f"all {count} are up")
        await self._until(self._all_found, "not all nodes found each other")
        self._story.say(f"all {count} found each other {how} and were admitted by certificate")
        await self._until(self._all_follow, "no leader was elected")
        assert self._picture.leader is not None
        self._leaders.append(self._picture.leader)
        self._story.say(f"{self._picture.leader} is elected by {self._voters} voters")

    async def _survey(self) -> dict[str, Any]:
        """The main job, with two murders in the middle."""
        total = len(self._files)
        self._picture.total = total
        self._story.say(f"{total} files to survey in {self._options.path}: one task each")
        base = self._witness(but_not=self._picture.leader)
        assert base.gate is not None
        murders = asyncio.create_task(self._murders(base))
        net = Net(base.gate, base.name, base.peer)
        try:
            report: dict[str, Any] = await map_reduce(
                net,
                "survey.file",
                self._files,
                self._reduce,
                job="demo",
                on_progress=self._on_progress,
            )
            self._finished = True
            self._progressed.set()
            self._story.say(f"all {total} files are surveyed")
            await murders
        finally:
            murders.cancel()
            await asyncio.gather(murders, return_exceptions=True)
        return report

    async def _murders(self, base: DemoNode) -> None:
        await self._until_done(KILL_LEADER_AT)
        leader = self._node(self._picture.leader)
        if leader is not None and leader is not base:
            await self._murder(leader, "leader", base)
        await self._until_done(KILL_WORKER_AT)
        worker = await self._busiest(base)
        while worker is None and not self._finished:
            await asyncio.sleep(LOOK_EVERY_S)
            worker = await self._busiest(base)
        if worker is not None:
            await self._murder(worker, "worker", base)

    async def _murder(self, victim: DemoNode, role: str, base: DemoNode) -> None:
        held = (await self._held(base)).get(victim.peer, 0)
        self._processes.kill(victim)
        killing = Killing(victim.name, role, self._story.now_s())
        self._killings.append(killing)
        self._picture.states[victim.name] = "killed"
        self._story.say(f"{victim.name} ({role}, holding {held} tasks) is killed with SIGKILL")
        async with asyncio.timeout(RECOVERY_TIMEOUT_S):
            while killing.recovered_s is None:
                holders = await self._held(base)
                if killing.reassigned_s is None and holders and not holders.get(victim.peer):
                    killing.reassigned_s = self._story.now_s() - killing.at_s
                    self._story.say(f"the {held} tasks of {victim.name} are elsewhere or done")
                await asyncio.sleep(LOOK_EVERY_S)

    # -- watching ------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _watched(self) -> AsyncIterator[None]:
        """Follow what every node says while the block runs."""
        tasks = [asyncio.create_task(self._watch(node)) for node in self._processes.nodes]
        tasks.append(asyncio.create_task(self._count()))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, node: DemoNode) -> None:
        assert node.gate is not None
        with contextlib.suppress(AgentsError):
            async for event in node.gate.stream("watch", {}):
                if event["event"] == "leader":
                    self._on_leader(event)
                elif event["event"] == "peer" and event["state"] in ("dead", "left"):
                    self._on_gone(event)

    def _on_leader(self, event: dict[str, Any]) -> None:
        name = self._name(event["peer"])
        self._picture.leader = name
        if name is None or name == self._leaders[-1]:
            return
        self._leaders.append(name)
        self._story.say(f"{name} leads now, in term {event['term']}")
        for killing in self._killings:
            if killing.role == "leader" and killing.new_leader_s is None:
                killing.new_leader_s = self._story.now_s() - killing.at_s

    def _on_gone(self, event: dict[str, Any]) -> None:
        name = self._name(event["peer"])
        for killing in self._killings:
            if killing.peer == name and killing.detected_s is None:
                killing.detected_s = self._story.now_s() - killing.at_s
                self._story.say(f"{name}'s failure is seen: {event['reason']}")

    async def _count(self) -> None:
        """Keep the picture's counts fresh."""
        while True:
            with contextlib.suppress(AgentsError, P2PError):
                base = self._witness(but_not=None)
                assert base.gate is not None
                said = await base.gate.request("tasks", {"job": "demo", "limit": 0})
                self._picture.counts = said["counts"]
            await asyncio.sleep(0.25)

    def _on_progress(self, progress: Progress) -> None:
        self._executions = progress.executions
        self._picture.done = progress.done
        history = progress.last.history
        if history:
            self._picture.done_by[self._name(history[-1].peer) or "?"] += 1
        self._progressed.set()

    async def _until_done(self, share: float) -> None:
        while self._picture.done < share * len(self._files) and not self._finished:
            self._progressed.clear()
            await self._progressed.wait()

    async def _until(self, holds: Callable[[], Any], otherwise: str) -> None:
        deadline = time.monotonic() + TOGETHER_TIMEOUT_S
        while not await holds():
            if time.monotonic() > deadline:
                raise DemoFailed(f"{otherwise} within {TOGETHER_TIMEOUT_S:g} s")
            await asyncio.sleep(LOOK_EVERY_S)

    async def _all_found(self) -> bool:
        others = len(self._processes.nodes) - 1
        return all(s["peers_alive"] == others for s in await self._statuses())

    async def _all_follow(self) -> bool:
        leaders = {s["leader"] for s in await self._statuses()}
        self._picture.leader = self._name(next(iter(leaders)))
        return len(leaders) == 1 and None not in leaders

    async def _statuses(self) -> list[dict[str, Any]]:
        gates = [node.gate for node in self._processes.nodes if node.gate is not None]
        return list(await asyncio.gather(*(gate.request("status", {}) for gate in gates)))

    async def _held(self, base: DemoNode) -> Counter[str]:
        """Return how many tasks each peer holds; empty while nobody can say."""
        assert base.gate is not None
        try:
            said = await base.gate.request(
                "tasks", {"state": "assigned", "job": "demo", "limit": 1000}
            )
        except AgentsError:
            return Counter()
        held = Counter({"": 1})  # not empty: somebody has answered
        held.update(task["peer"] for task in said["tasks"])
        return held

    async def _busiest(self, base: DemoNode) -> DemoNode | None:
        """Return the worker with the most tasks, or None while none has any."""
        held = await self._held(base)
        able = [
            node
            for node in self._processes.nodes
            if node.is_running and node is not base and node.name != self._picture.leader
            if held.get(node.peer)
        ]
        return max(able, key=lambda node: held.get(node.peer, 0), default=None)

    def _witness(self, *, but_not: str | None) -> DemoNode:
        """Return a node that lives and is not to be killed: the last that may stay."""
        alive = [n for n in self._processes.nodes if n.is_running and n.name != but_not]
        if not alive:
            raise DemoFailed("no node is left")
        return alive[-1]

    def _node(self, name: str | None) -> DemoNode | None:
        return next((n for n in self._processes.nodes if n.name == name), None)

    def _name(self, peer: str | None) -> str | None:
        return next((n.name for n in self._processes.nodes if n.peer == peer), None)

    # -- the proof -----------------------------------------------------------------------------

    def _reduce(self, surveys: Any) -> dict[str, Any]:
        """Every file once, in order; then the same folding as the single process does."""
        paths = [survey["path"] for survey in surveys]
        if paths != self._files:
            raise DemoFailed("the results are not one for each file, in order")
        report: dict[str, Any] = self._options.survey.reduce(surveys)
        return report

    async def _survey_alone(self) -> dict[str, Any]:
        """The same survey in one process beside the network, for comparison."""
        code = (
            "import sys, json, importlib.util as u\n"
            "spec = u.spec_from_file_location('survey', sys.argv[1])\n"
            "m = u.module_from_spec(spec); spec.loader.exec_module(m)\n"
            "files = m.python_files(sys.argv[2])\n"
            "print(json.dumps(m.reduce([m.survey_file(f) for f in files])))\n"
        )
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-W",
            "ignore",
            "-c",
            code,
            str(self._options.agent_file),
            str(self._options.path),
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            out, _ = await process.communicate()
        except asyncio.CancelledError:
            process.kill()
            await process.wait()
            raise
        if process.returncode != 0:
            raise DemoFailed("the single-process survey failed")
        report: dict[str, Any] = json.loads(out)
        return report

    def _conclude(self, report: dict[str, Any], alone: dict[str, Any], elected_s: float) -> Outcome:
        verified = json.loads(json.dumps(report)) == alone and report["files"] == len(self._files)
        self._story.say(
            "the totals equal those of a single process"
            if verified
            else "the totals DIFFER from those of a single process"
        )
        summary = {
            "agents": self._options.agents,
            "voters": self._voters,
            "files": len(self._files),
            "tasks": self._picture.total,
            "completed": self._picture.done,
            "verified": verified,
            "executions": self._executions,
            "leader_changes": len(self._leaders) - 1,
            "killed": [
                {
                    "peer": killing.peer,
                    "role": killing.role,
                    "detected_s": _rounded(killing.detected_s),
                    "recovered_s": _rounded(killing.recovered_s),
                }
                for killing in self._killings
            ],
            "elected_s": _rounded(elected_s),
            "elapsed_s": _rounded(self._story.now_s()),
        }
        return Outcome(report, summary, self._story)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 2)

"""`net`, as a chaos script holds it: bring nodes up, hurt them, use them, demand what must hold.

    async def scenario(net):
        await net.up(5, agents=[worker], voters=3)
        task = await net.client("b").submit("math.add", {"a": 1, "b": 2})
        await net.isolate_leader()
        assert await task.result(timeout=60) == 3

Nodes are called a, b, c and so on. What a script does not undo is undone at its end, before the
last checks.

What this module does not know: which world it is in, how checks judge, how runs are reported.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import string
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any

from agents.chaos.checks import Checks
from agents.chaos.errors import ChaosError, NotSettled
from agents.chaos.expect import WITHIN_S, Expect
from agents.chaos.hurting import Hurting, listed
from agents.chaos.recording import Recording, RecordingGate
from agents.chaos.timeline import Timeline, What
from agents.chaos.world import Ability, AgentSource, ChaosWorld
from agents.errors import AgentsError
from agents.net import Net
from p2p import P2PError

LOOK_S = 0.2
STATUS_S = 5.0
WAIT_S = 5.0
MAX_NODES = len(string.ascii_lowercase)


class ChaosNet(Hurting):
    """One network, and what happens to it.

    Attributes:
        random: drawn from the run's seed; use no other.
        expect: see `Expect`.
    """

    def __init__(self, world: ChaosWorld, seed: int) -> None:
        self.seed = seed
        self.random = random.Random(f"script/{seed}")
        began_us = world.now_us()
        self.timeline = Timeline(lambda: (world.now_us() - began_us) // 1000)
        self.recording = Recording(self.timeline, world.now_us)
        self.checks = Checks(self.recording)
        self.expect = Expect(self, self.checks)
        super().__init__(world, self.timeline)
        self._down: set[str] = set()
        self._paused: set[str] = set()
        self._watching: dict[str, asyncio.Task[None]] = {}
        self._spawned: list[asyncio.Task[Any]] = []
        self._clients = 0
        self._labels: dict[str, str] = {}  # names of nodes by peer id
        world.on_stopped = self._stopped

    # -- nodes ---------------------------------------------------------------------------------

    @property
    def now_ms(self) -> int:
        """Milliseconds since the run began."""
        return self.timeline.now_ms

    @property
    def world(self) -> str:
        """Which one it is: "virtual" or "real"."""
        return self._world.name

    @property
    def down(self) -> tuple[str, ...]:
        """Those that were killed or stopped, or stopped by themselves."""
        return tuple(n for n in self._names if n in self._down)

    @property
    def paused(self) -> tuple[str, ...]:
        """Those that stand still."""
        return tuple(n for n in self._names if n in self._paused)

    def can(self, what: str) -> bool:
        """Whether this world can do that: "partition", "cut", "loss", "delay", "slow_link",
        "duplicate", "reorder", "clock", "disk_full". What it cannot raises `CannotHere`; scripts
        for several worlds ask."""
        return Ability(what) in self._world.abilities

    @property
    def living(self) -> tuple[str, ...]:
        """Those that run just now."""
        return tuple(n for n in self._names if n not in self._down and n not in self._paused)

    async def up(
        self,
        count: int,
        *,
        agents: Sequence[AgentSource] = (),
        voters: int = 3,
        settled: bool = True,
    ) -> tuple[str, ...]:
        """Make and start so many nodes, and wait until they have found each other.

        Args:
            agents: for each of them: an `Agent`, what makes one, or "FILE.py" or "FILE.py:object".
            voters: how many nodes of a network elect a leader; counts the first time only.
        """
        if len(self._names) + count > MAX_NODES:
            raise ChaosError(f"a network of this kit has at most {MAX_NODES} nodes")
        news = tuple(string.ascii_lowercase[len(self._names) + n] for n in range(count))
        for name in news:
            await self._world.make(name, agents, min(voters, _odd(count)))
            self._names.append(name)
        if self._world.starts_together:
            await asyncio.gather(*(self._start(name) for name in news))
        else:
            for name in news:
                await self._start(name)
        self.timeline.add(What.NODE, "", f"{listed(news)} are up", up=list(news))
        if settled:
            await self.settle()
        return news

    async def _start(self, name: str) -> None:
        await self._world.start(name)
        self._down.discard(name)
        who = await self._world.gate(name).request("whoami", {})
        self._labels[who["peer"]] = name
        watching = asyncio.get_running_loop().create_task(self._watch(name))
        self._watching[name] = watching

    def client(self, node: str) -> Net:
        """Return an ordinary `Net` of a program on that node's machine. What it asks is recorded,
        for the checks; it stays usable when the node comes back."""
        self._check(node)
        self._clients += 1
        gate = RecordingGate(self._world.gate(node), self.recording, node, f"{node}{self._clients}")
        return Net(gate, node, node, clock=self._world.clock_of(node))

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Do something beside the script; the run waits for it at the end, and fails if it does."""
        task = asyncio.get_running_loop().create_task(work)
        self._spawned.append(task)
        return task

    def log(self, text: str) -> None:
        """Note something on the timeline."""
        self.timeline.add(What.LOG, "", text)

    async def sleep(self, seconds: float) -> None:
        """Let the network go on for so long, in its own time."""
        await asyncio.sleep(seconds)

    # -- who leads -----------------------------------------------------------------------------

    async def leader(self, *, other_than: str | None = None, within: float = WITHIN_S) -> str:
        """Return who leads: it says so itself, and most living nodes say the same.

        Args:
            other_than: wait until it is not this one any more.

        Raises:
            NotSettled: nobody does, in time.
        """
        found: list[str] = []

        async def look() -> str:
            statuses = await self._ask_all("status")
            words = [s["leader"] for s in statuses.values() if s is not None]
            for name, status in statuses.items():
                if status is None or status["role"] != "leader":
                    continue
                self.checks.leads(name, status["term"])
                if name != other_than and words.count(status["peer"]) * 2 > len(words):
                    found.append(name)
                    return ""
            return "no node leads that most others follow"

        await self._until(look, within)
        return found[-1]

    async def settle(self, *, within: float = WITHIN_S) -> None:
        """Wait until all living nodes see all living nodes, and the same leader.

        Raises:
            NotSettled: with what is missing.
        """
        await self._until(self._unrest, within)

    async def seen_alive(self) -> dict[str, frozenset[str]]:
        """Whom each living node sees alive, itself included; nobody, if it does not answer."""
        answers = await self._ask_all("peers")
        return {name: self._alive_in(rows or ()) for name, rows in answers.items()}

    def _alive_in(self, rows: Iterable[Mapping[str, Any]]) -> frozenset[str]:
        return frozenset(self._labels.get(r["peer"], "?") for r in rows if r["state"] == "alive")

    async def _unrest(self) -> str:
        alive = set(self.living)
        leaders: set[str | None] = set()
        for name, rows in (await self._ask_all("peers")).items():
            if rows is None:
                return f"{name} does not answer"
            seen = self._alive_in(rows)
            if seen != alive:
                return f"{name} sees {listed(seen)} alive, and {listed(alive)} are"
            leads = [self._labels.get(r["peer"], "?") for r in rows if r["is_leader"]]
            leaders.add(leads[0] if leads else None)
        if len(leaders) == 1 and None not in leaders:
            return ""
        words = listed(name or "nobody" for name in leaders)
        return f"the leader is not agreed upon: {words}"

    async def _until(self, problem: Callable[[], Coroutine[Any, Any, str]], within: float) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + within
        while seen := await problem():
            if loop.time() >= until:
                raise NotSettled(within, seen)
            await asyncio.sleep(LOOK_S)

    async def _ask_all(self, operation: str) -> dict[str, Any]:
        """Every living node's answer, None where it gave none."""
        names = self.living
        gates = [self._world.gate(name) for name in names]
        asking = [_answer(gate.request(operation, {})) for gate in gates]
        return dict(zip(names, await asyncio.gather(*asking), strict=True))

    # -- hurting -------------------------------------------------------------------------------

    async def isolate_leader(self) -> str:
        """Cut the leader off, and return its name."""
        name = await self.leader()
        await self.isolate(name)
        return name

    async def crash(self, node: str) -> None:
        """As `kill -9` does: not one more line of it runs; its files stay as they are."""
        self._check(node)
        if node in self._down:
            return
        self._end_watch(node)
        self._down.add(node)
        self._paused.discard(node)
        await self._world.crash(node)
        self.timeline.add(What.FAULT, node, "is killed", down=[node])

    async def stop(self, node: str) -> None:
        """As Ctrl-C does: it gives back its work, hands over leadership, says goodbye."""
        self._check(node)
        self._end_watch(node)
        self._down.add(node)
        await self._world.stop(node)
        self.timeline.add(What.FAULT, node, "is stopped", down=[node])

    async def restart(self, node: str) -> None:
        """Start it on the files that it left; one that runs is killed before."""
        self._check(node)
        if node not in self._down:
            await self.crash(node)
        await self._start(node)
        self.timeline.add(What.FAULT, node, "is started again", up=[node])

    async def pause(self, node: str, seconds: float | None = None) -> None:
        """Let it stand still for so long, or until `resume`, as SIGSTOP does; returns at once."""
        self._check(node)
        await self._world.pause(node)
        self._paused.add(node)
        words = "stands still" + (f" for {seconds:g} s" if seconds is not None else "")
        self.timeline.add(What.FAULT, node, words, paused=[node])
        if seconds is None:
            return

        async def resume() -> None:
            await asyncio.sleep(seconds)
            await self.resume(node)

        self.spawn(resume())

    async def resume(self, node: str) -> None:
        """Let it go on, as SIGCONT does, if it stands still."""
        self._check(node)
        if node in self._paused:
            self._paused.discard(node)
            await self._world.resume(node)
            self.timeline.add(What.FAULT, node, "goes on", up=[node])

    # -- at the end ----------------------------------------------------------------------------

    async def finish(self) -> None:
        """End every fault, start what is down, wait for rest, and judge.

        Raises:
            Exception: what something raised that the script had started beside it.
        """
        self.log("the script has ended; all faults are ended too")
        for node in self.full:
            await self.disk_full(node, False)
        for node in sorted(self._skewed):
            await self.clock(node, 0)
        for node in list(self._names):
            await self.resume(node)
        await self.heal()
        for node in sorted(self._down):
            await self.restart(node)
        async with asyncio.timeout(2 * WITHIN_S):
            await asyncio.gather(*self._spawned)
        if not self._names:
            raise ChaosError("the script brought no node up; begin with `await net.up(3)`")
        with contextlib.suppress(ChaosError):  # it is noted, and the others are judged too
            await self.expect.members_agree()
        if not self.expect.tasks_may_wait:
            self.checks.judge_tasks(await self.task_views(WITHIN_S))
        self.checks.judge_results()
        self.checks.judge_locks()
        self.checks.judge_store()
        self.checks.judge_leaders()
        self.timeline.add(What.LOG, "", self._world.facts())
        self.timeline.is_closed = True

    async def close(self) -> None:
        """Stop looking."""
        self.timeline.is_closed = True
        for node in sorted(self._paused):
            await self._world.resume(node)
        for task in (*self._watching.values(), *self._spawned):
            task.cancel()
        await asyncio.gather(*self._watching.values(), *self._spawned, return_exceptions=True)

    async def task_views(self, within: float) -> dict[str, tuple[str, Mapping[str, Any] | None]]:
        """How every acknowledged task stands when all have ended, or the time is over: who was
        asked, and the answer. Each is asked of another node in turn."""
        loop = asyncio.get_running_loop()
        until = loop.time() + within
        views: dict[str, tuple[str, Mapping[str, Any] | None]] = {}
        for number, task_id in enumerate(self.recording.tasks):
            while True:
                node = self.living[number % len(self.living)]
                gate = RecordingGate(self._world.gate(node), self.recording, node, node)
                view = await _answer(gate.request("task", {"id": task_id}), missing=False)
                is_over = view is None or (view and view["finished_ms"] is not None)
                if is_over or loop.time() >= until:
                    shown = view if view is not False else {"finished_ms": None, "state": "unread"}
                    views[task_id] = (node, shown)
                    break
                await asyncio.sleep(LOOK_S)
        return views

    # -- seeing --------------------------------------------------------------------------------

    async def _watch(self, name: str) -> None:
        """Note what a node sees, for as long as it runs."""
        with contextlib.suppress(AgentsError, P2PError):
            async for event in self._world.gate(name).stream("watch", {}):
                who = self._labels.get(event["peer"] or "", "?")
                if event["event"] == "leader":
                    if who == name:
                        self.checks.leads(name, event["term"])
                        words = f"leads in term {event['term']}"
                        self.timeline.add(What.LEADER, name, words, leads=event["term"])
                    elif event["peer"] is None:
                        self.timeline.add(What.LEADER, name, "knows of no leader", leads=None)
                elif event["event"] == "peer" and event["state"] in ("dead", "left"):
                    reason = f": {event['reason']}" if event["reason"] else ""
                    words = f"declares {who} {event['state']}{reason}"
                    self.timeline.add(What.PEER, name, words, **{event["state"]: who})

    def _end_watch(self, name: str) -> None:
        watching = self._watching.get(name)
        if watching is not None:
            watching.cancel()

    def _stopped(self, name: str, why: str) -> None:
        self._end_watch(name)
        self._down.add(name)
        self._paused.discard(name)
        self.timeline.add(What.NODE, name, f"stopped by itself: {why}", down=[name])


async def _answer(asking: Coroutine[Any, Any, Any], *, missing: Any = None) -> Any:
    """What is answered in time, or `missing`."""
    try:
        async with asyncio.timeout(STATUS_S):
            return await asking
    except (AgentsError, P2PError, TimeoutError):
        return missing


def _odd(count: int) -> int:
    return count if count % 2 else max(1, count - 1)

"""Networks of real `conclave` processes on the loopback address, and no process left behind.

Members are made through the library (a ticket, a request, a grant), because a join by the command
has tests of its own; whatever a test is about is run as a process of its own (`warm.py`).
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, NamedTuple

from free_ports import LOOPBACK, free_port
from warm import Warm

from agents.connecting import attached
from agents.errors import NodeNotUp
from agents.net import Net
from keys import Identity, Keystore, accept_grant, make_join_request

ROOT = Path(__file__).parents[2]
AGENT = Path(__file__).with_name("lab_agent.py")
QUICK = Path(__file__).with_name("quick_conclave.py")  # where passphrases are not the point
DEADLINE_S = 20.0
PAUSE_S = 0.02
COLD = bool(os.environ.get("COLD"))  # every process with an interpreter of its own: slow


class Said(NamedTuple):
    """What a command said and how it ended."""

    status: int
    out: str
    err: str
    took_s: float

    @property
    def json(self) -> Any:
        assert self.status == 0, self
        return json.loads(self.out)


def environment(**more: str) -> dict[str, str]:
    """The environment of a process: ours, without settings of whoever runs the tests."""
    ours = {k: v for k, v in os.environ.items() if not k.startswith("CONCLAVE_")}
    return {**ours, "PYTHONPATH": str(ROOT), **more}


def conclave(
    *words: str,
    stdin: str = "",
    timeout_s: float = DEADLINE_S,
    cwd: Path | None = None,
    script: Path | None = None,
    **env: str,
) -> Said:
    """Run one command to its end, or a script."""
    began = time.monotonic()
    with TemporaryFile() as into, TemporaryFile() as out, TemporaryFile() as err:
        into.write(stdin.encode())
        into.seek(0)
        files = {"stdin": into.fileno(), "stdout": out.fileno(), "stderr": err.fileno()}
        process = begin(
            words, cwd=cwd or Path.cwd(), script=script, env=environment(**env), **files
        )
        try:
            status = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        took_s = time.monotonic() - began
        said = [(file.seek(0), file.read().decode())[1] for file in (out, err)]
    return Said(status, *said, took_s)


def begin(
    words: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path = ROOT,
    script: Path | None = None,
    **files: int,
) -> Warm | subprocess.Popen[bytes]:
    """Begin a command; with a Python of its own if it is to see other modules than we do."""
    if env["PYTHONPATH"] == str(ROOT) and not COLD:
        return Warm(words, env=env, cwd=cwd, script=script, **files)
    line = [sys.executable, *(("-m", "agents.cli") if script is None else (str(script),)), *words]
    return subprocess.Popen(line, env=env, cwd=cwd, **files)


def refused(said: Said, *words: str) -> str:
    """Assert that a command ended as somebody's fault does, and return its one line."""
    assert said.status not in (0, 130), said
    assert "Traceback" not in said.err + said.out, said.err
    assert said.err.count("\n") == 1, said.err
    assert said.err.startswith("conclave: "), said.err
    for word in words:
        assert word in said.err, said.err
    return said.err


def eventually(
    condition: Callable[[], Any], what: str = "it", deadline_s: float = DEADLINE_S
) -> Any:
    """Return the condition's value as soon as it is true."""
    until = time.monotonic() + deadline_s
    while not (value := condition()):
        assert time.monotonic() < until, f"{what} did not happen within {deadline_s:g} s"
        time.sleep(PAUSE_S)
    return value


@dataclass
class Node:
    """A directory, and the process that runs it, if any."""

    home: Path
    port: int = field(default_factory=free_port)
    process: Warm | subprocess.Popen[bytes] | None = None
    began_at: int = 0  # where in the log its latest start begins

    @property
    def name(self) -> str:
        return self.home.name

    @property
    def log(self) -> str:
        return self.home.with_suffix(".log").read_text(errors="replace")

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def up(
        self,
        *words: str,
        seeds: tuple[Node, ...] = (),
        mdns: bool = False,
        script: Path | None = None,
        **env: str,
    ) -> Node:
        """Start it; see `until_up`."""
        knock = [w for seed in seeds for w in ("--seed", f"{LOOPBACK}:{seed.port}")]
        if not mdns:
            knock.append("--no-mdns")
        place = ["--home", str(self.home), "--host", LOOPBACK, "--port", str(self.port)]
        log_file = self.home.with_suffix(".log")
        self.began_at = len(self.log) if log_file.exists() else 0
        with log_file.open("ab") as log, Path(os.devnull).open() as nothing:
            files = {"stdin": nothing.fileno(), "stdout": log.fileno(), "stderr": log.fileno()}
            line = ("up", *words, *place, *knock)
            self.process = begin(line, script=script, env=environment(**env), **files)
        return self

    def until_up(self) -> Node:
        def is_up() -> bool:
            assert self.is_running, self.log
            return "Ctrl-C leaves" in self.log[self.began_at :]

        eventually(is_up, f"{self.name} up")
        return self

    def kill(self) -> None:
        """No goodbye: SIGKILL by its pid."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def ended(self, within_s: float = DEADLINE_S) -> int:
        """Wait for its end and return its status; its log says why if it goes on."""
        assert self.process is not None
        try:
            return self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} goes on: {self.log[-4000:]}") from None

    def interrupt(self) -> float:
        """Ctrl-C; return after how many seconds the process was gone."""
        assert self.process is not None
        began = time.monotonic()
        self.process.send_signal(signal.SIGINT)
        self.process.wait(DEADLINE_S)
        return time.monotonic() - began

    def run(self, *words: str, **more: Any) -> Said:
        """Run a command that asks this node."""
        return conclave(words[0], "--home", str(self.home), *words[1:], **more)

    def ask(self, question: Callable[[Net], Awaitable[Any]]) -> Any:
        """Ask in this process, which is quicker than a command."""

        async def main() -> Any:
            async with attached(self.home) as net:
                return await question(net)

        return asyncio.run(main())

    def status(self) -> dict[str, Any]:
        try:
            return dict(self.ask(Net.status))
        except NodeNotUp:
            return {}

    def states(self) -> dict[str, str]:
        """The state of every peer, by its name, as this node sees it."""
        try:
            return {row["name"]: row["state"] for row in self.ask(Net.peers)}
        except NodeNotUp:
            return {}


class Lab:
    """Networks in one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.nodes: list[Node] = []

    def network(self, *names: str, voters: int = 3, label: str = "lab") -> list[Node]:
        """Make a network and its members; none is up."""
        now_ms = int(time.time() * 1000)
        first = Keystore.create_network(
            self.directory / names[0], label, names[0], voters, now_ms=now_ms
        )
        for name in names[1:]:
            admit(first, self.directory / name, now_ms)
        made = [Node(self.directory / name) for name in names]
        self.nodes += made
        return made

    def node(self, name: str) -> Node:
        """A directory that is not there yet."""
        self.nodes.append(Node(self.directory / name))
        return self.nodes[-1]

    def up(self, nodes: list[Node], *words: str) -> None:
        """Bring all up with the lab's agent, and wait until they follow one leader."""
        for node in nodes:
            node.up(str(AGENT), *words, seeds=tuple(n for n in nodes if n is not node))
        for node in nodes:
            node.until_up()
        eventually(lambda: agreed(nodes), "a leader")

    def close(self) -> None:
        for node in self.nodes:
            if node.is_running:
                node.kill()


def admit(issuing: Keystore, home: Path, now_ms: int) -> None:
    """What a ticket, a join and a grant lead to."""
    assert issuing.issuer is not None
    ticket = issuing.issuer.invite(now_ms)
    identity = Identity.generate()
    request = make_join_request(ticket, identity, home.name, b"lab", now_ms)
    grant = issuing.issuer.redeem(request, b"lab", now_ms)
    joined = accept_grant(ticket, identity, grant, now_ms)
    Keystore.create_joined(home, identity, home.name, joined)


def agreed(nodes: list[Node]) -> str | None:
    """The name of the leader that all of these nodes follow, when all see each other alive."""
    said = [node.status() for node in nodes]
    leaders = {status.get("leader") for status in said}
    if len(leaders) != 1 or None in leaders:
        return None
    if any(status["peers_alive"] < len(nodes) - 1 for status in said):
        return None
    # A leader that has just died may still be everybody's.
    by_peer = {s["peer"]: n.name for n, s in zip(nodes, said, strict=True)}
    return by_peer.get(leaders.pop())


def leader_of(nodes: list[Node]) -> Node:
    """Wait until all of them follow one, and return it."""
    name = eventually(lambda: agreed(nodes), "a leader")
    return next(node for node in nodes if node.name == name)


def patient(seconds: float) -> float:
    """So many seconds of a machine that has time: what another command takes now says whether."""
    return seconds + 10 * conclave("--version").took_s


@contextmanager
def lab(directory: Path) -> Iterator[Lab]:
    """A lab that leaves no process behind."""
    here = Lab(directory)
    try:
        yield here
    finally:
        here.close()

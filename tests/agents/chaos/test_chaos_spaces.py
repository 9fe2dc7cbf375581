"""Network namespaces for nodes: what passes between hosts, what is left behind, and whole runs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents import Agent
from agents.chaos import CannotHere, ChaosNet, NotPermitted, Run, load_scenario, run_real_scenario
from agents.chaos.spaces import OWNERS, PREFIX, Spaces
from agents.chaos.world import LinkTrouble, Trouble

pytestmark = pytest.mark.e2e

EXAMPLES = Path(__file__).parents[3] / "examples" / "chaos"
SHIPPED = sorted(path.stem for path in EXAMPLES.glob("*.py"))
adder = Agent("adder")


@adder.serve("math.add")
async def add(a: int, b: int) -> int:
    return a + b


@pytest.fixture(autouse=True, scope="module")
def _permitted() -> None:
    try:
        Spaces.opened(Path()).close()
    except NotPermitted as error:
        pytest.skip(error.why)


@pytest.fixture
def spaces(tmp_path: Path) -> Iterator[Spaces]:
    made = Spaces.opened(tmp_path)
    try:
        yield made
    finally:
        made.close()


def there() -> str:
    return subprocess.run(["ip", "netns", "list"], capture_output=True, text=True).stdout


def is_gone(pid: int) -> bool:
    """Also if nobody has asked for its exit status yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


# -- what passes ----------------------------------------------------------------------------------

LISTEN = """
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("0.0.0.0", 7))
s.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)  # SO_RCVBUFFORCE: it loses nothing itself
print("ready", flush=True)
while True:
    count, first, last = 0, 0.0, 0.0
    s.settimeout(None)
    while True:
        try:
            data = s.recv(2000)
        except TimeoutError:
            break
        if data == b"end":
            s.settimeout(0.7)  # what is held back on the way may still come
            continue
        last = time.monotonic()
        first = first or last
        count += 1
    print(count, last - first, flush=True)
"""
SPEAK = """
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect((sys.argv[1], 7))
for _ in range(int(sys.argv[2])):
    s.send(bytes(1000))
"""


class Ear:
    """A process on a host that counts what arrives there."""

    def __init__(self, spaces: Spaces, name: str) -> None:
        self.address = spaces.add(name)
        self._spaces = spaces
        self._name = name
        words = [*spaces.inside(name), sys.executable, "-c", LISTEN]
        self._process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self._said = self._process.stdout
        assert self._said.readline() == "ready\n"

    def hears(self, from_: str, count: int) -> tuple[int, float]:
        """How many of so many datagrams arrive, and within which time."""
        spoken = [*self._spaces.inside(from_), sys.executable, "-c", SPEAK]
        subprocess.run([*spoken, self.address, str(count)], check=True)
        end = SPEAK.replace("bytes(1000)", "b'end'")
        own = [*self._spaces.inside(self._name), sys.executable, "-c", end]
        subprocess.run([*own, self.address, "1"], check=True)
        heard, seconds = self._said.readline().split()
        return int(heard), float(seconds)

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


def test_the_bridge_cuts_one_way_loses_a_share_and_holds_back(spaces: Spaces) -> None:
    a, b = Ear(spaces, "a"), Ear(spaces, "b")
    try:
        assert b.hears("a", 20)[0] == 20
        spaces.apply(Trouble(frozenset({("a", "b")})))
        assert b.hears("a", 20)[0] == 0
        spaces.apply(Trouble(links=(("a", "b", LinkTrouble(loss=0.5)),)))
        assert 700 < b.hears("a", 2000)[0] < 1300  # 13 standard deviations
        slow = LinkTrouble(bytes_per_s=64 * 1024)
        spaces.apply(Trouble(links=(("a", "b", slow),)))
        heard, seconds = b.hears("a", 60)
        assert heard == 60
        assert seconds > 0.5  # 64 KB at 64 KB/s, less what a burst lets pass
        spaces.apply(Trouble())
        heard, seconds = b.hears("a", 60)
        assert heard == 60
        assert seconds < 0.5
        assert a.hears("b", 20)[0] == 20
    finally:
        a.close()
        b.close()


# -- what is left ---------------------------------------------------------------------------------

OWNER = """
import pathlib, subprocess, sys, time
from agents.chaos.spaces import Spaces
spaces = Spaces.opened(pathlib.Path(sys.argv[1]))
spaces.add("a")
sleeping = subprocess.Popen([*spaces.inside("a"), "sleep", "600"])
print(sleeping.pid, spaces.inside("a")[-1], flush=True)
time.sleep(600)
"""


def test_the_next_run_removes_what_one_that_was_killed_left_and_nothing_else(
    tmp_path: Path, spaces: Spaces
) -> None:
    directory = tmp_path / f"{PREFIX}x"
    directory.mkdir()
    spaces.add("mine")
    words = [sys.executable, "-c", OWNER, str(directory)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        pid, space = owner.stdout.readline().split()
        Spaces.opened(tmp_path).close()
        assert space in there(), "its owner lives"
        owner.kill()
        owner.wait()
    assert space in there()
    Spaces.opened(tmp_path).close()
    assert space not in there()
    assert is_gone(int(pid))
    assert not directory.exists()
    assert spaces.inside("mine")[-1] in there(), "this one lives, too"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_that_is_killed_takes_its_nodes_with_it(how: signal.Signals, tmp_path: Path) -> None:
    if shutil.which("setpriv") is None:
        pytest.skip("there is no setpriv here")
    script = tmp_path / "forever.py"
    script.write_text(
        "async def scenario(net):\n"
        "    await net.up(1, voters=1)\n"
        "    pid = net._world._machines['a'].process.pid\n"
        "    print('up', pid, net._world._spaces.inside('a')[-1], flush=True)\n"
        "    await net.sleep(600)\n"
    )
    words = [sys.executable, "-m", "agents.cli", "chaos", "run", str(script), "--real"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as tool:
        assert tool.stdout is not None
        _, word, space = tool.stdout.readline().split()
        pid = int(word)
        os.kill(pid, 0)
        assert space in there()
        tool.send_signal(how)
        tool.wait()
    if how is signal.SIGTERM:
        assert space not in there(), "it has removed it by itself"
    until_s = time.monotonic() + 10
    while not is_gone(pid) and time.monotonic() < until_s:
        os.sched_yield()
    assert is_gone(pid)
    Spaces.opened(tmp_path).close()
    assert space not in there()
    assert not (OWNERS / space.removeprefix(PREFIX).partition("-")[0]).exists()


def test_who_may_not_is_told_what_is_needed() -> None:
    if shutil.which("setpriv") is None:
        pytest.skip("there is no setpriv here")
    words = ["setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin", sys.executable]
    words += ["-m", "agents.cli", "chaos", "run", str(EXAMPLES / "split_brain.py"), "--real"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode != 0
    assert "need Linux, root, and the programs ip, tc and nft: ip netns add" in done.stderr
    assert "Operation not permitted" in done.stderr
    assert "With --loopback" in done.stderr
    assert "Traceback" not in done.stderr


# -- whole runs -----------------------------------------------------------------------------------


def shown(run: Run) -> str:
    return "\n".join([*map(str, run.events), run.error, *map(str, run.checks)])


def test_processes_in_namespaces_are_cut_off_slowed_and_come_together_again() -> None:
    async def scenario(net: ChaosNet) -> None:
        await net.up(3, agents=[adder], voters=3)
        await net.loss("a", "b", 0.05)
        await net.slow_link("b", "c", 128 * 1024)
        leader = await net.isolate_leader()
        other = await net.leader(other_than=leader, within=30)
        task = await net.client(other).submit("math.add", {"a": 1, "b": 2}, timeout=30)
        await net.heal()
        assert await task.result(timeout=30) == 3
        await net.settle()
        with pytest.raises(CannotHere):
            await net.delay("a", "b", 5)
        await net.loss("a", "b", 0.01)  # what was refused is forgotten

    run = run_real_scenario(scenario, 1)
    assert run.passed, shown(run)
    assert "processes in network namespaces" in run.events[-1].text


@pytest.mark.parametrize("what", ["delay", "clock", "disk_full"])
def test_what_namespaces_cannot_do_is_said_when_it_is_asked_for(what: str) -> None:
    async def scenario(net: ChaosNet) -> None:
        net._names = ["a", "b"]  # nobody has to run for a refusal
        assert not net.can(what)
        assert net.can("partition")
        words = {"delay": ("a", "b", 5), "clock": ("a", 5), "disk_full": ("a",)}[what]
        await getattr(net, what)(*words)

    run = run_real_scenario(scenario, 1)
    assert "the real world cannot do this" in run.error
    assert what in run.error


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_each_shipped_scenario_is_green_on_processes(name: str) -> None:
    run = run_real_scenario(load_scenario(EXAMPLES / f"{name}.py"), 1)
    assert run.passed, shown(run)
    json.dumps(run.to_json())

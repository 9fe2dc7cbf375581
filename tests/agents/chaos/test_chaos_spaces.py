"""Network namespaces for nodes: what passes between hosts, what is left behind, and whole runs."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import pytest

from agents import Agent
from agents.chaos import ChaosError, ChaosNet, NotPermitted, Run, load_scenario, run_real_scenario
from agents.chaos.disks import Disks
from agents.chaos.spaces import OWNERS, PREFIX, Spaces
from agents.chaos.world import Ability
from agents.switching import LinkTrouble, Trouble

pytestmark = pytest.mark.e2e

EXAMPLES = Path(__file__).parents[3] / "examples" / "chaos"
SHIPPED = sorted(path.stem for path in EXAMPLES.glob("*.py"))
adder = Agent("adder")


@adder.serve("math.add")
async def add(a: int, b: int) -> int:
    return a + b


@adder.serve("time.of_day")
async def time_of_day() -> float:
    return time.time()


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


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Nobody else on this machine, another file's tests for one, sweeps meanwhile."""
    place = os.open(OWNERS, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(place, fcntl.LOCK_EX)
        yield
    finally:
        os.close(place)


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


def test_the_switch_cuts_one_way_loses_a_share_and_holds_back(spaces: Spaces) -> None:
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

        def is_quick() -> bool:
            heard, seconds = b.hears("a", 60)
            assert heard == 60
            return seconds < 0.5

        assert any(is_quick() for _ in range(10)), "a busy machine is slow, but not each time"
        assert a.hears("b", 20)[0] == 20
    finally:
        a.close()
        b.close()


IP_ADD_MEMBERSHIP = 35
ECHO = f"""
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("0.0.0.0", 7))
s.setsockopt(0, {IP_ADD_MEMBERSHIP}, socket.inet_aton("224.0.0.251") + socket.inet_aton("0.0.0.0"))
print("ready", flush=True)
while True:
    data, where = s.recvfrom(2000)
    s.sendto(data, where)
"""
ASK = """
import json, socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(1.0)
began_s, came = time.monotonic(), []
for n in range(int(sys.argv[2])):
    s.sendto(n.to_bytes(4, "big"), (sys.argv[1], 7))
try:
    while True:
        came.append((int.from_bytes(s.recv(2000), "big"), time.monotonic() - began_s))
except TimeoutError:
    print(json.dumps(came))
"""


def test_the_switch_delays_doubles_and_lets_overtake_and_groups_are_reached(
    spaces: Spaces,
) -> None:
    spaces.add("a")
    address = spaces.add("b")
    listening = [*spaces.inside("b"), sys.executable, "-c", ECHO]

    def asked(to: str, count: int) -> list[tuple[int, float]]:
        words = [*spaces.inside("a"), sys.executable, "-c", ASK, to, str(count)]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        return [(number, late_s) for number, late_s in json.loads(done.stdout)]

    with subprocess.Popen(listening, stdout=subprocess.PIPE, text=True) as echo:
        assert echo.stdout is not None
        assert echo.stdout.readline() == "ready\n"
        try:
            assert [n for n, _ in asked("224.0.0.251", 1)] == [0]
            spaces.apply(Trouble(links=(("b", "a", LinkTrouble(delay_ms=(200.0, 300.0))),)))
            late = asked(address, 20)
            assert [n for n, _ in late] == list(range(20))
            assert min(seconds for _, seconds in late) >= 0.2
            spaces.apply(Trouble(links=(("a", "b", LinkTrouble(duplicate=0.5)),)))
            doubled = [n for n, _ in asked(address, 200)]
            assert doubled == sorted(doubled)
            assert 250 < len(doubled) < 350  # 7 standard deviations
            spaces.apply(Trouble(links=(("a", "b", LinkTrouble(reorder=0.5)),)))
            mixed = [n for n, _ in asked(address, 200)]
            assert mixed != sorted(mixed) == list(range(200))
        finally:
            echo.kill()


def test_a_switch_that_was_killed_is_told_of(spaces: Spaces) -> None:
    spaces.add("a")
    space = spaces.inside("a")[-1].removesuffix("-a") + "-switch"  # whose word may begin with an a
    ask = ["ip", "netns", "pids", space]
    os.kill(int(subprocess.run(ask, capture_output=True, text=True).stdout), signal.SIGKILL)
    with pytest.raises(ChaosError, match="the switch has ended"):
        spaces.apply(Trouble())
    with pytest.raises(ChaosError, match="the switch has ended"):
        spaces.add("b")


def test_a_disk_can_be_filled_while_its_node_writes(tmp_path: Path) -> None:
    disks = Disks(tmp_path)
    try:
        words = "import sys\nfile = open(sys.argv[1], 'wb', 0)\nprint('on', flush=True)\n"
        words += "while True: file.write(bytes(4096))"
        file = disks.add("a") / "file"
        for _ in range(3):
            disks.free("a")
            command = [sys.executable, "-c", words, str(file)]
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as node:
                assert node.stdout is not None
                assert node.stdout.readline() == b"on\n"
                disks.fill("a")
                _, said = node.communicate()
            assert b"No space left" in said
            with pytest.raises(OSError, match="No space left"):
                (tmp_path / "a" / "more").write_bytes(b"x")
            (tmp_path / "a" / "more").unlink()
    finally:
        disks.close()


def test_a_disk_is_full_until_it_is_freed_and_what_is_there_can_be_read(tmp_path: Path) -> None:
    disks = Disks(tmp_path)
    try:
        file = disks.add("a") / "file"
        file.write_bytes(b"x" * 100_000)
        disks.fill("a")
        assert file.read_bytes() == b"x" * 100_000
        with pytest.raises(OSError, match="No space left"):
            (tmp_path / "a" / "more").write_bytes(b"x" * 5000)
        disks.fill("a")
        disks.free("a")
        (tmp_path / "a" / "more").write_bytes(b"x" * 5_000_000)
    finally:
        disks.close()
    assert not file.exists()
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()


# -- what is left ---------------------------------------------------------------------------------

OWNER = """
import pathlib, subprocess, sys, time
from agents.chaos.disks import Disks
from agents.chaos.spaces import Spaces
spaces = Spaces.opened(pathlib.Path(sys.argv[1]))
Disks(pathlib.Path(sys.argv[1])).add("a")
spaces.add("a")
sleeping = subprocess.Popen([*spaces.inside("a"), "sleep", "600"])
print(sleeping.pid, spaces.inside("a")[-1], flush=True)
time.sleep(600)
"""


def test_the_next_run_removes_what_one_that_was_killed_left_and_nothing_else(
    tmp_path: Path, spaces: Spaces
) -> None:
    directory = tmp_path / f"{PREFIX}x y"
    directory.mkdir()
    spaces.add("mine")
    words = [sys.executable, "-c", OWNER, str(directory)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        pid, space = owner.stdout.readline().split()
        Spaces.opened(tmp_path).close()
        assert space in there(), "its owner lives"
        with alone():
            owner.kill()
            owner.wait()
            assert space in there()
            assert os.path.ismount(directory / "a")
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
        "    space = net._world._spaces.inside('a')[-1]\n"
        "    print('up', pid, space, net._world._directory, flush=True)\n"
        "    await net.sleep(600)\n"
    )
    words = [sys.executable, "-m", "agents.cli", "chaos", "run", str(script), "--real"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as tool:
        assert tool.stdout is not None
        _, word, space, directory = tool.stdout.readline().split()
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
    assert not Path(directory).exists()
    assert directory not in Path("/proc/self/mountinfo").read_text()


def test_who_may_not_is_told_what_is_needed() -> None:
    if shutil.which("setpriv") is None:
        pytest.skip("there is no setpriv here")
    words = ["setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin", sys.executable]
    words += ["-m", "agents.cli", "chaos", "run", str(EXAMPLES / "split_brain.py"), "--real"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode != 0
    assert "need Linux, root, the program ip, and /dev/net/tun: ip netns add" in done.stderr
    assert "Operation not permitted" in done.stderr
    assert "With --loopback" in done.stderr
    assert "Traceback" not in done.stderr


# -- whole runs -----------------------------------------------------------------------------------


def shown(run: Run) -> str:
    return "\n".join([*map(str, run.events), run.error, *map(str, run.checks)])


def test_processes_in_namespaces_are_hurt_in_every_way_and_come_together_again() -> None:
    own: list[str] = []

    async def scenario(net: ChaosNet) -> None:
        assert all(net.can(ability.value) for ability in Ability)
        await net.up(3, agents=[adder], voters=3)
        world = net._world
        space = world._spaces.inside("a")[-1]  # type: ignore[attr-defined]
        own.extend((space.removesuffix("a"), str(world._directory)))  # type: ignore[attr-defined]
        for a, b in combinations(net.nodes, 2):
            await net.loss(a, b, 0.2)
            await net.slow_link(a, b, 128 * 1024)
            await net.delay(a, b, 5, 20, one_way=True)
            await net.duplicate(a, b, 0.5)
            await net.reorder(a, b, 0.5)
        leader = await net.isolate_leader()
        other = await net.leader(other_than=leader, within=30)
        task = await net.client(other).submit("math.add", {"a": 1, "b": 2}, timeout=30)
        await net.heal()
        assert await task.result(timeout=30) == 3
        await net.settle()

        full = next(name for name in net.nodes if name != other)
        home = net._world._machines[full].home  # type: ignore[attr-defined]
        await net.disk_full(full)
        with pytest.raises(OSError, match="No space left"):
            (home / "more").write_bytes(bytes(5000))
        await net.client(other).kv.put("key", "value", timeout=30)
        await net.disk_full(full, False)
        if full in net.down:
            await net.restart(full)
        await net.settle()

        for offset_s, starts_again in ((-3600, False), (60, True)):
            await net.clock(other, offset_s)
            if starts_again:
                await net.restart(other)
                await net.settle()
            seen_s = await net.client(other).call("time.of_day", peer=other, deadline=10)
            assert abs(seen_s - time.time() - offset_s) < 30

    run = run_real_scenario(scenario, 1)
    assert run.passed, shown(run)
    last = run.events[-1].text
    assert "3 processes in network namespaces; frames: " in last
    for word in ("cut", "lost", "doubled", "out of order", "passed"):
        assert f" {word}" in last
    left = Path("/proc/self/mountinfo").read_text() + there()
    assert len(own) == 2
    assert not [word for word in own if word in left]


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_each_shipped_scenario_is_green_on_processes(name: str) -> None:
    run = run_real_scenario(load_scenario(EXAMPLES / f"{name}.py"), 1)
    assert run.passed, shown(run)
    json.dumps(run.to_json())

"""A LAN of its own: hosts are network namespaces, their cables end in a bridge that is one too.

What a test breaks, it breaks in the bridge, as a switch or a cable would: `cut`, `lose`, `mute`.
The machine's own network is not touched. Nodes are real `conclave up` processes with the agent of
the end-to-end tests; they are asked through their doors for this machine, which the network of a
namespace does not hold up.

What this module does not know: what is to be proved.
"""

from __future__ import annotations

import functools
import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cli_lab import AGENT, Lab, Node, agreed, environment, eventually

from agents.errors import AgentsError
from agents.net import Net

PORT = 4747
_numbers = itertools.count()


@functools.cache
def why_not() -> str | None:
    """Why no such LAN can be made here, or None."""
    for program in ("ip", "nft", "tc"):
        if shutil.which(program, path=_path()) is None:
            return f"there is no program {program!r} here"
    probe = f"clv{os.getpid()}x"
    script = (
        f"ip netns add {probe} && ip -n {probe} link add b0 type bridge"
        f" && ip netns exec {probe} nft add table bridge t"
    )
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, env=_environment())
    subprocess.run(["ip", "netns", "del", probe], capture_output=True, env=_environment())
    if done.returncode != 0:
        return f"network namespaces are not permitted here: {done.stderr.strip()[:80]}"
    return None


def _path() -> str:
    return os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))


def _environment(**more: str) -> dict[str, str]:
    return environment(PATH=_path(), **more)


class LanNode(Node):
    """A node on a host of its own."""

    host: Host

    def up(self, *words: str, seeds: tuple[Node, ...] = (), mdns: bool = True, **env: str) -> Node:
        """Start it; it finds others by mDNS alone unless told otherwise."""
        knock = [w for seed in seeds for w in ("--seed", _place_of(seed))]
        if not mdns:
            knock.append("--no-mdns")
        with self.home.with_suffix(".log").open("ab") as log:
            self.process = subprocess.Popen(
                self.host.inside(
                    *(sys.executable, "-m", "agents.cli", "up", str(AGENT), *words),
                    *("--home", str(self.home), "--port", str(PORT), *knock),
                ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment(**env),
            )
        return self


def _place_of(seed: Node) -> str:
    assert isinstance(seed, LanNode)
    return f"{seed.host.address}:{PORT}"


class Host:
    """A namespace with one cable, named `p<number>` at the bridge and `eth0` here."""

    def __init__(self, lan: Lan, number: int, *, ipv6: bool) -> None:
        self._lan = lan
        self.space = f"{lan.name}h{number}"
        self.cable = f"p{number}"
        self.address = f"fd00:c0::{number + 1:x}" if ipv6 else f"10.77.0.{number + 1}"
        self._bits = 64 if ipv6 else 24
        lan.ip("netns", "add", self.space)
        lan.ip(*f"-n {lan.name} link add {self.cable} type veth peer name eth0".split())
        lan.ip(*f"-n {lan.name} link set eth0 netns {self.space}".split())
        lan.ip(*f"-n {lan.name} link set {self.cable} master br0 up".split())
        # Addresses at once: a lab need not wait for the proof that nobody else has them.
        run(self.inside("sh", "-c", "echo 0 > /proc/sys/net/ipv6/conf/eth0/accept_dad"))
        self.ip("link", "set", "lo", "up")
        self.set_address(self.address)

    def inside(self, *words: str) -> list[str]:
        """The command line that runs this on the host."""
        return ["ip", "netns", "exec", self.space, *words]

    def ip(self, *words: str) -> None:
        run(["ip", "-n", self.space, *words])

    def set_address(self, address: str) -> None:
        """This one and no other from now on, as after another lease."""
        self.ip("addr", "flush", "dev", "eth0", "scope", "global")
        self.ip("addr", "add", f"{address}/{self._bits}", "dev", "eth0", "nodad")
        self.ip("link", "set", "eth0", "up")
        route = "default" if ":" not in address else "ff00::/8"
        self.ip("route", "replace", route, "dev", "eth0")
        self.address = address

    def link(self, state: str) -> None:
        """Pull the cable ("down") or plug it in ("up")."""
        self._lan.ip("-n", self._lan.name, "link", "set", self.cable, state)


def run(words: list[str]) -> str:
    done = subprocess.run(words, capture_output=True, text=True, env=_environment(), timeout=20)
    assert done.returncode == 0, (words, done.stderr)
    return done.stdout


class Lan(Lab):
    """A bridge, hosts on it, and their nodes."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.name = f"clv{os.getpid()}n{next(_numbers)}"
        self.hosts: list[Host] = []
        self.ip("netns", "add", self.name)
        self.ip(*f"-n {self.name} link add br0 type bridge mcast_snooping 0".split())
        self.ip(*f"-n {self.name} link set br0 up".split())
        self.mend()

    def ip(self, *words: str) -> None:
        run(["ip", *words])

    def members(self, *names: str, ipv6: bool = False, voters: int = 3) -> list[LanNode]:
        """Make a network and its members, each with a host; none is up."""
        made: list[LanNode] = []
        for number, node in enumerate(self.network(*names, voters=voters, label="lan")):
            mine = LanNode(node.home, PORT)
            mine.host = Host(self, number, ipv6=ipv6)
            self.hosts.append(mine.host)
            made.append(mine)
        self.nodes = [*made]
        return made

    # -- what breaks ---------------------------------------------------------------------------

    def mend(self) -> None:
        """Everything passes again."""
        table, chain = "table bridge lan", "chain bridge lan pass"
        hook = "{ type filter hook forward priority 0; }"
        self._nft(f"add {table}; delete {table}; add {table}; add {chain} {hook}")

    def cut(self, from_: LanNode, to: LanNode) -> None:
        """Nothing passes in this one direction."""
        self._drop(f"iifname {from_.host.cable} oifname {to.host.cable}")

    def part(self, left: list[LanNode], right: list[LanNode]) -> None:
        """Nothing passes between these two, in either direction."""
        for one, other in itertools.product(left, right):
            self.cut(one, other)
            self.cut(other, one)

    def lose(self, percent: int) -> None:
        """Drop so many of all packets, at random."""
        self._drop(f"numgen random mod 100 < {percent}")

    def mute(self) -> None:
        """No mDNS passes, as on most wireless networks for guests."""
        self._drop("udp dport 5353")

    def block(self, to: LanNode, what: str) -> None:
        """What a firewall of that machine keeps out."""
        self._drop(f"oifname {to.host.cable} {what}")

    def narrow(self, mbits: int) -> None:
        """So wide is each host's cable, towards the host."""
        for host in self.hosts:
            shape = f"tbf rate {mbits}mbit burst 32kb latency 200ms"
            run(["tc", "-n", self.name, *f"qdisc replace dev {host.cable} root {shape}".split()])

    def _drop(self, what: str) -> None:
        self._nft(f"add rule bridge lan pass {what} drop")

    def _nft(self, script: str) -> None:
        run(["ip", "netns", "exec", self.name, "nft", script])

    # -- what is to be seen --------------------------------------------------------------------

    def start(self, nodes: list[LanNode], *words: str, mdns: bool = True, seeds: int = 0) -> float:
        """Bring all up; returns after how many seconds all follow one leader."""
        began = time.monotonic()
        for node in nodes:
            node.up(*words, mdns=mdns, seeds=tuple(n for n in nodes[:seeds] if n is not node))
        for node in nodes:
            node.until_up()
        self.until_agreed(nodes)
        return time.monotonic() - began

    def until_agreed(self, nodes: list[LanNode], deadline_s: float = 60.0) -> float:
        """Wait until all see each other and follow one leader; returns how long it took."""
        began = time.monotonic()
        plain: list[Node] = [*nodes]
        try:
            eventually(lambda: agreed(plain), "agreement", deadline_s)
        except AssertionError as error:
            seen = {node.name: (node.status().get("leader"), node.states()) for node in nodes}
            raise AssertionError(f"{error}: {seen}") from None
        return time.monotonic() - began

    def close(self) -> None:
        super().close()
        for space in (*(host.space for host in self.hosts), self.name):
            subprocess.run(["ip", "netns", "del", space], capture_output=True, env=_environment())


class Work:
    """Tasks and keys that the network said yes to, and whether it still has them all."""

    def __init__(self) -> None:
        self.tasks: dict[str, float] = {}
        self.keys: dict[str, str] = {}
        self._count = 0
        self._why = ""  # what the latest that was refused said

    def do(self, node: LanNode, timeout_s: float = 5.0) -> bool:
        """Hand in one task and write one key; whether both were acknowledged."""
        self._count += 1
        number = self._count

        async def main(net: Net) -> None:
            handle = await net.submit("lab.add", {"a": number, "b": 1}, timeout=timeout_s)
            self.tasks[handle.id] = number + 1
            key = f"key-{number}"
            await net.kv.put(key, key, timeout=timeout_s)
            self.keys[key] = key

        try:
            node.ask(main)
        except (AgentsError, OSError) as error:
            self._why = f"{type(error).__name__}: {error}"
            return False
        return True

    def until_done(self, node: LanNode, deadline_s: float = 60.0) -> float:
        """Wait until work is acknowledged at this node; returns how long it took."""
        began = time.monotonic()
        try:
            eventually(lambda: self.do(node), f"work at {node.name}", deadline_s)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self._why}; it sees {node.states()}") from None
        return time.monotonic() - began

    def check(self, node: LanNode, deadline_s: float = 60.0) -> None:
        """Nothing that was acknowledged is lost: every task is done, every key is there."""

        async def look(net: Net) -> list[str]:
            missing = [key for key, value in self.keys.items() if await net.kv.get(key) != value]
            for task_id, wanted in self.tasks.items():
                task = await net.task(task_id)
                if task.state != "done" or await task.result(1) != wanted:
                    missing.append(f"{task_id}: {task.state}")
            return missing

        def is_whole() -> bool:
            try:
                self.missing: list[str] = node.ask(look)
            except (AgentsError, OSError) as error:
                self.missing = [str(error)]
            return not self.missing

        try:
            eventually(is_whole, "all that was acknowledged", deadline_s)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.missing}") from None


def dead_at(nodes: list[LanNode]) -> set[tuple[str, str]]:
    """Who holds whom for dead."""
    return {
        (node.name, name)
        for node in nodes
        for name, state in node.states().items()
        if state == "dead"
    }


def stop(node: Node, for_s: float) -> None:
    """SIGSTOP, and SIGCONT after a while: what a suspended machine does to a process."""
    assert node.process is not None
    os.kill(node.process.pid, signal.SIGSTOP)
    time.sleep(for_s)
    os.kill(node.process.pid, signal.SIGCONT)


def measured(scenario: str, **seconds: object) -> None:
    """One line for docs/lan.md; `make test-lan` shows it."""
    figures = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in seconds.items())
    print(f"\n{scenario}: {figures}")


@contextmanager
def lan(directory: Path) -> Iterator[Lan]:
    """A LAN that leaves neither process nor namespace behind."""
    here = Lan(directory)
    try:
        yield here
    finally:
        here.close()

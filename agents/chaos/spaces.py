"""Network namespaces for the nodes of one run: a host for each, and their cables end in one bridge.

What a script breaks is broken in the bridge, as a switch or a cable would break it: nft drops what
must not pass, and a share of what is lossy; htb holds back what is too much for a slow link. The
machine's own network is not touched.

Names begin with `conclave-chaos-`, a word of their owner's follows. The owner holds the lock of a
file of that name while it lives. Whoever comes next finds what an owner that was killed left, ends
the processes in it and removes it.

What this module does not know: nodes, scripts.

Invariants: `close` leaves nothing behind; nobody touches what belongs to an owner that lives.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from agents.chaos.errors import ChaosError, NotPermitted
from agents.chaos.world import Trouble

PREFIX = "conclave-chaos-"
OWNERS = Path("/run/conclave-chaos")
PROGRAMS = {"ip": "iproute2", "tc": "iproute2", "nft": "nftables"}  # and their packages
SYSTEM_PATHS = ("/usr/sbin", "/sbin")
COMMAND_S = 20.0
END_S = 5.0
BITS = 24
SHARES = 10_000  # loss is drawn in so many parts
MIN_QUEUE_BYTES = 128 * 1024  # one packet of a local link may be 64 KiB


class Spaces:
    """The bridge and the hosts of one run. Make it by `opened`."""

    def __init__(self, word: str, lock: IO[str]) -> None:
        self._word = word
        self._lock = lock
        self._numbers: dict[str, int] = {}
        self._rates: dict[tuple[str, str], float] = {}

    @classmethod
    def opened(cls, directory: Path) -> Spaces:
        """Make the bridge.

        Args:
            directory: what the run keeps there is removed with what else it left, if it is killed.

        Raises:
            NotPermitted: such a thing cannot be made here.
        """
        _check_programs()
        with _register() as register:
            sweep(register)
            word = secrets.token_hex(4)
            lock = (register / word).open("w", encoding="utf-8")
            fcntl.flock(lock, fcntl.LOCK_EX)
            lock.write(str(directory))
            lock.flush()
        made = cls(word, lock)
        try:
            made._make_bridge()
        except ChaosError as error:
            made.close()
            raise NotPermitted(str(error)) from None
        return made

    def _make_bridge(self) -> None:
        _run(["ip", "netns", "add", self._bridge])
        _run(
            ["ip", "-n", self._bridge, "-batch", "-"],
            "link add br0 type bridge mcast_snooping 0\nlink set br0 up\n",
        )
        self.apply(Trouble())

    @property
    def _bridge(self) -> str:
        return f"{PREFIX}{self._word}-bridge"

    def _space(self, name: str) -> str:
        return f"{PREFIX}{self._word}-{name}"

    def add(self, name: str) -> str:
        """Make a host with a cable to the bridge, and return its address."""
        number = self._numbers[name] = len(self._numbers) + 1
        space, cable, address = self._space(name), f"p{number}", f"10.77.0.{number}"
        _run(["ip", "netns", "add", space])
        _run(
            ["ip", "-n", self._bridge, "-batch", "-"],
            f"link add {cable} type veth peer name eth0 netns {space}\n"
            f"link set {cable} master br0 up\n",
        )
        _run(
            ["ip", "-n", space, "-batch", "-"],
            f"link set lo up\naddr add {address}/{BITS} dev eth0\nlink set eth0 up\n"
            f"route add default dev eth0\n",
        )
        return address

    def inside(self, name: str) -> tuple[str, ...]:
        """The words before a command that make it run on this host; the process stays the same."""
        return (_found("ip"), "netns", "exec", self._space(name))

    def apply(self, trouble: Trouble) -> None:
        """Let the network be like that; all at once, but for slow links, which come first.

        Raises:
            ChaosError: this machine cannot, with its own words.
        """
        self._shape(trouble)
        rules = [f"{self._way(a, b)} drop" for a, b in sorted(trouble.cuts)]
        for a, b, link in trouble.links:
            if link.loss:
                share = round(link.loss * SHARES)
                rules.append(f"{self._way(a, b)} numgen random mod {SHARES} < {share} drop")
            if link.bytes_per_s is not None:
                rules.append(f"{self._way(a, b)} meta priority set 1:{self._numbers[a]:x}")
        chain = "type filter hook forward priority 0; policy accept;"
        table = "table bridge chaos"
        script = f"add {table}\ndelete {table}\n{table} {{\nchain pass {{ {chain}\n"
        words = ["ip", "netns", "exec", self._bridge, "nft", "-f", "-"]
        _run(words, script + "\n".join(rules) + "\n}\n}\n")

    def _way(self, source: str, target: str) -> str:
        return f"iifname p{self._numbers[source]} oifname p{self._numbers[target]}"

    def _shape(self, trouble: Trouble) -> None:
        """A queue for each slow way into a host; what no rule puts into one passes beside them."""
        rates = {(a, b): link.bytes_per_s for a, b, link in trouble.links if link.bytes_per_s}
        for target, number in self._numbers.items():
            wanted = {pair: rate for pair, rate in rates.items() if pair[1] == target}
            before = {pair: rate for pair, rate in self._rates.items() if pair[1] == target}
            if wanted == before:
                continue
            device = f"dev p{number}"
            lines = [f"qdisc del {device} root"] if before else []
            lines += [f"qdisc add {device} root handle 1: htb default 0"] if wanted else []
            for (source, _), rate in wanted.items():
                minor = f"{self._numbers[source]:x}"
                queue_bytes = max(MIN_QUEUE_BYTES, round(rate / 2))
                lines += [
                    f"class add {device} parent 1: classid 1:{minor} htb rate {round(rate * 8)}bit",
                    f"qdisc add {device} parent 1:{minor} bfifo limit {queue_bytes}",
                ]
            _run(["tc", "-n", self._bridge, "-batch", "-"], "\n".join(lines) + "\n")
        self._rates = rates

    def close(self) -> None:
        """Remove all of it; processes that are still in it are ended."""
        for space in (*map(self._space, self._numbers), self._bridge):
            _remove(space)
        Path(self._lock.name).unlink(missing_ok=True)
        self._lock.close()


def sweep(register: Path) -> list[str]:
    """Remove what dead owners left behind, and return the names."""
    left = [name for name in _there() if not _is_owned(register, name)]
    for name in left:
        _remove(name)
    for lock in register.iterdir():
        if not _is_held(lock):
            with contextlib.suppress(FileNotFoundError):  # its owner has just ended well
                _remove_directory(Path(lock.read_text(encoding="utf-8")))
            lock.unlink(missing_ok=True)
    return left


@contextlib.contextmanager
def _register() -> Iterator[Path]:
    """Where owners are; one at a time looks at it or changes it.

    Raises:
        NotPermitted.
    """
    try:
        OWNERS.mkdir(mode=0o700, parents=True, exist_ok=True)
        place = os.open(OWNERS, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise NotPermitted(str(error)) from None
    try:
        fcntl.flock(place, fcntl.LOCK_EX)
        yield OWNERS
    finally:
        os.close(place)


def _there() -> list[str]:
    lines = _run(["ip", "netns", "list"]).splitlines()
    names = (line.split()[0] for line in lines if line.strip())
    return [name for name in names if name.startswith(PREFIX)]


def _is_owned(register: Path, name: str) -> bool:
    return _is_held(register / name.removeprefix(PREFIX).partition("-")[0])


def _is_held(lock: Path) -> bool:
    try:
        with lock.open(encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        pass
    return False


def _remove(space: str) -> None:
    """End who is in it, and take its name away: the kernel does the rest."""
    until_s = time.monotonic() + END_S
    with contextlib.suppress(ChaosError):  # it is gone, or was never made
        while pids := _run(["ip", "netns", "pids", space]).split():
            for pid in map(int, pids):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if time.monotonic() > until_s:
                break
            time.sleep(0.01)
        _run(["ip", "netns", "del", space])


def _remove_directory(directory: Path) -> None:
    if directory.name.startswith(PREFIX) and directory.is_absolute():
        shutil.rmtree(directory, ignore_errors=True)


# -- programs -------------------------------------------------------------------------------------


def _check_programs() -> None:
    """
    Raises:
        NotPermitted.
    """
    for program, package in PROGRAMS.items():
        if shutil.which(program, path=_path()) is None:
            raise NotPermitted(f"there is no program {program!r}; install {package}")


def _run(words: list[str], script: str = "") -> str:
    """Run one of the programs and return what it printed.

    Raises:
        ChaosError: with what it said.
    """
    try:
        done = subprocess.run(
            [_found(words[0]), *words[1:]],
            input=script,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
            env={**os.environ, "PATH": _path()},
        )
    except subprocess.TimeoutExpired:
        raise ChaosError(f"{' '.join(words)}: no end after {COMMAND_S:g} s") from None
    if done.returncode != 0:
        said = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
        raise ChaosError(f"{' '.join(words)}: {said}")
    return done.stdout


def _found(program: str) -> str:
    return shutil.which(program, path=_path()) or program


def _path() -> str:
    return os.pathsep.join((os.environ.get("PATH", ""), *SYSTEM_PATHS))

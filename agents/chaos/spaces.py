"""Network namespaces for the nodes of one run: a host for each, and their cables end in one switch.

What a script breaks is broken in the switch, as a cable would break it: see `agents.switching`. It
is a process in a namespace of its own; the machine's own network is not touched.

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
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from agents.chaos.cables import Cables
from agents.chaos.disks import detach
from agents.chaos.errors import ChaosError, NotPermitted
from agents.chaos.programs import found_program, has_program, run_program
from agents.switching import Trouble

PREFIX = "conclave-chaos-"
OWNERS = Path("/run/conclave-chaos")
PROGRAMS = {"ip": "iproute2", "mount": "mount"}  # and their packages
TUN = "/dev/net/tun"
END_S = 5.0
BITS = 24
QUEUE_FRAMES = 10_000  # of what the switch has not come to yet; it is a process among busy ones


class Spaces:
    """The switch and the hosts of one run. Make it by `opened`."""

    def __init__(self, word: str, lock: IO[str]) -> None:
        self._word = word
        self._lock = lock
        self._numbers: dict[str, int] = {}
        self._made_cables: Cables | None = None

    @classmethod
    def opened(cls, directory: Path) -> Spaces:
        """Make the switch.

        Args:
            directory: what the run keeps there is removed with what else it left, if it is killed.

        Raises:
            NotPermitted: such a thing cannot be made here.
        """
        _check_here()
        with _register() as register:
            sweep(register)
            word = secrets.token_hex(4)
            lock = (register / word).open("w", encoding="utf-8")
            fcntl.flock(lock, fcntl.LOCK_EX)
            lock.write(str(directory))
            lock.flush()
        made = cls(word, lock)
        try:
            made._make_switch()
        except ChaosError as error:
            made.close()
            raise NotPermitted(str(error)) from None
        return made

    def _make_switch(self) -> None:
        run_program(["ip", "netns", "add", self._switch])
        self._made_cables = Cables((found_program("ip"), "netns", "exec", self._switch))

    @property
    def _cables(self) -> Cables:
        assert self._made_cables is not None, "make it by `opened`"
        return self._made_cables

    @property
    def _switch(self) -> str:
        return f"{PREFIX}{self._word}-switch"

    def _space(self, name: str) -> str:
        return f"{PREFIX}{self._word}-{name}"

    def add(self, name: str) -> str:
        """Make a host with a cable to the switch, and return its address."""
        number = self._numbers[name] = len(self._numbers) + 1
        space, cable, address = (
            self._space(name),
            f"02:00:00:00:00:{number:02x}",
            f"10.77.0.{number}",
        )
        run_program(["ip", "netns", "add", space])
        device = self._cables.add(name, cable)
        run_program(
            ["ip", "-n", self._switch, "-batch", "-"],
            f"link set {device} address {cable} txqueuelen {QUEUE_FRAMES}\n"
            f"link set {device} netns {space} name eth0\n",
        )
        run_program(
            ["ip", "-n", space, "-batch", "-"],
            f"link set lo up\naddr add {address}/{BITS} dev eth0\nlink set eth0 up\n"
            f"route add default dev eth0\n",
        )
        return address

    def inside(self, name: str) -> tuple[str, ...]:
        """The words before a command that make it run on this host; the process stays the same."""
        return (found_program("ip"), "netns", "exec", self._space(name))

    def apply(self, trouble: Trouble) -> None:
        """Let the network be like that; all at once.

        Raises:
            ChaosError: the switch has ended.
        """
        self._cables.apply(trouble)

    def counts(self) -> dict[str, int]:
        """What became of all frames until now.

        Raises:
            ChaosError: the switch has ended.
        """
        return self._cables.counts()

    def close(self) -> None:
        """Remove all of it; processes that are still in it are ended."""
        if self._made_cables is not None:
            self._made_cables.close()
        for space in (*map(self._space, self._numbers), self._switch):
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
    lines = run_program(["ip", "netns", "list"]).splitlines()
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
        while pids := run_program(["ip", "netns", "pids", space]).split():
            for pid in map(int, pids):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if time.monotonic() > until_s:
                break
            time.sleep(0.01)
        run_program(["ip", "netns", "del", space])


def _remove_directory(directory: Path) -> None:
    if directory.name.startswith(PREFIX) and directory.is_absolute():
        detach(directory)
        shutil.rmtree(directory, ignore_errors=True)


def _check_here() -> None:
    """
    Raises:
        NotPermitted.
    """
    for program, package in PROGRAMS.items():
        if not has_program(program):
            raise NotPermitted(f"there is no program {program!r}; install {package}")
    try:
        os.close(os.open(TUN, os.O_RDWR))
    except OSError as error:
        why = f"{TUN}, of which cables are made: {error.strerror}; `modprobe tun` may help"
        raise NotPermitted(why) from None

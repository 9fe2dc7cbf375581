"""Programs of the system that the chaos kit asks for what takes root: found, run, what they say.

What this module does not know: what for.
"""

from __future__ import annotations

import os
import shutil
import subprocess

from agents.chaos.errors import ChaosError

SYSTEM_PATHS = ("/usr/sbin", "/sbin")
COMMAND_S = 20.0


def run_program(words: list[str], script: str = "") -> str:
    """Run one and return what it printed.

    Args:
        script: what it reads.

    Raises:
        ChaosError: with what it said.
    """
    try:
        done = subprocess.run(
            [found_program(words[0]), *words[1:]],
            input=script,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
            env={**os.environ, "PATH": _path()},
        )
    except subprocess.TimeoutExpired:
        raise ChaosError(f"{' '.join(words)}: no end after {COMMAND_S:g} s") from None
    except OSError as error:
        raise ChaosError(f"{' '.join(words)}: {error}") from None
    if done.returncode != 0:
        said = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
        raise ChaosError(f"{' '.join(words)}: {said}")
    return done.stdout


def has_program(name: str) -> bool:
    """Whether it is installed, also where only root looks for programs."""
    return shutil.which(name, path=_path()) is not None


def found_program(name: str) -> str:
    """Its path, or its name if it is not there."""
    return shutil.which(name, path=_path()) or name


def leash() -> tuple[str, ...]:
    """The words before a command that let the kernel end it when we end, also by SIGKILL."""
    setpriv = shutil.which("setpriv")
    return (setpriv, "--pdeathsig", "KILL") if setpriv is not None else ()


def _path() -> str:
    return os.pathsep.join((os.environ.get("PATH", ""), *SYSTEM_PATHS))

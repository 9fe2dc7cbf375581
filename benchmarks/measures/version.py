"""How long the command line takes to say the least it can."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

from benchmarks.figures import Against, Figure, measures, median_of
from benchmarks.nodes import environment

RUNS = 9


@measures("version")
def version() -> Iterator[Figure]:
    """`conclave --version`, as a process, from its start to its end."""
    command = [sys.executable, "-m", "agents.cli", "--version"]
    runs = []
    for _ in range(RUNS + 1):
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment())
        runs.append(time.perf_counter() - began)
    plain = []
    for _ in range(RUNS):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import argparse"], check=True, env=environment())
        plain.append(time.perf_counter() - began)
    yield median_of(
        "conclave --version",
        runs[1:],  # the first may have compiled modules
        "s",
        "wall time of the process",
        target=0.3,
        against=(Against("Python that imports argparse", plain),),
    )

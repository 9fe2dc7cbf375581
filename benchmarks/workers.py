"""The parent's side of a measured process: start it, order it about, see what it holds, end it.

Every contender of a comparison runs in processes of its own and waits on its standard input while
the others have their turn, so that a figure and its floor see the same machine.

What this module does not know: what is measured; see `benchmarks.orders` for the other side.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Self

import psutil

from benchmarks.nodes import environment

ANSWER_S = 60.0
SAMPLE_S = 0.02


class WorkerFailed(Exception):
    """A measured process died, was too slow, or could not do what it was asked."""

    def __init__(self, name: str, what: str, said: str) -> None:
        super().__init__(f"{name}: {what}\n{said}")


class Worker:
    """One process that obeys: `with Worker("benchmarks.floors.blocking", "echo") as server`.

    Args:
        before: what stands before the command, such as `ip netns exec NAME`.
    """

    def __init__(self, module: str, *words: str, before: Sequence[str] = ()) -> None:
        self.module, self.words = module, words
        self.name = f"{module.removeprefix('benchmarks.')} {words[0] if words else ''}".strip()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self.spawned_s = time.perf_counter()
        self._process = subprocess.Popen(
            [*before, sys.executable, "-m", module, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment(),
        )
        self.ready: dict[str, Any] = {}

    def __enter__(self) -> Self:
        try:
            self.ready = self.answer()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def order(self, do: str, **words: Any) -> None:
        """Tell it what to do and do not wait."""
        assert self._process.stdin is not None
        line = json.dumps({"do": do, **words}) + "\n"
        try:
            self._process.stdin.write(line.encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            raise WorkerFailed(self.name, "it is gone", self._said()) from None

    def answer(self, timeout_s: float = ANSWER_S) -> dict[str, Any]:
        """Return its next answer.

        Raises:
            WorkerFailed: there is none in time, or it says why not.
        """
        assert self._process.stdout is not None
        limit = threading.Timer(timeout_s, self._process.kill)
        limit.start()
        try:
            line = self._process.stdout.readline()
        finally:
            limit.cancel()
        if not line:
            code = self._process.wait()
            what = f"it ended with {code}" if code != -signal.SIGKILL else "no answer in time"
            raise WorkerFailed(self.name, f"{what} (limit {timeout_s:g} s)", self._said())
        words: dict[str, Any] = json.loads(line)
        if "failed" in words:
            raise WorkerFailed(self.name, "it failed", words["failed"])
        return words

    def ask(self, do: str, *, answer_s: float = ANSWER_S, **words: Any) -> dict[str, Any]:
        """Tell it what to do and return how that went."""
        self.order(do, **words)
        return self.answer(answer_s)

    @property
    def rss_bytes(self) -> int:
        return int(psutil.Process(self.pid).memory_info().rss)

    def kill(self) -> float:
        """SIGKILL; return when, on the monotonic clock."""
        at_s = time.monotonic()
        self._process.kill()
        self._process.wait()
        return at_s

    def close(self) -> None:
        """End its input, and it if that is not enough."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()

    def _said(self) -> str:
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")[-3000:]


class Memory:
    """The resident memory of some processes while something went on, in bytes by process."""

    def __init__(self, workers: tuple[Worker, ...]) -> None:
        self._processes = [psutil.Process(worker.pid) for worker in workers]
        self.samples: list[tuple[int, ...]] = []

    def sample(self) -> None:
        self.samples.append(tuple(int(p.memory_info().rss) for p in self._processes))

    def above_bytes(self, idle: tuple[int, ...]) -> int:
        """Return the most that any one of them held above this."""
        return max(max(s[n] - idle[n] for s in self.samples) for n in range(len(idle)))


@contextmanager
def watched(*workers: Worker) -> Iterator[Memory]:
    """Look at the memory of these processes every few milliseconds."""
    memory = Memory(workers)
    memory.sample()
    over = threading.Event()

    def watch() -> None:
        while not over.wait(SAMPLE_S):
            memory.sample()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield memory
    finally:
        over.set()
        thread.join()
        memory.sample()


def until(condition: Callable[[], bool], what: str, timeout_s: float = 20.0) -> None:
    """Return as soon as a condition holds.

    Raises:
        AssertionError: it does not in time.
    """
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {timeout_s:g} s"
        time.sleep(0.01)

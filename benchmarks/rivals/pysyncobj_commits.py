"""PySyncObj: one voter of three, over plain TCP, with a dictionary as its state.

    python -m benchmarks.rivals.pysyncobj_commits eager|batched PORT OTHER_PORT ...

It never syncs: its journal, which is left off as by default, is a mapped file that only flushes to
the page cache. `eager` sends each command when it comes (`appendEntriesUseBatch=False`), `batched`
is the default, which waits for its period of 0.1 s.

Proposals are made from the callbacks in its own thread, which is the quickest way.

What this module does not know: when its turn is, and what it is compared with.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

from pysyncobj import SyncObj, SyncObjConf, replicated

from benchmarks.loads import WARM_UP_S, percentiles
from benchmarks.orders import obey_blocking

Words = dict[str, Any]

HOST = "127.0.0.1"
KEYS = 1_000
READY_S = 20.0


class Store(SyncObj):  # type: ignore[misc]  # it ships no types
    """Keys and values."""

    def __init__(self, own: str, others: list[str], eager: bool) -> None:
        conf = SyncObjConf(autoTick=True, appendEntriesUseBatch=not eager)
        if eager:
            conf.appendEntriesPeriod = 0.05
        super().__init__(own, others, conf)
        self.held: dict[str, bytes] = {}

    @replicated  # type: ignore[untyped-decorator]
    def put(self, key: str, value: bytes) -> None:
        self.held[key] = value


class Proposer:
    """A closed loop without an event loop: each answer makes the next proposal."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def wait(self) -> Words:
        """Return when there is a leader."""
        end = time.monotonic() + READY_S
        while time.monotonic() < end:
            leader = self._store._getLeader()
            if leader is not None and self._store.isReady():
                return {"leads": self._store._isLeader()}
            time.sleep(0.02)
        raise AssertionError("PySyncObj elects nobody")

    def commit(self, bytes_: int, in_flight: int, seconds: float) -> Words:
        """As `Voter.commit`."""
        warm = self._run(bytes_, in_flight, WARM_UP_S)
        began = time.perf_counter()
        taken_s = self._run(bytes_, in_flight, seconds)
        rate = len(taken_s) / (time.perf_counter() - began)
        both = len(warm) + len(taken_s)
        return {"rate": rate, "done": len(taken_s), "all": both, **percentiles(taken_s)}

    def _run(self, bytes_: int, in_flight: int, seconds: float) -> list[float]:
        value, keys = bytes(bytes_), [f"key-{n:06}" for n in range(KEYS)]
        taken_s: list[float] = []
        clock = time.perf_counter
        until = clock() + seconds
        running, over = in_flight, threading.Event()

        def propose(number: int) -> None:
            began = clock()

            def answered(_: object, error: object) -> None:
                nonlocal running
                assert not error, error
                now = clock()
                taken_s.append(now - began)
                if now < until:
                    propose((number + in_flight) % KEYS)
                    return
                running -= 1
                if not running:
                    over.set()

            self._store.put(keys[number % KEYS], value, callback=answered)

        for number in range(in_flight):
            propose(number)
        over.wait(seconds + READY_S)
        return taken_s


def main(mode: str, own: str, *others: str) -> None:
    """Be a voter until the orders end."""
    store = Store(f"{HOST}:{own}", [f"{HOST}:{port}" for port in others], mode == "eager")
    proposer = Proposer(store)
    obey_blocking({}, {"wait": proposer.wait, "commit": proposer.commit})
    store.destroy()


if __name__ == "__main__":
    main(*sys.argv[1:])

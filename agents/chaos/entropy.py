"""Chance and time of a simulated run: whatever draws or looks in this process gets the seed's.

Keys, ids and nonces are drawn from the operating system in real life. In a simulated run they come
from the seed, so that the same seed gives the same run, keys and all; and `time.time` and
`time.monotonic` are those of the virtual loop, for handlers that look. All of it ends with the
block. Such keys are worth nothing: they never leave the simulation's own directory.

What this module does not know: who draws.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import random
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any

START_S = 1_700_000_000


@contextlib.contextmanager
def seeded(seed: int, now_ns: Callable[[], int]) -> Iterator[None]:
    """Draw from the seed and look at that clock, for as long as the block lasts."""
    rng = random.Random(f"chaos/{seed}")

    def draw(size: int | None = None) -> bytes:
        return rng.randbytes(32 if size is None else size)

    # libsodium is at home in `keys`; here only its source of chance is put aside.
    sodium = importlib.import_module("nacl.bindings")
    shared = importlib.import_module("random")  # what handlers of users may draw from
    state = shared.getstate()
    with contextlib.ExitStack() as stack:
        for owner, name, own in (
            (os, "urandom", draw),
            (secrets, "token_bytes", draw),
            (sodium, "randombytes", draw),
            (time, "monotonic", lambda: now_ns() / 1e9),
            (time, "monotonic_ns", now_ns),
            (time, "time", lambda: START_S + now_ns() / 1e9),
            (time, "time_ns", lambda: START_S * 1_000_000_000 + now_ns()),
        ):
            stack.enter_context(_put(owner, name, own))
        shared.seed(seed)
        try:
            yield
        finally:
            shared.setstate(state)


@contextlib.contextmanager
def _put(owner: Any, name: str, own: Any) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, own)
    try:
        yield
    finally:
        setattr(owner, name, before)

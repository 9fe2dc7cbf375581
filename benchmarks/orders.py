"""The child's side of a measured process: say that it is ready, then do what each line asks.

One JSON object a line in both directions: `{"do": "echo", "seconds": 1}` is answered by whatever
that order returns, or by `{"failed": ...}`. The process ends when its standard input does.

What this module does not know: what is ordered.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import traceback
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

Words = dict[str, Any]
Order = Callable[..., Awaitable[Words]]


async def obey(ready: Mapping[str, Any], orders: Mapping[str, Order]) -> None:
    """Serve orders on an event loop until standard input ends."""
    _settle()
    _say(ready)
    while line := await asyncio.to_thread(sys.stdin.readline):
        words = json.loads(line)
        try:
            _say(await orders[words.pop("do")](**words))
        except Exception:  # noqa: BLE001 - whatever went wrong is the answer
            _say({"failed": traceback.format_exc()})


def obey_blocking(ready: Mapping[str, Any], orders: Mapping[str, Callable[..., Words]]) -> None:
    """Serve orders without an event loop until standard input ends."""
    _settle()
    _say(ready)
    while line := sys.stdin.readline():
        words = json.loads(line)
        try:
            _say(orders[words.pop("do")](**words))
        except Exception:  # noqa: BLE001 - whatever went wrong is the answer
            _say({"failed": traceback.format_exc()})


def _settle() -> None:
    """What start-up made is not looked at again by collections."""
    gc.collect()
    gc.freeze()


def _say(words: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()

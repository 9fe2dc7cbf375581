"""The child's side of a measured process: say that it is ready, then do what each line asks.

One JSON object a line in both directions: `{"do": "echo", "seconds": 1}` is answered by whatever
that order returns, or by `{"failed": ...}`. `{"do": "orders"}` is answered by what each order
takes. The process ends when its standard input does.

What this module does not know: what is ordered.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import json
import sys
import traceback
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

Words = dict[str, Any]
Order = Callable[..., Awaitable[Words]]

ORDERS = "orders"


async def obey(ready: Mapping[str, Any], orders: Mapping[str, Order]) -> None:
    """Serve orders on an event loop until standard input ends."""
    _settle()
    _say(ready)
    while line := await asyncio.to_thread(sys.stdin.readline):
        words = json.loads(line)
        try:
            do = words.pop("do")
            _say(_taken(orders) if do == ORDERS else await orders[do](**words))
        except Exception:  # noqa: BLE001 - whatever went wrong is the answer
            _say({"failed": traceback.format_exc()})


def run_loop(main: Coroutine[Any, Any, None]) -> None:
    """Run a contender on the quickest loop there is, and import nothing else for it."""
    sys.setswitchinterval(0.0005)
    if sys.platform == "win32":
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            runner.run(main)
        return
    import uvloop

    uvloop.run(main)


def obey_blocking(ready: Mapping[str, Any], orders: Mapping[str, Callable[..., Words]]) -> None:
    """Serve orders without an event loop until standard input ends."""
    _settle()
    _say(ready)
    while line := sys.stdin.readline():
        words = json.loads(line)
        try:
            do = words.pop("do")
            _say(_taken(orders) if do == ORDERS else orders[do](**words))
        except Exception:  # noqa: BLE001 - whatever went wrong is the answer
            _say({"failed": traceback.format_exc()})


def _taken(orders: Mapping[str, Callable[..., Any]]) -> Words:
    """What each order is told, by name."""
    return {name: list(inspect.signature(order).parameters) for name, order in orders.items()}


def _settle() -> None:
    """What start-up made is not looked at again by collections."""
    gc.collect()
    gc.freeze()


def _say(words: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()

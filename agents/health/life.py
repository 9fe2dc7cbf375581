"""What an agent declares of its own life: its check, and what begins and ends it.

What this module does not know: when these are called.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Check = Callable[..., Any]
Hook = Callable[..., Any]


@dataclass(slots=True)
class Life:
    """The functions of one agent; each may be async or not, and may take a `Net`.

    Attributes:
        every_s: how often its check is asked.
        limit_s: how long a check may take.
        hook_limit_s: how long a start or a stop may take.
        on_cluster: runs while its node is in a cluster for what it serves.
        role: what several nodes may host and one at a time does; empty for none.
        hanging: plain functions that are running.
    """

    check: Check | None = None
    on_start: Hook | None = None
    on_stop: Hook | None = None
    on_cluster: Hook | None = None
    every_s: float = 2.0
    limit_s: float = 2.0
    hook_limit_s: float = 30.0
    role: str = ""
    hanging: set[Hook] = field(default_factory=set)


async def run_hook(life: Life, function: Callable[..., Any], net: Any, limit_s: float) -> Any:
    """Run one of them and return what it returns.

    A plain function runs in a thread of its own, because one that hangs must not take the place of
    others; while it hangs, it is not begun again. In virtual time it runs at once.

    Raises:
        TimeoutError: it has not ended in time, or hangs since an earlier time.
        Exception: whatever it raises.
    """
    arguments = (net,) if inspect.signature(function).parameters else ()
    async with asyncio.timeout(limit_s):
        if inspect.iscoroutinefunction(function):
            return await function(*arguments)
        if function in life.hanging:
            raise TimeoutError
        if _is_inline():
            return function(*arguments)
        return await _in_a_thread(life, function, arguments)


def _is_inline() -> bool:
    """Whether the loop's time is virtual: it would not wait for a thread, but jump."""
    return getattr(asyncio.get_running_loop(), "runs_inline", False)


async def _in_a_thread(life: Life, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Any] = loop.create_future()

    def end(value: Any, error: Exception | None) -> None:
        life.hanging.discard(function)
        if answer.done():
            return
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(value)

    def work() -> None:
        value: Any = None
        error: Exception | None = None
        try:
            value = function(*arguments)
        except BaseException as caught:  # noqa: BLE001 - nobody else would hear of it
            if isinstance(caught, Exception) and not isinstance(caught, StopIteration):
                error = caught
            else:  # a future takes no such thing, and nobody may end the node
                error = RuntimeError(f"{type(caught).__name__}: {caught}")
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(end, value, error)

    life.hanging.add(function)
    threading.Thread(target=work, name="conclave-hook", daemon=True).start()
    return await answer

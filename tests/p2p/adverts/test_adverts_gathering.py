"""What is told of a moment's changes, and when."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from typing import Any

from relay_lab import RelayWorld, an_id


class LoopThatIsLate(asyncio.SelectorEventLoop):
    """Time passes between a look at it and a timer; what is due by then is a handle without one,
    as uvloop makes it."""

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        if when - self.time() < 1:
            return self.call_soon(callback, *args, context=context)
        return super().call_at(when, callback, *args, context=context)


def test_changes_of_one_moment_share_a_message_also_where_it_is_due_at_once() -> None:
    told: list[str] = []

    async def main() -> None:
        world = RelayWorld(2, 5)
        adverts = world.members[an_id(0)].adverts
        adverts._tell_all = lambda: told.append("all")  # type: ignore[method-assign]
        adverts.change({"one": b"1"})
        adverts.change({"two": b"2"}, is_urgent=False)
        adverts.offer({})
        await asyncio.sleep(0.01)

    with asyncio.Runner(loop_factory=LoopThatIsLate) as runner:
        runner.run(main())
    assert told == ["all"]

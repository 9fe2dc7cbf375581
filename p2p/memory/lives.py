"""Processes that can stand still and die, on one virtual loop.

Every callback belongs to the process in whose context it was scheduled. While a process stands
still its callbacks wait, in order; when it is dead they wait for ever, so that after a kill not one
more line of it runs, as after `kill -9`.

What this module does not know: networks, nodes, files.

Invariants: a callback that was cancelled while it waited never runs; those that waited run in the
order in which they were due.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context
from enum import Enum, auto
from typing import Any, cast

from p2p.memory.virtual_time import VirtualTimeLoop


class Standing(Enum):
    """How a process is."""

    RUNS = auto()
    STANDS_STILL = auto()
    IS_DEAD = auto()


class Life:
    """One process, from its start to its end.

    Attributes:
        context: what belongs to it runs in copies of this.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.standing = Standing.RUNS
        self.context: Context = copy_context()
        self.context.run(_LIFE.set, self)
        self._waiting: deque[asyncio.Handle] = deque()

    def stop(self) -> None:
        """Stand still, as after SIGSTOP."""
        if self.standing is Standing.RUNS:
            self.standing = Standing.STANDS_STILL

    def go_on(self) -> None:
        """Run what has waited, and run from here on."""
        if self.standing is Standing.STANDS_STILL:
            self._run_again()

    def die(self) -> None:
        """Run nothing any more."""
        self.standing = Standing.IS_DEAD

    def bury(self) -> None:
        """Let what was left of a dead process end, so that its objects can be let go. Only when
        nobody looks at the simulation any more."""
        self._run_again()

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call something of this process from outside, at once."""
        return self.context.copy().run(function, *args)

    def _run_again(self) -> None:
        self.standing = Standing.RUNS
        waiting, self._waiting = self._waiting, deque()
        loop = cast(LifeLoop, asyncio.get_running_loop())
        for shot in waiting:
            loop.again(shot)  # one that was cancelled is passed over there

    def _keep(self, shot: asyncio.Handle) -> None:
        self._waiting.append(shot)


_LIFE: ContextVar[Life | None] = ContextVar("life", default=None)


class _Shot(asyncio.Handle):
    """A callback of a process, which runs only if the process does."""

    __slots__ = ("_life",)
    _life: Life

    def _run(self) -> None:
        if self._life.standing is Standing.RUNS:
            super()._run()
        else:
            self._life._keep(self)


class _TimedShot(asyncio.TimerHandle):
    """The same, at a time."""

    __slots__ = ("_life",)
    _life: Life

    def _run(self) -> None:
        if self._life.standing is Standing.RUNS:
            super()._run()
        else:
            self._life._keep(self)


class LifeLoop(VirtualTimeLoop):
    """A virtual loop on which processes can stand still and die.

    It puts handles of its own where asyncio has its own: to wrap one in another would be a tenth
    of a simulation.
    """

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        if context is None:
            context = copy_context()
        life = cast("Life | None", context.get(_LIFE))
        if life is None:
            return super().call_soon(callback, *args, context=context)
        shot = _Shot(callback, args, self, context)
        shot._life = life
        self._ready.append(shot)
        return shot

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        if context is None:
            context = copy_context()
        life = cast("Life | None", context.get(_LIFE))
        if life is None:
            return super().call_at(when, callback, *args, context=context)
        shot = _TimedShot(when, callback, args, self, context)
        shot._life = life
        return self.set_timer(shot)

    def again(self, handle: asyncio.Handle) -> None:
        """Run this one, which waited, when its turn comes."""
        self._ready.append(handle)

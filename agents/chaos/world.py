"""What a chaos script needs of a world: nodes that can be started, hurt and reached.

There are two kinds: whole nodes in virtual time, and processes of `conclave up`. A world raises
`CannotHere` when it is asked for what it cannot do.

What this module does not know: scripts, checks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, Protocol

from agents.agent import Agent
from agents.local import Gate
from agents.switching import Trouble

AgentSource = Agent | Callable[[], Agent] | str  # itself, what makes one for each node, or its file


class Ability(Enum):
    """What not every world can do; the values are what scripts call it."""

    PARTITION = "partition"
    CUT = "cut"
    LOSS = "loss"
    DELAY = "delay"
    SLOW_LINK = "slow_link"
    DUPLICATE = "duplicate"
    REORDER = "reorder"
    CLOCK = "clock"
    DISK_FULL = "disk_full"


class ChaosWorld(Protocol):
    """Nodes, by name.

    Attributes:
        on_stopped: hears of a node that stopped by itself, and why.
        abilities: of those that not every world has.
        starts_together: nodes may be started at the same time.
    """

    name: str
    abilities: frozenset[Ability]
    starts_together: bool
    on_stopped: Callable[[str, str], None]

    def now_us(self) -> int:
        """Since the world began; never goes back."""

    async def make(self, name: str, agents: Sequence[AgentSource], voters: int) -> None:
        """Make a node's home; the first one makes the network. It is not started."""

    async def start(self, name: str) -> None: ...

    def gate(self, name: str) -> Gate:
        """The way in of a program on the node's machine; it finds the node again after restarts."""

    def clock_of(self, name: str) -> Any:
        """The clock of the node's machine."""

    async def crash(self, name: str) -> None:
        """Like kill -9."""

    async def stop(self, name: str) -> None:
        """As Ctrl-C does."""

    async def pause(self, name: str) -> None:
        """Like SIGSTOP."""

    async def resume(self, name: str) -> None: ...

    async def apply(self, trouble: Trouble) -> None:
        """Make the network be like that, and no other way."""

    async def set_clock(self, name: str, offset_ms: int) -> None: ...

    async def fill_disk(self, name: str, *, is_full: bool) -> None: ...

    def facts(self) -> str:
        """What was counted, in words that are equal for equal runs."""

    async def close(self) -> None: ...

"""How busy agents are and how their machine is, in steps so coarse that telling them costs little.

A figure is smoothed over seconds, and its step changes only when it is well within another one: a
load that wavers about a bound is told once. Of many that change at once a few are told now and the
others soon, so that however many agents a node has, what it tells of loads stays bounded.

What this module does not know: clocks, where figures come from, how they travel.

Invariants (`check_invariants`): steps are from 0 to the most there is; an agent that is idle and
told so takes no memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from agents.choosing import FULL
from p2p import Machine, PayloadError, decode_payload, encode_payload

EIGHTHS: Final = 8  # how a machine is; an agent's load is told in quarters
TOLD_AT_ONCE: Final = 4
MACHINE: Final = "@machine"  # an entry among those of agents, none of which is called so
_VERSION: Final = 1
_KEPT_PERMILLE: Final = 500  # of the mean before, at each look
_STAY_PERMILLE: Final = 750  # of a step, to either side: half of one would be no hysteresis


class Level:
    """One figure from 0 to 1000, smoothed, and the step that it is told as."""

    __slots__ = ("_mean", "most", "step")

    def __init__(self, most: int, began: int = 0) -> None:
        self.most = most
        self._mean = began
        self.step = round(began * most / 1000)

    def look(self, permille: int) -> None:
        """It is so now."""
        now = max(0, min(1000, permille))
        # To zero and to the top it gets in the end: integers are rounded towards what is now.
        change = (now - self._mean) * (1000 - _KEPT_PERMILLE)
        self._mean += -(-change // 1000) if change > 0 else change // 1000
        if abs(self._mean * self.most - self.step * 1000) > _STAY_PERMILLE:
            self.step = round(self._mean * self.most / 1000)

    @property
    def is_at_rest(self) -> bool:
        return self._mean == self.step == 0


class Loads:
    """The agents of one node."""

    def __init__(self) -> None:
        self._levels: dict[str, Level] = {}
        self._told: dict[str, int] = {}

    def look(self, busy: Mapping[str, int]) -> list[str]:
        """Take how busy agents are, in permille, and return of whom to tell now.

        Args:
            busy: those that are left out are idle.
        """
        for name in [*busy, *(name for name in self._levels if name not in busy)]:
            level = self._levels.setdefault(name, Level(FULL))
            level.look(busy.get(name, 0))
        due = [name for name, level in self._levels.items() if level.step != self.told(name)]
        for name in due[:TOLD_AT_ONCE]:
            level = self._levels[name] = self._levels.pop(name)  # behind those that wait
            self._told[name] = level.step
        for name in [name for name, level in self._levels.items() if level.is_at_rest]:
            if not self.told(name):
                del self._levels[name]
                self._told.pop(name, None)
        return due[:TOLD_AT_ONCE]

    def told(self, name: str) -> int:
        """Return what is told of an agent, from 0 to FULL."""
        return self._told.get(name, 0)

    def check_invariants(self) -> None:
        assert all(0 <= level.step <= FULL for level in self._levels.values())
        assert all(0 <= step <= FULL for step in self._told.values())
        assert self._told.keys() <= self._levels.keys()
        idle = [name for name, level in self._levels.items() if level.is_at_rest]
        assert all(self.told(name) for name in idle)


class MachineSteps(NamedTuple):
    """How a machine is, in eighths."""

    busy: int = 0
    free: int = EIGHTHS

    @property
    def machine(self) -> Machine:
        return Machine(1000 * self.busy // EIGHTHS, 1000 * self.free // EIGHTHS)


class MachineLevel:
    """The machine of one node."""

    def __init__(self, began: Machine) -> None:
        self._busy = Level(EIGHTHS, began.busy_permille)
        self._free = Level(EIGHTHS, began.free_permille)

    def look(self, now: Machine) -> None:
        """It is so now."""
        self._busy.look(now.busy_permille)
        self._free.look(now.free_permille)

    @property
    def steps(self) -> MachineSteps:
        return MachineSteps(self._busy.step, self._free.step)


def encode_machine(steps: MachineSteps) -> bytes | None:
    """Return what is told of a machine; of one that is idle and empty, nothing."""
    return None if steps == MachineSteps() else encode_payload([_VERSION, *steps])


def decode_machine(said: bytes) -> MachineSteps:
    """Return how a machine is; what cannot be read says nothing."""
    try:
        fields = decode_payload(said)
    except PayloadError:
        return MachineSteps()
    if not (isinstance(fields, list) and len(fields) >= 3 and fields[0] == _VERSION):
        return MachineSteps()
    if not all(type(step) is int and 0 <= step <= EIGHTHS for step in fields[1:3]):
        return MachineSteps()
    return MachineSteps(*fields[1:3])

"""Errors of chaos scripts.

ChaosError
|-- CannotHere       this world cannot do that
|-- NotPermitted     network namespaces cannot be made here
|-- NoSuchNode       the script names a node that there is not
|-- BadScenario      the file is no scenario
|-- NotSettled       the network did not come to rest in time
`-- CheckFailed      something that must hold did not
"""

from __future__ import annotations

from agents.errors import AgentsError

ROOTLESS = "unshare -Urnm sh -c 'mount -t tmpfs tmpfs /run && conclave chaos run FILE --real'"


class ChaosError(AgentsError):
    """Root of them."""


class CannotHere(ChaosError):
    def __init__(self, what: str, world: str, why: str) -> None:
        super().__init__(f"{what}: the {world} world cannot do this: {why}")
        self.what = what
        self.world = world


class NotPermitted(ChaosError):
    """Nothing was started."""

    def __init__(self, why: str) -> None:
        super().__init__(
            "processes in network namespaces need Linux, root, the program ip, and /dev/net/tun: "
            f"{why}. Who is not root may have it in a namespace of users: {ROOTLESS}. "
            "With --loopback processes run without namespaces, and only processes and "
            "clocks can be hurt"
        )
        self.why = why


class NoSuchNode(ChaosError):
    def __init__(self, name: str, there: tuple[str, ...]) -> None:
        known = ", ".join(there) or "none yet; `await net.up(3)` makes some"
        super().__init__(f"there is no node {name!r}; there are {known}")


class BadScenario(ChaosError):
    """A file that holds no scenario; the text says what is missing."""


class NotSettled(ChaosError):
    def __init__(self, within_s: float, seen: str) -> None:
        super().__init__(f"the network did not settle within {within_s:g} s: {seen}")
        self.seen = seen


class CheckFailed(ChaosError):
    """
    Attributes:
        check: its name.
        at_ms: when, on the timeline.
        seen: what was seen, with the nodes' names.
    """

    def __init__(self, check: str, at_ms: int, seen: str) -> None:
        super().__init__(f"{check} failed at {at_ms / 1000:.3f} s: {seen}")
        self.check = check
        self.at_ms = at_ms
        self.seen = seen

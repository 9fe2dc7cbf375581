"""What a node hosts: the shape of an agent, as the node sees it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from agents.health import Life
from agents.hosting.handler import Handler


class Offer(Protocol):
    """Something with a name that serves capabilities; `agents.Agent` is one."""

    @property
    def name(self) -> str: ...

    @property
    def capacity(self) -> int: ...

    @property
    def handlers(self) -> Mapping[str, Handler]: ...

    @property
    def life(self) -> Life: ...

    @property
    def judges(self) -> Mapping[str, Callable[[Any, Any], Any]]: ...

"""What may be wrong with the network of a chaos run.

What this module does not know: which world makes it so.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong with the network just now, by names of nodes; both worlds make it so.

    Attributes:
        cuts: from the first of each pair nothing reaches the second.
        links: what else is wrong with a direction.
    """

    cuts: frozenset[tuple[str, str]] = frozenset()
    links: tuple[tuple[str, str, LinkTrouble], ...] = ()


@dataclass(frozen=True, slots=True)
class LinkTrouble:
    """One direction between two nodes.

    Attributes:
        loss: this share is lost; so `duplicate`, what arrives twice, and `reorder`, what comes
            after some that was sent later.
    """

    loss: float = 0.0
    delay_ms: tuple[float, float] = (0.0, 0.0)
    bytes_per_s: float | None = None
    duplicate: float = 0.0
    reorder: float = 0.0

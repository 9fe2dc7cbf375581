"""What a peer tells of those who come, are kept out, or are thrown out, and of its own keys.

For an audit log and for whoever counts. Listeners run on the loop, where it happened; they neither
block nor raise.

What this module does not know: who listens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from keys import PeerId


@dataclass(frozen=True, slots=True)
class IntroductionRefused:
    """A conversation at our door, or at that of another, ended without a session.

    Attributes:
        host: with the port, where we knocked.
        reason: a word of `RefusalCode`.
        said: in words; theirs are only as true as they are.
        is_theirs: whether they refused us, where that is known.
        at_our_door: whether they knocked, or we.
    """

    host: str
    reason: str
    said: str
    is_theirs: bool = False
    at_our_door: bool = False


@dataclass(frozen=True, slots=True)
class PeerAdmitted:
    """
    Attributes:
        how: `new`, `refreshed` (newer papers), `rotated` (a new key) or `replaced` (it was
            started again).
    """

    peer_id: PeerId
    name: str
    host: str
    how: str


@dataclass(frozen=True, slots=True)
class PeerExpelled:
    peer_id: PeerId
    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class TransportKeyChanged:
    """This peer has another CURVE key.

    Attributes:
        missed: so many peers did not come over in time, and were cut.
    """

    took_ms: int
    missed: int


Incident = IntroductionRefused | PeerAdmitted | PeerExpelled | TransportKeyChanged
OnIncident = Callable[[Incident], None]

"""What happens to the table of candidates, and what it asks for in return.

Data only. Events are past tense, effects imperative. A *candidate* is somebody who may be a
peer: whatever names it (mDNS, a seed, gossip, the file of last good peers) is a hint, and only
an introduction at its door shows who it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from keys import PeerId
from p2p.discovery.addresses import Address


class Source(StrEnum):
    """Who said it, most trusted first."""

    SEED = "seed"  # a person wrote it down
    LAST_GOOD = "last good"  # we met it there before
    GOSSIP = "gossip"  # a member told us
    MDNS = "mdns"  # anybody on the LAN said so


@dataclass(frozen=True, slots=True)
class Found:
    """A source says that somebody is there. Saying it again is harmless and refreshes it."""

    source: Source
    peer_id: PeerId | None  # None: only the address is known, as with seeds
    hosts: tuple[str, ...]
    port: int


@dataclass(frozen=True, slots=True)
class Told:
    """All of these at once: who is dialled is decided when all of them are known."""

    found: tuple[Found, ...]


@dataclass(frozen=True, slots=True)
class Lost:
    """A source takes it back (an mDNS goodbye). A live session overrides it."""

    source: Source
    peer_id: PeerId


@dataclass(frozen=True, slots=True)
class Introduced:
    """There is a session with this peer now.

    `dial` is the number of the `Dial` that led to it and `address` the one that answered; both
    are None when the peer came to our door.
    """

    peer_id: PeerId
    address: Address | None = None
    dial: int | None = None


@dataclass(frozen=True, slots=True)
class DialFailed:
    """All addresses of a `Dial` were tried in vain.

    `failures` gives the reason for each address. `is_refusal` says that somebody answered and
    said no in a way that waiting does not mend (another network, ourselves, revoked): such a
    candidate is asked rarely.
    """

    dial: int
    failures: tuple[tuple[Address, str], ...]
    is_refusal: bool = False


@dataclass(frozen=True, slots=True)
class NotNow:
    """These dials were not begun: nobody wants them just now. They are offered again later."""

    dials: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PeerGone:
    """The session with this peer ended: dead, left, expired. It is knocked at again."""

    peer_id: PeerId


@dataclass(frozen=True, slots=True)
class Banned:
    """Never dial this peer again, whoever names it: it was revoked."""

    peer_id: PeerId


@dataclass(frozen=True, slots=True)
class NetworkChanged:
    """Our own addresses changed (roaming, wake-up): everybody absent is worth a try now."""

    own_networks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed; due at `deadline_ms`."""


CandidateEvent = (
    Found
    | Told
    | Lost
    | Introduced
    | DialFailed
    | NotNow
    | PeerGone
    | Banned
    | NetworkChanged
    | Tick
)


@dataclass(frozen=True, slots=True)
class Dial:
    """Try these addresses, best first, nearly at once; the first whose door lets us in wins.

    Answer with `Introduced` or `DialFailed`, giving `number`. If `peer_id` is known and
    somebody else is met, that is `Introduced` with the peer that was really met.
    """

    number: int
    peer_id: PeerId | None
    addresses: tuple[Address, ...]


class DropReason(StrEnum):
    """Why something that a source or the caller said was not taken up."""

    OURSELVES = "ourselves"
    MALFORMED = "malformed"
    NOT_ON_LAN = "not on our LAN"  # mDNS named an address that is elsewhere
    TABLE_FULL = "table full"
    HOST_FULL = "too many at one host"
    TOO_FAST = "too many new names"
    BANNED = "banned"
    UNKNOWN_DIAL = "unknown dial"
    UNKNOWN_PEER = "unknown peer"


@dataclass(frozen=True, slots=True)
class Drop:
    """Counted, and worth a debug line; never fatal."""

    source: Source | None
    reason: DropReason
    detail: str


CandidateEffect = Dial | Drop


@dataclass(frozen=True, slots=True)
class CandidateReport:
    """One candidate as `why()` tells it to people and to the doctor."""

    peer_id: PeerId | None
    sources: tuple[Source, ...]
    addresses: tuple[Address, ...]
    state: str  # "connected", "dialling", "next try in 4.0 s"
    attempts: int  # in vain since it was last met
    failures: tuple[tuple[Address, str], ...]  # of the last attempt

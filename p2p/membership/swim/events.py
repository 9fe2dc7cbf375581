"""What the gossiping membership is told, and what it asks for. Data only.

It asks for nothing that changes who may vote (S7): it hints, and the layers above decide by quorum.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from keys import PeerId
from p2p.membership.member import MemberState
from p2p.membership.swim.messages import Message
from p2p.membership.swim.statements import Statement


class Why(StrEnum):
    """Why a state changed, or is what it is."""

    JOINED = "it joined"
    ACCUSED = "others, or we, had no answer from it"
    REFUTED = "it answered the accusation"
    SILENT = "it did not answer the accusation in time"
    RETURNED = "it came back with a new number"
    GOODBYE = "it said goodbye"
    RESTARTED = "it was started again"
    EXPELLED = "it may not be here any more"


@dataclass(frozen=True, slots=True)
class Met:
    """There is a session with this peer: compare pictures with it."""

    peer_id: PeerId


@dataclass(frozen=True, slots=True)
class Received:
    """A message on a link of this peer; None is one that was none."""

    sender: PeerId
    message: Message | None


@dataclass(frozen=True, slots=True)
class Proven:
    """What was `Unknown` can be verified now: by whom it was passed on, a while ago, and what."""

    told: tuple[tuple[PeerId, tuple[Statement, ...]], ...]


@dataclass(frozen=True, slots=True)
class LinkLost:
    """The connection to this peer broke. Evidence only: it is probed now, not in a second."""

    peer_id: PeerId


@dataclass(frozen=True, slots=True)
class Expelled:
    """This peer may not be here any more: revoked, expired, or cut off. It may be told of again."""

    peer_id: PeerId


@dataclass(frozen=True, slots=True)
class Renewed:
    """We are at another address, or have another key: our next word says so."""

    mark: bytes


@dataclass(frozen=True, slots=True)
class Leave:
    """Say goodbye to everybody. The last event."""


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed; due at `deadline_ms`. Coming late tells a member that it was stalled."""


SwimEvent = Met | Received | Proven | LinkLost | Expelled | Renewed | Leave | Tick


@dataclass(frozen=True, slots=True)
class Send:
    """Send this; losing it is no error. A peer without a link is introduced first."""

    to: PeerId
    message: Message


@dataclass(frozen=True, slots=True)
class Changed:
    """What we hold of a peer changed. `before` is None for one that was not known.

    A restart that was not noticed is two of these: the old start becomes dead, then the new one
    alive. So leases can be ended by (peer, start) whatever happened.
    """

    peer_id: PeerId
    incarnation: int
    before: MemberState | None
    after: MemberState
    why: Why
    accusers: tuple[PeerId, ...] = ()


@dataclass(frozen=True, slots=True)
class Numbered:
    """Our own number is this now. Durable before the effects behind it, or outbid at the start."""

    incarnation: int


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two processes speak as this peer, with one number."""

    peer_id: PeerId


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Links to these are needed from now on, and no others."""

    peer_ids: tuple[PeerId, ...]


class DropReason(StrEnum):
    """Why something that a peer said did not count."""

    MALFORMED = "malformed"
    STALE = "stale"
    UNPROVEN = "unproven"
    BAD_SIGNATURE = "bad signature"
    FORGOTTEN = "forgotten"
    UNKNOWN = "unknown signer"
    LIAR = "an accuser that was refuted too often"


@dataclass(frozen=True, slots=True)
class Drop:
    peer_id: PeerId
    reason: DropReason


@dataclass(frozen=True, slots=True)
class Unknown:
    """The papers of the signer are needed; `origin` passed this on and has them. Say it again."""

    origin: PeerId
    statement: Statement


@dataclass(frozen=True, slots=True)
class Ignored:
    """The accusations of this member do not count for a while: too many of them were refuted."""

    peer_id: PeerId


SwimEffect = Send | Changed | Numbered | Conflict | Neighbours | Drop | Unknown | Ignored


def why_of(before: MemberState | None, after: MemberState) -> Why:
    match after:
        case MemberState.SUSPECT:
            return Why.ACCUSED
        case MemberState.DEAD:
            return Why.SILENT
        case MemberState.LEFT:
            return Why.GOODBYE
        case MemberState.ALIVE if before is None:
            return Why.JOINED
        case MemberState.ALIVE if before is MemberState.SUSPECT:
            return Why.REFUTED
    return Why.RETURNED

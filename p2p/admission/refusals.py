"""The reasons for which an introduction ends without a session, as one closed list.

A refusal travels as a word of `RefusalCode` and a short text for a human. The word is stable:
counters, tests and the doctor are keyed by it. The text is the other side's and is never believed,
only shown, after `printable` has taken everything out of it that could move a terminal's cursor.

What this module does not know: sockets, the state machine, which check found what.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

MAX_TEXT_CHARS = 200


class RefusalCode(StrEnum):
    # What arrived is not our protocol.
    MALFORMED = "malformed"
    TOO_LARGE = "too_large"
    UNEXPECTED = "unexpected"  # a well-formed message in a state that does not take it
    VERSION = "version"
    # Who speaks is not one of us, or cannot show it.
    WRONG_NETWORK = "wrong_network"
    CERTIFICATE = "certificate"
    RECORD = "record"
    BAD_PROOF = "bad_proof"  # showed another's papers: does not hold the key they name
    STALE_RECORD = "stale_record"
    CONFLICTING_RECORD = "conflicting_record"  # the same sequence number says two things
    KEY_TAKEN = "key_taken"  # the transport key belongs to another peer
    OURSELVES = "ourselves"
    TWIN = "twin"  # our own identity, running somewhere else
    OTHER_PEER = "other_peer"  # a member, but not the one that was asked for
    # A good dialer at a bad moment.
    BUSY = "busy"
    RATE_LIMITED = "rate_limited"
    INTERNAL = "internal"
    # Joining.
    NOT_ISSUER = "not_issuer"
    TICKET_UNKNOWN = "ticket_unknown"
    TICKET_EXPIRED = "ticket_expired"
    TICKET_USED = "ticket_used"
    TICKET_WRONG_SECRET = "ticket_wrong_secret"  # noqa: S105 - a reason, not a secret
    JOIN_REFUSED = "join_refused"
    BAD_GRANT = "bad_grant"
    # Found on this side of the wire only; never sent.
    UNREACHABLE = "unreachable"
    DEADLINE = "deadline"
    DISCONNECTED = "disconnected"
    OTHER = "other"  # the other side used a word that we do not know


LOCAL_CODES = frozenset(
    {
        RefusalCode.UNREACHABLE,
        RefusalCode.DEADLINE,
        RefusalCode.DISCONNECTED,
        RefusalCode.OTHER,
    }
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """How a handshake ended without success. `theirs` says who refused: they, or we."""

    code: RefusalCode
    text: str
    theirs: bool = False


class Objection(Exception):
    """Raised by a check inside a core and caught at the core's edge; never leaves it."""

    def __init__(self, code: RefusalCode, text: str) -> None:
        super().__init__(text)
        self.refusal = Refusal(code, text)


def code_named(word: str) -> RefusalCode:
    """The code of a word from the wire. A word that may not travel is not taken from there."""
    try:
        code = RefusalCode(word)
    except ValueError:
        return RefusalCode.OTHER
    return RefusalCode.OTHER if code in LOCAL_CODES else code


def printable(text: str) -> str:
    """What is safe to show of another side's words: no control, bidi or surrogate characters."""
    shown = "".join(char if char.isprintable() else "?" for char in text[:MAX_TEXT_CHARS])
    return shown.strip()

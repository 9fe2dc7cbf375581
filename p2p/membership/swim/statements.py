"""What is said of members, signed by who says it, and which of two sayings counts.

    alive(i)    by the subject, with a mark: a fingerprint of where and under which key it is
    accused(i)  by the accuser: the subject does not answer me
    left(i)     by the subject: goodbye

Only the subject makes a number (S1), and here each number is proven by the subject's signature: an
accusation of a number whose `alive` the reader has not seen does not count, so nobody can be
pushed to numbers that it never used. A number holds the start of the process and, in its lowest 20
bits, how often that start has spoken anew: a refutation is no restart.

What this module does not know: time, who is a member, how keys are found.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache

from keys import PeerId

Sign = Callable[[bytes], bytes]

MAX_INCARNATION = 2**63 - 1
START_NUMBERS = 1 << 20  # that belong to one start of a process, the first of them a multiple
MAX_MARK_BYTES = 32
SIGNATURE_BYTES = 64
ID_BYTES = 32
STATEMENT_BYTES = 160  # the most that one takes on the wire, and a little


class Say(IntEnum):
    ALIVE = 1
    ACCUSED = 2
    LEFT = 3


@dataclass(frozen=True, slots=True)
class Statement:
    """One saying. Compared by its content, the signature too."""

    say: Say
    subject: PeerId
    incarnation: int
    signer: PeerId  # the subject, unless it is an accusation
    mark: bytes = b""
    signature: bytes = b""

    @property
    def key(self) -> tuple[PeerId, PeerId]:
        """What of this signer about this subject replaces what was before."""
        return self.subject, self.signer

    def body(self) -> bytes:
        """What the signature covers; the signer's key stands for the signer."""
        number = self.incarnation.to_bytes(8, "big")
        return bytes((self.say,)) + raw_of(self.subject) + number + self.mark


def start_of(number: int) -> int:
    """The first number of the start that this one belongs to."""
    return number - number % START_NUMBERS


def number_after(own: int, said: int) -> int:
    """Our next number when ours is `own` and somebody has heard `said`. A later start than this one
    is outbid with a start: all others must see that another process is here."""
    if start_of(said) <= start_of(own):
        return max(own, said) + 1
    return start_of(said) + START_NUMBERS


def signed(
    say: Say, subject: PeerId, incarnation: int, signer: PeerId, mark: bytes, sign: Sign
) -> Statement:
    bare = Statement(say, subject, incarnation, signer, mark)
    return Statement(say, subject, incarnation, signer, mark, sign(bare.body()))


@lru_cache(maxsize=65_536)
def raw_of(peer_id: PeerId) -> bytes:
    """The 32 bytes of a peer id."""
    return base64.b32decode(peer_id.upper() + "====")


@lru_cache(maxsize=65_536)
def peer_of(raw: bytes) -> PeerId | None:
    """The peer id of 32 bytes; None if they are not so many."""
    if len(raw) != ID_BYTES:
        return None
    try:
        return PeerId(base64.b32encode(raw).decode("ascii").rstrip("=").lower())
    except binascii.Error:
        return None

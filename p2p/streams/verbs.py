"""What the two sides of a stream say to each other, beside chunks.

What this module does not know: how it is written down, and when it is said.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Verb(Enum):
    """What an envelope of a stream says; the value is the envelope's target."""

    OPEN = "open"
    ACCEPT = "accept"
    REFUSE = "refuse"
    CHUNK = ""
    CHUNKS = "chunks"
    END = "end"
    CREDIT = "credit"
    RESUME = "resume"
    RESUMED = "resumed"
    ABORT = "abort"


class Say(NamedTuple):
    """Where the one who speaks is.

    Attributes:
        expected: the number that it expects next.
        credit: the total cost that it grants.
        epoch: names a question among those of the side that asks; its answer repeats it.
        sent: the number that it hands over next.
        is_missing: something before `expected` was handed over and did not arrive, it says: go
            back.
    """

    verb: Verb
    expected: int = 0
    credit: int = 0
    epoch: int = 0
    sent: int = 0
    is_missing: bool = False

"""Streams that are over: what is said to a peer that has missed the end.

A last acknowledgement, a refusal or an abort may be lost with its connection. The other side asks
again when it is back, and gets the same answer; and an `open` that is repeated does not run a
handler twice, nor one after it was refused.

What this module does not know: how streams travel, time. The last `REMEMBERED` of each peer count.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from p2p.errors import StreamAborted
from p2p.streams.messages import read_say, say_payload
from p2p.streams.verbs import Say, Verb
from p2p.wire import encode_fault

REMEMBERED = 256


class Ended(NamedTuple):
    """How one stream ended.

    Attributes:
        fault: what the other side is told; None where both sides had everything.
        is_refused: it was never open.
        expected, sent: the numbers after the last of theirs and of ours.
    """

    fault: bytes | None
    is_refused: bool = False
    expected: int = 0
    sent: int = 0


class Past:
    """The last streams with one peer that ended; `own_name` is who we are in what we say."""

    def __init__(self, own_name: str) -> None:
        self._own_name = own_name
        self._ends: OrderedDict[int, Ended] = OrderedDict()

    def __len__(self) -> int:
        return len(self._ends)

    def note(self, ident: int, ended: Ended) -> None:
        """A stream has ended; `ident` is the id of what arrives for it."""
        self._ends[ident] = ended
        if len(self._ends) > REMEMBERED:
            self._ends.popitem(last=False)

    def answer(
        self, ident: int, verb: Verb, sequence: int, payload: bytes
    ) -> tuple[Verb, bytes, int] | None:
        """Return verb, payload and sequence of what is said to this message for a stream that is
        not here; None for nothing, also to an `open` that is new."""
        ended = self._ends.get(ident)
        if verb is Verb.OPEN:
            return self._gone(ended, "it is over") if ended is not None else None
        if verb is Verb.ACCEPT:
            return self._gone(ended, "nobody waits for it any more")
        if verb is Verb.RESUME:
            asked = read_say(verb, sequence, payload)
            if asked is None or ended is None or ended.fault is not None:
                return self._gone(ended, "it is not known here (any more)")
            said = Say(Verb.RESUMED, ended.expected, 0, asked.epoch, ended.sent)
            return Verb.RESUMED, say_payload(said), ended.expected
        return None

    def _gone(self, ended: Ended | None, detail: str) -> tuple[Verb, bytes, int]:
        if ended is not None and ended.fault is not None:
            return Verb.REFUSE if ended.is_refused else Verb.ABORT, ended.fault, 0
        gone = StreamAborted(self._own_name, "the stream", detail)
        return Verb.ABORT, encode_fault(gone), 0

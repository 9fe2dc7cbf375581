"""Streams that are over: what is said to a peer that has missed the end.

A last acknowledgement or an abort may be lost with its connection. The other side asks again when
it is back, and gets the same answer; and an `open` that is repeated does not run a handler twice.

What this module does not know: how streams travel.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from keys import PeerId
from p2p.errors import StreamAborted
from p2p.streams.carrier import Key
from p2p.streams.core import Verb
from p2p.wire import encode_fault, encode_payload

REMEMBERED = 4096


class Answer(NamedTuple):
    verb: Verb
    payload: bytes
    sequence: int = 0


class _End(NamedTuple):
    expected: int
    fault: bytes | None


class Past:
    """The last streams that ended; `own_name` is who we are in what we say."""

    def __init__(self, own_name: str) -> None:
        self._own_name = own_name
        self._ends: OrderedDict[Key, _End] = OrderedDict()

    def note(self, key: Key, expected: int, fault: bytes | None) -> None:
        """A stream has ended, with a fault or well."""
        self._ends[key] = _End(expected, fault)
        if len(self._ends) > REMEMBERED:
            self._ends.popitem(last=False)

    def forget(self, peer_id: PeerId) -> None:
        for key in [key for key in self._ends if key.peer_id == peer_id]:
            del self._ends[key]

    def answer(self, key: Key, verb: str) -> Answer | None:
        """Return what is said to this message for a stream that is not here, if anything."""
        end = self._ends.get(key)
        if verb == Verb.OPEN:
            return self._aborted(end, "it is over") if end is not None else None
        if verb == Verb.RESUME:
            if end is not None and end.fault is None:
                return Answer(Verb.RESUMED, encode_payload(0), end.expected)
            return self._aborted(end, "it is not known here")
        if verb == Verb.END and end is not None and end.fault is None:
            return Answer(Verb.CREDIT, encode_payload(0), end.expected)
        return None

    def _aborted(self, end: _End | None, detail: str) -> Answer:
        if end is not None and end.fault is not None:
            return Answer(Verb.ABORT, end.fault)
        gone = StreamAborted(self._own_name, "the stream", detail)
        return Answer(Verb.ABORT, encode_fault(gone))

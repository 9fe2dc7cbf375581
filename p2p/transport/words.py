"""What two transports say to each other on a lane, to move from one connection to another.

    A over the old connection       B over the old connection
      ... frames, DRAIN 7  ------------>  reads them all in order, then
      <------------------------------  DRAINED 7
      (what A sends waits meanwhile)
    A sends over the new connection
      LAST over the old one  ---------->  and if B dialled it and has left it too, B closes it

DRAIN is answered over the connection that it came over, so that either the answer comes or the end
of that connection is noticed. Whoever dialled a connection closes it, when it sends there no more
and has heard LAST; HERE is what the dialler of a new connection says first, to make it known.
So nothing is lost, doubled or overtaken by a move, in either direction.

A word is a message of its own that begins with 0xC1, which no msgpack does. Pure; does not know
sockets, keys, when to move.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Generic, TypeVar

MARK = b"\xc1"
_NUMBER_BYTES = 4
NUMBERS = 1 << 8 * _NUMBER_BYTES


class Verb(IntEnum):
    HERE = 0
    DRAIN = 1
    DRAINED = 2
    LAST = 3


_NUMBERED = frozenset({Verb.DRAIN, Verb.DRAINED})


@dataclass(frozen=True, slots=True)
class Word:
    verb: Verb
    number: int = 0

    def encode(self) -> bytes:
        number = self.number.to_bytes(_NUMBER_BYTES, "big") if self.verb in _NUMBERED else b""
        return MARK + bytes((self.verb,)) + number


def decode_word(message: bytes) -> Word | None:
    """A message that begins with `MARK`; None when it is no word of ours."""
    try:
        verb = Verb(message[1])
    except (IndexError, ValueError):
        return None
    number = message[2:]
    if len(number) != (_NUMBER_BYTES if verb in _NUMBERED else 0):
        return None
    return Word(verb, int.from_bytes(number, "big"))


P = TypeVar("P")


class Owed(Generic[P]):
    """Words that are still to be said, each over its own connection; one of a kind at most, so
    that nobody can make us keep many."""

    __slots__ = ("_words",)

    def __init__(self) -> None:
        self._words: dict[P, dict[Verb, Word]] = {}

    def __bool__(self) -> bool:
        return bool(self._words)

    def owe(self, path: P, verb: Verb, number: int = 0) -> None:
        self._words.setdefault(path, {})[verb] = Word(verb, number)

    def forget(self, path: P) -> None:
        """That connection is over."""
        self._words.pop(path, None)

    def say(self, send: Callable[[P, bytes], bool]) -> bool:
        """Say what can be said, in order; `send` is False when there is no room. True when nothing
        is left."""
        for path, words in list(self._words.items()):
            while words and send(path, next(iter(words.values())).encode()):
                words.pop(next(iter(words)))
            if not words:
                self._words.pop(path, None)
        return not self._words

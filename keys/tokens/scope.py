"""What a token is for: actions, and patterns of what they are done to.

    call:math.* publish:news/* read:config/model

The actions and patterns are those of policies (`keys.policy`): `*`, an exact name, or everything
below a separator. Nothing is implied: what no word allows is denied.

What this module does not know: roles, policies, who bears the token.

Invariant: words are sorted and each there once, so one scope has one text.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from keys.policy import Action, Names
from keys.tokens.refusals import ScopeInvalid

MAX_WORDS: Final = 32
MAX_WORD_CHARS: Final = 200
MAX_CHARS: Final = 1024
SEPARATORS: Final = "/.:"


class Scope:
    """Read it with `parse`."""

    __slots__ = ("_by_action", "words")

    def __init__(self, words: tuple[str, ...]) -> None:
        self.words = words
        patterns: dict[str, list[str]] = {}
        for word in words:
            action, _, pattern = word.partition(":")
            patterns.setdefault(action, []).append(pattern)
        self._by_action = {Action(name): Names(found) for name, found in patterns.items()}

    @classmethod
    def parse(cls, text: str) -> Scope:
        """
        Raises:
            ScopeInvalid: and which word is wrong.
        """
        if len(text) > MAX_CHARS:
            raise ScopeInvalid(f"it is longer than {MAX_CHARS} characters")
        return cls.of(text.split(" "))

    @classmethod
    def of(cls, words: Iterable[str]) -> Scope:
        """
        Raises:
            ScopeInvalid
        """
        found = sorted({word for word in words if word})
        if not 1 <= len(found) <= MAX_WORDS:
            raise ScopeInvalid(f"it has {len(found)} words, and 1 to {MAX_WORDS} are allowed")
        for word in found:
            problem = _problem(word)
            if problem:
                raise ScopeInvalid(f"{word[:80]!r}: {problem}")
        scope = cls(tuple(found))
        if len(str(scope)) > MAX_CHARS:
            raise ScopeInvalid(f"it is longer than {MAX_CHARS} characters")
        return scope

    def allows(self, action: Action, what: str) -> bool:
        names = self._by_action.get(action)
        return names is not None and names.match(what)

    def lacking(self, wider: Scope) -> str | None:
        """The first of our words that another scope does not hold; None if it holds us all."""
        for word in self.words:
            action, _, pattern = word.partition(":")
            if not any(_holds(other, action, pattern) for other in wider.words):
                return word
        return None

    def __str__(self) -> str:
        return " ".join(self.words)

    def __repr__(self) -> str:
        return f"Scope({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Scope) and self.words == other.words

    def __hash__(self) -> int:
        return hash(self.words)


def _holds(word: str, action: str, pattern: str) -> bool:
    """Whether everything that `action:pattern` allows is allowed by the word."""
    other, _, wide = word.partition(":")
    if other != action:
        return False
    if wide in ("*", pattern):
        return True
    # Below `math.*` lies `math.add` and `math.fast.*`, and not `*`.
    return wide.endswith("*") and pattern != "*" and pattern.startswith(wide[:-1])


def _problem(word: str) -> str | None:
    action, colon, pattern = word.partition(":")
    if not colon or not pattern:
        return "it is no action, colon and pattern"
    if action not in tuple(Action):
        return f"there is no such action; there are {', '.join(Action)}"
    if len(word) > MAX_WORD_CHARS or not word.isprintable() or any(c.isspace() for c in word):
        return "it is too long, or holds what cannot be printed"
    if '"' in word or "\\" in word:
        return "it holds a quote or a backslash, which no scope has (RFC 6749)"
    if "*" in pattern and pattern != "*":
        if pattern.index("*") != len(pattern) - 1:
            return "a * stands at the end, or alone"
        if pattern[-2] not in SEPARATORS:
            return "before the * stands a separator: one of / . :"
    return None

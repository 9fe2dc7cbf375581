"""From the text of a policy to its rules: whatever is not understood is refused, by name and line.

    version = 1

    [[rule]]
    name = "shops-read-prices"
    effect = "allow"                      # or "deny"
    who = ["role:service"]                # a list, or one word
    actions = ["call", "subscribe"]
    what = ["prices.*", "prices/*"]

A rule that is not understood might have been a deny, so nothing is skipped and nothing guessed.

What this module does not know: where the text comes from, what a rule comes to.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from typing import Any, Final, NoReturn

from keys.errors import PolicyInvalid
from keys.names import EVERYWHERE, name_problem, namespaces_problem
from keys.policy import Action, Effect, Names, Policy, Rule, Who
from keys.roles import Role

VERSION: Final = 1
MAX_POLICY_BYTES: Final = 64 * 1024
MAX_RULES: Final = 256
MAX_WORDS: Final = 64
MAX_WORD_CHARS: Final = 255
SEPARATORS: Final = "/.:"
FIELDS: Final = ("name", "effect", "who", "actions", "what")

_PEER = re.compile(r"[a-z2-7]{52}")
_HEADER = re.compile(r"^\s*\[\[\s*rule\s*\]\]", re.MULTILINE)


def parse_policy(text: str, where: str = "policy") -> Policy:
    """
    Args:
        where: how errors call the text, such as the path of its file.

    Raises:
        PolicyInvalid: it is no policy; says where, which rule, which field and what is wrong.
    """
    if len(text.encode("utf-8", "replace")) > MAX_POLICY_BYTES:
        raise PolicyInvalid(where, f"it is longer than {MAX_POLICY_BYTES:,} bytes")
    try:
        said = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also a number of 5,000 digits
        raise PolicyInvalid(where, f"it is not TOML: {error}") from None
    for key in said:
        if key not in ("version", "rule"):
            raise PolicyInvalid(where, f"there is no key {key!r}; there are version and [[rule]]")
    if said.get("version") != VERSION or type(said["version"]) is not int:
        raise PolicyInvalid(where, f"it must say `version = {VERSION}`")
    raw = said.get("rule", [])
    if not isinstance(raw, list) or not all(isinstance(one, dict) for one in raw):
        raise PolicyInvalid(where, "rules are written as [[rule]]")
    if len(raw) > MAX_RULES:
        raise PolicyInvalid(where, f"it has {len(raw)} rules, and {MAX_RULES} are allowed")
    rules: dict[str, Rule] = {}
    for number, fields in enumerate(raw):
        reader = _Reader(where, text, number, fields)
        rule = reader.rule()
        if rule.name in rules:
            reader.refuse("name", "another rule has this name")
        rules[rule.name] = rule
    return Policy(tuple(rules.values()), text)


class _Reader:
    """Reads one rule."""

    def __init__(self, where: str, text: str, number: int, fields: Mapping[str, Any]) -> None:
        self._where = where
        self._text = text
        self._number = number
        self._fields = fields
        name = fields.get("name")
        self._called = name if isinstance(name, str) else f"number {number + 1}"

    def rule(self) -> Rule:
        for key in self._fields:
            if key not in FIELDS:
                self.refuse(key, f"there is no such key; there are {', '.join(FIELDS)}")
        for key in FIELDS:
            if key not in self._fields:
                self.refuse(key, "it is missing")
        name = self._fields["name"]
        problem = name_problem(name) if isinstance(name, str) else "it is no text"
        if problem:
            self.refuse("name", problem)
        return Rule(name, self._effect(), self._who(), self._actions(), self._what())

    def refuse(self, key: str, problem: str) -> NoReturn:
        raise PolicyInvalid(self._where, problem, self._called, key, self._line(key))

    def _effect(self) -> Effect:
        word = self._fields["effect"]
        if word not in ("allow", "deny"):
            self.refuse("effect", f"{_shown(word)} is neither allow nor deny")
        return Effect(word)

    def _who(self) -> Who:
        words = self._words("who")
        for word in words:
            kind, colon, name = word.partition(":")
            problem = self._who_problem(kind, name) if colon else None
            if word != "*" and (problem or not colon):
                known = "say *, role:..., name:..., peer:... or namespace:..."
                self.refuse("who", f"{_shown(word)}: {problem or known}")
        return Who(words)

    def _who_problem(self, kind: str, name: str) -> str | None:
        match kind:
            case "role":
                if name.upper() not in Role.__members__ or name != name.lower():
                    known = ", ".join(role.lower() for role in Role.__members__)
                    return f"there is no such role; there are {known}"
                return None
            case "name":
                return name_problem(name)
            case "peer":
                return None if _PEER.fullmatch(name) else "give the whole id of the peer"
            case "namespace":
                is_all = name == EVERYWHERE
                return "write * for everybody" if is_all else namespaces_problem((name,))
        return "say *, role:..., name:..., peer:... or namespace:..."

    def _actions(self) -> frozenset[Action]:
        words = self._words("actions")
        if "*" in words:
            return frozenset(Action)
        for word in words:
            if word not in tuple(Action):
                known = ", ".join(Action)
                self.refuse("actions", f"there is no action {_shown(word)}; there are {known}")
        return frozenset(Action(word) for word in words)

    def _what(self) -> Names:
        words = self._words("what")
        for word in words:
            if not word.isprintable():
                self.refuse("what", f"{_shown(word)} holds what cannot be printed")
            if word == "*" or "*" not in word:
                continue
            if word.index("*") != len(word) - 1:
                self.refuse("what", f"{_shown(word)}: a * stands at the end, or alone")
            if word[-2] not in SEPARATORS:
                said = "before the * stands a separator: one of / . :"
                self.refuse("what", f"{_shown(word)}: {said}")
        return Names(words)

    def _words(self, key: str) -> tuple[str, ...]:
        said = self._fields[key]
        words = [said] if isinstance(said, str) else said
        if not isinstance(words, list) or not words:
            self.refuse(key, "give a list of words that is not empty")
        if len(words) > MAX_WORDS:
            self.refuse(key, f"it has {len(words)} words, and {MAX_WORDS} are allowed")
        for word in words:
            if not isinstance(word, str) or not 1 <= len(word) <= MAX_WORD_CHARS:
                self.refuse(key, f"{_shown(word)} is no text of 1 to {MAX_WORD_CHARS} characters")
        return tuple(words)

    def _line(self, key: str) -> int | None:
        """Where the key stands, or the rule; None if the text is written in another way."""
        headers = [found.start() for found in _HEADER.finditer(self._text)]
        if self._number >= len(headers):
            return None
        begin = headers[self._number]
        end = headers[self._number + 1] if self._number + 1 < len(headers) else len(self._text)
        found = re.compile(rf"^\s*{re.escape(key)}\s*=", re.MULTILINE).search(
            self._text, begin, end
        )
        at = begin if found is None else found.end()
        return self._text.count("\n", 0, at) + 1


def _shown(word: object) -> str:
    return repr(word)[:80]

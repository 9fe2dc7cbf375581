"""What a name may look like, so that it can be shown, logged and compared without surprise.

Names come from strangers' certificates and from command lines. ASCII only: look-alike letters,
control characters and text direction marks have no way in.

What this module does not know: what is named, and whether the name is taken (names are labels).
"""

from __future__ import annotations

import re
from typing import Final

from keys.errors import InvalidName

MAX_NAME_CHARS: Final = 63
MAX_NAMESPACES: Final = 16
EVERYWHERE: Final = "*"  # the namespace that holds all others

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_NAMESPACE = re.compile(r"[a-z0-9][a-z0-9_-]*(\.[a-z0-9][a-z0-9_-]*)*")
_HOST = re.compile(r"[A-Za-z0-9:%_.-]+")


def name_problem(name: str) -> str | None:
    """What is wrong with a node's or a network's name, or None."""
    if not name:
        return "it is empty"
    if len(name) > MAX_NAME_CHARS:
        return f"it is longer than {MAX_NAME_CHARS} characters"
    if not _NAME.fullmatch(name):
        return "use letters, digits, '.', '_' and '-', beginning with a letter or digit"
    return None


def check_name(what: str, name: str) -> None:
    """
    Raises:
        InvalidName
    """
    problem = name_problem(name)
    if problem:
        raise InvalidName(what, name, problem)


def namespaces_problem(namespaces: tuple[str, ...]) -> str | None:
    """What is wrong with a set of namespaces, or None. Sorted and unique: one form only."""
    if len(namespaces) > MAX_NAMESPACES:
        return f"there are more than {MAX_NAMESPACES}"
    if list(namespaces) != sorted(set(namespaces)):
        return "they are not sorted, or one is there twice"
    for namespace in namespaces:
        if namespace == EVERYWHERE:
            continue
        if len(namespace) > MAX_NAME_CHARS or not _NAMESPACE.fullmatch(namespace):
            return f"{namespace[:80]!r} is not words of a-z, 0-9, '_', '-' joined by dots"
    return None


def host_problem(host: str) -> str | None:
    """What is wrong with a host name or address as text, or None. Nothing is resolved."""
    if not host or len(host) > 253:
        return "it is empty, or longer than 253 characters"
    if not _HOST.fullmatch(host):
        return "it is neither an address nor a host name"
    return None


def within(namespace: str, namespaces: tuple[str, ...]) -> bool:
    """Whether a namespace is one of these or below one: `shop.eu` is within `shop`."""
    return any(
        outer == EVERYWHERE or namespace == outer or namespace.startswith(outer + ".")
        for outer in namespaces
    )


def namespace_in(name: str) -> str:
    """The namespace that a capability, a topic, a key, a lock or a kind is in; empty for none.

    It stands before the last colon of the first level: `shop` in `shop:cart.add`,
    `shop:news/today` and `shop:news/a:b`, none in `news/a:b`.
    """
    return name.partition("/")[0].rpartition(":")[0]

"""A policy: rules that say who may do what, as data; and the decision that they come to.

A deny rule that matches wins over every allow rule; what no rule matches is denied. The order of
rules means nothing. A policy narrows what roles and namespaces allow (`keys.guard`) and never
widens it.

    who      *, role:service, name:ada, peer:<whole id>, namespace:shop
    actions  *, or words of `Action`
    what     *, an exact name, or all below a separator: math.*, shop:*, news/*

`namespace:shop` is whoever holds a certificate for `shop` or something below it, and nobody whose
certificate is for everything. Names are labels, chosen by who joins; a `peer:` is a key.

What this module does not know: TOML, files, the store, caches, who asks.

Invariants: adding an allow rule takes no right away, adding a deny rule gives none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from keys.names import EVERYWHERE, within
from keys.principal import Principal
from keys.roles import PERMISSIONS, Permission, Role


class Action(StrEnum):
    """What one does to a capability, a topic, a key, a question or the network itself."""

    CALL = "call"
    NOTIFY = "notify"
    SEND = "send"
    STREAM = "stream"
    SUBMIT = "submit"  # a task, of a skill
    INSPECT = "inspect"  # tasks of others
    CONTROL = "control"  # cancel and retry tasks of others
    PUBLISH = "publish"
    SUBSCRIBE = "subscribe"
    READ = "read"  # keys of the store
    WRITE = "write"
    LOCK = "lock"
    DECIDE = "decide"  # put a question of a kind to a vote
    CONFIGURE = "configure"  # policy, autopilot
    GOVERN = "govern"  # voters, leader


class Effect(StrEnum):
    ALLOW = "allow"
    DENY = "deny"


NEEDS: Final[Mapping[Action, Permission]] = {
    Action.CALL: Permission.CALL,
    Action.NOTIFY: Permission.CALL,
    Action.SEND: Permission.CALL,
    Action.STREAM: Permission.CALL,
    Action.SUBMIT: Permission.TASK_SUBMIT,
    Action.INSPECT: Permission.TASK_READ,
    Action.CONTROL: Permission.TASK_CONTROL,
    Action.PUBLISH: Permission.PUBLISH,
    Action.SUBSCRIBE: Permission.SUBSCRIBE,
    Action.READ: Permission.STORE_READ,
    Action.WRITE: Permission.STORE_WRITE,
    Action.LOCK: Permission.STORE_WRITE,
    Action.DECIDE: Permission.DECIDE,
    Action.CONFIGURE: Permission.CONFIG_CHANGE,
    Action.GOVERN: Permission.RAFT_ADMIN,
}

# What is in no namespace belongs to the whole network here, and not to everybody.
FOR_ALL_OF_IT: Final = frozenset({Action.CONTROL, Action.CONFIGURE, Action.GOVERN})


class Names:
    """What a rule's `what` matches."""

    __slots__ = ("_exact", "_is_any", "_prefixes", "patterns")

    def __init__(self, patterns: Iterable[str]) -> None:
        self.patterns = tuple(patterns)
        self._is_any = "*" in self.patterns
        self._exact = frozenset(p for p in self.patterns if not p.endswith("*"))
        self._prefixes = tuple(p[:-1] for p in self.patterns if p.endswith("*") and p != "*")

    def match(self, what: str) -> bool:
        return self._is_any or what in self._exact or what.startswith(self._prefixes)


class Who:
    """Whom a rule is about."""

    __slots__ = ("_is_any", "_names", "_namespaces", "_peers", "_roles", "words")

    def __init__(self, words: Iterable[str]) -> None:
        self.words = tuple(words)
        self._is_any = "*" in self.words
        self._roles = Role(0)
        for name in self._of("role:"):
            self._roles |= Role[name.upper()]
        self._names = self._of("name:")
        self._peers = self._of("peer:")
        self._namespaces = tuple(self._of("namespace:"))

    def _of(self, kind: str) -> frozenset[str]:
        return frozenset(word.removeprefix(kind) for word in self.words if word.startswith(kind))

    def match(self, one: Principal) -> bool:
        return (
            self._is_any
            or bool(one.roles & self._roles)
            or one.name in self._names
            or one.peer_id in self._peers
            or any(within(mine, self._namespaces) for mine in one.namespaces if mine != EVERYWHERE)
        )


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a policy."""

    name: str
    effect: Effect
    who: Who
    actions: frozenset[Action]
    what: Names

    def match(self, one: Principal, action: Action, what: str) -> bool:
        return action in self.actions and self.what.match(what) and self.who.match(one)


@dataclass(frozen=True, slots=True)
class Policy:
    """Rules, as they were written.

    Attributes:
        text: the TOML that they come from.
    """

    rules: tuple[Rule, ...]
    text: str = ""
    _by_action: dict[Action, tuple[Rule, ...]] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        ordered = sorted(self.rules, key=lambda rule: rule.effect is not Effect.DENY)
        for action in Action:
            self._by_action[action] = tuple(rule for rule in ordered if action in rule.actions)

    def decisive(self, one: Principal, action: Action, what: str) -> Rule | None:
        """The rule that decides, denying ones first; None where no rule matches: denied."""
        for rule in self._by_action[action]:
            if rule.match(one, action, what):
                return rule
        return None

    def allows(self, one: Principal, action: Action, what: str) -> bool:
        rule = self.decisive(one, action, what)
        return rule is not None and rule.effect is Effect.ALLOW


NOTHING: Final = Policy(())  # a policy that cannot be read allows nothing


def built_in_text() -> str:
    """What the roles allow, as a policy; namespaces narrow it further."""
    groups: dict[tuple[str, ...], list[Action]] = {}
    for action, permission in NEEDS.items():
        roles = tuple(
            str(role.name).lower() for role, given in PERMISSIONS.items() if permission in given
        )
        groups.setdefault(roles, []).append(action)
    parts = ["version = 1\n"]
    for roles, actions in groups.items():
        who = ", ".join(f'"role:{name}"' for name in roles)
        words = ", ".join(f'"{action}"' for action in actions)
        name = "-".join(roles)
        parts.append(
            f'[[rule]]\nname = "{name}"\neffect = "allow"\n'
            f'who = [{who}]\nactions = [{words}]\nwhat = ["*"]\n'
        )
    return "\n".join(parts)
